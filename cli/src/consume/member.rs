//! Batches that a consumer group has not read yet, to where the topic ended or for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use taffrail_api::v1::GroupState;
use taffrail_client::{
    Client, ConsumedBatch, ConsumerConfig, Group, GroupEvent, GroupPartition, Offset,
    PartitionIndex,
};
use tokio::time::timeout;

use super::Until;
use crate::{
    connect::{self, client_failure},
    failure::{Failure, Outcome},
    time::From,
};

/// How often a group whose partitions move is asked whether they have arrived.
const SETTLED_INTERVAL: Duration = Duration::from_millis(250);

/// As whom a topic is read.
#[derive(Debug, Clone)]
pub(crate) struct As {
    pub(crate) group: String,
    pub(crate) instance_id: Option<String>,
    /// Where it begins if nothing is committed.
    pub(crate) from: From,
    pub(crate) consumer: ConsumerConfig,
}

/// A member of a group.
pub(crate) struct Member {
    client: Client,
    name: String,
    group: Group,
    /// Where the partitions ended when it joined; `None`: it does not matter.
    ends: Option<BTreeMap<u32, u64>>,
    /// What it has and has not read to the end.
    open: BTreeSet<u32>,
    was_assigned: bool,
    /// Partition and next offset of what was printed last.
    printed: Option<(PartitionIndex, Offset)>,
}

impl Member {
    /// Joins the group.
    ///
    /// # Errors
    /// The topic or the group's coordinator cannot be found, or refuses.
    pub(crate) async fn join(client: &Client, topic: &str, who: As, until: Until) -> Outcome<Self> {
        let start = who.from.start().ok_or_else(|| {
            Failure::usage(
                "each partition counts its own offsets; with --group write --from earliest, latest or a time, and move a group with taffrail groups reset",
            )
        })?;
        let ends = match until {
            Until::Stopped => None,
            Until::End => Some(connect::ends(client, topic).await?),
        };
        let mut builder = client
            .group(&who.group)
            .topic(topic)
            .client_name("taffrail consume")
            .start(start)
            .consumer(who.consumer);
        if let Some(instance_id) = who.instance_id {
            builder = builder.instance_id(instance_id);
        }
        let group = builder.join().await;
        Ok(Self {
            client: client.clone(),
            name: who.group,
            group: group.map_err(|error| client_failure(&error))?,
            ends,
            open: BTreeSet::new(),
            was_assigned: false,
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
            let is_read = self.ends.is_some() && self.was_assigned && self.open.is_empty();
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
            match event.map_err(|error| client_failure(&error))? {
                GroupEvent::Batch(batch) => {
                    self.reached(batch.partition().0, batch.next_offset());
                    return Ok(Some(batch));
                }
                event => self.changed(event),
            }
        }
    }

    fn changed(&mut self, event: GroupEvent) {
        match event {
            GroupEvent::Assigned(partitions) => {
                self.was_assigned = true;
                self.open.extend(partitions.iter().map(|p| p.partition.0));
            }
            GroupEvent::Started { partition, offset } => {
                self.reached(partition.partition.0, offset);
            }
            GroupEvent::Revoked(partitions) => self.gone(&partitions),
            GroupEvent::Lost { partitions, why } => {
                eprintln!("{} partitions were lost: {why}", partitions.len());
                self.gone(&partitions);
                self.was_assigned = false;
            }
            GroupEvent::Batch(_) | GroupEvent::OutOfRange { .. } => {}
        }
    }

    fn gone(&mut self, partitions: &[GroupPartition]) {
        for partition in partitions {
            self.open.remove(&partition.partition.0);
        }
    }

    fn reached(&mut self, partition: u32, next: Offset) {
        let end = |ends: &BTreeMap<u32, u64>| ends.get(&partition).copied().unwrap_or(0);
        if self.ends.as_ref().is_some_and(|ends| next.0 >= end(ends)) {
            self.open.remove(&partition);
        }
    }

    /// A record was printed.
    pub(crate) fn printed(&mut self, partition: PartitionIndex, offset: Offset) {
        self.printed = Some((partition, offset.plus(1)));
    }

    /// Commits what was printed, and leaves the group.
    ///
    /// # Errors
    /// It could not be committed.
    pub(crate) async fn close(mut self, topic: &str) -> Outcome {
        if let Some((partition, next)) = self.printed
            && self.group.position(topic, partition).is_some()
        {
            let commit = self.group.begin_commit_of(topic, partition, next);
            // Leaving waits for it, and says whether it was stored.
            drop(commit.map_err(|error| client_failure(&error))?);
        }
        let closed = self.group.close().await;
        closed.map_err(|error| client_failure(&error))
    }
}

/// Partitions do not move just now: there are no others to wait for.
async fn is_settled(client: &Client, group: &str) -> Outcome<bool> {
    let described = client.admin().describe_group(group).await;
    let described = described.map_err(|error| client_failure(&error))?;
    Ok(described.state() != GroupState::GroupAssigning)
}
