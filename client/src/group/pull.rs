//! The next event: whoever awaits it drives fetching, commits and changes of the assignment.

use std::{future::poll_fn, sync::Arc, task::Poll};

use futures::FutureExt as _;
use taffrail_api::v1;
use taffrail_core::{ErrorCode, Offset, PartitionIndex, TopicPartition};
use tokio::time::{Instant, sleep_until};

use super::{
    Group, Loss,
    event::{GroupEvent, GroupPartition},
    held::Progress,
    settings::{DeliveryMode, OutOfRange},
    starts::Begin,
};
use crate::{consumer::ConsumedBatch, error::ClientError};

/// What a wait ended with.
enum Woken {
    Read(Result<ConsumedBatch, ClientError>),
    /// The batch that was committed ahead may be handed out, or not.
    Ahead(Result<(), ClientError>),
    Begin(Vec<Begin>),
    /// The partitions that go are committed.
    Committed,
    /// There is something new to look at, or to commit.
    Look,
}

impl Group {
    /// The next batch, or what changed. Waits until there is one.
    ///
    /// With it the application says that it has processed what it was handed out before (unless delivery is `Manual`). Errors of a partition come once each, in
    /// between; the other partitions go on.
    ///
    /// Cancel safe: nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// A partition is out of range and the group's policy is to stop; a batch is damaged; a broker refuses for good; the coordinator refuses the member. What passes
    /// by itself is retried without end.
    pub async fn next(&mut self) -> Result<GroupEvent, ClientError> {
        let _inside = self.shared.enter();
        self.count_as_processed();
        loop {
            let now = Instant::now();
            let seen = self.shared.look(now);
            if seen.life != self.life {
                self.lose(seen.life, seen.loss.unwrap_or(Loss::NotAnswered));
            }
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if let Some(error) = seen.failed {
                return Err(error);
            }
            if let Some(told) = &seen.told {
                self.adopt(told.policy);
            }
            self.follow(seen.told);
            if !self.events.is_empty() {
                continue;
            }
            self.advance(now);
            if now >= self.commit_at {
                self.commit_in_time(now);
            }
            if !self.events.is_empty() {
                continue;
            }
            let woken = match self.at_once().await {
                Some(woken) => woken,
                None => self.wait().await,
            };
            if let Some(event) = self.woken(woken)? {
                return Ok(event);
            }
        }
    }

