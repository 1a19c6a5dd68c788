//! Commits on their way. One at a time is with the coordinator, so that none of a partition overtakes another; those that wait are joined.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use taffrail_api::WireError;
use taffrail_core::{ErrorCode, GroupEpoch, Offset, TopicPartition};
use tokio::sync::oneshot;

use crate::error::ClientError;

/// Partitions that were refused, and why; or nothing is known of any.
type Outcome = Result<Arc<Vec<(TopicPartition, WireError)>>, ClientError>;

/// Offsets of one assignment.
#[derive(Debug)]
struct Waiting {
    life: u64,
    epoch: GroupEpoch,
    offsets: BTreeMap<TopicPartition, Offset>,
    refused: Vec<(TopicPartition, WireError)>,
    waiters: Vec<oneshot::Sender<Outcome>>,
    /// It is with the coordinator, or was: nothing is added to it any more.
    is_sent: bool,
}

impl Waiting {
    fn end(self, outcome: Result<(), ClientError>) {
        let outcome = outcome.map(|()| Arc::new(self.refused));
        for waiter in self.waiters {
            // Nobody has to wait.
            let _ = waiter.send(outcome.clone());
        }
    }
}

/// In the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct CommitQueue {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    /// What the coordinator has, and under which assignment it was committed.
    stored: BTreeMap<TopicPartition, (GroupEpoch, Offset)>,
}

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) epoch: GroupEpoch,
    pub(super) offsets: BTreeMap<TopicPartition, Offset>,
}

impl CommitQueue {
    /// These offsets are to be committed.
    pub(super) fn push(
        &self,
        life: u64,
        epoch: GroupEpoch,
        offsets: BTreeMap<TopicPartition, (Arc<str>, Offset)>,
    ) -> Commit {
        let (waiter, outcome) = oneshot::channel();
        let plain = offsets.iter().map(|(at, (_, offset))| (*at, *offset));
        let mut inner = self.inner();
        let joins = |last: &&mut Waiting| !last.is_sent && last.epoch == epoch && last.life == life;
        match inner.waiting.back_mut().filter(joins) {
            Some(last) => {
                last.offsets.extend(plain);
                last.waiters.retain(|waiter| !waiter.is_closed());
                last.waiters.push(waiter);
            }
            None => inner.waiting.push_back(Waiting {
                life,
                epoch,
                offsets: plain.collect(),
                refused: Vec::new(),
                waiters: vec![waiter],
                is_sent: false,
            }),
        }
        drop(inner);
        Commit {
            topics: offsets
                .into_iter()
                .map(|(at, (topic, _))| (at, topic))
                .collect(),
            outcome: Some(outcome),
        }
    }

    /// The first one, if it is of this life; those of former lives fail.
    pub(super) fn first(&self, life: u64) -> Option<Sending> {
        let mut inner = self.inner();
        while let Some(first) = inner.waiting.pop_front() {
            if first.life == life {
                let sending = Sending {
                    epoch: first.epoch,
                    offsets: first.offsets.clone(),
                };
                inner.waiting.push_front(Waiting {
                    is_sent: true,
                    ..first
                });
                return Some(sending);
            }
            first.end(Err(lost()));
        }
        None
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inner().waiting.is_empty()
    }

    /// The first one was answered. What was refused for now stays, to be sent again before anything else: true.
    pub(super) fn answered(&self, refused: Vec<(TopicPartition, WireError)>) -> bool {
        let mut inner = self.inner();
        let Some(mut first) = inner.waiting.pop_front() else {
            return false;
        };
        let mut again = BTreeMap::new();
        for (partition, error) in refused {
            let offset = first.offsets.remove(&partition);
            match offset {
                Some(offset) if error.retriable => {
                    again.insert(partition, offset);
                }
                _ => first.refused.push((partition, error)),
            }
        }
        for (partition, offset) in std::mem::replace(&mut first.offsets, again) {
            inner.stored.insert(partition, (first.epoch, offset));
        }
        let stays = !first.offsets.is_empty();
        if stays {
            inner.waiting.push_front(first);
        } else {
            first.end(Ok(()));
        }
        stays
    }

    /// The member's life is over: nothing of it is committed any more.
    pub(super) fn lose(&self) {
        let mut inner = self.inner();
        inner.stored.clear();
        for waiting in inner.waiting.drain(..) {
            waiting.end(Err(lost()));
        }
    }

    /// What was committed of a partition since that assignment.
    pub(super) fn stored(&self, partition: &TopicPartition, since: GroupEpoch) -> Option<Offset> {
        let inner = self.inner();
        let stored = inner.stored.get(partition);
        stored.filter(|(epoch, _)| *epoch >= since).map(|(_, o)| *o)
    }

