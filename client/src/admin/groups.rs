//! Consumer groups, from outside.

use taffrail_api::v1;
use taffrail_core::{Offset, PartitionIndex, TopicId};

use super::Admin;
use crate::error::ClientError;

/// Where a group is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupOffset {
    /// Whose partition.
    pub topic: TopicId,
    /// Which one.
    pub partition: PartitionIndex,
    /// The next record to read.
    pub offset: Offset,
}

/// The groups of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupList {
    /// By name.
    pub groups: Vec<v1::GroupSummary>,
    /// Partitions of `__offsets` that nobody leads: which groups they keep is not known.
    pub leaderless: Vec<PartitionIndex>,
}

impl Admin {
    /// All groups: every broker that coordinates some is asked.
    ///
    /// # Errors
    /// One of them does not answer within the call timeout.
    pub async fn list_groups(&self) -> Result<GroupList, ClientError> {
        let (answers, leaderless) = self
            .client
            .ask_coordinators(v1::ListGroupsRequest {}, |mut groups, request| async move {
                groups.list_groups(request).await
            })
            .await?;
        let mut groups: Vec<_> = answers
            .into_iter()
            .flat_map(|answer| answer.groups)
            .collect();
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        // A group whose coordinator moved meanwhile may be in two answers.
        groups.dedup_by(|a, b| a.group == b.group);
        Ok(GroupList { groups, leaderless })
    }

    /// Members and committed offsets of a group.
    ///
    /// # Errors
    /// `UNKNOWN_GROUP`: nobody joined or committed. Or its coordinator does not answer within the call timeout.
    pub async fn describe_group(
        &self,
        group: &str,
    ) -> Result<v1::DescribeGroupResponse, ClientError> {
        let request = v1::DescribeGroupRequest {
            group: group.to_owned(),
        };
        self.client
            .ask_coordinator(group, request, |mut groups, request| async move {
                groups.describe_group(request).await
            })
            .await
    }

    /// Sets committed offsets, whoever reads: members go on from there.
    ///
    /// # Errors
    /// `OFFSET_OUT_OF_RANGE`: a partition has no such offset; then nothing is set. A partition is refused otherwise, its leader does not answer, or the coordinator does not answer within the call timeout.
    pub async fn reset_group(
        &self,
        group: &str,
        offsets: &[GroupOffset],
    ) -> Result<(), ClientError> {
        let offset = |to: &GroupOffset| v1::CommittedOffset {
            topic_id: to.topic.as_bytes().to_vec().into(),
            partition: to.partition.0,
            offset: to.offset.0 as i64,
            metadata: String::new(),
        };
        let request = v1::ResetOffsetsRequest {
            group: group.to_owned(),
            offsets: offsets.iter().map(offset).collect(),
        };
        self.client
            .ask_coordinator(group, request, |mut groups, request| async move {
                groups.reset_offsets(request).await
            })
            .await
            .map(|_| ())
    }

    /// Forgets a group and its offsets.
    ///
    /// # Errors
    /// `GROUP_NOT_EMPTY`: it has members. `UNKNOWN_GROUP`, or the coordinator does not answer within the call timeout.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let request = v1::DeleteGroupRequest {
            group: group.to_owned(),
        };
        self.client
            .ask_coordinator(group, request, |mut groups, request| async move {
                groups.delete_group(request).await
            })
            .await
            .map(|_| ())
    }
}
