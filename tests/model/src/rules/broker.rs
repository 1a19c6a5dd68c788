//! A broker learns a map, crashes, restarts, loses its volume or finds an older one.

use crate::{
    mutant::Mutant,
    state::{Assignment, Broker, Number, State, Volume},
    system::System,
};

impl System {
    pub(crate) fn receive_map(&self, state: &mut State, slot: usize, map: Assignment) {
        let broker = &mut state.brokers[slot];
        broker.volume.stamp = map.stamp();
        broker.current |= broker.registered;
        let old = broker.volume.map;
        if map.version() < old.version() && !self.breaks(Mutant::MapsOrderedByStamp) {
            return;
        }
        broker.volume.map = map;
        if !self.may_lead(broker, &map) {
            broker.leads = false;
            broker.election_end = 0;
            broker.forget_reports();
            return;
        }
        if !broker.leads || old.leader_epoch != map.leader_epoch {
            broker.leads = true;
            broker.election_end = broker.volume.log.end();
            broker.forget_reports();
        } else if map.partition_epoch > old.partition_epoch {
            broker.pending = None;
        }
        self.advance_high_watermark(state, slot);
    }

    /// Of the process; where records count before they are synced, the page cache keeps them.
    pub(crate) fn crash(&self, state: &mut State, slot: usize) {
        state.spent.crashes += 1;
        let broker = &mut state.brokers[slot];
        let left = if self.config.page_cache {
            broker.volume
        } else {
            broker.volume.as_on_disk(broker.durable_end)
        };
        *broker = Broker::down(left, broker.durable_end);
    }

    /// With its page cache. The next boot has another id.
    pub(crate) fn crash_node(state: &mut State, slot: usize) {
        state.spent.node_crashes += 1;
        let broker = &mut state.brokers[slot];
        let left = Volume {
            is_unclean: true,
            ..broker.volume.as_on_disk(broker.durable_end)
        };
        *broker = Broker::down(left, broker.durable_end);
    }

    pub(crate) fn restart(&self, state: &mut State, slot: usize) {
        state.starts[slot] += 1;
        let broker = &mut state.brokers[slot];
        broker.up = true;
        broker.volume.incarnation = state.starts[slot];
        broker.volume.candidates |= 1 << state.starts[slot];
        let led = broker.volume.map.leader == Some(broker.volume.number);
        if led && self.breaks(Mutant::OldEpochResumed) {
            broker.registered = true;
            broker.leads = true;
            broker.election_end = broker.volume.log.end();
        }
    }

    pub(crate) fn wipe_volume(&self, state: &mut State, slot: usize) {
        state.spent.wipes += 1;
        let old = state.brokers[slot].volume.number;
        let number = if self.breaks(Mutant::WipedKeepsNumber) {
            old
        } else {
            Number::OF_WIPED
        };
        state.brokers[slot] = Broker::down(
            Volume {
                number,
                ..Volume::default()
            },
            0,
        );
    }

    pub(crate) fn copy_volume(state: &mut State, slot: usize) {
        let broker = &state.brokers[slot];
        state.volume_copies[slot] = Some(broker.volume.as_on_disk(broker.durable_end));
    }

    pub(crate) fn restore_volume(state: &mut State, slot: usize) -> Option<()> {
        let copy = state.volume_copies[slot].filter(|copy| *copy != state.brokers[slot].volume)?;
        state.spent.restores += 1;
        state.brokers[slot] = Broker::down(copy, copy.log.end());
        Some(())
    }

    fn may_lead(&self, broker: &Broker, map: &Assignment) -> bool {
        let elected = broker.volume.incarnation == map.leader_incarnation
            || self.breaks(Mutant::LeaderIncarnationIgnored);
        broker.registered && map.leader == Some(broker.volume.number) && elected
    }
}
