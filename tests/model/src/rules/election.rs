//! Elections: out of the persisted in-sync replicas, by compare-and-swap, with epoch + 1.

use crate::{
    mutant::Mutant,
    state::{Assignment, Broker, MIN_IN_SYNC, Number, State},
    system::System,
};

impl System {
    /// Who may win when `excluded` may not.
    pub(crate) fn candidates(
        &self,
        state: &State,
        map: &Assignment,
        excluded: Option<Number>,
    ) -> impl Iterator<Item = Number> {
        Number::all().filter(move |&number| {
            Some(number) != excluded && self.is_electable(state, map, number, excluded)
        })
    }

    fn is_electable(
        &self,
        state: &State,
        map: &Assignment,
        number: Number,
        excluded: Option<Number>,
    ) -> bool {
        let Some(candidate) = state.slot_of(number).map(|slot| &state.brokers[slot]) else {
            return false;
        };
        let eligible = map.isr.contains(number)
            || (self.breaks(Mutant::ElectedOutsideIsr) && map.replicas.contains(number));
        let waits_for_all = map.lacks_candidate && !self.breaks(Mutant::UncleanLastMemberElected);
        if !eligible || waits_for_all || !candidate.up {
            return false;
        }
        let volumes_return = self.config.restores > 0;
        let compares_logs =
            volumes_return || (self.config.rollback && !self.breaks(Mutant::ElectionBeforeReports));
        if compares_logs && has_greater_rival(state, map, candidate, excluded) {
            return false;
        }
        let restarted = if self.config.confirmations {
            map.is_unconfirmed(number)
        } else {
            candidate.volume.incarnation > 1
        };
        if volumes_return && restarted && !self.breaks(Mutant::RestartedElectedAtOnce) {
            return self.others_reported_no_more(state, map, candidate);
        }
        true
    }

    /// Every other member has, the old leader included. An ISR below minInSync may lack who has an acknowledged record:
    /// then so many other replicas have that one of them would have it.
    fn others_reported_no_more(&self, state: &State, map: &Assignment, candidate: &Broker) -> bool {
        let reported_no_more = |other: &Number| {
            state.brokers.iter().any(|broker| {
                broker.up
                    && broker.registered
                    && broker.volume.number == *other
                    && broker.durable_position() <= candidate.durable_position()
            })
        };
        let number = candidate.volume.number;
        if map.isr.len() >= MIN_IN_SYNC || self.breaks(Mutant::LastMemberElectedAlone) {
            return map
                .isr
                .without(number)
                .iter()
                .all(|other| reported_no_more(&other));
        }
        let needed = map.replicas.len() - MIN_IN_SYNC + 1;
        map.replicas
            .without(number)
            .iter()
            .filter(reported_no_more)
            .count() as u32
            >= needed
    }

    pub(crate) fn elect(
        &self,
        state: &mut State,
        controller: usize,
        basis: Assignment,
        winner: Number,
        dropped: Option<Number>,
    ) {
        let mut map = basis;
        map.partition_epoch += 1;
        map.lacks_candidate = false;
        map.set_leader(winner, state.store.incarnations[winner.index()]);
        if let Some(dropped) =
            dropped.filter(|&dropped| dropped != winner && map.isr.contains(winner))
        {
            map.isr = map.isr.without(dropped);
        }
        if state.controllers[controller].in_doubt {
            settle_doubt(state, controller);
        }
        self.write(state, controller, map);
    }

    /// An election because the leader is dead, suspected or in doubt; it may drop the old leader from the ISR.
    pub(crate) fn elect_after_suspicion(
        &self,
        state: &mut State,
        controller: usize,
        winner: Number,
        drop_old: bool,
    ) -> Option<()> {
        let basis = self.basis_of_election(state, controller)?;
        let dropped = basis.leader.filter(|_| drop_old);
        let drops = dropped.is_some_and(|old| basis.isr.contains(old)) && self.can_spare(&basis);
        if drop_old && !drops {
            return None;
        }
        self.elect(state, controller, basis, winner, dropped);
        Some(())
    }
}

/// The greatest (last epoch, durable end) among the members that are up wins.
fn has_greater_rival(
    state: &State,
    map: &Assignment,
    candidate: &Broker,
    excluded: Option<Number>,
) -> bool {
    state.brokers.iter().any(|rival| {
        let number = rival.volume.number;
        rival.up
            && number != candidate.volume.number
            && Some(number) != excluded
            && map.isr.contains(number)
            && rival.durable_position() > candidate.durable_position()
    })
}

/// This write settles it; the controller epoch is raised above all that was seen.
fn settle_doubt(state: &mut State, index: usize) {
    let seen = state.brokers.iter().map(|broker| broker.volume.stamp.0);
    let highest = seen
        .max()
        .unwrap_or_default()
        .max(state.store.controller_epoch);
    let controller = &mut state.controllers[index];
    if highest >= controller.epoch {
        controller.epoch = highest + 1;
        state.store.controller_epoch = highest + 1;
        state.store.holder = index as u8;
    }
    controller.in_doubt = false;
}
