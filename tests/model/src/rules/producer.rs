//! A producer that got no answer sends its record again.

use crate::{
    mutant::Mutant,
    state::{Acknowledgement, LOG_MAX, Record, State},
    system::System,
};

impl System {
    pub(crate) fn may_retry(&self, state: &State, slot: usize, id: u8) -> bool {
        let leader = &state.brokers[slot];
        let is_unanswered = !state
            .observer
            .acknowledged
            .iter()
            .flatten()
            .any(|ack| ack.record.id == id);
        let log = &leader.volume.log;
        let answerable = match self.known_offset(state, slot, id) {
            Some(offset) => offset < self.duplicates_end(state, slot),
            None => (log.end() as usize) < LOG_MAX,
        };
        leader.leads && is_unanswered && answerable
    }

    /// A duplicate is answered, but only when the original is below the high watermark. What the producer state does not know is appended.
    pub(crate) fn retry(&self, state: &mut State, slot: usize, id: u8) {
        state.spent.retries += 1;
        let known = self.known_offset(state, slot, id);
        let volume = &mut state.brokers[slot].volume;
        let epoch = volume.map.leader_epoch;
        state.observer.saw_leading(epoch, slot, volume.incarnation);
        if let Some(offset) = known {
            let record = volume
                .log
                .get(offset)
                .map_or(Record { epoch, id }, |there| Record { id, ..there });
            state.observer.saw_acknowledged(
                offset,
                Acknowledgement {
                    record,
                    under_epoch: epoch,
                },
            );
        } else {
            volume.append(Record { epoch, id });
            self.advance_high_watermark(state, slot);
        }
    }

    fn known_offset(&self, state: &State, slot: usize, id: u8) -> Option<u8> {
        let known = state.brokers[slot].volume.offset_of(id);
        known.filter(|_| !self.breaks(Mutant::DuplicateAppended))
    }

    fn duplicates_end(&self, state: &State, slot: usize) -> u8 {
        let volume = &state.brokers[slot].volume;
        if self.breaks(Mutant::DuplicateAnsweredEarly) {
            volume.log.end()
        } else {
            volume.high_watermark
        }
    }
}
