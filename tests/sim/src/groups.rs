//! What groups were promised and did, and what must hold of it.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use bytes::Bytes;
use taffrail_broker::sim::{CoordinatorView, GroupRecord, GroupSays};
use taffrail_core::{LeaderEpoch, MemberId, TopicPartition};
use taffrail_record::{records, split};

use crate::ledger::Broken;

/// But for resets, a committed offset is never lower than one before.
const COMMITTED_NEVER_MOVES_BACK: &str = "a committed offset moves back only by a reset";
/// What is committed at least once was processed, since the last reset.
const COMMITTED_WAS_PROCESSED: &str = "what is committed was processed";
/// What is committed before it is processed is processed once, and once more for each reset.
const PROCESSED_AT_MOST_ONCE: &str = "what is to be processed at most once is not processed twice";
/// A commit that was answered is in the log.
const ACKNOWLEDGED_IS_STORED: &str = "a commit that is acknowledged is stored";
/// The coordinator of the last epoch knows every commit that was acknowledged.
const TOLD_IS_NOT_BEHIND: &str = "a member is told to begin where others have ended";
/// Of members that may process, no two have the same partition.
const A_PARTITION_HAS_ONE_OWNER: &str = "a partition is processed by one member at a time";

/// Whoever was replaced and does not know it gives up in time: members of its successor are not given up before.
const THE_REPLACED_FALL_SILENT: &str = "a coordinator that was replaced falls silent";

/// Coordinators look around every 200 ms, with ticks of a broker, 100 ms apart.
const LOOKS_US: u64 = 300_000;

/// What a reset's commit is told by.
const RESET: &str = "reset ";

/// When a group commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// After processing.
    AtLeastOnce,
    /// Before processing.
    AtMostOnce,
}

#[derive(Debug, Clone, Copy, Default)]
struct Processed {
    times: usize,
    last_us: u64,
}

#[derive(Debug, Clone, Copy)]
struct Reset {
    to: u64,
    asked_us: u64,
}

/// What one group did with one partition.
#[derive(Debug, Default)]
struct Reading {
    processed: BTreeMap<u64, Processed>,
    /// As the log has it.
    committed: u64,
    /// The last reset that is in the log was asked for then.
    reset_us: u64,
    /// And is there.
    reset_at: u64,
    /// By number.
    resets: BTreeMap<u64, Reset>,
    /// Where each committed offset is in the log, the last time.
    stored: BTreeMap<u64, u64>,
    /// The highest since somebody asked for a reset last.
    acknowledged: u64,
}

/// A group and one of the partitions that it reads.
pub(crate) type GroupPartition = (&'static str, TopicPartition);

/// Everything that groups were promised and did.
#[derive(Debug, Default)]
pub(crate) struct GroupLedger {
    readings: BTreeMap<GroupPartition, Reading>,
    /// Of each partition of `__offsets`, to where its records are known.
    ends: BTreeMap<TopicPartition, u64>,
    members: BTreeMap<String, Vec<MemberId>>,
    /// Of each partition of `__offsets`, when the coordinator of an epoch was sure of itself for the first time.
    sure_us: BTreeMap<TopicPartition, BTreeMap<LeaderEpoch, u64>>,
}

/// What new records of `__offsets` say that is worth counting.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Members that are in a group no more.
    pub(crate) gone: Vec<MemberId>,
    /// Offsets of groups with members were reset.
    pub(crate) live_resets: usize,
}

impl GroupLedger {
    fn reading(&mut self, of: GroupPartition) -> &mut Reading {
        self.readings.entry(of).or_default()
    }

    /// A coordinator answers members.
    pub(crate) fn coordinates(
        &mut self,
        coordinator: CoordinatorView,
        now_us: u64,
    ) -> Result<(), Broken> {
        let CoordinatorView {
            partition,
            epoch,
            answers_on_ms,
        } = coordinator;
        let sure_us = self.sure_us.entry(partition).or_default();
        sure_us.entry(epoch).or_insert(now_us);
        let later = sure_us.range((Excluded(epoch), Unbounded));
        let replaced_us = later.map(|(_, us)| *us).min().unwrap_or(now_us);
        if now_us <= replaced_us + answers_on_ms * 1_000 + LOOKS_US {
            return Ok(());
        }
        Err(format!(
            "{THE_REPLACED_FALL_SILENT}: that of {partition} in epoch {epoch} answers {} ms after it was replaced, and may for {answers_on_ms} ms",
            (now_us - replaced_us) / 1_000
        ))
    }

