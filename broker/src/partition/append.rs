//! The writing side of a partition: owned by the disk thread, nobody else touches the log.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use taffrail_api::{WireError, convert, v1::ProduceAck};
use taffrail_core::{
    Durability, ErrorCode, LeaderEpoch, Offset,
    producers::StoredBatch,
    replica::{Acks, LeaderEffect, Replica, Role},
};
use taffrail_log::{LogConfig, LogError, PartitionLog};
use taffrail_record::BatchHeader;

use super::{
    Fault, Partition,
    ack::Responder,
    progress::LogExtent,
    replicate::Owner,
    sequence::{Pending, Run},
    upkeep::Due,
    verify::Verified,
    waiting::{Asker, Waiting},
};

/// One request's batches, or why they are refused. Refusals take the same way, so that answers keep the order of the requests.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) partition: Arc<Partition>,
    pub(crate) content: Result<Verified, WireError>,
    pub(crate) acks: Acks,
    pub(crate) responder: Responder,
}

/// Requests of one partition are written together up to this size.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// A background sync starts at the latest after this much.
const BACKGROUND_SYNC_BYTES: u64 = 32 << 20;
/// What was written within the last one or two of these is taken to be in the page cache.
const WARM_BYTES: u64 = 32 << 20;
/// What a follower writes before it lets the page cache go of what is older, and what it keeps there: whoever it leads one day reads near the end.
pub(super) const CACHED_BY_FOLLOWER_BYTES: u64 = 16 << 20;

/// A log, what this broker is to its partition, and who waits for it.
///
/// Invariant: at most one sync is under way.
#[derive(Debug)]
pub(crate) struct OwnedLog {
    pub(crate) partition: Arc<Partition>,
    pub(super) log: PartitionLog,
    pub(super) due: Due,
    durability: Durability,
    /// `None`: no assignment names this replica.
    pub(super) replica: Option<Replica>,
    pub(super) waiting: Waiting,
    /// Of the decision that is being carried out.
    pub(super) effects: Vec<LeaderEffect>,
    /// Its position has to be told again: what the leader sent could not be written for want of room.
    pub(super) is_stalled: bool,
    incoming: Vec<Append>,
    pub(super) syncing: bool,
    pub(super) unsynced_bytes: u64,
    /// Written since a sync let the page cache go of what was before.
    pub(super) cached_bytes: u64,
    warm_mark: (Offset, u64),
}

/// How a log goes.
#[derive(Debug)]
pub(crate) enum Removal {
    /// By order of the controller.
    Delete,
    /// It cannot be used: its files are kept there.
    SetAside(PathBuf),
}

/// What one round wrote.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
    pub(crate) disk_full: bool,
}

impl OwnedLog {
    /// Takes over a log that was opened or created; what it holds is durable. It belongs to nobody until it is assigned.
    pub(crate) fn new(
        partition: Arc<Partition>,
        log: PartitionLog,
        durability: Durability,
    ) -> Self {
        let end = log.log_end();
        partition.progress.set_warm_from(end);
        partition.progress.commit(log.high_watermark());
        let owned = Self {
            partition,
            log,
            due: Due::default(),
            durability,
            replica: None,
            waiting: Waiting::default(),
            effects: Vec::new(),
            is_stalled: false,
            incoming: Vec::new(),
            syncing: false,
            unsynced_bytes: 0,
            cached_bytes: 0,
            warm_mark: (end, 0),
        };
        owned.publish();
        owned
    }

    /// Is a request to be written? Not if it was found wrong, one before it in its chain has failed, its epoch is over, too few are in sync, or it
    /// is not the next one of its producer.
    fn admit(&mut self, append: Append, group: &Group, owner: &Owner<'_>) -> Admitted {
        let Append {
            content,
            responder,
            acks,
            ..
        } = append;
        let asker = Asker { responder, acks };
        let content = match asker.responder.broken_chain() {
            Some(error) => Err(error),
            None => content,
        };
        let checked = content.and_then(|content| {
            self.check_append(content.epoch, acks)?;
            let stored = self.check_sequence(&content, &group.producers, owner.wall_ms)?;
            Ok((content, stored))
        });
        match checked {
            Ok((content, None)) => Admitted::New(content, asker),
            Ok((_, Some(stored))) => Admitted::Stored(stored, asker),
            Err(error) => Admitted::Refused(error, asker),
        }
    }

    /// Answers a request of which nothing is written.
    fn turn_away(&mut self, admitted: Admitted) {
        match admitted {
            Admitted::New(..) => unreachable!("it is written"),
            Admitted::Stored(stored, asker) => self.answer_again(asker, stored),
            Admitted::Refused(error, asker) => self.refuse([asker], &error),
        }
    }

