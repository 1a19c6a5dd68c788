//! What a session has to know of this broker's logs, and reading them.

use std::sync::Arc;

use bytes::Bytes;
use taffrail_api::WireError;
use taffrail_core::{ErrorCode, LeaderEpoch, Offset, TopicPartition, replica::FetchRequest};
use taffrail_record::split;

use crate::partition::{Partition, standing::Role, table::PartitionTable};

/// A log that this broker leads, as a session has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Led {
    pub(super) log_start: Offset,
    pub(super) high_watermark: Offset,
    pub(super) log_end: Offset,
}

/// The logs of this broker.
pub(super) trait Logs {
    /// `None`: it does not lead the partition in exactly this epoch (any more).
    fn led(&self, id: TopicPartition, epoch: LeaderEpoch) -> Option<Led>;
}

/// To be read and handed to [`super::leader_session::LeaderSession::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) id: TopicPartition,
    /// From the end of its tail on.
    pub(super) request: FetchRequest,
    pub(super) max_bytes: usize,
}

/// What was read in the epoch that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) chunks: Vec<Bytes>,
    pub(super) append_time_ms: i64,
    /// Known before the read.
    pub(super) led: Led,
}

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotRead {
    /// The epoch is over, or the log begins later by now: the position has to be looked at anew.
    Changed,
    Failed(WireError),
}

impl Logs for PartitionTable {
    fn led(&self, id: TopicPartition, epoch: LeaderEpoch) -> Option<Led> {
        self.get(id)?.led(epoch)
    }
}

impl Partition {
    /// `None`: this broker does not lead it in this epoch (any more).
    fn led(&self, epoch: LeaderEpoch) -> Option<Led> {
        let standing = self.standing();
        let leads = standing.role == Role::Leader && standing.leader_epoch == epoch;
        (leads && self.fault().is_none()).then(|| Led {
            log_start: self.progress.log_start(),
            high_watermark: self.progress.high_watermark(),
            log_end: self.progress.log_end(),
        })
    }
}

/// Records just written are in the page cache and are read at once; all others have to be read where one may wait for the disk.
pub(super) fn is_warm(partition: &Partition, read: &Read) -> bool {
    partition.progress.is_warm(read.request.tail.end)
}

/// Reads what follows on a follower's log. May wait for the disk.
pub(super) fn read(partition: &Arc<Partition>, read: &Read) -> Result<Found, NotRead> {
    let (epoch, offset) = (read.request.leader_epoch, read.request.tail.end);
    let led = partition.led(epoch).ok_or(NotRead::Changed)?;
    let failed = |error: WireError| match error.code {
        ErrorCode::OffsetOutOfRange => NotRead::Changed,
        _ => NotRead::Failed(error),
    };
    let found = partition
        .read_to(offset, read.max_bytes, led.log_end)
        .map_err(failed)?;
    let append_time_ms = partition.append_time_ms(offset).map_err(failed)?;
    // While it leads the epoch, its log only grows: what was read is of this epoch's log.
    partition.led(epoch).ok_or(NotRead::Changed)?;
    // Only compaction takes away, and raises the horizon before it does.
    let horizon = partition.progress.delete_horizon();
    if read.request.misses_deletes_of(horizon) {
        return Err(NotRead::Changed);
    }
    let batches = found.chunks.iter().flat_map(split).count();
    partition
        .metrics
        .replicated_out
        .count(found.bytes(), batches);
    Ok(Found {
        chunks: found.chunks,
        append_time_ms,
        led,
    })
}

#[cfg(test)]
mod tests {
    use taffrail_core::{
        Durability,
        replica::{Acks, LogTail},
    };

    use super::*;
    use crate::partition::{
        fixture::{ME, OTHER, RUN, Replica1},
        progress::LogExtent,
    };

    const EPOCH: LeaderEpoch = LeaderEpoch(2);

    fn request(end: u64, delete_horizon: u64) -> FetchRequest {
        FetchRequest {
            broker: OTHER,
            incarnation: RUN,
            leader_epoch: EPOCH,
            tail: LogTail {
                last_epoch: Some(EPOCH),
                end: Offset(end),
            },
            durable_end: Offset(end),
            delete_horizon: Offset(delete_horizon),
        }
    }

    #[test]
    fn what_is_read_while_tombstones_go_is_not_sent_to_who_lacks_them() {
        let mut replica = Replica1::new(Durability::Fsync);
        replica.assign(&[ME, OTHER], ME, EPOCH.0);
        for _ in 0..3 {
            drop(replica.queue(EPOCH.0, Acks::Leader));
        }
        replica.write_and_sync();
        let partition = Arc::clone(&replica.log.partition);
        let found = |request| {
            let id = partition.id;
            let max_bytes = 1 << 20;
            let asked = Read {
                id,
                request,
                max_bytes,
            };
            read(&partition, &asked).map(|found| found.chunks.len())
        };
        assert_eq!(found(request(1, 0)), Ok(1), "it was compared and matches");
        let progress = &partition.progress;
        progress.extend(LogExtent {
            start: progress.log_start(),
            end: progress.log_end(),
            bytes: progress.bytes(),
            oldest_append_ms: progress.oldest_append_ms(),
            durable_end: progress.durable_end(),
            last_epoch: progress.last_epoch(),
            delete_horizon: Offset(2),
        });
        assert_eq!(found(request(1, 0)), Err(NotRead::Changed));
        assert_eq!(found(request(2, 0)), Ok(1), "it has them");
        assert_eq!(found(request(1, 2)), Ok(1), "it began after they went");
    }
}
