//! The world's controller: registers, elects and changes the in-sync set with the real functions, one write at a time.

use super::world::{MIN_IN_SYNC, Message, World};
use crate::{
    assignment::Assignment,
    ids::{BrokerNumber, Incarnation},
    replica::{
        Election, IsrChange, IsrRequest, Leap, Report, Standing,
        invariants::{self, Violated},
    },
};

impl World {
    /// Broker `at` registers its run: what its former run led gets a leader anew, then the run counts, then the broker hears of it.
    pub(super) fn register(&mut self, at: usize) -> Result<(), Violated> {
        let broker = &self.brokers[at];
        if broker.replica.is_none() || broker.is_registered {
            return Ok(());
        }
        let (run, number) = (broker.run, BrokerNumber(at as u32));
        let is_older_volume = self.runs[at].generation > run.generation;
        if self.runs[at] != run {
            self.confirmed[at] = false;
        }
        self.hear(at);
        let is_member = self.stored.isr.contains(&number);
        if is_older_volume && is_member {
            if self.stored.isr.len() == 1 {
                // It waits for a human.
                return Ok(());
            }
            if self.stored.leader == Some(number) {
                self.elect(Some(number))?;
            }
            if self.stored.leader == Some(number) {
                return Ok(());
            }
            let mut next = self.stored.clone();
            next.isr.retain(|member| *member != number);
            next.partition_epoch.0 += 1;
            self.write(next)?;
        } else if self.stored.leader == Some(number) && self.runs[at] != run {
            self.brokers[at].is_registered = true;
            self.runs[at] = run;
            self.elect(None)?;
        }
        self.runs[at] = run;
        self.brokers[at].is_registered = true;
        for to in 0..3 {
            self.net.push(Message::Runs(to, number, run));
        }
        self.net.push(Message::Map(at, self.stored.clone()));
        Ok(())
    }

    /// Broker `at` says how far its log goes.
    pub(super) fn hear(&mut self, at: usize) {
        if let Some(replica) = &self.brokers[at].replica {
            let log = replica.log();
            self.tails[at] = (log.durable_tail(), log.high_watermark);
        }
    }

    /// Elects, if that is possible. `except`: it is suspected.
    pub(super) fn elect(&mut self, except: Option<BrokerNumber>) -> Result<(), Violated> {
        for at in 0..3 {
            // Only who may be elected unconfirmed has to be compared with what the others have now.
            if self.confirmed.contains(&false) {
                self.hear(at);
            }
        }
        let reports: Vec<_> = (0..3).map(|at| self.report(at)).collect();
        let election = Election {
            stored: Some(&self.stored),
            reports: &reports,
            min_in_sync: MIN_IN_SYNC,
            except,
            loss_accepted: false,
            is_raised: true,
            leap: Leap::default(),
        };
        let Ok(elected) = election.decide_broken(self.broken) else {
            return Ok(());
        };
        assert_eq!(elected.may_lack, None, "nothing is lost knowingly");
        let winner = elected.assignment.leader.map_or(0, |w| w.0 as usize);
        self.confirmed[winner] = true;
        self.write(elected.assignment)
    }

    /// Elects a confirmed member that is there; which one is the controller's choice.
    pub(super) fn appoint(&mut self, at: usize) -> Result<(), Violated> {
        let number = BrokerNumber(at as u32);
        assert!(self.stored.isr.contains(&number) && self.confirmed[at]);
        let mut next = self.stored.clone();
        next.leader = Some(number);
        next.leader_incarnation = self.runs[at];
        next.leader_epoch.0 += 1;
        next.partition_epoch.0 += 1;
        self.write(next)
    }

    fn report(&self, at: usize) -> Report<'_> {
        let broker = &self.brokers[at];
        let (tail, high_watermark) = self.tails[at];
        Report {
            broker: BrokerNumber(at as u32),
            incarnation: self.runs[at],
            is_alive: broker.is_registered,
            standing: Standing::Whole,
            is_confirmed: self.confirmed[at],
            tail,
            is_fresh: true,
            high_watermark,
            record: None,
        }
    }

    /// A leader asks for a change, perhaps long ago.
    pub(super) fn change(&mut self, request: &IsrRequest) -> Result<(), Violated> {
        let broker = request.change.broker();
        let run = self.runs[broker.0 as usize];
        let next = request.apply_broken(&self.stored, Some(run), MIN_IN_SYNC, self.broken);
        let Ok(next) = next else {
            return Ok(());
        };
        let joined = next.isr.len() > self.stored.isr.len();
        if let IsrChange::Expand { .. } = request.change
            && joined
        {
            self.confirmed[broker.0 as usize] = true;
        }
        self.write(next)
    }

    /// A leader reports that a member has caught up.
    pub(super) fn confirm(
        &mut self,
        epoch: crate::ids::LeaderEpoch,
        broker: BrokerNumber,
        run: Incarnation,
    ) {
        let at = broker.0 as usize;
        let is_member = self.stored.isr.contains(&broker);
        if epoch == self.stored.leader_epoch && is_member && self.runs[at] == run {
            self.confirmed[at] = true;
        }
    }

    fn write(&mut self, next: Assignment) -> Result<(), Violated> {
        invariants::assignment(&next)?;
        invariants::follows(&self.stored, &next)?;
        self.stored = next;
        for to in 0..3 {
            self.net.push(Message::Map(to, self.stored.clone()));
        }
        Ok(())
    }
}