    /// A member that got it at `at_us` has processed a record.
    pub(crate) fn processed(
        &mut self,
        of: GroupPartition,
        promise: Promise,
        offset: u64,
        at_us: u64,
    ) -> Result<(), Broken> {
        let reading = self.reading(of);
        let resets = reading.resets.values().filter(|r| r.to <= offset).count();
        let processed = reading.processed.entry(offset).or_default();
        processed.times += 1;
        processed.last_us = processed.last_us.max(at_us);
        if promise == Promise::AtMostOnce && processed.times > 1 + resets {
            return Err(format!(
                "{PROCESSED_AT_MOST_ONCE}: {} of {} offset {offset}, {} times",
                of.0, of.1, processed.times
            ));
        }
        Ok(())
    }

    /// Somebody asks for a reset. What to note with it.
    pub(crate) fn resets(&mut self, of: GroupPartition, id: u64, to: u64, asked_us: u64) -> String {
        let reading = self.reading(of);
        reading.resets.insert(id, Reset { to, asked_us });
        reading.acknowledged = 0;
        format!("{RESET}{id}")
    }

    /// How far the log says that a group has come.
    pub(crate) fn committed(&self, of: GroupPartition) -> u64 {
        self.readings.get(&of).map_or(0, |r| r.committed)
    }

    /// A coordinator acknowledged a commit. Where it is in the log.
    pub(crate) fn acknowledges(&mut self, of: GroupPartition, offset: u64) -> Result<u64, Broken> {
        let reading = self.reading(of);
        let stored = reading.stored.get(&offset).copied();
        let is_done = |reset: &Reset| reset.asked_us <= reading.reset_us;
        let is_newer = stored.is_some_and(|at| at > reading.reset_at || reading.reset_us == 0);
        if is_newer && reading.resets.values().all(is_done) {
            reading.acknowledged = reading.acknowledged.max(offset);
        }
        stored.ok_or_else(|| format!("{ACKNOWLEDGED_IS_STORED}: {} of {} at {offset}", of.0, of.1))
    }

    /// The coordinator of the last epoch tells a member where to begin.
    pub(crate) fn told(&mut self, of: GroupPartition, offset: u64) -> Result<(), Broken> {
        let acknowledged = self.reading(of).acknowledged;
        if offset < acknowledged {
            return Err(format!(
                "{TOLD_IS_NOT_BEHIND}: {} of {} at {offset}, {acknowledged} was acknowledged",
                of.0, of.1
            ));
        }
        Ok(())
    }

    /// Everything before `end` was processed by a group that does so at least once. The first that was not.
    pub(crate) fn first_missed(&self, of: GroupPartition, start: u64, end: u64) -> Option<u64> {
        let reading = self.readings.get(&of);
        let is_missed = |offset: &u64| reading.is_none_or(|r| !r.processed.contains_key(offset));
        (start..end).find(is_missed)
    }

