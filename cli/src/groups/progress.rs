//! How far a group has read, by partition.

use std::collections::{BTreeMap, HashMap};

use taffrail_api::v1;
use taffrail_client::{Client, Metadata, PartitionIndex, Start};
use taffrail_core::{MemberId, TopicId};

use super::statuses;
use crate::{
    connect::client_failure,
    failure::Outcome,
    view::{Progress, ProgressView},
};

/// What a coordinator said of one partition.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) committed: Option<u64>,
    committed_at_ms: Option<i64>,
    member: Option<String>,
    revoking: bool,
}

/// By topic and partition.
pub(super) type ByPartition = BTreeMap<(String, u32), Known>;

/// Of the group of this name.
///
/// # Errors
/// There is no such group, or its coordinator or a leader does not answer.
pub(super) async fn of_group(client: &Client, group: &str) -> Outcome<Progress> {
    let described = client.admin().describe_group(group).await;
    let described = described.map_err(|error| client_failure(&error))?;
    of_description(client, &described).await
}

/// Of what its coordinator said.
///
/// # Errors
/// A leader does not answer.
pub(super) async fn of_description(
    client: &Client,
    described: &v1::DescribeGroupResponse,
) -> Outcome<Progress> {
    let metadata = client.metadata(&[]).await;
    let metadata = metadata.map_err(|error| client_failure(&error))?;
    let known = by_partition(&metadata, described);
    let queries: Vec<_> = known
        .keys()
        .map(|(topic, index)| (topic.clone(), PartitionIndex(*index), Start::Latest))
        .collect();
    let ends = client.offsets(&queries).await;
    let ends = ends.map_err(|error| client_failure(&error))?;
    let group = std::slice::from_ref(&described.group);
    let status = statuses(&client.admin(), group).await;
    let status = status.get(&described.group);
    let fares = |topic: &str, partition: u32| {
        let mut partitions = status?.partitions.iter();
        partitions.find(|p| p.topic == topic && p.partition == partition)
    };
    let view = |(((topic, partition), known), end): (((String, u32), Known), u64)| ProgressView {
        lag_ms: fares(&topic, partition).map(|fares| fares.lag_ms),
        loses_data_at: ProgressView::at(
            fares(&topic, partition).and_then(|fares| fares.loses_data_at_ms),
        ),
        loses_data_at_ms: fares(&topic, partition).and_then(|fares| fares.loses_data_at_ms),
        topic,
        partition,
        committed: known.committed,
        end,
        lag: known
            .committed
            .map(|committed| end.saturating_sub(committed)),
        member: known.member,
        revoking: known.revoking,
        committed_at: ProgressView::at(known.committed_at_ms),
        committed_at_ms: known.committed_at_ms,
    };
    let rows = known.into_iter().zip(ends.into_iter().map(|end| end.0));
    Ok(Progress(rows.map(view).collect()))
}

/// What is committed or belongs to a member. Topics that are gone are left out.
pub(super) fn by_partition(
    metadata: &Metadata,
    described: &v1::DescribeGroupResponse,
) -> ByPartition {
    let topics = metadata.topics.values();
    let names: HashMap<TopicId, &str> = topics.map(|topic| (topic.id, &*topic.name)).collect();
    let place = |id: &[u8], partition: u32| {
        let name = names.get(&TopicId::try_from(id).ok()?)?;
        Some(((*name).to_owned(), partition))
    };
    let mut found = ByPartition::new();
    for offset in &described.offsets {
        if let Some(committed) = &offset.committed
            && let Some(place) = place(&committed.topic_id, committed.partition)
        {
            let known = found.entry(place).or_default();
            known.committed = u64::try_from(committed.offset).ok();
            known.committed_at_ms = Some(offset.committed_at_ms);
        }
    }
    for member in &described.members {
        for held in &member.partitions {
            if let Some(place) = place(&held.topic_id, held.partition) {
                let known = found.entry(place).or_default();
                known.member = Some(member_name(member));
                known.revoking = held.revoking;
            }
        }
    }
    found
}

/// What people call it: its instance id, or else its id.
pub(crate) fn member_name(member: &v1::GroupMember) -> String {
    if !member.instance_id.is_empty() {
        return member.instance_id.clone();
    }
    MemberId::try_from(&member.member_id[..]).map_or_else(|_| "?".to_owned(), |id| id.to_string())
}
