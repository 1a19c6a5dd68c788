//! Records on their way to the log, and who is answered once they are durable.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use taffrail_api::{WireError, v1};
use taffrail_core::{
    ErrorCode, LeaderEpoch, TopicPartition,
    replica::{Acks, Mutant, is_broken},
};
use taffrail_record::{BatchBuilder, Compression, NewRecord};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::timeout,
};

use super::{
    event::{Reply, Sink},
    records::Entry,
    reports::GroupReports,
};
use crate::{
    broker::Broker,
    partition::{
        Partition,
        ack::{Outcome, Responder},
        append::Append,
        verify::{Limits, verify},
    },
};

/// A write that takes longer will perhaps never be answered.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What somebody is told.
#[derive(Debug)]
pub(super) enum Answer {
    Member {
        sink: Sink,
        response: v1::member_response::Response,
        /// Given back once it is told.
        room: Option<OwnedSemaphorePermit>,
    },
    Commit(Reply<Vec<v1::RefusedCommit>>, Vec<v1::RefusedCommit>),
    Describe(Reply<v1::DescribeGroupResponse>, v1::DescribeGroupResponse),
    Done(Reply<()>),
    List(Reply<Vec<v1::GroupSummary>>, Vec<v1::GroupSummary>),
    /// Of the coordinator of that partition, in that epoch: for the controller.
    Report(
        Arc<GroupReports>,
        (TopicPartition, LeaderEpoch),
        Vec<v1::GroupReport>,
    ),
    /// That those were all.
    ToldAll(Arc<GroupReports>, (TopicPartition, LeaderEpoch)),
}

impl Answer {
    /// Whoever asked may be gone.
    pub(super) fn give(self) {
        match self {
            Self::Member {
                sink,
                response,
                room,
            } => {
                sink.tell(response);
                drop(room);
            }
            Self::Commit(reply, refused) => drop(reply.send(Ok(refused))),
            Self::Describe(reply, described) => drop(reply.send(Ok(described))),
            Self::Done(reply) => drop(reply.send(Ok(()))),
            Self::List(reply, groups) => drop(reply.send(Ok(groups))),
            Self::Report(board, (coordinator, epoch), reports) => {
                board.publish(coordinator, epoch, reports);
            }
            Self::ToldAll(board, (coordinator, epoch)) => board.told_all(coordinator, epoch),
        }
    }
}

/// Writes under way, in order.
#[derive(Debug, Default)]
pub(super) struct Writes {
    under_way: VecDeque<Write>,
}

#[derive(Debug)]
struct Write {
    stored: oneshot::Receiver<Outcome>,
    /// By the broker's uptime.
    begun_ms: u64,
    answers: Vec<Answer>,
}

impl Write {
    /// How long it may still take.
    fn patience(&self, now_ms: u64) -> Duration {
        WRITE_TIMEOUT.saturating_sub(Duration::from_millis(now_ms.saturating_sub(self.begun_ms)))
    }
}

impl Writes {
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// These follow from what was written until now.
    pub(super) fn then(&mut self, answers: Vec<Answer>) {
        match self.under_way.back_mut() {
            Some(last) if !is_broken(Mutant::AnsweredBeforeStored) => last.answers.extend(answers),
            _ => answers.into_iter().for_each(Answer::give),
        }
    }

    pub(super) fn push(&mut self, stored: oneshot::Receiver<Outcome>, now_ms: u64) {
        let answers = Vec::new();
        self.under_way.push_back(Write {
            stored,
            begun_ms: now_ms,
            answers,
        });
    }

    /// Waits for the oldest write and gives its answers. For ever if there is none. Cancel safe.
    ///
    /// # Errors
    /// It failed, or whether it is stored is not known: what the coordinator has in memory may be ahead of the log for ever.
    pub(super) async fn next(&mut self, now_ms: u64) -> Result<(), WireError> {
        let Some(oldest) = self.under_way.front_mut() else {
            return std::future::pending().await;
        };
        let patience = oldest.patience(now_ms);
        let outcome = timeout(patience, &mut oldest.stored).await;
        let outcome = outcome.map_err(|_| late());
        self.ended(outcome.and_then(|stored| stored.unwrap_or_else(|_| Err(gone()))))
    }

