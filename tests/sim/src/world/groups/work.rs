//! What a member's application does, and what the client does around it: one batch at a time.

use taffrail_api::{
    WireError,
    v1::{self, member_request::Request},
};
use taffrail_core::{ErrorCode, Offset, TopicPartition};

use super::{
    PLANS,
    member::{Batch, Commit, Held},
};
use crate::{
    groups::{Promise, two_owners},
    ledger::parse,
    world::{MS, SECOND, Step, World},
};

const COMMIT_INTERVAL: u64 = 800 * MS;
/// Others wait for partitions that are to go.
const PATIENCE: u64 = 2 * SECOND;
/// Of one partition, at a time.
const RECORDS_MAX: u64 = 12;

impl World {
    pub(super) fn work(&mut self, index: usize) -> Step {
        if self.member(index).busy_until_us > self.now_us {
            return Ok(());
        }
        let promise = PLANS[self.member(index).group].promise;
        if promise == Promise::AtLeastOnce {
            self.finish(index)?;
        }
        self.change(index)?;
        if self.member(index).batch.is_none() {
            self.fetch_next(index)?;
        }
        self.commit(index);
        Ok(())
    }

    /// The application asks for the next batch: the one before is processed.
    fn finish(&mut self, index: usize) -> Step {
        let member = &mut self.clients.groups.members[index];
        let Some(batch) = member.batch.take() else {
            return Ok(());
        };
        let held = member.held.get_mut(&batch.partition);
        let Some(held) = held.filter(|held| held.since == batch.since) else {
            return Ok(());
        };
        held.done = batch.to;
        let plan = &PLANS[member.group];
        for offset in batch.from..batch.to {
            let of = (plan.name, batch.partition);
            self.ledger
                .groups
                .processed(of, plan.promise, offset, batch.got_us)?;
        }
        Ok(())
    }

    /// Carries out what was told: partitions that go are committed first.
    fn change(&mut self, index: usize) -> Step {
        let now_us = self.now_us;
        let member = self.member(index);
        let Some(told) = member.told.clone().filter(|t| t.epoch > member.applied) else {
            return Ok(());
        };
        let goes = |id: &TopicPartition| !told.partitions.contains_key(id);
        let owes = |(id, held): (&TopicPartition, &Held)| goes(id) && held.done > held.committed;
        let awaits = member.batch.is_some_and(|batch| goes(&batch.partition));
        let since_us = *member.changes_since_us.get_or_insert(now_us);
        if (awaits || member.held.iter().any(owes)) && now_us < since_us + PATIENCE {
            return Ok(());
        }
        member.changes_since_us = None;
        if member.batch.is_some_and(|batch| goes(&batch.partition)) {
            member.batch = None;
        }
        let (applied, group) = (member.applied, member.group);
        for (id, share) in &told.partitions {
            let held = self.member(index).held.get(id);
            if held.is_some() && share.since <= applied {
                continue;
            }
            self.check_owner(index, group, *id)?;
            let held = Held {
                since: share.since,
                at: share.offset,
                done: share.offset,
                committed: share.offset,
            };
            self.member(index).held.insert(*id, held);
        }
        let member = self.member(index);
        member.held.retain(|id, _| !goes(id));
        let held = &member.held;
        member.batch = member.batch.filter(|batch| {
            let held = held.get(&batch.partition);
            held.is_some_and(|held| held.since == batch.since)
        });
        member.applied = told.epoch;
        self.note(format!("m{index} carries out {}", told.epoch));
        Ok(())
    }

    /// Nobody else of the group may process the partition.
    fn check_owner(&self, index: usize, group: usize, id: TopicPartition) -> Step {
        let members = self.clients.groups.members.iter().enumerate();
        let mut others = members.filter(|(other, m)| *other != index && m.group == group);
        match others.find(|(_, m)| m.owns(id, self.now_us)) {
            Some((other, _)) => {
                let of = (PLANS[group].name, id);
                Err(two_owners(of, &format!("m{index}"), &format!("m{other}")))
            }
            None => Ok(()),
        }
    }

    /// Records of some partition that stays.
    fn fetch_next(&mut self, index: usize) -> Step {
        let member = &self.clients.groups.members[index];
        let client = member.client;
        let told = member.told.as_ref();
        let stays = |id: &TopicPartition| told.is_none_or(|t| t.partitions.contains_key(id));
        let held = member.held.iter().filter(|(id, _)| stays(id));
        let mut held: Vec<_> = held.map(|(id, held)| (*id, *held)).collect();
        if held.is_empty() {
            return Ok(());
        }
        let first = self.chance.below(held.len());
        held.rotate_left(first);
        if self.chance.happens(100) {
            self.refresh(client);
        }
        for (id, held) in held {
            let to = self.fetch_for(index, id, held.at)?;
            if to > held.at {
                return self.hand_out(index, id, held, to);
            }
        }
        Ok(())
    }

