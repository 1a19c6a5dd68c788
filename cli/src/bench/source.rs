//! Where measured batches come from: a consumer of one's own, or the only member of a group.

use taffrail_client::{
    Client, ConsumedBatch, ConsumerConfig, Group, GroupOffset, Offset, PartitionIndex,
};
use taffrail_core::ErrorCode;

use crate::{
    connect::{self, client_failure},
    consume::{Reader, Until},
    failure::{Failure, Outcome},
    time::From,
};

/// Gives one batch after the other.
pub(super) enum Source {
    Reader(Box<Reader>),
    Member(Box<Group>),
}

impl Source {
    /// All partitions of a topic, from the first record on or where the group is.
    pub(super) async fn open(client: &Client, topic: &str, group: Option<&str>) -> Outcome<Self> {
        match group {
            Some(group) => Self::join(client, topic, group).await,
            None => Self::assign(client, topic, From::Earliest).await,
        }
    }

    /// The same from the end on. The group is a new one: records that somebody's group has not read are not skipped.
    pub(super) async fn open_at_end(
        client: &Client,
        topic: &str,
        group: Option<&str>,
    ) -> Outcome<Self> {
        let Some(group) = group else {
            return Self::assign(client, topic, From::Latest).await;
        };
        match client.admin().describe_group(group).await {
            Err(error) if error.code() == ErrorCode::UnknownGroup => {}
            Err(error) => return Err(client_failure(&error)),
            Ok(_) => {
                return Err(Failure::usage(format!(
                    "the group {group} is there already, and would skip what it has not read: give --group a name that nobody uses"
                )));
            }
        }
        // Committed before it has a member: what is sent once that has joined is read, however soon.
        commit_ends(client, topic, group).await?;
        Self::join(client, topic, group).await
    }

    async fn assign(client: &Client, topic: &str, from: From) -> Outcome<Self> {
        let starts = connect::starts(client, topic, None, from).await?;
        let config = ConsumerConfig::default();
        let reader = Reader::open(client, topic, starts, Until::Stopped, config).await?;
        Ok(Self::Reader(Box::new(reader)))
    }

    async fn join(client: &Client, topic: &str, group: &str) -> Outcome<Self> {
        let member = client.group(group).topic(topic).join().await;
        let member = member.map_err(|error| client_failure(&error))?;
        Ok(Self::Member(Box::new(member)))
    }

    /// The next one; `None`: there is none.
    pub(super) async fn next(&mut self) -> Outcome<Option<ConsumedBatch>> {
        match self {
            Self::Reader(reader) => reader.next().await,
            Self::Member(group) => {
                let batch = group.next_batch().await;
                batch.map(Some).map_err(|error| client_failure(&error))
            }
        }
    }

    /// Leaves the group.
    pub(super) async fn close(self) -> Outcome {
        match self {
            Self::Reader(_) => Ok(()),
            Self::Member(group) => group.close().await.map_err(|error| client_failure(&error)),
        }
    }
}

async fn commit_ends(client: &Client, topic: &str, group: &str) -> Outcome {
    let id = connect::require_topic(client, topic).await?.id;
    let ends = connect::ends(client, topic).await?;
    let offset = |(partition, end)| GroupOffset {
        topic: id,
        partition: PartitionIndex(partition),
        offset: Offset(end),
    };
    let offsets: Vec<_> = ends.into_iter().map(offset).collect();
    let set = client.admin().reset_group(group, &offsets).await;
    set.map_err(|error| client_failure(&error))
}