    fn check_append(&mut self, epoch: LeaderEpoch, acks: Acks) -> Result<(), WireError> {
        let leader = match &mut self.replica {
            Some(replica) => replica.leader_of(epoch),
            None => Err(ErrorCode::NotLeader),
        };
        let code = match leader {
            Ok(leader) => match leader.check_append(acks) {
                Ok(()) => return Ok(()),
                Err(code) => code,
            },
            Err(code) => code,
        };
        Err(self.refusal(code, epoch))
    }

    fn refusal(&self, code: ErrorCode, epoch: LeaderEpoch) -> WireError {
        let label = self.partition.label();
        let message = match (code, self.replica.as_ref().map(Replica::role)) {
            (ErrorCode::NotEnoughReplicas, Some(Role::Leader(leader))) => format!(
                "{label}: {} replicas are in sync, acks=all needs {} (minInSync): nothing was stored; retry when the others are back, see taffrail get partitions",
                leader.in_sync_count(),
                leader.rules().min_in_sync
            ),
            (ErrorCode::StaleLeaderEpoch, Some(Role::Leader(leader))) => format!(
                "{label}: leader epoch {epoch} is over, it is {} now; refresh the metadata",
                leader.leader_epoch()
            ),
            _ => format!(
                "{label}: this broker does not lead it in epoch {epoch}; refresh the metadata"
            ),
        };
        WireError::new(code, message)
    }

    pub(crate) const fn durability(&self) -> Durability {
        self.durability
    }

    /// Queues a request for the next round. True if it is the first one.
    pub(crate) fn enqueue(&mut self, append: Append) -> bool {
        self.incoming.push(append);
        self.incoming.len() == 1
    }

    /// Writes everything that was queued into the page cache, in as few calls as there may be.
    pub(crate) fn write(&mut self, owner: &Owner<'_>) -> Written {
        let mut written = Written::default();
        let mut queue = std::mem::take(&mut self.incoming).into_iter().peekable();
        while let Some(first) = queue.next() {
            let mut group = Group::default();
            match self.admit(first, &group, owner) {
                Admitted::New(content, asker) => group.add(content, asker),
                other => {
                    self.turn_away(other);
                    continue;
                }
            }
            let mut after = None;
            while after.is_none()
                && let Some(next) = queue.next_if(|next| group.takes(next))
            {
                match self.admit(next, &group, owner) {
                    Admitted::New(content, asker) => group.add(content, asker),
                    other => after = Some(other),
                }
            }
            self.write_group(group, owner, &mut written);
            if let Some(other) = after {
                self.turn_away(other);
            }
        }
        if self.log_is_ahead() {
            self.publish();
            self.partition.growth.tell(self.partition.id);
        }
        written
    }

    fn write_group(&mut self, group: Group, owner: &Owner<'_>, written: &mut Written) {
        if let Some(fault) = self.partition.fault() {
            let offline = self.partition.offline(&fault.message);
            self.refuse(group.requests.into_iter().map(|(asker, _)| asker), &offline);
            return;
        }
        let appended = self
            .log
            .append(&group.batches, &group.headers, group.epoch, owner.wall_ms);
        match appended {
            Ok(appended) => {
                written.requests += group.requests.len() as u64;
                self.wrote(group.bytes as u64, written);
                if let Some(Role::Leader(leader)) = self.replica.as_mut().map(Replica::role_mut) {
                    leader.appended(appended.next_offset, owner.now_ms);
                }
                let log_start = convert::offset_to_wire(self.log.log_start());
                let mut offset = appended.base_offset;
                let metrics = &self.partition.metrics;
                metrics.produce_bytes.inc_by(group.bytes as u64);
                metrics
                    .produce_records
                    .inc_by(appended.next_offset.0 - appended.base_offset.0);
                for (asker, records) in group.requests {
                    let ack = ProduceAck {
                        base_offset: convert::offset_to_wire(offset),
                        append_time_ms: appended.append_time_ms,
                        log_start_offset: log_start,
                    };
                    offset = offset.plus(records);
                    self.waiting.written(asker, offset, ack);
                }
                debug_assert_eq!(offset, appended.next_offset);
            }
            Err(error) => {
                let wire = self.append_failed(&error, written);
                self.refuse(group.requests.into_iter().map(|(asker, _)| asker), &wire);
            }
        }
    }

    /// So many bytes were written into the page cache.
    pub(super) fn wrote(&mut self, bytes: u64, written: &mut Written) {
        written.bytes += bytes;
        self.unsynced_bytes += bytes;
        self.cached_bytes += bytes;
        self.keep_warm_mark(bytes);
    }

    /// What the requests of a failed append are told. Anything but a full disk or an old epoch takes the partition offline.
    pub(super) fn append_failed(&mut self, error: &LogError, written: &mut Written) -> WireError {
        let code = error.code();
        if matches!(code, ErrorCode::DiskFull | ErrorCode::StaleLeaderEpoch) {
            written.disk_full |= code == ErrorCode::DiskFull;
            return WireError::new(code, error.to_string());
        }
        self.poison(Fault::poisoned(error));
        self.partition.offline(&error.to_string())
    }