    /// As [`Self::next`], without waiting. `None`: there is none, or it is still under way.
    #[cfg(feature = "sim")]
    pub(super) fn try_next(&mut self, now_ms: u64) -> Option<Result<(), WireError>> {
        use tokio::sync::oneshot::error::TryRecvError;
        let oldest = self.under_way.front_mut()?;
        let outcome = match oldest.stored.try_recv() {
            Ok(outcome) => outcome,
            Err(TryRecvError::Closed) => Err(gone()),
            Err(TryRecvError::Empty) if oldest.patience(now_ms).is_zero() => Err(late()),
            Err(TryRecvError::Empty) => return None,
        };
        Some(self.ended(outcome))
    }

    /// The oldest is stored, or it is not.
    fn ended(&mut self, outcome: Outcome) -> Result<(), WireError> {
        let write = self.under_way.pop_front();
        outcome?;
        let answers = write.into_iter().flat_map(|write| write.answers);
        answers.for_each(Answer::give);
        Ok(())
    }
}

fn gone() -> WireError {
    Broker::shutting_down()
}

fn late() -> WireError {
    WireError::new(
        ErrorCode::TimedOut,
        "the in-sync replicas did not store the group's records in time; whether they will is not known",
    )
}

/// Batches of these records, each within the limit.
fn batches(entries: &[Entry], now_ms: i64, bytes_max: usize) -> Result<Vec<Bytes>, WireError> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(Compression::None);
    for entry in entries {
        let record = NewRecord {
            key: Some(&entry.key),
            value: entry.value.as_deref(),
            timestamp_ms: now_ms,
            ..NewRecord::default()
        };
        if !builder.push_within(&record, bytes_max) {
            batches.extend(builder.build());
            if !builder.push_within(&record, bytes_max) {
                return Err(WireError::new(
                    ErrorCode::RecordTooLarge,
                    format!(
                        "a group's record is larger than {bytes_max} bytes: use fewer members or partitions in one group"
                    ),
                ));
            }
        }
    }
    batches.extend(builder.build());
    Ok(batches)
}

/// Hands records to the owner of the log; whoever does has looked whether it takes any. What is written under an older epoch than `epoch`, or not on all
/// in-sync replicas, fails.
pub(super) fn append(
    broker: &Broker,
    partition: &Arc<Partition>,
    epoch: LeaderEpoch,
    entries: &[Entry],
) -> Result<Vec<oneshot::Receiver<Outcome>>, WireError> {
    let standing = partition.check_leads(Some(epoch))?;
    let limits = Limits {
        batch_bytes_max: standing.max_batch_bytes,
        decompressed_bytes_max: broker.config.limits.decompressed_bytes_max,
    };
    let now_ms = (broker.environment.clock)();
    let mut stored = Vec::new();
    for batch in batches(entries, now_ms, standing.max_batch_bytes)? {
        let (responder, outcome) = Responder::once([None, None]);
        broker.disk.append(Append {
            partition: Arc::clone(partition),
            content: verify(&batch, limits, epoch),
            acks: Acks::All,
            responder,
        });
        stored.push(outcome);
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use taffrail_record::verify;

    use super::*;

    fn entry(bytes: usize) -> Entry {
        Entry {
            key: vec![1; 10],
            value: Some(vec![2; bytes]),
        }
    }

    #[test]
    fn records_are_cut_into_batches_within_the_limit() {
        let entries = [entry(400), entry(400), entry(400)];
        let batches = batches(&entries, 7, 1_000).expect("all fit");
        assert_eq!(batches.len(), 2);
        for batch in &batches {
            assert!(batch.len() <= 1_000);
            verify(batch).expect("valid");
        }
    }

    #[test]
    fn a_record_that_is_too_large_is_refused() {
        let error = batches(&[entry(5_000)], 7, 1_000).expect_err("too large");
        assert_eq!(error.code, ErrorCode::RecordTooLarge);
    }
}