    /// Records of a partition of `__offsets` are below a high watermark.
    pub(crate) fn exposes(
        &mut self,
        partition: TopicPartition,
        batches: &[Bytes],
        groups: &[(&'static str, Promise)],
    ) -> Result<News, Broken> {
        let mut news = News::default();
        for batch in batches.iter().flat_map(split) {
            let (_, batch) = batch.map_err(|e| e.to_string())?;
            for record in records(batch, 64 << 20).map_err(|e| e.to_string())? {
                let record = record.map_err(|e| e.to_string())?;
                let end = self.ends.entry(partition).or_default();
                if record.offset.0 < *end {
                    continue;
                }
                *end = record.offset.0 + 1;
                let key = record.key.unwrap_or_default();
                let decoded = GroupRecord::decode(&key, record.value.as_deref());
                let decoded = decoded.map_err(|e| format!("a record of __offsets: {e}"))?;
                let group = groups.iter().find(|(name, _)| *name == decoded.group);
                let (name, promise) = *group.ok_or("a group that nobody made")?;
                match decoded.says {
                    GroupSays::Members(now) => {
                        let before = self.members.insert(name.to_owned(), now.clone());
                        let before = before.unwrap_or_default().into_iter();
                        news.gone.extend(before.filter(|m| !now.contains(m)));
                    }
                    GroupSays::Committed(_, None) => {}
                    GroupSays::Committed(id, Some((offset, note))) => {
                        let is_live = self.members.get(name).is_some_and(|m| !m.is_empty());
                        let is_reset = note.starts_with(RESET);
                        news.live_resets += usize::from(is_reset && is_live);
                        let reading = self.reading((name, id));
                        reading
                            .commits(promise, offset.0, &note)
                            .map_err(|broken| {
                                format!(
                                    "{broken}, {name} of {id}, offset {} of the log",
                                    record.offset
                                )
                            })?;
                        reading.stored.insert(offset.0, record.offset.0);
                        if is_reset {
                            reading.reset_at = record.offset.0;
                        }
                    }
                }
            }
        }
        Ok(news)
    }
}

impl Reading {
    fn commits(&mut self, promise: Promise, to: u64, note: &str) -> Result<(), Broken> {
        if let Some(id) = note.strip_prefix(RESET) {
            let id = id.parse().map_err(|_| format!("a reset {note}"))?;
            let reset = self
                .resets
                .get(&id)
                .ok_or("a reset that nobody asked for")?;
            self.reset_us = self.reset_us.max(reset.asked_us);
            self.committed = to;
            return Ok(());
        }
        let from = self.committed;
        if to < from {
            return Err(format!("{COMMITTED_NEVER_MOVES_BACK}: {from} became {to}"));
        }
        self.committed = to;
        if promise == Promise::AtMostOnce {
            return Ok(());
        }
        let since_us = self.reset_us;
        let was_processed = |offset: &u64| {
            let processed = self.processed.get(offset);
            processed.is_some_and(|p| p.last_us >= since_us)
        };
        match (from..to).find(|offset| !was_processed(offset)) {
            Some(missed) => Err(format!(
                "{COMMITTED_WAS_PROCESSED}: {from} became {to}, {missed} was not processed"
            )),
            None => Ok(()),
        }
    }
}

/// Two members that may process have the same partition.
pub(crate) fn two_owners(of: GroupPartition, one: &str, other: &str) -> Broken {
    format!(
        "{A_PARTITION_HAS_ONE_OWNER}: {} of {} by {one} and {other}",
        of.0, of.1
    )
}

#[cfg(test)]
mod tests {
    use taffrail_core::{PartitionIndex, TopicId};

    use super::*;

    const OF: GroupPartition = (
        "g",
        TopicPartition {
            topic: TopicId::from_bytes([7; 16]),
            partition: PartitionIndex(0),
        },
    );

    #[test]
    fn a_commit_from_before_a_reset_undoes_it_and_is_noticed() {
        let mut ledger = GroupLedger::default();
        for offset in 0..4 {
            let done = ledger.processed(OF, Promise::AtLeastOnce, offset, 10);
            done.expect("at least once");
        }
        let reading = ledger.reading(OF);
        reading
            .commits(Promise::AtLeastOnce, 3, "")
            .expect("processed");
        let note = ledger.resets(OF, 1, 1, 20);
        let reading = ledger.reading(OF);
        reading
            .commits(Promise::AtLeastOnce, 1, &note)
            .expect("a reset");
        let undone = reading
            .commits(Promise::AtLeastOnce, 4, "")
            .expect_err("undone");
        assert!(undone.starts_with(COMMITTED_WAS_PROCESSED), "{undone}");
        for offset in 1..4 {
            let done = ledger.processed(OF, Promise::AtLeastOnce, offset, 21);
            done.expect("at least once");
        }
        let reading = ledger.reading(OF);
        reading
            .commits(Promise::AtLeastOnce, 4, "")
            .expect("processed again");
        let back = reading
            .commits(Promise::AtLeastOnce, 2, "")
            .expect_err("back");
        assert!(back.starts_with(COMMITTED_NEVER_MOVES_BACK), "{back}");
    }

    #[test]
    fn a_coordinator_that_was_replaced_may_answer_for_a_while() {
        let mut ledger = GroupLedger::default();
        let in_epoch = |epoch| CoordinatorView {
            partition: OF.1,
            epoch: LeaderEpoch(epoch),
            answers_on_ms: 1_000,
        };
        let mut at = |epoch, ms: u64| ledger.coordinates(in_epoch(epoch), ms * 1_000);
        at(3, 100).expect("alone");
        at(3, 9_000).expect("alone");
        at(5, 9_000).expect("the last one");
        at(3, 10_300).expect("it may not know");
        at(6, 10_300).expect("the last one");
        at(5, 10_300).expect("it may not know");
        let broken = at(3, 10_301).expect_err("it has to know");
        assert!(broken.starts_with(THE_REPLACED_FALL_SILENT), "{broken}");
    }

    #[test]
    fn at_most_once_is_once_and_once_more_for_each_reset() {
        let mut ledger = GroupLedger::default();
        let process = |ledger: &mut GroupLedger| ledger.processed(OF, Promise::AtMostOnce, 5, 1);
        process(&mut ledger).expect("once");
        ledger.resets(OF, 1, 6, 2);
        process(&mut ledger).expect_err("a reset to behind it allows nothing");
        ledger.resets(OF, 2, 5, 3);
        ledger.resets(OF, 3, 0, 3);
        process(&mut ledger).expect("twice");
    }
}
