//! A new incarnation registers: the maps first (an election for what the old one led), then the Broker object, then the answer.

use crate::{
    mutant::Mutant,
    state::{
        Assignment, Incarnation, Members, Number, Registration, Standing, State, Topic, Volume,
    },
    system::System,
};

impl System {
    pub(crate) fn may_register(state: &State, controller: usize, slot: usize) -> bool {
        let broker = &state.brokers[slot];
        let controller = &state.controllers[controller];
        broker.up
            && !broker.registered
            && controller.epoch >= broker.volume.stamp.0
            && controller.registration.is_none()
    }

    /// Who may win the election that this registration needs; `None` where it needs none, or leaves nobody. Empty: it has to wait.
    pub(crate) fn registration_outcomes(
        &self,
        state: &State,
        index: usize,
        number: Number,
        standing: Standing,
    ) -> Vec<Option<Number>> {
        let controller = &state.controllers[index];
        let map = controller.map;
        let is_last_member = map.isr == Members::only(number);
        if standing == Standing::Lost && is_last_member {
            return Vec::new();
        }
        let led = map.leader == Some(number) && map.replicas.contains(number);
        if !led || controller.topic != Topic::Listed || self.breaks(Mutant::OldEpochResumed) {
            return vec![None];
        }
        let early = self.breaks(Mutant::RegistrationElectsBeforeReports);
        let basis = if early {
            Some(map)
        } else {
            self.basis_of_election(state, index)
        };
        let Some(mut basis) = basis.filter(|basis| basis.leader_epoch < self.config.leader_epochs)
        else {
            return Vec::new();
        };
        if early && self.config.rollback && controller.in_doubt {
            return Vec::new();
        }
        basis.unconfirmed[number.index()] = 1;
        let excluded = (standing != Standing::Kept).then_some(number);
        let winners: Vec<_> = self.candidates(state, &basis, excluded).map(Some).collect();
        if winners.is_empty() && standing == Standing::Unclean {
            vec![None]
        } else {
            winners
        }
    }

    pub(crate) fn begin_registration(&self, state: &State, slot: usize) -> Registration {
        let volume = &state.brokers[slot].volume;
        let stored = state.store.incarnations[volume.number.index()];
        Registration {
            slot,
            incarnation: volume.incarnation,
            replaces: stored,
            standing: self.standing(volume, stored),
        }
    }

    /// The election names the incarnation that is being registered.
    pub(crate) fn register_maps(
        &self,
        state: &mut State,
        controller: usize,
        slot: usize,
        winner: Option<Number>,
    ) {
        let registration = self.begin_registration(state, slot);
        let number = state.brokers[slot].volume.number;
        self.write_registered(state, controller, registration, winner);
        if winner == Some(number) {
            let mut map = state.store.map;
            map.leader_incarnation = registration.incarnation;
            state.sent.pop();
            self.write(state, controller, map);
        }
        state.controllers[controller].registration = Some(registration);
    }

    pub(crate) fn register_broker(state: &mut State, controller: usize) -> Option<()> {
        let registration = state.controllers[controller].registration.take()?;
        let number = state.brokers[registration.slot].volume.number;
        state.store.incarnations[number.index()] = registration.incarnation;
        Self::answer_registration(state, controller, registration);
        Some(())
    }

    pub(crate) fn register_broker_first(&self, state: &mut State, controller: usize, slot: usize) {
        let registration = self.begin_registration(state, slot);
        let number = state.brokers[slot].volume.number;
        state.store.incarnations[number.index()] = registration.incarnation;
        state.controllers[controller].registration = Some(registration);
    }

    pub(crate) fn register_maps_last(
        &self,
        state: &mut State,
        controller: usize,
        winner: Option<Number>,
    ) -> Option<()> {
        let registration = state.controllers[controller].registration.take()?;
        self.write_registered(state, controller, registration, winner);
        Self::answer_registration(state, controller, registration);
        Some(())
    }

    pub(crate) fn register_again(&self, state: &mut State, controller: usize, slot: usize) {
        let registration = Registration {
            standing: Standing::Kept,
            ..self.begin_registration(state, slot)
        };
        Self::answer_registration(state, controller, registration);
    }

    /// Lost only if the *stored* generation is higher than any of its candidates.
    fn standing(&self, volume: &Volume, stored: Incarnation) -> Standing {
        let unknown = stored != 0 && volume.candidates & (1 << stored) == 0;
        let higher = stored > volume.candidates.trailing_zeros() as Incarnation
            || self.breaks(Mutant::IncarnationWithoutGeneration);
        if unknown && higher && !self.breaks(Mutant::WipedKeepsNumber) {
            Standing::Lost
        } else if volume.is_unclean && !self.breaks(Mutant::BootIdIgnored) {
            Standing::Unclean
        } else {
            Standing::Kept
        }
    }

    fn write_registered(
        &self,
        state: &mut State,
        index: usize,
        registration: Registration,
        winner: Option<Number>,
    ) {
        let number = state.brokers[registration.slot].volume.number;
        let standing = registration.standing;
        let controller = &state.controllers[index];
        if controller.topic != Topic::Listed {
            return;
        }
        if let Some(winner) = winner
            && controller.in_doubt
            && !self.breaks(Mutant::RegistrationElectsBeforeReports)
            && let Some(mut basis) = self.basis_of_election(state, index)
        {
            if standing == Standing::Lost {
                basis.isr = basis.isr.without(number);
            }
            return self.elect(state, index, basis, winner, None);
        }
        let before = controller.map;
        let mut map = before;
        match standing {
            Standing::Lost => map.isr = map.isr.without(number),
            Standing::Unclean => leave_uncleanly(&mut map, number, winner),
            Standing::Kept => {}
        }
        if self.config.confirmations && map.replicas.contains(number) {
            map.unconfirmed[number.index()] = registration.incarnation;
        }
        if let Some(winner) = winner {
            map.set_leader(winner, state.store.incarnations[winner.index()]);
        }
        if map != before {
            map.partition_epoch += 1;
            self.write(state, index, map);
        }
    }

    fn answer_registration(state: &mut State, index: usize, registration: Registration) {
        let controller = &state.controllers[index];
        let stamp = (controller.epoch, controller.map.partition_epoch);
        let broker = &mut state.brokers[registration.slot];
        let volume = &mut broker.volume;
        let is_same_life =
            broker.up && volume.incarnation == registration.incarnation && !broker.registered;
        if !is_same_life || controller.epoch < volume.stamp.0 {
            return;
        }
        broker.registered = true;
        volume.candidates = 1 << registration.incarnation;
        volume.stamp = volume.stamp.max(stamp);
        volume.is_unclean = false;
        if registration.standing == Standing::Lost {
            volume.cut(0);
            volume.forget_producers_from(0);
            broker.durable_end = 0;
        }
    }
}

/// Before any election. The last member stays, but is no candidate for being in sync.
fn leave_uncleanly(map: &mut Assignment, number: Number, winner: Option<Number>) {
    if map.isr == Members::only(number) {
        map.lacks_candidate = true;
    } else {
        map.isr = map.isr.without(number);
    }
    if map.leader == Some(number) && winner.is_none() {
        map.leader = None;
        map.leader_incarnation = 0;
        map.leader_epoch += 1;
    }
}
