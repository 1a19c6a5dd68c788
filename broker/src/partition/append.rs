//! The writing side of a partition: owned by the disk thread, nobody else touches the log.

use bytes::Bytes;
use std::sync::Arc;
use taffrail_api::{WireError, convert, v1::ProduceAck};
use taffrail_core::{Durability, ErrorCode, LeaderEpoch};
use taffrail_log::{LogConfig, LogError, PartitionLog};
use taffrail_record::BatchHeader;

use super::{
    Fault, Partition,
    ack::{Outcome, Responder},
    commit::SyncJob,
    progress::LogExtent,
    upkeep::Due,
    verify::Verified,
};

/// One request's batches, or why they are refused. Refusals take the same way, so that answers keep the order of the requests.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) partition: Arc<Partition>,
    pub(crate) content: Result<Verified, WireError>,
    pub(crate) responder: Responder,
}

/// A written request that waits for its sync.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) responder: Responder,
    pub(crate) outcome: Outcome,
}

/// Requests of one partition are written together up to this size.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// A background sync starts at the latest after this much.
const BACKGROUND_SYNC_BYTES: u64 = 32 << 20;

/// A log and what waits for it.
///
/// Invariant: at most one sync is under way; `waiting` is in the order of the requests and holds those after it.
#[derive(Debug)]
pub(crate) struct OwnedLog {
    pub(crate) partition: Arc<Partition>,
    pub(super) log: PartitionLog,
    pub(super) due: Due,
    durability: Durability,
    /// What was accepted under an older epoch is not written.
    epoch_min: LeaderEpoch,
    incoming: Vec<Append>,
    waiting: Vec<Waiting>,
    syncing: bool,
    unsynced_bytes: u64,
}

/// What one round wrote.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
    pub(crate) disk_full: bool,
}

impl OwnedLog {
    /// Takes over a log that was opened or created; what it holds is durable.
    pub(crate) fn new(
        partition: Arc<Partition>,
        log: PartitionLog,
        durability: Durability,
    ) -> Self {
        partition.progress.commit(log.durable_end());
        let owned = Self {
            partition,
            log,
            due: Due::default(),
            durability,
            epoch_min: LeaderEpoch(0),
            incoming: Vec::new(),
            waiting: Vec::new(),
            syncing: false,
            unsynced_bytes: 0,
        };
        owned.publish();
        owned
    }

    /// From here on the log grows under `epoch` and later ones only. What is queued under an older one is refused.
    pub(crate) fn fence(&mut self, epoch: LeaderEpoch) {
        self.epoch_min = self.epoch_min.max(epoch);
    }

