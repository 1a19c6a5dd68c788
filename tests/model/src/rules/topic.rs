//! A topic comes into being and is deleted: the root decides, maps and brokers follow.

use crate::{
    mutant::Mutant,
    state::{Assignment, Broker, LeaderEpoch, Members, Number, State, Topic, Volume},
    system::System,
};

impl System {
    /// A map is created only where the root lists none, nobody reported to have it, and what lies there is not one's own already.
    pub(crate) fn may_create_map(&self, state: &State, index: usize) -> bool {
        let controller = &state.controllers[index];
        let is_own =
            controller.map.leader.is_some() && controller.map.controller_epoch == controller.epoch;
        let has_heard = self.basis_of_election(state, index).is_some() && !controller.in_doubt;
        Self::may_write(state, index)
            && controller.topic == Topic::Unlisted
            && state.observer.deleted.is_none()
            && !is_own
            && (has_heard || self.breaks(Mutant::CreatedUnheard))
            && (!self.config.rollback || state.spent.rolled_back)
    }

    pub(crate) fn create_map(&self, state: &mut State, index: usize, leader: Number) {
        let map = Assignment {
            partition_epoch: 1,
            leader_epoch: 1,
            leader: Some(leader),
            leader_incarnation: state.store.incarnations[leader.index()],
            isr: Members::of_mask(self.config.isr),
            replicas: Members::of_mask(0b111),
            ..Assignment::default()
        };
        self.write(state, index, map);
    }

    /// The map that another controller left is read after the conflict.
    pub(crate) fn may_reread_map(state: &State, index: usize) -> bool {
        let controller = &state.controllers[index];
        let found = state.store.map;
        controller.is_in_office()
            && controller.topic == Topic::Unlisted
            && controller.map != found
            && found.controller_epoch <= controller.epoch
    }

    /// By compare-and-swap of the root, which fails once another controller took office.
    pub(crate) fn may_list_map(state: &State, index: usize) -> bool {
        let controller = &state.controllers[index];
        holds_root(state, index)
            && controller.topic == Topic::Unlisted
            && controller.map.leader.is_some()
            && controller.map.controller_epoch == controller.epoch
    }

    /// From now on the topic exists, and the map may be sent.
    pub(crate) fn list_map(state: &mut State, index: usize) {
        state.store.topic = Topic::Listed;
        let controller = &mut state.controllers[index];
        controller.topic = Topic::Listed;
        state.sent.push(controller.map);
    }

    pub(crate) fn may_delete_topic(&self, state: &State, index: usize) -> bool {
        self.config.deletion
            && holds_root(state, index)
            && state.controllers[index].topic == Topic::Listed
    }

    /// What clients knew of it no longer binds anybody.
    pub(crate) fn delete_topic(state: &mut State, index: usize) {
        let tombstone = Topic::Tombstone(Members::default());
        state.store.topic = tombstone;
        state.controllers[index].topic = tombstone;
        state.observer.saw_deleted(state.store.map.leader_epoch);
    }

    /// Explicitly ordered by a tombstone, of a broker that is not ahead of the controller.
    pub(crate) fn may_delete_replica(&self, state: &State, index: usize, slot: usize) -> bool {
        let controller = &state.controllers[index];
        let broker = &state.brokers[slot];
        let is_ordered = match controller.topic {
            Topic::Tombstone(confirmed) => !confirmed.contains(broker.volume.number),
            Topic::Unlisted => {
                self.breaks(Mutant::DeletedWhenAbsent) && broker.volume.holds_replica()
            }
            Topic::Listed => false,
        };
        controller.is_in_office()
            && is_ordered
            && is_in_session(broker)
            && controller.epoch >= broker.volume.stamp.0
    }

    /// Deleted durably, then confirmed.
    pub(crate) fn delete_replica(state: &mut State, index: usize, slot: usize) {
        let holds = holds_root(state, index);
        let controller = &mut state.controllers[index];
        let broker = &mut state.brokers[slot];
        let Volume {
            number,
            incarnation,
            candidates,
            stamp,
            ..
        } = broker.volume;
        let behind_order = (controller.epoch, controller.map.partition_epoch + 1);
        let emptied = Volume {
            number,
            incarnation,
            candidates,
            stamp: stamp.max(behind_order),
            ..Volume::default()
        };
        *broker = Broker {
            up: true,
            registered: true,
            current: true,
            ..Broker::down(emptied, 0)
        };
        if let (Topic::Tombstone(confirmed), true) = (controller.topic, holds) {
            controller.topic = Topic::Tombstone(confirmed.with(number));
            state.store.topic = controller.topic;
        }
    }

    /// Every broker that ever held it must have confirmed.
    pub(crate) fn may_drop_tombstone(&self, state: &State, index: usize) -> bool {
        let Topic::Tombstone(confirmed) = state.controllers[index].topic else {
            return false;
        };
        let holders = if self.breaks(Mutant::FormerHoldersForgotten) {
            state.store.map.replicas
        } else {
            Members::of_mask(0b111)
        };
        let is_away = |number| {
            !state
                .slot_of(number)
                .is_some_and(|slot| is_in_session(&state.brokers[slot]))
        };
        let is_excused = |number| self.breaks(Mutant::TombstoneDroppedEarly) && is_away(number);
        holds_root(state, index)
            && holders
                .iter()
                .all(|number| confirmed.contains(number) || is_excused(number))
    }

    pub(crate) fn drop_tombstone(state: &mut State, index: usize) {
        state.store.topic = Topic::Unlisted;
        state.store.map = Assignment::default();
        let controller = &mut state.controllers[index];
        controller.topic = Topic::Unlisted;
        controller.map = Assignment::default();
    }

    /// Who reports a replica that nobody knows: a human may adopt it as the topic's retained data.
    pub(crate) fn may_adopt(state: &State, index: usize, slot: usize) -> bool {
        let broker = &state.brokers[slot];
        holds_root(state, index)
            && state.controllers[index].topic == Topic::Unlisted
            && state.observer.deleted.is_some()
            && is_in_session(broker)
            && broker.volume.holds_replica()
    }

    pub(crate) fn adopt(&self, state: &mut State, index: usize, slot: usize) {
        let volume = &state.brokers[slot].volume;
        let map = Assignment {
            isr: Members::only(volume.number),
            ..volume.map
        };
        let winner = volume.number;
        state.store.topic = Topic::Listed;
        state.controllers[index].topic = Topic::Listed;
        self.elect(state, index, map, winner, None);
    }
}

/// Does what was deleted at `epoch` stand in the log of a later leader?
pub(crate) fn serves_deleted(state: &State, epoch: LeaderEpoch) -> bool {
    let leads_later =
        |broker: &&Broker| broker.up && broker.leads && broker.volume.map.leader_epoch > epoch;
    let mut served = state
        .brokers
        .iter()
        .filter(leads_later)
        .flat_map(|leader| leader.volume.log.records());
    served.any(|record| record.epoch <= epoch)
}

/// Would a compare-and-swap of the root succeed?
fn holds_root(state: &State, index: usize) -> bool {
    let controller = &state.controllers[index];
    controller.is_in_office()
        && state.store.holder as usize == index
        && state.store.controller_epoch == controller.epoch
}

const fn is_in_session(broker: &Broker) -> bool {
    broker.up && broker.registered
}