    /// The next batch. What changes is logged only.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_batch(&mut self) -> Result<ConsumedBatch, ClientError> {
        loop {
            match self.next().await? {
                GroupEvent::Batch(batch) => return Ok(batch),
                event => tracing::debug!(
                    group = self.settings.group,
                    ?event,
                    "the member's partitions changed"
                ),
            }
        }
    }

    fn count_as_processed(&mut self) {
        if self.delivery() == DeliveryMode::Manual {
            return;
        }
        if let Some((at, next)) = self.out.take()
            && let Some(progress) = self.progress(at)
        {
            progress.process(next);
        }
    }

    fn progress(&mut self, at: TopicPartition) -> Option<&mut Progress> {
        self.held.get_mut(&at)?.progress.as_mut()
    }

    fn commit_in_time(&mut self, now: Instant) {
        self.commit_at = now + self.settings.commit_interval;
        // What is refused is tried again with the next one, or is not the member's any more.
        drop(self.commit_due(|_| true));
    }

    /// What is there already. Nothing else is looked at while batches come one after the other.
    async fn at_once(&mut self) -> Option<Woken> {
        if self.change.is_some() || self.ahead.is_some() || !self.starts.is_empty() {
            return None;
        }
        let consumer = &mut self.consumer;
        let read = poll_fn(|cx| Poll::Ready(consumer.poll_next_batch(cx))).await;
        match read {
            Poll::Ready(read) => Some(Woken::Read(read)),
            Poll::Pending => None,
        }
    }

    async fn wait(&mut self) -> Woken {
        let Self {
            changes,
            change,
            starts,
            ahead,
            consumer,
            commit_at,
            ..
        } = self;
        let is_ahead = ahead.is_some();
        tokio::select! {
            biased;
            _ = changes.changed() => Woken::Look,
            () = poll_fn(|cx| match change {
                Some(change) => change.poll_committed(cx),
                None => Poll::Pending,
            }) => Woken::Committed,
            stored = poll_fn(|cx| match ahead {
                Some((_, commit)) => commit.poll_unpin(cx),
                None => Poll::Pending,
            }) => Woken::Ahead(stored),
            begins = poll_fn(|cx| starts.poll_begin(cx)) => Woken::Begin(begins),
            read = poll_fn(|cx| consumer.poll_next_batch(cx)), if !is_ahead => Woken::Read(read),
            () = sleep_until(*commit_at) => Woken::Look,
        }
    }

    fn woken(&mut self, woken: Woken) -> Result<Option<GroupEvent>, ClientError> {
        let now = Instant::now();
        match woken {
            Woken::Look => {}
            Woken::Committed => self.carry_out(now),
            Woken::Begin(begins) => return self.begin(begins, now),
            Woken::Ahead(stored) => return self.hand_out_ahead(stored, now),
            Woken::Read(Ok(batch)) => return Ok(self.read(batch, now)),
            Woken::Read(Err(error)) => return self.failed(error),
        }
        Ok(None)
    }

    fn read(&mut self, batch: ConsumedBatch, now: Instant) -> Option<GroupEvent> {
        let at = place(&batch);
        if self.delivery() != DeliveryMode::AtMostOnce {
            return self.hand_out(batch, false, now);
        }
        let topic = Arc::clone(&self.held.get(&at)?.topic);
        let commit = self.push_commit([(at, (topic, batch.next_offset()))].into());
        self.ahead = Some((batch, commit));
        None
    }

    fn hand_out_ahead(
        &mut self,
        stored: Result<(), ClientError>,
        now: Instant,
    ) -> Result<Option<GroupEvent>, ClientError> {
        let Some((batch, _)) = self.ahead.take() else {
            return Ok(None);
        };
        match stored {
            Ok(()) => Ok(self.hand_out(batch, true, now)),
            // Somebody else's, or reset: the coordinator says what is next.
            Err(error) if error.code() == ErrorCode::NotAssigned => Ok(None),
            Err(error) => {
                let (topic, partition) = (batch.topic(), batch.partition());
                self.consumer.seek(topic, partition, batch.first_offset());
                Err(error)
            }
        }
    }

    /// The last look before the application gets it: the time may be over since.
    fn hand_out(
        &mut self,
        batch: ConsumedBatch,
        is_committed: bool,
        now: Instant,
    ) -> Option<GroupEvent> {
        if self.shared.look(now).life != self.life {
            return None;
        }
        let (at, next) = (place(&batch), batch.next_offset());
        let progress = self.progress(at)?;
        progress.hand_out(next);
        if is_committed {
            progress.process(next);
        } else {
            self.out = Some((at, next));
        }
        Some(GroupEvent::Batch(batch))
    }

    /// Partitions that can be read from now on. The first error, if there is one; all others begin.
    fn begin(
        &mut self,
        begins: Vec<Begin>,
        now: Instant,
    ) -> Result<Option<GroupEvent>, ClientError> {
        let mut failed = None;
        for begin in begins {
            let at = begin.partition();
            let Some(held) = self.held.get_mut(&at).filter(|h| h.since == begin.since) else {
                continue;
            };
            let offset = match begin.offset {
                Ok(offset) => offset,
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            held.progress = Some(Progress::at(offset));
            if held.committed.is_none() {
                // The start policy counts once.
                self.commit_at = now;
            }
            let partition = super::named(at, held);
            self.consumer.place(begin.topic, begin.index, offset);
            self.heed_pause(at);
            self.events
                .push_back(GroupEvent::Started { partition, offset });
        }
        failed.map_or(Ok(None), Err)
    }

    fn failed(&mut self, error: ClientError) -> Result<Option<GroupEvent>, ClientError> {
        match error {
            ClientError::OffsetOutOfRange {
                topic,
                partition,
                offset,
                start,
                end,
            } => {
                let at = self.find(&topic, partition);
                let policy = self.out_of_range();
                let Some(held) = at.and_then(|at| self.held.get_mut(&at)) else {
                    return Ok(None); // it was given up meanwhile
                };
                held.is_stopped = policy == OutOfRange::Stop;
                let resumed = match policy {
                    OutOfRange::Earliest => start,
                    OutOfRange::Latest => end,
                    OutOfRange::Stop => {
                        return Err(ClientError::GroupOutOfRange {
                            group: self.settings.group.clone(),
                            topic,
                            partition,
                            offset,
                            start,
                            end,
                        });
                    }
                };
                if let Some(at) = at.filter(|_| offset < start) {
                    self.shared.tell_lost(v1::MemberLoss {
                        topic_id: at.topic.as_bytes().to_vec().into(),
                        partition: at.partition.0,
                        from: offset.0 as i64,
                        to: start.0 as i64,
                    });
                }
                Ok(self.go_on(&topic, partition, offset, resumed))
            }
            // It was deleted. The coordinator takes it away, and gives the next one of that name.
            ClientError::UnknownTopic { topic } => {
                tracing::warn!(
                    group = self.settings.group,
                    topic,
                    "a topic that is read is gone"
                );
                Ok(None)
            }
            error => Err(error),
        }
    }

    fn go_on(
        &mut self,
        topic: &str,
        partition: PartitionIndex,
        wanted: Offset,
        resumed: Offset,
    ) -> Option<GroupEvent> {
        let at = self.find(topic, partition)?;
        let held = self.held.get_mut(&at)?;
        held.progress = Some(Progress::at(resumed));
        let partition = GroupPartition {
            topic: Arc::clone(&held.topic),
            partition,
        };
        self.consumer.seek(topic, partition.partition, resumed);
        tracing::warn!(group = self.settings.group, topic, partition = %partition.partition, %wanted, %resumed, "the offset is not there (any more), reading goes on elsewhere");
        Some(GroupEvent::OutOfRange {
            partition,
            wanted,
            resumed,
        })
    }
}

pub(super) fn place(batch: &ConsumedBatch) -> TopicPartition {
    TopicPartition {
        topic: batch.topic_id(),
        partition: batch.partition(),
    }
}
