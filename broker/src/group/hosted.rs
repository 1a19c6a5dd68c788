//! A group and the connections of its members.

use std::collections::BTreeMap;

use taffrail_api::{
    WireError,
    convert::{self, offset_to_wire},
    v1,
};
use taffrail_core::{
    ErrorCode, GroupEpoch, MemberId, TopicId, TopicPartition,
    group::{Committed, Group, GroupState, Member},
};

use super::{
    catalog::Topics,
    event::{Sink, StreamId},
    records::{Entry, forgotten_members_entry, offset_entry},
    write::Answer,
};
use crate::cluster::view::topic_id_bytes;

/// Of one group in a report: a heartbeat must not grow without end. Of a larger group the rest is not reported.
const REPORT_OFFSETS_MAX: usize = 100_000;
/// A loss is in reports for so long: one of them arrives, be it at the next controller.
const LOST_MS: u64 = 10 * 60_000;

/// A group as its coordinator has it.
#[derive(Debug)]
pub(super) struct Hosted {
    pub(super) group: Group,
    pub(super) streams: BTreeMap<MemberId, Stream>,
    /// Records of it that cannot be read, by what they are about, and why: it is not served then.
    pub(super) unreadable: BTreeMap<Option<TopicPartition>, String>,
    /// When something was last heard of it, by the broker's uptime. `None`: nothing since it was read from the log.
    pub(super) heard_ms: Option<u64>,
    /// Records that were gone before it read them, by partition, and when a member said so.
    lost: BTreeMap<TopicPartition, (v1::MemberLoss, u64)>,
    /// The controller has something to hear of it.
    pub(super) is_news: bool,
    /// The controller may know it.
    pub(super) is_reported: bool,
}

/// A member's connection.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) sink: Sink,
    /// The assignment that was told on it; `None`: none yet.
    pub(super) told: Option<GroupEpoch>,
}

impl Hosted {
    pub(super) fn new(group: Group) -> Self {
        Self {
            group,
            streams: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            heard_ms: None,
            lost: BTreeMap::new(),
            is_news: true,
            is_reported: false,
        }
    }

    /// Is there nothing to know of it?
    pub(super) fn is_forgotten(&self) -> bool {
        !self.group.exists() && self.unreadable.is_empty()
    }

    /// Was nobody in it for so long that it may go? `wall_ms` says how old is what was read from the log; of what was heard since then the uptime says it,
    /// which does not jump.
    pub(super) fn is_dead(&self, wall_ms: u64, uptime_ms: u64, retention_ms: u64) -> bool {
        let retention_ms = self.group.offset_retention_ms(retention_ms);
        let has_members = self.group.members().len() > 0;
        let is_over = match self.heard_ms {
            Some(heard_ms) => uptime_ms.saturating_sub(heard_ms) >= retention_ms,
            None => self.group.is_dead(wall_ms, retention_ms),
        };
        self.unreadable.is_empty() && !has_members && is_over
    }

    /// Can all of it be read?
    pub(super) fn check_readable(&self) -> Result<(), WireError> {
        match self.unreadable.values().next() {
            None => Ok(()),
            Some(what) => Err(WireError::new(
                ErrorCode::UnreadableGroup,
                format!(
                    "the group's state cannot be read ({what}); other groups are served; to begin anew, delete the group (taffrail groups delete)"
                ),
            )),
        }
    }

    /// Its members do not fit into a record: what they were told last is what is stored, and nothing can be added to it. No other group notices.
    pub(super) fn is_too_large(&mut self, bytes_max: usize) {
        let what = format!(
            "its members and what they read do not fit into {bytes_max} bytes: use fewer members, topics or partitions"
        );
        self.unreadable.insert(None, what);
        let Err(why) = self.check_readable() else {
            return;
        };
        for member in self.streams.keys().copied().collect::<Vec<_>>() {
            self.end_stream(member, &why);
        }
    }

    /// Records that forget everything.
    pub(super) fn forget(&self, name: &str) -> Vec<Entry> {
        let offsets = self.group.offsets().map(|(partition, _)| partition);
        let unreadable = self.unreadable.keys().copied().flatten();
        let mut entries: Vec<_> = offsets
            .chain(unreadable)
            .map(|partition| offset_entry(name, partition, None))
            .collect();
        entries.push(forgotten_members_entry(name));
        entries
    }