    /// A request that may be written, or why not: it was found wrong, one before it in its chain has failed, or its epoch is over.
    fn admit(&self, append: Append) -> Result<(Verified, Responder), (WireError, Responder)> {
        let Append {
            content, responder, ..
        } = append;
        match responder.broken_chain().map_or(content, Err) {
            Ok(content) if content.epoch < self.epoch_min => {
                let (theirs, ours) = (content.epoch, self.epoch_min);
                let label = self.partition.label();
                let message = format!(
                    "{label}: leader epoch {theirs} is over, it is {ours} now; refresh the metadata"
                );
                let error = WireError::new(ErrorCode::StaleLeaderEpoch, message);
                Err((error, responder))
            }
            Ok(content) => Ok((content, responder)),
            Err(error) => Err((error, responder)),
        }
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
    pub(crate) fn write(&mut self, now_ms: i64) -> Written {
        let mut written = Written::default();
        let mut queue = std::mem::take(&mut self.incoming).into_iter().peekable();
        while let Some(first) = queue.next() {
            let mut group = Group::default();
            match self.admit(first) {
                Ok((content, responder)) => group.add(content, responder),
                Err((error, responder)) => {
                    self.refuse([responder], &error);
                    continue;
                }
            }
            let mut broken = None;
            while broken.is_none()
                && let Some(next) = queue.next_if(|next| group.takes(next))
            {
                match self.admit(next) {
                    Ok((content, responder)) => group.add(content, responder),
                    // Its chain broke since it was looked at.
                    Err(refused) => broken = Some(refused),
                }
            }
            self.write_group(group, now_ms, &mut written);
            if let Some((error, responder)) = broken {
                self.refuse([responder], &error);
            }
        }
        if self.log_is_ahead() {
            self.publish();
        }
        written
    }

    fn write_group(&mut self, group: Group, now_ms: i64, written: &mut Written) {
        if let Some(fault) = self.partition.fault() {
            let offline = self.partition.offline(&fault.message);
            self.refuse(group.responders(), &offline);
            return;
        }
        let epoch = group.epoch();
        match self
            .log
            .append(&group.batches, &group.headers, epoch, now_ms)
        {
            Ok(appended) => {
                written.bytes += group.bytes as u64;
                written.requests += group.requests.len() as u64;
                self.unsynced_bytes += group.bytes as u64;
                let log_start = convert::offset_to_wire(self.log.log_start());
                let mut offset = appended.base_offset;
                let metrics = &self.partition.metrics;
                metrics.produce_bytes.inc_by(group.bytes as u64);
                metrics
                    .produce_records
                    .inc_by(appended.next_offset.0 - appended.base_offset.0);
                for (responder, records) in group.requests {
                    let ack = ProduceAck {
                        base_offset: convert::offset_to_wire(offset),
                        append_time_ms: appended.append_time_ms,
                        log_start_offset: log_start,
                    };
                    self.waiting.push(Waiting {
                        responder,
                        outcome: Ok(ack),
                    });
                    offset = offset.plus(records);
                }
                debug_assert_eq!(offset, appended.next_offset);
            }
            Err(error) => {
                let wire = self.append_failed(&error, written);
                self.refuse(group.responders(), &wire);
            }
        }
    }

    /// What the requests of a failed append are told. Anything but a full disk or an old epoch takes the partition offline.
    fn append_failed(&mut self, error: &LogError, written: &mut Written) -> WireError {
        let code = error.code();
        if matches!(code, ErrorCode::DiskFull | ErrorCode::StaleLeaderEpoch) {
            written.disk_full |= code == ErrorCode::DiskFull;
            return WireError::new(code, error.to_string());
        }
        self.poison(Fault::poisoned(error));
        self.partition.offline(&error.to_string())
    }

    fn refuse(&mut self, responders: impl IntoIterator<Item = Responder>, error: &WireError) {
        for responder in responders {
            responder.break_chain(error);
            self.waiting.push(Waiting {
                responder,
                outcome: Err(error.clone()),
            });
        }
    }

    /// After a round of writes: answers what need not wait, and says what has to be synced now.
    pub(crate) fn settle(&mut self) -> Option<SyncJob> {
        if self.partition.fault().is_some() {
            self.answer_all();
            return None;
        }
        match self.durability {
            Durability::PageCache => {
                self.partition.commit(self.log.log_end());
                self.answer_all();
                (self.unsynced_bytes >= BACKGROUND_SYNC_BYTES)
                    .then(|| self.sync())
                    .flatten()
            }
            Durability::Fsync if self.unsynced_bytes == 0 && !self.syncing => {
                self.answer_all();
                None
            }
            Durability::Fsync => self.sync(),
        }
    }

    /// Everything written so far, to be synced on another thread; `None` if there is nothing, or a sync is under way.
    pub(crate) fn sync(&mut self) -> Option<SyncJob> {
        let nothing_new = self.unsynced_bytes == 0 && !self.log.has_rolled();
        if self.syncing || nothing_new || self.partition.fault().is_some() {
            return None;
        }
        self.syncing = true;
        Some(SyncJob {
            partition: Arc::clone(&self.partition),
            token: self.log.sync_token(),
            end: self.log.log_end(),
            bytes: std::mem::take(&mut self.unsynced_bytes),
            waiting: std::mem::take(&mut self.waiting),
        })
    }

    /// A sync came back: true if there are segments to be sealed.
    pub(crate) fn synced(
        &mut self,
        token: &taffrail_log::SyncToken,
        result: &Result<(), LogError>,
    ) -> bool {
        self.syncing = false;
        let noted = match result {
            Ok(()) => self.log.synced(token).map_err(|e| Fault::poisoned(&e)),
            Err(error) => Err(Fault::poisoned(error)),
        };
        if let Err(fault) = noted {
            self.poison(fault);
        }
        self.publish();
        self.log.unsealed_segments() > 0
    }

    fn poison(&mut self, fault: Fault) {
        self.log.poison(&fault.message);
        self.partition.fail(fault);
        self.answer_all();
    }

    /// Answers whatever waits. After a fault nothing that was only written counts.
    fn answer_all(&mut self) {
        let fault = self.partition.fault();
        for Waiting { responder, outcome } in self.waiting.drain(..) {
            responder.answer(match (&fault, outcome) {
                (Some(fault), Ok(_)) => Err(self.partition.offline(&fault.message)),
                (_, outcome) => outcome,
            });
        }
    }

    pub(crate) fn configure(&mut self, config: LogConfig, durability: Durability) {
        self.log.configure(config);
        self.durability = durability;
    }

    /// Nothing waits and nothing is being synced.
    pub(crate) fn is_quiet(&self) -> bool {
        self.incoming.is_empty() && self.waiting.is_empty() && !self.syncing
    }

    /// Leaves the mark of a clean stop.
    pub(crate) fn close(self) -> Result<(), LogError> {
        if self.partition.fault().is_some() {
            return Ok(());
        }
        self.log.close(self.partition.progress.high_watermark())
    }

    /// Answers what waits: the log is about to be deleted.
    pub(crate) fn refuse_all(&mut self, reason: &WireError) {
        for Append { responder, .. } in self.incoming.drain(..) {
            responder.answer(Err(reason.clone()));
        }
        for Waiting { responder, .. } in self.waiting.drain(..) {
            responder.answer(Err(reason.clone()));
        }
    }

    /// Removes the log's files. Blocking.
    pub(crate) fn delete(self) -> Result<(), LogError> {
        self.log.delete()
    }

    fn log_is_ahead(&self) -> bool {
        self.log.log_end() != self.partition.progress.log_end()
    }

    pub(super) fn publish(&self) {
        self.partition.progress.extend(LogExtent {
            start: self.log.log_start(),
            end: self.log.log_end(),
            bytes: self.log.bytes(),
            oldest_append_ms: self.log.oldest_append_time_ms(),
            durable_end: self.log.durable_end(),
            last_epoch: self.log.last_epoch(),
        });
    }
}

/// Requests that become one append.
#[derive(Debug, Default)]
struct Group {
    batches: Vec<Bytes>,
    headers: Vec<BatchHeader>,
    bytes: usize,
    epoch: Option<LeaderEpoch>,
    requests: Vec<(Responder, u64)>,
}

impl Group {
    fn takes(&self, next: &Append) -> bool {
        matches!(&next.content, Ok(content)
            if Some(content.epoch) == self.epoch && self.bytes + content.bytes <= GROUP_BYTES_MAX)
            && next.responder.broken_chain().is_none()
    }

    fn responders(self) -> impl Iterator<Item = Responder> {
        self.requests.into_iter().map(|(responder, _)| responder)
    }

    fn add(&mut self, mut content: Verified, responder: Responder) {
        self.requests.push((responder, content.records()));
        self.epoch = Some(content.epoch);
        self.bytes += content.bytes;
        self.batches.append(&mut content.batches);
        self.headers.append(&mut content.headers);
    }

    fn epoch(&self) -> LeaderEpoch {
        self.epoch.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
