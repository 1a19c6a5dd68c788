//! What each request does.

use taffrail_api::{WireError, v1};
use taffrail_core::{
    ErrorCode, GroupEpoch, MemberId, Offset, TopicPartition,
    group::{Commit, Committed, Group, Join, Refusal},
};

use super::{Coordinator, given_up, label, unsure};
use crate::{
    broker::Broker,
    cluster::view::topic_id_bytes,
    group::{
        event::{Ask, Event, Position, Reply, Says, Sink, StreamId, slow},
        hosted::{Hosted, Stream},
        records::offset_entry,
        write::Answer,
    },
    partition::standing::Role,
};

/// Groups of one coordinator: each takes memory for as long as its offsets are kept.
const GROUPS_MAX: usize = 10_000;
/// Patterns of all members of one coordinator, each compiled once. Those of policies are counted apart.
const PATTERNS_MAX: usize = 1_000;

impl Coordinator {
    pub(super) fn take(&mut self, event: Event) {
        let Event { group, ask } = event;
        match ask {
            Ask::List(reply) => {
                let groups = self.summaries();
                self.answers.push(Answer::List(reply, groups));
            }
            Ask::Join { join, stream, sink } => {
                if let Err(error) = self.join(&group, join, stream, &sink) {
                    // The stream is new and has room.
                    sink.end(&error);
                }
            }
            Ask::Member {
                member,
                stream,
                says,
            } => self.member_says(&group, member, stream, says),
            Ask::Commit {
                member,
                positions,
                reply,
            } => self.commit_outside(&group, member, positions, reply),
            Ask::Describe(reply) => match self.describe(&group) {
                Ok(described) => self.answers.push(Answer::Describe(reply, described)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Ask::Reset { positions, reply } => self.reset(&group, &positions, reply),
            Ask::Delete(reply) => self.delete(&group, reply),
        }
    }

    fn describe(&mut self, name: &str) -> Result<v1::DescribeGroupResponse, WireError> {
        let coordinator = self.broker.membership.number().map(|number| number.0);
        let retention_ms = self.broker.config.groups.offset_retention_ms;
        let declared = self.declared_only(name);
        if declared.is_none() {
            self.known_group(name)?;
        }
        let hosted = declared.as_ref().unwrap_or_else(|| &self.groups[name]);
        let declared_ms = hosted.group.policy().offset_retention_ms;
        let topics = hosted.group.topics(&self.topics).into_iter();
        Ok(v1::DescribeGroupResponse {
            coordinator,
            offset_retention_ms: declared_ms.unwrap_or(retention_ms),
            topic_ids: topics.map(topic_id_bytes).collect(),
            ..hosted.describe(name)
        })
    }

    /// A group that is declared, and of which nothing else is known yet.
    fn declared_only(&self, name: &str) -> Option<Hosted> {
        let declared = self.declared.get(name).filter(|d| !d.forget)?;
        let is_one = self.is_sure && !self.groups.contains_key(name);
        let members_max = self.broker.config.groups.members_max;
        let group = || Group::new(declared.policy.clone(), members_max, self.now());
        is_one.then(|| Hosted::new(group()))
    }

    /// Only a coordinator that is sure to be one answers.
    fn known_group(&mut self, name: &str) -> Result<&mut Hosted, WireError> {
        if !self.is_sure {
            return Err(unsure());
        }
        let hosted = self.groups.get_mut(name);
        let hosted = hosted.ok_or_else(|| refused(Refusal::UnknownGroup))?;
        hosted.check_readable()?;
        Ok(hosted)
    }

    fn group_or_new(&mut self, name: &str) -> Result<&mut Hosted, WireError> {
        if !self.is_sure {
            return Err(unsure());
        }
        if !self.groups.contains_key(name) {
            if self.groups.len() >= GROUPS_MAX {
                return Err(WireError::new(
                    ErrorCode::ResourceExhausted,
                    format!(
                        "this coordinator has {GROUPS_MAX} groups, as many as it may have: delete some that nobody uses"
                    ),
                ));
            }
            let members_max = self.broker.config.groups.members_max;
            let group = Group::new(self.policy(name), members_max, self.now());
            self.groups.insert(name.to_owned(), Hosted::new(group));
        }
        self.known_group(name)
    }

    fn join(
        &mut self,
        name: &str,
        join: Join,
        stream: StreamId,
        sink: &Sink,
    ) -> Result<(), WireError> {
        let now = self.now();
        let (member, profile) = (join.member, join.profile.clone());
        self.group_or_new(name)?;
        // A group that has nobody goes again when the events are dealt with.
        self.touched.insert(name.to_owned());
        if (self.topics).is_too_much(&profile.subscription, PATTERNS_MAX) {
            return Err(WireError::new(
                ErrorCode::ResourceExhausted,
                format!(
                    "members of this coordinator's groups use {PATTERNS_MAX} patterns, as many as they may: use fewer"
                ),
            ));
        }
        self.topics.learn(&profile.subscription);
        let Some(hosted) = self.groups.get_mut(name) else {
            return Ok(());
        };
        let joined = hosted.group.join(join, &self.topics, now);
        joined.map_err(|refusal| match refusal {
            Refusal::NothingToRead if !self.policies.are_known() => nothing_declared_yet(),
            refusal => refused(refusal),
        })?;
        if let Some(shortest_ms) = hosted.group.session_timeout_ms_min() {
            self.session_timeout_ms = self.session_timeout_ms.min(shortest_ms);
        }
        tracing::info!(group = %name, %member, client = %profile.client_name,
            instance = profile.instance_id.as_deref().unwrap_or_default(), "a member joined, or came back");
        let stream = Stream {
            id: stream,
            sink: sink.clone(),
            told: None,
        };
        if let Some(before) = hosted.streams.insert(member, stream) {
            let replaced = WireError::new(
                ErrorCode::UnknownMember,
                "the member has a newer stream: what is said on this one does not count",
            );
            before.sink.end(&replaced);
        }
        Ok(())
    }

    fn member_says(&mut self, name: &str, member: MemberId, stream: StreamId, says: Says) {
        let now = self.now();
        let Some(hosted) = self.groups.get_mut(name) else {
            return;
        };
        // Of a stream that does not count any more.
        let Some(open) = hosted.stream(member, stream) else {
            return;
        };
        let sink = open.sink.clone();
        match says {
            Says::Heartbeat(epoch) => match hosted.group.heartbeat(member, epoch, now) {
                Ok(()) => {
                    let epoch = hosted.group.member(member).map_or(0, |m| m.epoch().0);
                    let heartbeat = v1::HeartbeatAnswer { epoch };
                    let answer = Answer::Member {
                        sink: sink.clone(),
                        response: v1::member_response::Response::Heartbeat(heartbeat),
                        room: None,
                    };
                    // Follows from nothing that is written: a member lives on while writes wait.
                    answer.give();
                }
                Err(refusal) => hosted.end_stream(member, &refused(refusal)),
            },
            Says::Commit {
                request_id,
                epoch,
                positions,
                refused: mut all_refused,
                room,
            } => {
                let by = Commit::Member(member, epoch);
                all_refused.extend(self.store(name, by, positions));
                let commit = v1::CommitResponse {
                    request_id,
                    refused: all_refused,
                };
                self.answers.push(Answer::Member {
                    sink: sink.clone(),
                    response: v1::member_response::Response::Commit(commit),
                    room: Some(room),
                });
            }
            Says::Leaves { comes_back } => {
                hosted.streams.remove(&member);
                tracing::info!(group = %name, %member, comes_back, "a member left");
                hosted.group.leave(member, comes_back, &self.topics, now);
            }
            Says::Lost(lost) => {
                let (partition, from, to) = (lost.partition, lost.from, lost.to);
                if let Some(topic) = hosted.has_lost(member, lost, now.ms) {
                    let topic = self.topics.name(topic).unwrap_or_default();
                    tracing::warn!(group = %name, %member, topic, partition, from, to,
                        "records were deleted before the group read them; it went on behind them");
                }
            }
            Says::Gone => {
                hosted.streams.remove(&member);
                hosted.group.disconnected(member);
            }
        }
        self.touched.insert(name.to_owned());
        if sink.has_lost()
            && let Some(hosted) = self.groups.get_mut(name)
        {
            hosted.end_stream(member, &slow());
        }
    }

    fn commit_outside(
        &mut self,
        name: &str,
        member: Option<(MemberId, GroupEpoch)>,
        positions: Vec<Position>,
        reply: Reply<Vec<v1::RefusedCommit>>,
    ) {
        let by = match member {
            Some((member, epoch)) => Commit::Member(member, epoch),
            None => Commit::Outside,
        };
        let group = match by {
            Commit::Member(..) => self.known_group(name).map(drop),
            Commit::Outside => self.group_or_new(name).map(drop),
        };
        if let Err(error) = group {
            drop(reply.send(Err(error)));
            return;
        }
        let refused = self.store(name, by, positions);
        self.touched.insert(name.to_owned());
        self.answers.push(Answer::Commit(reply, refused));
    }

    /// Takes over positions. Returns those that are refused.
    fn store(
        &mut self,
        name: &str,
        by: Commit,
        positions: Vec<Position>,
    ) -> Vec<v1::RefusedCommit> {
        let at_ms = self.now().wall_ms;
        let mut refusals = Vec::new();
        let Some(hosted) = self.groups.get_mut(name) else {
            return refusals;
        };
        for position in positions {
            let partition = position.partition;
            let committed = Committed {
                offset: position.offset,
                metadata: position.metadata,
                at_ms,
            };
            // What a member holds was there once; whether it still is makes no difference to it.
            let is_odd = by == Commit::Outside && !self.topics.has(partition);
            let taken = if is_odd {
                Err(unknown_partition(&label(partition, &self.topics)))
            } else if let Some(end) = passed_end(&self.broker, partition, position.offset) {
                let label = label(partition, &self.topics);
                Err(beyond_end(&label, position.offset, end))
            } else if let Some(why) = &self.closed {
                Err(why.clone())
            } else {
                let taken = hosted.group.commit(by, partition, committed);
                taken.map_err(refused)
            };
            match taken {
                Ok(()) => {
                    hosted.is_news = true;
                    self.broker.metrics.offset_commits.inc();
                    let stored = hosted.group.committed(partition);
                    self.entries.push(offset_entry(name, partition, stored));
                }
                Err(error) => refusals.push(v1::RefusedCommit {
                    topic_id: topic_id_bytes(partition.topic),
                    partition: partition.partition.0,
                    error: Some(error.into()),
                }),
            }
        }
        refusals
    }

    fn reset(&mut self, name: &str, positions: &[Position], reply: Reply<()>) {
        let at_ms = self.now().wall_ms;
        let unknown = positions.iter().find(|p| !self.topics.has(p.partition));
        let unknown = unknown.map(|p| unknown_partition(&label(p.partition, &self.topics)));
        let beyond = positions.iter().find_map(|p| {
            let end = passed_end(&self.broker, p.partition, p.offset)?;
            Some(beyond_end(&label(p.partition, &self.topics), p.offset, end))
        });
        let hosted = match unknown.or(beyond).or_else(|| self.closed.clone()) {
            Some(error) => Err(error),
            None => self.group_or_new(name),
        };
        let hosted = match hosted {
            Ok(hosted) => hosted,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let committed = |position: &Position| {
            let committed = Committed {
                offset: position.offset,
                metadata: position.metadata.clone(),
                at_ms,
            };
            (position.partition, committed)
        };
        hosted.group.reset(positions.iter().map(committed));
        hosted.is_news = true;
        let entries: Vec<_> = positions
            .iter()
            .map(|p| offset_entry(name, p.partition, hosted.group.committed(p.partition)))
            .collect();
        tracing::info!(group = %name, partitions = positions.len(), "offsets were reset");
        self.entries.extend(entries);
        self.touched.insert(name.to_owned());
        self.answers.push(Answer::Done(reply));
    }

    fn delete(&mut self, name: &str, reply: Reply<()>) {
        let checked = match self.groups.get(name) {
            _ if !self.is_sure => Err(unsure()),
            None => Err(refused(Refusal::UnknownGroup)),
            Some(hosted) if hosted.group.members().len() > 0 => Err(refused(Refusal::HasMembers)),
            Some(_) => self.closed.clone().map_or(Ok(()), Err),
        };
        if let Err(error) = checked {
            return drop(reply.send(Err(error)));
        }
        if let Some(hosted) = self.remove(name) {
            tracing::info!(group = %name, "the group was deleted");
            self.entries.extend(hosted.forget(name));
        }
        self.answers.push(Answer::Done(reply));
    }
}

fn refused(refusal: Refusal) -> WireError {
    match refusal {
        Refusal::UnknownMember => given_up(),
        other => WireError::new(other.code(), other.to_string()),
    }
}

/// A member that names no topics may be right to do so.
fn nothing_declared_yet() -> WireError {
    WireError::new(
        ErrorCode::NotYetKnown,
        "the member names no topics, and what is declared of consumer groups is not known here yet: the controller was not told so far; retry, or name topics",
    )
}

/// The end of the partition, if `offset` lies beyond it and this broker can tell: of what others lead it may not know the end. Nothing beyond a leader's log was
/// ever read by anybody.
fn passed_end(broker: &Broker, partition: TopicPartition, offset: Offset) -> Option<Offset> {
    let replica = broker.partitions.get(partition)?;
    let leads = replica.standing().role == Role::Leader && replica.fault().is_none();
    let end = replica.progress.log_end();
    (leads && offset > end).then_some(end)
}

fn beyond_end(label: &str, offset: Offset, end: Offset) -> WireError {
    WireError::new(
        ErrorCode::OffsetOutOfRange,
        format!(
            "offset {offset} of {label} lies beyond its end, {end}: nothing was committed for it; commit the offset after the last record that was processed"
        ),
    )
}

fn unknown_partition(label: &str) -> WireError {
    WireError::new(
        ErrorCode::UnknownPartition,
        format!(
            "there is no partition {label}: nothing was committed for it; refresh the metadata"
        ),
    )
}