    /// The stream of a member, if it is still this one.
    pub(super) fn stream(&mut self, member: MemberId, id: StreamId) -> Option<&mut Stream> {
        self.streams
            .get_mut(&member)
            .filter(|stream| stream.id == id)
    }

    /// A stream ends, and says why. The member has until its deadline to come back.
    pub(super) fn end_stream(&mut self, member: MemberId, why: &WireError) {
        if let Some(stream) = self.streams.remove(&member) {
            stream.sink.end(why);
        }
        self.group.disconnected(member);
    }

    /// A member went on behind records of a topic that were gone. `None`: it is known already, or of what others read.
    pub(super) fn has_lost(
        &mut self,
        member: MemberId,
        lost: v1::MemberLoss,
        now_ms: u64,
    ) -> Option<TopicId> {
        let partition = convert::topic_partition(&lost.topic_id, lost.partition).ok()?;
        let mut assigned = self.group.member(member)?.assigned();
        let is_known = self.lost.get(&partition).is_some_and(|(l, _)| *l == lost);
        if is_known || !assigned.any(|(id, _)| id == partition) {
            return None;
        }
        self.lost.insert(partition, (lost, now_ms));
        self.is_news = true;
        Some(partition.topic)
    }

    /// What the controller has heard of for long.
    pub(super) fn forget_lost(&mut self, now_ms: u64) {
        self.lost
            .retain(|_, (_, at_ms)| now_ms.saturating_sub(*at_ms) < LOST_MS);
    }

    /// Assignments that members have not heard of.
    pub(super) fn tell(&mut self, topics: &Topics, answers: &mut Vec<Answer>) {
        for (id, stream) in &mut self.streams {
            let Some(member) = self.group.member(*id) else {
                continue;
            };
            if stream.told != Some(member.epoch()) {
                stream.told = Some(member.epoch());
                let assigned = assigned(&self.group, member, topics);
                answers.push(Answer::Member {
                    sink: stream.sink.clone(),
                    response: v1::member_response::Response::Assigned(assigned),
                    room: None,
                });
            }
        }
    }

    /// But for what the coordinator adds.
    pub(super) fn describe(&self, name: &str) -> v1::DescribeGroupResponse {
        let offsets = self.group.offsets().map(|(partition, c)| v1::GroupOffset {
            committed: Some(v1::CommittedOffset {
                topic_id: topic_id_bytes(partition.topic),
                partition: partition.partition.0,
                offset: offset_to_wire(c.offset),
                metadata: c.metadata.clone(),
            }),
            committed_at_ms: c.at_ms.cast_signed(),
        });
        v1::DescribeGroupResponse {
            group: name.to_owned(),
            state: state(&self.group).into(),
            epoch: self.group.epoch().0,
            members: self.group.members().map(describe_member).collect(),
            offsets: offsets.collect(),
            policy: Some(self.group.policy().into()),
            ..v1::DescribeGroupResponse::default()
        }
    }

    /// What the controller is to know of it, but for the coordinator's epoch.
    pub(super) fn report(&self, name: &str, topics: &Topics) -> v1::GroupReport {
        let group = &self.group;
        let members = group.members();
        let read = group.members().flat_map(Member::assigned);
        let begun = read.filter(|(partition, _)| group.committed(*partition).is_none());
        let begun = begun.map(|(partition, _)| report_offset(partition, None));
        let committed = group.offsets();
        let committed = committed.map(|(partition, c)| report_offset(partition, Some(c)));
        let mut offsets = committed.chain(begun);
        let reported = offsets.by_ref().take(REPORT_OFFSETS_MAX).collect();
        let topics = group.topics(topics);
        v1::GroupReport {
            group: name.to_owned(),
            state: state(group).into(),
            epoch: group.epoch().0,
            member_partitions: members.map(|m| m.assigned().count() as u32).collect(),
            topic_ids: topics.into_iter().map(topic_id_bytes).collect(),
            offsets: reported,
            is_unreadable: !self.unreadable.is_empty(),
            is_cut: offsets.next().is_some(),
            lost: self.lost.values().map(|(lost, _)| lost.clone()).collect(),
            ..v1::GroupReport::default()
        }
    }

    pub(super) fn summary(&self, name: &str) -> v1::GroupSummary {
        v1::GroupSummary {
            group: name.to_owned(),
            state: state(&self.group).into(),
            members: self.group.members().len() as u32,
        }
    }
}

