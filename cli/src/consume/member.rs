//! Batches that a consumer group has not read yet, to where the topic ended or for ever.

use std::{sync::Arc, time::Duration};

use taffrail_api::v1::GroupState;
use taffrail_client::{
    Client, ClientError, ConsumedBatch, ConsumedRecord, ConsumerConfig, Group, GroupEvent,
    GroupPartition, Offset,
};
use taffrail_core::ErrorCode;
use tokio::time::timeout;

use super::{Until, unread::Unread};
use crate::{
    connect::{self, client_failure},
    failure::{Failure, Outcome},
    time::From,
};

/// How often a group whose partitions move is asked whether they have arrived.
const SETTLED_INTERVAL: Duration = Duration::from_millis(250);

/// As whom, and of what, is read.
#[derive(Debug, Clone)]
pub(crate) struct As {
    pub(crate) group: String,
    /// `None`: what the group's policy names.
    pub(crate) topic: Option<String>,
    pub(crate) instance_id: Option<String>,
    pub(crate) rack: Option<String>,
    /// Where it begins if nothing is committed.
    pub(crate) from: From,
    pub(crate) consumer: ConsumerConfig,
}

/// A member of a group.
pub(crate) struct Member {
    client: Client,
    name: String,
    group: Group,
    /// What it has and has not read to the end; `None`: there is no end.
    unread: Option<Unread>,
    /// Given to it, and not looked at yet.
    gained: Vec<GroupPartition>,
    was_assigned: bool,
    /// Why a partition is not read on; the others are.
    stopped: Option<Failure>,
    /// Partition and next offset of what was printed last.
    printed: Option<(GroupPartition, Offset)>,
}

impl Member {
    /// Joins the group.
    ///
    /// # Errors
    /// The topic or the group's coordinator cannot be found, or refuses.
    pub(crate) async fn join(client: &Client, who: As, until: Until) -> Outcome<Self> {
        let start = who.from.start().ok_or_else(|| {
            Failure::usage(
                "each partition counts its own offsets; with --group write --from earliest, latest or a time, and move a group with taffrail groups reset",
            )
        })?;
        let mut unread = match until {
            Until::Stopped => None,
            Until::End => Some(Unread::default()),
        };
        if let (Some(unread), Some(topic)) = (&mut unread, &who.topic) {
            let ends = connect::ends(client, topic).await?;
            unread.ends_at(topic.as_str().into(), ends);
        }
        let mut builder = client
            .group(&who.group)
            .client_name("taffrail consume")
            .rack(who.rack.unwrap_or_default())
            .start(start)
            .consumer(who.consumer);
        if let Some(topic) = &who.topic {
            builder = builder.topic(topic);
        }
        if let Some(instance_id) = who.instance_id {
            builder = builder.instance_id(instance_id);
        }
        let group = builder.join().await;
        let group = group.map_err(|error| not_joined(&error, who.topic.is_some()))?;
        Ok(Self {
            client: client.clone(),
            name: who.group,
            group,
            unread,
            gained: Vec::new(),
            was_assigned: false,
            stopped: None,
            printed: None,
        })
    }

    /// The next batch; `None` when reading is over.
    ///
    /// Cancel safe: a batch that was not returned comes again.
    ///
    /// # Errors
    /// A partition cannot be read.
    pub(crate) async fn next(&mut self) -> Outcome<Option<ConsumedBatch>> {
        loop {
            self.look_at_gained().await?;
            let unread = self.unread.as_ref();
            let is_read = self.was_assigned && unread.is_some_and(Unread::is_empty);
            if is_read && is_settled(&self.client, &self.name).await? {
                return Ok(None);
            }
            let next = self.group.next();
            let event = if is_read {
                match timeout(SETTLED_INTERVAL, next).await {
                    Ok(event) => event,
                    Err(_elapsed) => continue,
                }
            } else {
                next.await
            };
            match event {
                Ok(GroupEvent::Assigned(partitions)) => {
                    self.was_assigned = true;
                    self.gained.extend(partitions);
                    if self.group.partitions().is_empty() {
                        self.say_if_nothing_matches().await;
                    }
                }
                Ok(GroupEvent::Batch(batch)) => {
                    let partition = GroupPartition {
                        topic: Arc::clone(batch.topic()),
                        partition: batch.partition(),
                    };
                    self.reached(&partition, batch.next_offset());
                    return Ok(Some(batch));
                }
                Ok(event) => self.changed(event),
                Err(error) => self.stopped_at(&error)?,
            }
        }
    }