    /// Where the records end that there are from `at` on.
    fn fetch_for(&mut self, index: usize, id: TopicPartition, at: u64) -> Result<u64, String> {
        let client = self.member(index).client;
        let leader = self.leader_of(client, id);
        let Some((node, placed)) = leader.filter(|(node, _)| self.is_reachable(*node)) else {
            self.refresh(client);
            return Ok(at);
        };
        let Some(process) = &self.brokers[node].process else {
            return Ok(at);
        };
        let epoch = Some(placed.leader_epoch);
        match process.sim.fetch(id, epoch, Offset(at), 4 << 10) {
            Ok(fetched) => {
                let records = parse(&fetched.batches)?;
                let end = records.last().map_or(at, |(last, _)| last + 1);
                Ok(end.clamp(at, at + RECORDS_MAX))
            }
            Err(error) if error.code == ErrorCode::OffsetOutOfRange => {
                let replica = process.seen.get(&id);
                let start = replica.map_or(0, |replica| replica.log_start.0);
                if start <= at {
                    if !self.is_believed(client, &placed) {
                        return Ok(at);
                    }
                    return Err(format!("m{index} at {at} of {id}, at b{node}: {error}"));
                }
                if let Some(held) = self.member(index).held.get_mut(&id) {
                    held.at = start;
                    held.done = start;
                }
                self.count("group overtaken by retention");
                Ok(at)
            }
            Err(_) => {
                self.refresh(client);
                Ok(at)
            }
        }
    }

    /// To the application at once, or when that is committed.
    fn hand_out(&mut self, index: usize, id: TopicPartition, held: Held, to: u64) -> Step {
        let group = self.member(index).group;
        self.check_owner(index, group, id)?;
        let takes = match self.chance.below(40) {
            0 => self.chance.between(SECOND, 4 * SECOND),
            _ => self.chance.between(10 * MS, 300 * MS),
        };
        let now_us = self.now_us;
        let member = self.member(index);
        member.batch = Some(Batch {
            partition: id,
            since: held.since,
            from: held.at,
            to,
            got_us: now_us,
        });
        if let Some(held) = member.held.get_mut(&id) {
            held.at = to;
        }
        match PLANS[group].promise {
            Promise::AtLeastOnce => member.busy_until_us = now_us + takes,
            Promise::AtMostOnce => member.commits_at_us = now_us,
        }
        Ok(())
    }

    fn commit(&mut self, index: usize) {
        let now_us = self.now_us;
        let member = self.member(index);
        let is_urgent = member.changes_since_us.is_some();
        if !member.is_member() || member.commits_at_us > now_us && !is_urgent {
            return;
        }
        let offsets: Vec<_> = match (PLANS[member.group].promise, member.batch) {
            (Promise::AtMostOnce, Some(batch)) => vec![(batch.partition, batch.to)],
            (Promise::AtMostOnce, None) => Vec::new(),
            (Promise::AtLeastOnce, _) => {
                let owed = member.held.iter().filter(|(_, h)| h.done > h.committed);
                owed.map(|(id, held)| (*id, held.done)).collect()
            }
        };
        let Some(stream) = &mut member.stream else {
            return;
        };
        if stream.commit.is_some() || offsets.is_empty() {
            return;
        }
        member.commits_at_us = now_us + COMMIT_INTERVAL;
        member.requests += 1;
        let offset = |(id, offset): &(TopicPartition, u64)| v1::CommittedOffset {
            topic_id: id.topic.as_bytes().to_vec().into(),
            partition: id.partition.0,
            offset: *offset as i64,
            metadata: String::new(),
        };
        let request = v1::CommitRequest {
            request_id: member.requests,
            epoch: member.applied,
            offsets: offsets.iter().map(offset).collect(),
        };
        stream.commit = Some(Commit {
            id: member.requests,
            offsets,
        });
        self.say(index, Request::Commit(request));
    }

    /// A commit is answered.
    pub(super) fn committed(&mut self, index: usize, answer: &v1::CommitResponse) -> Step {
        let now_us = self.now_us;
        let member = self.member(index);
        let taken = member.acknowledged(answer);
        let Some(stream) = &mut member.stream else {
            return Ok(());
        };
        if stream
            .commit
            .take_if(|c| c.id == answer.request_id)
            .is_none()
        {
            return Ok(());
        }
        for (id, offset) in &taken {
            if let Some(held) = member.held.get_mut(id) {
                held.committed = held.committed.max(*offset);
            }
        }
        for refused in &answer.refused {
            let error = refused.error.clone().unwrap_or_default().into();
            self.commit_is_refused(index, &error);
            if self.member(index).stream.is_none() {
                return Ok(());
            }
        }
        let member = self.member(index);
        let plan = &PLANS[member.group];
        // Whoever does not know the end of a partition yet is asked again.
        let is_for_now = answer.refused.iter().any(|refused| {
            let error = WireError::from(refused.error.clone().unwrap_or_default());
            error.code != ErrorCode::NotAssigned
        });
        if plan.promise == Promise::AtLeastOnce || is_for_now {
            return Ok(());
        }
        let batch = member.batch.take();
        let is_valid = member.valid_until_us.is_some_and(|until| until > now_us);
        let Some(batch) = batch.filter(|b| is_valid && taken.contains(&(b.partition, b.to))) else {
            return Ok(());
        };
        let group = member.group;
        self.check_owner(index, group, batch.partition)?;
        for offset in batch.from..batch.to {
            let of = (plan.name, batch.partition);
            self.ledger
                .groups
                .processed(of, plan.promise, offset, batch.got_us)?;
        }
        Ok(())
    }

    fn commit_is_refused(&mut self, index: usize, error: &WireError) {
        match error.code {
            ErrorCode::UnknownMember => self.refused(index, error),
            ErrorCode::NotAssigned => self.count("commit refused as stale"),
            ErrorCode::OffsetOutOfRange => self.count("commit refused beyond the end"),
            _ => self.count("commit refused otherwise"),
        }
    }
}