fn state(group: &Group) -> v1::GroupState {
    match group.state() {
        GroupState::Empty => v1::GroupState::GroupEmpty,
        GroupState::Assigning => v1::GroupState::GroupAssigning,
        GroupState::Stable => v1::GroupState::GroupStable,
    }
}

fn report_offset(
    partition: TopicPartition,
    committed: Option<&Committed>,
) -> v1::GroupReportOffset {
    v1::GroupReportOffset {
        topic_id: topic_id_bytes(partition.topic),
        partition: partition.partition.0,
        offset: committed.map_or(-1, |c| offset_to_wire(c.offset)),
        committed_at_ms: committed.map_or(0, |c| c.at_ms.cast_signed()),
    }
}

fn describe_member(member: &Member) -> v1::GroupMember {
    let profile = member.profile();
    let partition = |id: TopicPartition, revoking| v1::GroupPartition {
        topic_id: topic_id_bytes(id.topic),
        partition: id.partition.0,
        revoking,
    };
    let assigned = member.assigned().map(|(id, _)| partition(id, false));
    let revoking = member.revoking().map(|id| partition(id, true));
    v1::GroupMember {
        member_id: bytes::Bytes::copy_from_slice(member.id().as_bytes()),
        instance_id: profile.instance_id.clone().unwrap_or_default(),
        client_name: profile.client_name.clone(),
        rack: profile.rack.clone().unwrap_or_default(),
        epoch: member.epoch().0,
        topics: profile.subscription.topics.iter().cloned().collect(),
        patterns: profile.subscription.patterns.iter().cloned().collect(),
        partitions: assigned.chain(revoking).collect(),
        connected: member.is_connected(),
        session_timeout_ms: member.session_timeout_ms(),
        topic_ids: member.topics().map(topic_id_bytes).collect(),
    }
}

/// A ninth of the session timeout: several may get lost.
fn heartbeat_interval_ms(session_timeout_ms: u64) -> u32 {
    (session_timeout_ms / 9).max(1) as u32
}

/// Two thirds of the session timeout. A coordinator that was cut off answers for up to a third of it after another one may have taken over, and that
/// one gives each member the whole timeout.
fn answer_timeout_ms(session_timeout_ms: u64) -> u32 {
    (session_timeout_ms * 2 / 3).max(1) as u32
}

fn assigned(group: &Group, member: &Member, topics: &Topics) -> v1::Assigned {
    let partitions = member.assigned().map(|(partition, since)| {
        let committed = group.committed(partition);
        v1::AssignedPartition {
            topic_id: topic_id_bytes(partition.topic),
            topic: topics.name(partition.topic).unwrap_or_default().to_owned(),
            partition: partition.partition.0,
            since_epoch: since.0,
            offset: committed.map_or(-1, |c| offset_to_wire(c.offset)),
            metadata: committed.map(|c| c.metadata.clone()).unwrap_or_default(),
        }
    });
    let timeout_ms = member.session_timeout_ms();
    let policy = v1::MemberPolicy::from(group.policy());
    v1::Assigned {
        epoch: member.epoch().0,
        partitions: partitions.collect(),
        heartbeat_interval_ms: heartbeat_interval_ms(timeout_ms),
        answer_timeout_ms: answer_timeout_ms(timeout_ms),
        policy: (policy != v1::MemberPolicy::default()).then_some(policy),
    }
}

#[cfg(test)]
mod tests {
    use taffrail_core::{
        Offset, PartitionIndex, TopicId,
        group::{GroupPolicy, Now, StoredGroup},
    };

    use super::*;

    #[test]
    fn a_report_says_that_it_does_not_have_all_offsets() {
        for (offsets, is_cut) in [(REPORT_OFFSETS_MAX, false), (REPORT_OFFSETS_MAX + 1, true)] {
            let committed = |partition| {
                let partition = TopicPartition {
                    topic: TopicId::from_bytes([7; 16]),
                    partition: PartitionIndex(partition),
                };
                let committed = Committed {
                    offset: Offset(1),
                    metadata: String::new(),
                    at_ms: 0,
                };
                (partition, committed)
            };
            let group = Group::restore(
                GroupPolicy::default(),
                1,
                StoredGroup::default(),
                (0..offsets as u32).map(committed).collect(),
                Now::default(),
            );
            let hosted = Hosted::new(group.expect("whole"));
            let report = hosted.report("billing", &Topics::default());
            assert_eq!(report.offsets.len(), REPORT_OFFSETS_MAX);
            assert_eq!(report.is_cut, is_cut);
        }
    }
}