    /// A partition waits until somebody resets it; that is no reason to stop reading the others, nor to leave it to another member.
    fn stopped_at(&mut self, error: &ClientError) -> Outcome {
        let failure = client_failure(error);
        let ClientError::GroupOutOfRange {
            topic, partition, ..
        } = error
        else {
            return Err(failure);
        };
        eprintln!("{failure}");
        self.gone(&[GroupPartition {
            topic: topic.as_str().into(),
            partition: *partition,
        }]);
        self.stopped = Some(failure.note("not all partitions were read"));
        Ok(())
    }

    fn changed(&mut self, event: GroupEvent) {
        match event {
            GroupEvent::Started { partition, offset } => self.reached(&partition, offset),
            GroupEvent::Revoked(partitions) => self.gone(&partitions),
            GroupEvent::Lost { partitions, why } => {
                eprintln!("{} partitions were lost: {why}", partitions.len());
                self.gone(&partitions);
                self.was_assigned = false;
            }
            GroupEvent::OutOfRange {
                partition,
                wanted,
                resumed,
            } => {
                let GroupPartition {
                    topic,
                    partition: index,
                } = &partition;
                eprintln!(
                    "offset {wanted} of {topic}/{index} is out of range, reading goes on at {resumed}, as the group's policy says"
                );
                self.reached(&partition, resumed);
            }
            GroupEvent::Assigned(_) | GroupEvent::Batch(_) => {}
        }
    }

    /// Other members may have all there is; or there is nothing, and somebody misspelled a name.
    async fn say_if_nothing_matches(&self) {
        let described = self.client.admin().describe_group(&self.name).await;
        let Ok(described) = described else {
            return; // it is only a hint
        };
        let me = self.group.member_id();
        let mut members = described.members.iter();
        let found = members.find(|member| member.member_id[..] == me.as_bytes()[..]);
        if found.is_some_and(|member| member.topic_ids.is_empty()) {
            eprintln!(
                "nothing to read: no topic there is matches what this member reads; see: taffrail groups describe {}",
                self.name
            );
        }
    }

    /// Of topics that come up for the first time it is asked where they end.
    async fn look_at_gained(&mut self) -> Outcome {
        if let Some(unread) = &mut self.unread {
            for partition in &self.gained {
                if !unread.knows(&partition.topic) {
                    let ends = connect::ends(&self.client, &partition.topic).await?;
                    unread.ends_at(Arc::clone(&partition.topic), ends);
                }
            }
            unread.assigned(&self.gained);
        }
        self.gained.clear();
        Ok(())
    }

    fn gone(&mut self, partitions: &[GroupPartition]) {
        if let Some(unread) = &mut self.unread {
            unread.gone(partitions);
        }
    }

    fn reached(&mut self, partition: &GroupPartition, next: Offset) {
        if let Some(unread) = &mut self.unread {
            unread.reached(partition, next);
        }
    }

    /// A record was printed.
    pub(crate) fn printed(&mut self, record: &ConsumedRecord) {
        let partition = GroupPartition {
            topic: Arc::clone(&record.topic),
            partition: record.partition,
        };
        self.printed = Some((partition, record.offset.plus(1)));
    }

    /// Commits what was printed, and leaves the group.
    ///
    /// # Errors
    /// It could not be committed; or all was to be read to its end, and a partition was not.
    pub(crate) async fn close(mut self) -> Outcome {
        if let Some((at, next)) = self.printed
            && self.group.position(&at.topic, at.partition).is_some()
        {
            let commit = self.group.begin_commit_of(&at.topic, at.partition, next);
            // Leaving waits for it, and says whether it was stored.
            drop(commit.map_err(|error| client_failure(&error))?);
        }
        let closed = self.group.close().await;
        closed.map_err(|error| client_failure(&error))?;
        match self.stopped.filter(|_| self.unread.is_some()) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

fn not_joined(error: &ClientError, names_topic: bool) -> Failure {
    let failure = client_failure(error);
    if names_topic || error.code() != ErrorCode::InvalidRequest {
        return failure;
    }
    failure.hint(
        "name a topic: taffrail consume TOPIC --group NAME\n  or write spec.topics of the group's ConsumerGroup",
    )
}

/// Partitions do not move just now: there are no others to wait for.
async fn is_settled(client: &Client, group: &str) -> Outcome<bool> {
    let described = client.admin().describe_group(group).await;
    let described = described.map_err(|error| client_failure(&error))?;
    Ok(described.state() != GroupState::GroupAssigning)
}
