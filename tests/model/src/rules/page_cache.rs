//! Topics that count records before they are synced, after nodes crashed and no candidate is left.

use crate::{
    mutant::Mutant,
    state::{Assignment, Members, Number, State},
    system::System,
};

impl System {
    /// Nobody is in sync for sure: waits for every replica, and takes the greatest log.
    pub(crate) fn recovery_winners(&self, state: &State, map: &Assignment) -> Vec<Number> {
        let awaited = if self.breaks(Mutant::RecoveredFromIsrAlone) {
            map.isr
        } else {
            map.replicas
        };
        let positions: Option<Vec<_>> = awaited
            .iter()
            .map(|number| {
                let broker = &state.brokers[state.slot_of(number)?];
                let log = &broker.volume.log;
                (broker.up && broker.registered).then_some(((log.last_epoch(), log.end()), number))
            })
            .collect();
        let positions = positions
            .filter(|_| map.lacks_candidate)
            .unwrap_or_default();
        let greatest = positions.iter().map(|(position, _)| *position).max();
        positions
            .iter()
            .filter(|(position, _)| Some(*position) == greatest)
            .map(|(_, number)| *number)
            .collect()
    }

    /// Reports the range that may be lost.
    pub(crate) fn recover(&self, state: &mut State, index: usize, winner: Number) -> Option<()> {
        let winners_log = state.brokers[state.slot_of(winner)?].volume.log;
        let all = state.brokers.map(|broker| broker.volume.log);
        state.observer.saw_loss_reported(&winners_log, &all);
        let map = Assignment {
            isr: Members::only(winner),
            ..state.controllers[index].map
        };
        self.elect(state, index, map, winner, None);
        Some(())
    }
}
