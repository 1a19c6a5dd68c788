//! What a controller may do with the partition.

use crate::{
    action::Action,
    mutant::Mutant,
    state::{SLOTS, State, Topic},
    system::System,
};

impl System {
    pub(crate) fn controller_actions(
        &self,
        state: &State,
        controller: usize,
        actions: &mut Vec<Action>,
    ) {
        let known = &state.controllers[controller];
        if self.may_take_office(state, controller) {
            actions.push(Action::TakeOffice(controller));
        }
        if known.epoch != 0 && !known.claimed && known.epoch >= state.store.map.controller_epoch {
            actions.push(Action::Claim(controller));
        }
        if !known.is_in_office() {
            return;
        }
        for slot in 0..SLOTS {
            self.session_actions(state, controller, slot, actions);
        }
        self.second_write_of_registration(state, controller, actions);
        self.topic_actions(state, controller, actions);
        if Self::may_write(state, controller) {
            self.election_actions(state, controller, actions);
            let is_settled = known.topic == Topic::Listed && !known.in_doubt;
            if known.map.partition_epoch < self.config.partition_epochs && is_settled {
                let due = state
                    .isr_requests
                    .iter()
                    .filter(|request| self.may_change_isr(state, controller, **request));
                actions.extend(due.map(|request| Action::ChangeIsr(controller, *request)));
            }
        }
    }

    fn session_actions(
        &self,
        state: &State,
        controller: usize,
        slot: usize,
        actions: &mut Vec<Action>,
    ) {
        let broker = &state.brokers[slot];
        let known = &state.controllers[controller];
        let number = broker.volume.number;
        if self.config.rollback && broker.up && !known.heard.contains(number) {
            actions.push(Action::HearBroker { controller, slot });
        }
        if Self::may_register(state, controller, slot) {
            let registration = self.begin_registration(state, slot);
            if registration.replaces == registration.incarnation {
                actions.push(Action::RegisterAgain { controller, slot });
            } else if self.breaks(Mutant::BrokerWrittenFirst) {
                actions.push(Action::RegisterBrokerFirst { controller, slot });
            } else if Self::may_write(state, controller) {
                let winners =
                    self.registration_outcomes(state, controller, number, registration.standing);
                actions.extend(winners.into_iter().map(|winner| Action::RegisterMaps {
                    controller,
                    slot,
                    winner,
                }));
            }
        }
        let is_newcomer = broker.up && broker.registered && !known.map.replicas.contains(number);
        if is_newcomer && Self::may_write(state, controller) {
            let winners = self.replacements(state, controller);
            actions.extend(winners.into_iter().map(|winner| Action::ReplaceWiped {
                controller,
                slot,
                winner,
            }));
        }
    }

    fn second_write_of_registration(
        &self,
        state: &State,
        controller: usize,
        actions: &mut Vec<Action>,
    ) {
        let Some(registration) = state.controllers[controller].registration else {
            return;
        };
        let slot = registration.slot;
        let number = state.brokers[slot].volume.number;
        if !self.breaks(Mutant::BrokerWrittenFirst) {
            if state.store.incarnations[number.index()] == registration.replaces {
                actions.push(Action::RegisterBroker(controller));
            }
        } else if Self::may_write(state, controller) {
            let winners =
                self.registration_outcomes(state, controller, number, registration.standing);
            actions.extend(winners.into_iter().map(|winner| Action::RegisterMapsLast {
                controller,
                slot,
                winner,
            }));
        }
    }

    fn election_actions(&self, state: &State, controller: usize, actions: &mut Vec<Action>) {
        let known = &state.controllers[controller];
        let exists =
            known.topic == Topic::Listed || (known.topic == Topic::Unlisted && known.in_doubt);
        if !exists || (self.config.rollback && !state.spent.rolled_back) {
            return;
        }
        let Some(basis) = self.basis_of_election(state, controller) else {
            return;
        };
        let in_doubt = known.in_doubt;
        let leader = basis.leader.and_then(|leader| state.slot_of(leader));
        let is_dead =
            leader.is_none_or(|slot| !state.brokers[slot].up || !state.brokers[slot].registered);
        let is_due = is_dead || self.config.suspicion || in_doubt;
        let is_bounded = basis.leader_epoch < self.config.leader_epochs
            && basis.partition_epoch < self.config.partition_epochs;
        if !is_due || !is_bounded {
            return;
        }
        let winners = self.recovery_winners(state, &basis);
        actions.extend(
            winners
                .into_iter()
                .map(|winner| Action::Recover { controller, winner }),
        );
        let excluded = basis.leader.filter(|_| !in_doubt);
        for winner in self.candidates(state, &basis, excluded) {
            actions.push(Action::Elect {
                controller,
                winner,
                drop_old: false,
            });
            if self.config.election_drops {
                actions.push(Action::Elect {
                    controller,
                    winner,
                    drop_old: true,
                });
            }
        }
    }
}
