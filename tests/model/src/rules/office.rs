//! A controller takes office, claims the map, hears the brokers and notices a store that went back in time.

use crate::{
    mutant::Mutant,
    state::{Assignment, Controller, MIN_IN_SYNC, NUMBERS, SLOTS, State, Topic},
    system::System,
};

impl System {
    /// A standby may take office at any time; one that was deposed too, once it restarts.
    pub(crate) fn may_take_office(&self, state: &State, controller: usize) -> bool {
        let store = &state.store;
        let holds = store.holder as usize == controller;
        let sees_rollback =
            state.spent.rolled_back && state.controllers[controller].map != store.map;
        store.controller_epoch < self.config.controller_epochs
            && (!self.config.rollback || state.spent.rolled_back)
            && (!holds || sees_rollback)
    }

    pub(crate) fn take_office(state: &mut State, controller: usize) {
        state.store.controller_epoch += 1;
        state.store.holder = controller as u8;
        state.controllers[controller] = Controller {
            epoch: state.store.controller_epoch,
            ..Controller::default()
        };
    }

    /// Raises the controller epoch only: whoever held the map before can write it no more.
    pub(crate) fn claim(&self, state: &mut State, index: usize) {
        let mut map = state.store.map;
        let controller = &mut state.controllers[index];
        controller.claimed = true;
        controller.stamp_found = map.stamp();
        controller.best = map;
        controller.map = map;
        controller.topic = state.store.topic;
        if controller.topic != Topic::Listed {
            return;
        }
        if self.breaks(Mutant::MapNotClaimed) {
            map.controller_epoch = controller.epoch;
            state.sent.push(map);
            return;
        }
        if self.breaks(Mutant::ClaimRaisesPartitionEpoch) {
            map.partition_epoch += 1;
        }
        if self.breaks(Mutant::UnconfirmedForgotten) {
            map.unconfirmed = [0; NUMBERS];
        }
        self.write(state, index, map);
    }

    pub(crate) fn hear_broker(&self, state: &mut State, index: usize, slot: usize) {
        let volume = &state.brokers[slot].volume;
        let controller = &mut state.controllers[index];
        controller.heard = controller.heard.with(volume.number);
        controller.in_doubt |= if self.breaks(Mutant::DoubtByStamp) {
            volume.stamp > controller.stamp_found
        } else {
            volume.map.version() > controller.map.version()
        };
        if volume.map.version() > controller.best.version() {
            controller.best = volume.map;
        }
    }

    /// Would a compare-and-swap of the map succeed?
    pub(crate) fn may_write(state: &State, index: usize) -> bool {
        let controller = &state.controllers[index];
        controller.is_in_office() && controller.map == state.store.map
    }

    /// Persists first, then sends, if the root lists the map.
    pub(crate) fn write(&self, state: &mut State, index: usize, map: Assignment) {
        let controller = &mut state.controllers[index];
        let stamped = Assignment {
            controller_epoch: controller.epoch,
            ..map
        };
        controller.map = stamped;
        state.store.map = stamped;
        if controller.topic == Topic::Listed || self.breaks(Mutant::UnlistedMapUsed) {
            state.sent.push(stamped);
        }
    }

    /// The assignment that an election starts from, once enough brokers have reported.
    pub(crate) fn basis_of_election(&self, state: &State, index: usize) -> Option<Assignment> {
        let controller = &state.controllers[index];
        if !self.config.rollback {
            return Some(controller.map);
        }
        if controller.in_doubt && !self.breaks(Mutant::RolledBackMapTrusted) {
            let mut best = controller.best;
            let all_reported = best
                .isr
                .iter()
                .all(|member| controller.heard.contains(member));
            best.leader_epoch = best.leader_epoch.max(controller.map.leader_epoch);
            best.partition_epoch = best.partition_epoch.max(controller.map.partition_epoch);
            return all_reported.then_some(best);
        }
        let is_successor = controller.epoch > 1;
        if is_successor && !self.has_heard_enough(state, controller) {
            return None;
        }
        Some(controller.map)
    }

    /// All that are up (they had one failure-detection interval), and at least replicas - minInSync + 1.
    fn has_heard_enough(&self, state: &State, controller: &Controller) -> bool {
        let heard_all_up = state
            .brokers
            .iter()
            .all(|broker| !broker.up || controller.heard.contains(broker.volume.number));
        let needed = SLOTS as u32 - MIN_IN_SYNC + 1;
        heard_all_up
            && (controller.heard.len() >= needed || self.breaks(Mutant::ElectionBeforeReports))
    }
}