    /// Behind requests that wait, a refusal waits as well: answers keep the order.
    fn refuse(&mut self, askers: impl IntoIterator<Item = Asker>, error: &WireError) {
        for asker in askers {
            asker.responder.break_chain(error);
            self.waiting.refused(asker, error.clone());
        }
    }

    /// Does a sync in the background have to start now?
    pub(super) const fn owes_sync(&self) -> bool {
        self.unsynced_bytes >= BACKGROUND_SYNC_BYTES
    }

    pub(super) fn poison(&mut self, fault: Fault) {
        self.log.poison(&fault.message);
        self.partition.fail(fault);
        self.answer_offline();
    }

    /// Answers whatever waits: after a fault nothing that was only written counts.
    pub(super) fn answer_offline(&mut self) {
        let reason = self.partition.fault().map(|fault| fault.message);
        let offline = self.partition.offline(&reason.unwrap_or_default());
        self.waiting.answer_all(&offline);
    }

    pub(crate) fn configure(&mut self, config: LogConfig, durability: Durability) {
        self.log.configure(config);
        self.durability = durability;
    }

    /// Nothing waits for this broker's disk and nothing is being synced. Who waits for other replicas may wait in vain.
    pub(crate) fn is_quiet(&self) -> bool {
        let owes = self.durability == Durability::Fsync && self.unsynced_bytes > 0;
        self.incoming.is_empty() && !self.syncing && (!owes || self.partition.fault().is_some())
    }

    /// Leaves the mark of a clean stop.
    pub(crate) fn close(self) -> Result<(), LogError> {
        if self.partition.fault().is_some() {
            return Ok(());
        }
        let high_watermark = self.high_watermark();
        self.log.close(high_watermark)
    }

    /// Answers what waits: the log is about to be deleted.
    pub(crate) fn refuse_all(&mut self, reason: &WireError) {
        for Append { responder, .. } in self.incoming.drain(..) {
            responder.answer(Err(reason.clone()));
        }
        self.waiting.answer_all(reason);
    }

    /// Removes the log from where it is. Blocking.
    pub(crate) fn remove(self, how: Removal) -> Result<(), LogError> {
        match how {
            Removal::Delete => self.log.delete(),
            Removal::SetAside(to) => self.log.set_aside(&to),
        }
    }

    /// Everything before it is committed, as far as is known here.
    pub(super) fn high_watermark(&self) -> Offset {
        match &self.replica {
            Some(replica) => replica.log().high_watermark,
            None => self.log.high_watermark(),
        }
    }

    fn log_is_ahead(&self) -> bool {
        self.log.log_end() != self.partition.progress.log_end()
    }

    pub(super) fn publish(&self) {
        let (durable_end, last_epoch) = match &self.replica {
            Some(replica) => {
                let tail = replica.log().durable_tail();
                (tail.end, tail.last_epoch)
            }
            None => (self.log.durable_end(), self.log.last_epoch()),
        };
        self.partition.progress.extend(LogExtent {
            start: self.log.log_start(),
            end: self.log.log_end(),
            bytes: self.log.bytes(),
            oldest_append_ms: self.log.oldest_append_time_ms(),
            durable_end,
            last_epoch,
            delete_horizon: self.log.delete_horizon(),
        });
    }

    fn keep_warm_mark(&mut self, bytes: u64) {
        self.warm_mark.1 += bytes;
        if self.warm_mark.1 >= WARM_BYTES {
            self.partition.progress.set_warm_from(self.warm_mark.0);
            self.warm_mark = (self.log.log_end(), 0);
        }
    }
}

/// What becomes of a request.
#[derive(Debug)]
enum Admitted {
    New(Verified, Asker),
    /// It came before.
    Stored(StoredBatch, Asker),
    Refused(WireError, Asker),
}

/// Requests that become one append.
#[derive(Debug, Default)]
struct Group {
    batches: Vec<Bytes>,
    headers: Vec<BatchHeader>,
    bytes: usize,
    epoch: LeaderEpoch,
    producers: Pending,
    requests: Vec<(Asker, u64)>,
}

impl Group {
    fn takes(&self, next: &Append) -> bool {
        matches!(&next.content, Ok(content)
            if content.epoch == self.epoch && self.bytes + content.bytes <= GROUP_BYTES_MAX
                && self.producers.takes(Run::of(content)))
            && next.responder.broken_chain().is_none()
    }

    fn add(&mut self, mut content: Verified, asker: Asker) {
        self.requests.push((asker, content.records()));
        self.producers.add(Run::of(&content));
        self.epoch = content.epoch;
        self.bytes += content.bytes;
        self.batches.append(&mut content.batches);
        self.headers.append(&mut content.headers);
    }
}

#[cfg(test)]
mod tests;
