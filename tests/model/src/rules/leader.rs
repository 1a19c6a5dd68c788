//! The leader appends, and moves the high watermark.

use crate::{
    invariants::Invariant,
    mutant::Mutant,
    state::{Acknowledgement, Broker, IsrChange, MIN_IN_SYNC, Members, Record, State},
    system::System,
};

impl System {
    pub(crate) fn produce(&self, state: &mut State, slot: usize) {
        state.spent.records += 1;
        let leader = &mut state.brokers[slot];
        let epoch = leader.volume.map.leader_epoch;
        let id = state.spent.records;
        leader.volume.append(Record { epoch, id });
        state
            .observer
            .saw_leading(epoch, slot, leader.volume.incarnation);
        self.advance_high_watermark(state, slot);
    }

    /// Runs whenever the leader learned something. Records of its own epoch are acknowledged here.
    pub(crate) fn advance_high_watermark(&self, state: &mut State, slot: usize) {
        let leader = state.brokers[slot];
        if !leader.leads || !leader.up {
            return;
        }
        let counting = self.counting(&leader);
        if counting.for_min_in_sync.len() < MIN_IN_SYNC
            && !self.breaks(Mutant::HighWatermarkBelowMinInSync)
        {
            return;
        }
        let high_watermark = self.smallest_durable_end(&leader, counting.for_high_watermark);
        let before = leader.volume.high_watermark;
        if high_watermark <= before {
            return;
        }
        for offset in before..high_watermark {
            self.acknowledge_own(state, slot, offset);
        }
        state.brokers[slot].volume.high_watermark = high_watermark;
        state
            .observer
            .saw_exposed(&leader.volume.log, high_watermark);
    }

    /// How far this broker says that its log counts.
    pub(crate) fn counted_end(&self, broker: &Broker) -> u8 {
        if self.breaks(Mutant::CountedBeforeSync) {
            broker.volume.log.end()
        } else {
            self.end_that_should_count(broker)
        }
    }

    /// Durable under the topic's durability setting.
    pub(crate) fn end_that_should_count(&self, broker: &Broker) -> u8 {
        if self.config.page_cache {
            broker.volume.log.end()
        } else {
            broker.durable_end
        }
    }

    /// While a change is in flight the more conservative reading counts.
    fn counting(&self, leader: &Broker) -> Counting {
        let isr = leader.volume.map.isr;
        let mut counting = Counting {
            for_high_watermark: isr,
            for_min_in_sync: isr,
        };
        match leader.pending {
            Some((IsrChange::Add, newcomer)) if !self.breaks(Mutant::ExpandAfterPersisted) => {
                counting.for_high_watermark = isr.with(newcomer);
            }
            Some((IsrChange::Remove | IsrChange::RemoveLost, former)) => {
                counting.for_min_in_sync = isr.without(former);
                if self.breaks(Mutant::ShrinkBeforePersisted) {
                    counting.for_high_watermark = isr.without(former);
                }
            }
            _ => {}
        }
        counting
    }

    fn smallest_durable_end(&self, leader: &Broker, members: Members) -> u8 {
        let number = leader.volume.number;
        let own = if members.contains(number) {
            self.counted_end(leader)
        } else {
            leader.volume.log.end()
        };
        let reported = |member: crate::state::Number| {
            leader.reports[member.index()].map_or(0, |report| report.durable_end)
        };
        members
            .without(number)
            .iter()
            .map(reported)
            .fold(own, u8::min)
    }

    fn acknowledge_own(&self, state: &mut State, slot: usize, offset: u8) {
        let volume = state.brokers[slot].volume;
        let epoch = volume.map.leader_epoch;
        let Some(record) = volume
            .log
            .get(offset)
            .filter(|record| record.epoch == epoch)
        else {
            return;
        };
        state.observer.saw_leading(epoch, slot, volume.incarnation);
        state.observer.saw_acknowledged(
            offset,
            Acknowledgement {
                record,
                under_epoch: epoch,
            },
        );
        let has = |broker: &&Broker| {
            self.end_that_should_count(broker) > offset
                && broker.volume.log.get(offset) == Some(record)
        };
        let copies = state.brokers.iter().filter(has).count() as u32;
        let copies_lost_with_volumes = u32::from(state.spent.wipes + state.spent.restores);
        let binds = state.observer.deleted.is_none();
        if binds && copies + copies_lost_with_volumes < MIN_IN_SYNC {
            state
                .observer
                .saw_broken(Invariant::AcknowledgedOnMinInSync);
        }
    }
}

/// Whose durable ends count for what.
struct Counting {
    for_high_watermark: Members,
    for_min_in_sync: Members,
}
