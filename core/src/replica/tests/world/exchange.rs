//! What leader and followers exchange, what a leader wants done, and the checks.

use super::*;

impl World {
    /// What `at` asks, and whom.
    pub(in crate::replica::tests) fn next_fetch(&self, at: usize) -> Option<(usize, FetchRequest)> {
        let Role::Follower(follower) = self.brokers[at].replica.as_ref()?.role() else {
            return None;
        };
        Some((follower.leader()?.0 as usize, follower.request()?))
    }

    /// Broker `to` gets a fetch, rightly or not.
    pub(in crate::replica::tests) fn serve(
        &mut self,
        to: usize,
        request: &FetchRequest,
    ) -> Result<(), Violated> {
        let (now_ms, mut effects) = (self.now_ms, Vec::new());
        let broker = &mut self.brokers[to];
        let Some(leader) = broker.leader() else {
            return Ok(());
        };
        if let Ok(answer) = leader.fetch(request, now_ms, &mut effects) {
            let from = request.tail.end.0 as usize;
            let records = match answer.outcome {
                FetchOutcome::Matches => broker.disk.log[from..].iter().take(2).copied().collect(),
                _ => Vec::new(),
            };
            let back = request.broker.0 as usize;
            self.net.push(Message::Answer(back, answer, records));
        }
        self.act(to, &effects)
    }

    /// Broker `at` gets an answer.
    pub(in crate::replica::tests) fn obey(
        &mut self,
        at: usize,
        answer: &FetchAnswer,
        records: &[Record],
    ) -> Result<(), Violated> {
        let broker = &mut self.brokers[at];
        let Some(Role::Follower(follower)) = broker.replica.as_mut().map(Replica::role_mut) else {
            return Ok(());
        };
        let spans = spans(answer.tail.end, records);
        let before = follower.log().high_watermark;
        let end = match follower.answered(answer, &spans) {
            Ok(FollowerStep::Append) => {
                follower.appended(&spans);
                broker.disk.log.extend_from_slice(records);
                return Ok(());
            }
            Ok(FollowerStep::Truncate(to)) => {
                follower.truncated(to);
                to
            }
            Ok(FollowerStep::Restart {
                start: to,
                delete_horizon,
            }) => {
                follower.restarted(to, delete_horizon);
                to
            }
            Ok(FollowerStep::Ignore | FollowerStep::Wait) | Err(_) => return Ok(()),
        };
        broker.disk.log.truncate(end.0 as usize);
        broker.disk.durable = broker.disk.durable.min(end.0 as usize);
        let rule = invariants::EXPOSED_IS_NEVER_REPLACED;
        let what = format!("broker {at} cuts to {end}, below {before}");
        if end < before {
            Err(Violated { rule, what })
        } else {
            Ok(())
        }
    }

    /// Carries out what a leader wants, and checks what it promises.
    pub(super) fn act(&mut self, at: usize, effects: &[LeaderEffect]) -> Result<(), Violated> {
        let epoch = self.brokers[at].disk.seen.leader_epoch;
        for effect in effects {
            match *effect {
                LeaderEffect::Ask(request) => self.net.push(Message::Ask(request)),
                LeaderEffect::Confirm {
                    broker,
                    incarnation,
                } => self.net.push(Message::Confirm(epoch, broker, incarnation)),
                LeaderEffect::HighWatermark(to) => {
                    let members = self.brokers[at].disk.seen.isr.len();
                    if members < MIN_IN_SYNC {
                        let rule = invariants::COMMITTED_IS_DURABLE_ON_THE_ISR;
                        let what = format!("{to} with {members} members");
                        return Err(Violated { rule, what });
                    }
                    self.acknowledge(at, epoch)?;
                }
                LeaderEffect::TooFewInSync => {
                    while self.brokers[at].waiting.next_short().is_some() {}
                }
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, at: usize, epoch: LeaderEpoch) -> Result<(), Violated> {
        let log = self.brokers[at].replica.as_ref().map(Replica::log);
        let (durable, committed) =
            log.map_or_else(Default::default, |l| (l.durable_end, l.high_watermark));
        while let Some((offset, record)) = self.brokers[at].waiting.next_done(durable, committed) {
            let has = |b: &&Broker| {
                let index = offset.0 as usize;
                index < b.disk.durable && b.disk.log.get(index) == Some(&record)
            };
            // A volume that was set back had a copy when it said so.
            let copies = self.brokers.iter().filter(has).count() + usize::from(self.has_restored);
            let (number, run) = (self.brokers[at].number, self.brokers[at].run);
            self.history.leads(epoch, number, run)?;
            self.history
                .acknowledges(offset, record.id, epoch, copies, MIN_IN_SYNC)?;
        }
        Ok(())
    }

    /// All invariants, after each step.
    pub(in crate::replica::tests) fn check(&mut self) -> Result<(), Violated> {
        for broker in &mut self.brokers {
            let Some(replica) = &broker.replica else {
                continue;
            };
            let log = replica.log();
            invariants::log_state(log)?;
            assert_eq!(
                log.end.0 as usize,
                broker.disk.log.len(),
                "state and disk agree"
            );
            let ids: Vec<u64> = broker.disk.log.iter().map(|r| r.id).collect();
            self.history
                .exposes(&ids[..log.high_watermark.0 as usize])?;
            let (epoch, before) = broker.high_watermark_in;
            if epoch == replica.version().0 && log.high_watermark < before {
                let rule = invariants::THE_HIGH_WATERMARK_NEVER_MOVES_BACK;
                let what = format!("{before} to {}", log.high_watermark);
                return Err(Violated { rule, what });
            }
            broker.high_watermark_in = (replica.version().0, log.high_watermark);
            broker.disk.high_watermark = log.high_watermark;
            if let Role::Leader(leader) = replica.role() {
                self.history.serves(leader.leader_epoch(), &ids)?;
            }
        }
        Ok(())
    }
}
