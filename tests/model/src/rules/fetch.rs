//! Followers pull; the leader counts what they report.

use crate::{
    invariants::Invariant,
    mutant::Mutant,
    state::{Answer, Broker, Fetch, Found, LOG_MAX, Number, Report, State},
    system::System,
};

impl System {
    /// What this broker would ask its leader, if it follows one.
    pub(crate) fn fetch_of(&self, state: &State, slot: usize) -> Option<Fetch> {
        let broker = &state.brokers[slot];
        let volume = &broker.volume;
        let leader = volume.map.leader?;
        if !broker.up || broker.leads || leader == volume.number {
            return None;
        }
        Some(Fetch {
            number: volume.number,
            incarnation: volume.incarnation,
            leader_epoch: volume.map.leader_epoch,
            log_end: volume.log.end(),
            last_epoch: volume.log.last_epoch(),
            durable_end: self.counted_end(broker),
        })
    }

    /// Asked, answered and applied at once.
    pub(crate) fn fetch(&self, state: &mut State, slot: usize) -> Option<()> {
        let fetch = self.fetch_of(state, slot)?;
        let leader = state.brokers[slot].volume.map.leader?;
        let answer = self.answer(state, fetch, leader)?;
        self.apply(state, slot, &answer);
        Some(())
    }

    pub(crate) fn send_fetch(&self, state: &mut State, slot: usize) -> Option<()> {
        let fetch = self.fetch_of(state, slot)?;
        (state.fetches[slot].replace(fetch) != Some(fetch)).then_some(())
    }

    /// Whoever leads the epoch of a delayed fetch answers it.
    pub(crate) fn serve_fetch(&self, state: &mut State, slot: usize) -> Option<()> {
        let fetch = state.fetches[slot].take()?;
        let leads_it = |broker: &&Broker| {
            broker.up && broker.leads && broker.volume.map.leader_epoch == fetch.leader_epoch
        };
        let leader = state.brokers.iter().find(leads_it)?.volume.number;
        let answer = self.answer(state, fetch, leader)?;
        if self.config.delayed_answers {
            let [newest, _] = state.answers[slot];
            if newest != Some(answer) {
                state.answers[slot] = [Some(answer), newest];
            }
        } else {
            self.apply(state, slot, &answer);
        }
        Some(())
    }

    /// It stays on its way, for it may arrive again.
    pub(crate) fn receive_answer(&self, state: &mut State, slot: usize, age: usize) -> Option<()> {
        let answer = state.answers[slot][age]?;
        self.apply(state, slot, &answer);
        Some(())
    }

    /// The leader's side. Only a fetch that passed the divergence check counts.
    fn answer(&self, state: &mut State, fetch: Fetch, leader: Number) -> Option<Answer> {
        let slot = state.slot_of(leader)?;
        let broker = &mut state.brokers[slot];
        if !broker.up || !broker.leads || broker.volume.map.leader_epoch != fetch.leader_epoch {
            return None;
        }
        let (epoch, end) = broker.volume.log.end_of_epoch(fetch.last_epoch);
        let diverged = epoch != fetch.last_epoch || end < fetch.log_end;
        if !diverged || self.breaks(Mutant::DivergedFetchCounts) {
            broker.reports[fetch.number.index()] = Some(Report {
                durable_end: fetch.durable_end,
                incarnation: fetch.incarnation,
            });
            self.advance_high_watermark(state, slot);
        }
        let volume = &state.brokers[slot].volume;
        let found = if diverged {
            Found::Divergence { epoch, end }
        } else {
            Found::Records {
                log: volume.log,
                high_watermark: volume.high_watermark,
            }
        };
        Some(Answer { to: fetch, found })
    }

    /// The follower's side: only what was asked by this incarnation, in this epoch, for this log.
    fn apply(&self, state: &mut State, slot: usize, answer: &Answer) {
        let broker = &mut state.brokers[slot];
        let volume = &mut broker.volume;
        let Answer { to: fetch, found } = answer;
        let is_same_life = (fetch.number, fetch.incarnation) == (volume.number, volume.incarnation);
        let is_same_epoch = fetch.leader_epoch == volume.map.leader_epoch
            || self.breaks(Mutant::AnswerOfOldEpochApplied);
        let position = (volume.log.end(), volume.log.last_epoch());
        let is_same_log = (fetch.log_end, fetch.last_epoch) == position
            || self.breaks(Mutant::AnswerForOtherLogApplied);
        if !broker.up || broker.leads || !is_same_life || !is_same_epoch || !is_same_log {
            return;
        }
        match *found {
            Found::Divergence { epoch, end } => {
                let cut = end.min(volume.log.end_of_epoch(epoch).1);
                if cut < volume.high_watermark {
                    state.observer.saw_broken(Invariant::ExposedNeverReplaced);
                }
                volume.cut(cut);
                if !self.breaks(Mutant::ProducersNotTruncated) {
                    volume.forget_producers_from(cut);
                }
                broker.durable_end = broker.durable_end.min(cut);
            }
            Found::Records {
                log,
                high_watermark,
            } => {
                let room = LOG_MAX - volume.log.end() as usize;
                for record in log.records()[fetch.log_end as usize..].iter().take(room) {
                    volume.append(*record);
                }
                volume.high_watermark = volume
                    .high_watermark
                    .max(high_watermark.min(volume.log.end()));
                state
                    .observer
                    .saw_exposed(&volume.log, volume.high_watermark);
            }
        }
    }
}