    /// Only these partitions matter from now on.
    pub(super) fn retain(&self, is_held: impl Fn(&TopicPartition) -> bool) {
        self.inner()
            .stored
            .retain(|partition, _| is_held(partition));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost() -> ClientError {
    WireError::new(
        ErrorCode::NotAssigned,
        "the member lost its partitions before the commit was stored; whoever has them begins at the commit before",
    )
    .into()
}

/// A commit on its way: a future. Dropping it changes nothing, the commit goes on.
#[derive(Debug)]
#[must_use = "await it to know whether the offsets were committed"]
pub struct Commit {
    topics: BTreeMap<TopicPartition, Arc<str>>,
    /// `None`: there was nothing to commit.
    outcome: Option<oneshot::Receiver<Outcome>>,
}

impl Commit {
    pub(super) const fn nothing() -> Self {
        Self {
            topics: BTreeMap::new(),
            outcome: None,
        }
    }
}

impl Future for Commit {
    type Output = Result<(), ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(outcome) = &mut self.outcome else {
            return Poll::Ready(Ok(()));
        };
        let outcome = ready!(Pin::new(outcome).poll(cx));
        self.outcome = None;
        let refused = outcome.unwrap_or_else(|_| Err(lost()))?;
        let ours = refused.iter().find_map(|(at, error)| {
            let topic = self.topics.get(at)?;
            Some(ClientError::NotCommitted {
                topic: topic.to_string(),
                partition: at.partition,
                source: error.clone(),
            })
        });
        Poll::Ready(ours.map_or(Ok(()), Err))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use taffrail_core::{PartitionIndex, TopicId};

    use super::*;

    const E1: GroupEpoch = GroupEpoch(1);
    const E2: GroupEpoch = GroupEpoch(2);

    fn at(partition: u32) -> TopicPartition {
        TopicPartition {
            topic: TopicId::from_bytes([7; 16]),
            partition: PartitionIndex(partition),
        }
    }

    fn push(queue: &CommitQueue, epoch: GroupEpoch, partition: u32, offset: u64) -> Commit {
        let offsets = [(at(partition), ("flights".into(), Offset(offset)))];
        queue.push(0, epoch, offsets.into())
    }

    fn first(queue: &CommitQueue) -> Vec<(u32, u64)> {
        let offsets = queue.first(0).expect("one waits").offsets;
        offsets
            .iter()
            .map(|(at, o)| (at.partition.0, o.0))
            .collect()
    }

    fn refused(partition: u32, code: ErrorCode) -> Vec<(TopicPartition, WireError)> {
        vec![(at(partition), WireError::new(code, "no"))]
    }

    #[test]
    fn those_that_wait_are_joined_and_the_one_that_was_sent_stays_as_it_is() {
        let queue = CommitQueue::default();
        let mut sent = push(&queue, E1, 0, 10);
        assert_eq!(first(&queue), [(0, 10)]);
        let mut later = push(&queue, E1, 0, 20);
        let mut last = push(&queue, E1, 1, 5);
        assert_eq!(first(&queue), [(0, 10)], "as on a new stream");
        assert!(!queue.answered(Vec::new()));
        assert_eq!((&mut sent).now_or_never(), Some(Ok(())));
        assert_eq!((&mut later).now_or_never(), None);
        assert_eq!(first(&queue), [(0, 20), (1, 5)]);
        assert!(!queue.answered(refused(1, ErrorCode::NotAssigned)));
        assert_eq!(
            (&mut later).now_or_never(),
            Some(Ok(())),
            "not of its partition"
        );
        let error = (&mut last)
            .now_or_never()
            .expect("answered")
            .expect_err("refused");
        assert_eq!(error.code(), ErrorCode::NotAssigned);
        assert!(queue.is_empty());
    }

    #[test]
    fn one_that_is_refused_for_now_goes_before_all_later_ones() {
        let queue = CommitQueue::default();
        let mut commit = push(&queue, E1, 0, 10);
        first(&queue);
        drop(push(&queue, E1, 0, 20));
        assert!(queue.answered(refused(0, ErrorCode::TimedOut)));
        assert_eq!((&mut commit).now_or_never(), None);
        assert_eq!(first(&queue), [(0, 10)]);
    }

    #[test]
    fn one_of_an_earlier_assignment_is_never_sent_as_one_of_a_later_one() {
        let queue = CommitQueue::default();
        drop(push(&queue, E1, 0, 10));
        drop(push(&queue, E2, 1, 20));
        assert_eq!(queue.first(0).map(|sending| sending.epoch), Some(E1));
        assert_eq!(first(&queue), [(0, 10)]);
        queue.answered(Vec::new());
        assert_eq!(queue.first(0).map(|sending| sending.epoch), Some(E2));
        assert_eq!(queue.stored(&at(0), E1), Some(Offset(10)));
        assert_eq!(queue.stored(&at(0), E2), None, "its offset was reset since");
    }

    #[test]
    fn those_of_a_former_life_fail() {
        let queue = CommitQueue::default();
        let mut commit = push(&queue, E1, 0, 10);
        assert!(queue.first(1).is_none());
        let error = (&mut commit)
            .now_or_never()
            .expect("decided")
            .expect_err("lost");
        assert_eq!(error.code(), ErrorCode::NotAssigned);
    }
}
