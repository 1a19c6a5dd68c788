//! Which actions a state allows: the interface of the checker.

use stateright::{Model, Property};

use crate::{
    action::Action,
    config::Config,
    invariants::Invariant,
    mutant::Mutant,
    state::{SLOTS, State},
};

/// The sentence of the one property that is to be reached, not kept.
pub(crate) const REACHED: &str = "a record is acknowledged under a later leader epoch";

/// All that can happen under one configuration.
#[derive(Clone, Debug)]
pub(crate) struct System {
    pub(crate) config: Config,
}

impl System {
    /// Is this rule broken on purpose?
    pub(crate) const fn breaks(&self, mutant: Mutant) -> bool {
        self.config.mutants.contains(mutant)
    }

    /// `None` where the action came to nothing.
    fn act(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Produce(slot) => self.produce(state, slot),
            Action::Sync(slot) => {
                state.brokers[slot].durable_end = state.brokers[slot].volume.log.end();
                self.advance_high_watermark(state, slot);
            }
            Action::Fetch(slot) => self.fetch(state, slot)?,
            Action::SendFetch(slot) => self.send_fetch(state, slot)?,
            Action::ServeFetch(slot) => self.serve_fetch(state, slot)?,
            Action::ReceiveMap(slot, map) => self.receive_map(state, slot, map),
            Action::RequestIsrChange {
                slot,
                controller,
                change,
                member,
            } => {
                self.request_isr_change(state, slot, controller, change, member);
            }
            Action::ReceiveAnswer { slot, age } => self.receive_answer(state, slot, age)?,
            Action::Retry { slot, id } => self.retry(state, slot, id),
            Action::Crash(slot) => self.crash(state, slot),
            Action::CrashNode(slot) => Self::crash_node(state, slot),
            Action::Restart(slot) => self.restart(state, slot),
            Action::WipeVolume(slot) => self.wipe_volume(state, slot),
            Action::CopyVolume(slot) => Self::copy_volume(state, slot),
            Action::RestoreVolume(slot) => Self::restore_volume(state, slot)?,
            Action::TakeOffice(controller) => Self::take_office(state, controller),
            Action::Claim(controller) => self.claim(state, controller),
            Action::HearBroker { controller, slot } => self.hear_broker(state, controller, slot),
            Action::RegisterMaps {
                controller,
                slot,
                winner,
            } => self.register_maps(state, controller, slot, winner),
            Action::RegisterBroker(controller) => Self::register_broker(state, controller)?,
            Action::RegisterBrokerFirst { controller, slot } => {
                self.register_broker_first(state, controller, slot);
            }
            Action::RegisterMapsLast {
                controller, winner, ..
            } => self.register_maps_last(state, controller, winner)?,
            Action::RegisterAgain { controller, slot } => {
                self.register_again(state, controller, slot);
            }
            Action::Elect {
                controller,
                winner,
                drop_old,
            } => self.elect_after_suspicion(state, controller, winner, drop_old)?,
            Action::ReplaceWiped {
                controller,
                slot,
                winner,
            } => self.replace_wiped(state, controller, slot, winner)?,
            Action::ChangeIsr(controller, request) => {
                self.change_isr(state, controller, request)?;
            }
            Action::Recover { controller, winner } => self.recover(state, controller, winner)?,
            Action::CreateMap { controller, leader } => self.create_map(state, controller, leader),
            Action::RereadMap(controller) => state.controllers[controller].map = state.store.map,
            Action::ListMap(controller) => Self::list_map(state, controller),
            Action::DeleteTopic(controller) => Self::delete_topic(state, controller),
            Action::DeleteReplica { controller, slot } => {
                Self::delete_replica(state, controller, slot);
            }
            Action::DropTombstone(controller) => Self::drop_tombstone(state, controller),
            Action::Adopt { controller, slot } => self.adopt(state, controller, slot),
            Action::RollBackStore => {
                state.store = state.backup?;
                state.spent.rolled_back = true;
            }
        }
        Some(())
    }
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.first_state()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.observer.broken.is_some() {
            return;
        }
        for slot in 0..SLOTS {
            if state.brokers[slot].up {
                self.broker_actions(state, slot, actions);
            }
            self.volume_actions(state, slot, actions);
        }
        for controller in 0..state.controllers.len() {
            self.controller_actions(state, controller, actions);
        }
        let something_to_lose = state.observer.acknowledged[0].is_some();
        if state.backup.is_some() && !state.spent.rolled_back && something_to_lose {
            actions.push(Action::RollBackStore);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.act(&mut state, action)?;
        state.normalize();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        use Invariant as I;
        vec![
            Property::always(I::AcknowledgedOnEveryLeader.name(), |_, state| {
                I::AcknowledgedOnEveryLeader.holds(state)
            }),
            Property::always(I::OneLeaderPerEpoch.name(), |_, state| {
                I::OneLeaderPerEpoch.holds(state)
            }),
            Property::always(I::ExposedNeverReplaced.name(), |_, state| {
                I::ExposedNeverReplaced.holds(state)
            }),
            Property::always(I::AcknowledgedOnMinInSync.name(), |_, state| {
                I::AcknowledgedOnMinInSync.holds(state)
            }),
            Property::always(I::DeletedStaysDeleted.name(), |_, state| {
                I::DeletedStaysDeleted.holds(state)
            }),
            Property::always(I::LossOnlyOfWhatNobodyHas.name(), |_, state| {
                I::LossOnlyOfWhatNobodyHas.holds(state)
            }),
            Property::always(I::NoRecordTwice.name(), |_, state| {
                I::NoRecordTwice.holds(state)
            }),
            Property::sometimes(REACHED, |system: &Self, state: &State| {
                let later = system.config.leader_epochs.min(2);
                state
                    .observer
                    .acknowledged
                    .iter()
                    .flatten()
                    .any(|ack| ack.under_epoch >= later)
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        let map = &state.store.map;
        map.partition_epoch <= self.config.partition_epochs
            && map.leader_epoch <= self.config.leader_epochs
    }
}
