//! The coordinator of all groups: decides as a real one does, with the code of a real one, and misbehaves on command.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::Pin,
    sync::Arc,
};

use futures::Stream;
use taffrail_api::{
    WireError,
    transport::ROUTE_HEADER,
    v1::{
        self,
        groups_server::{Groups, GroupsServer},
        member_request::Request as Says,
        member_response::Response as Answer,
    },
};
use taffrail_client::{ErrorCode, MemberId, Offset, PartitionIndex};
use taffrail_core::{
    GroupEpoch, TopicId, TopicPartition,
    group::{
        Catalog, Commit, Committed, Group, GroupPolicy, Join, Member, Now, Profile, Subscription,
        Topic,
    },
};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::{Cluster, TOPIC, TOPIC_ID};

pub(crate) const OFFSETS: &str = "__offsets";
pub(crate) const OFFSETS_PARTITIONS: u32 = 4;

pub(crate) type Sink = UnboundedSender<Result<v1::MemberResponse, Status>>;

/// One group, wherever its coordinator is.
pub(crate) struct Coordinator {
    /// The broker that coordinates; `None`: there is no `__offsets` yet.
    pub(crate) here: Option<usize>,
    pub(crate) moves: i32,
    pub(crate) group: Group,
    partitions: u32,
    sinks: BTreeMap<MemberId, Sink>,
    told: BTreeMap<MemberId, GroupEpoch>,
    pub(crate) interval_ms: u32,
    pub(crate) answer_timeout_ms: u32,
    /// It hears everything and answers nothing.
    pub(crate) is_silent: bool,
    /// The next commits are refused with these.
    pub(crate) commit_faults: VecDeque<ErrorCode>,
    /// What it heard while it was silent: the epochs of joins, and how many commits.
    pub(crate) unheard_joins: Vec<u64>,
    pub(crate) unheard_commits: usize,
    /// What was heard, in order.
    pub(crate) joins: Vec<v1::JoinGroup>,
    pub(crate) heartbeats: Vec<u64>,
    /// Partitions and ranges that members went on behind.
    pub(crate) lost: Vec<(u32, i64, i64)>,
    /// Partition and offset of those that were stored.
    pub(crate) commits: Vec<(u32, u64)>,
    /// Whether the member comes back.
    pub(crate) left: Vec<bool>,
    /// Streams of members that left, if they are not to end.
    pub(crate) unended: Option<Vec<Sink>>,
}

impl Default for Coordinator {
    fn default() -> Self {
        Self {
            here: Some(0),
            moves: 0,
            group: Group::new(GroupPolicy::default(), 8, Now::default()),
            partitions: 0,
            sinks: BTreeMap::new(),
            told: BTreeMap::new(),
            interval_ms: 20,
            answer_timeout_ms: 10_000,
            is_silent: false,
            commit_faults: VecDeque::new(),
            unheard_joins: Vec::new(),
            unheard_commits: 0,
            joins: Vec::new(),
            heartbeats: Vec::new(),
            lost: Vec::new(),
            commits: Vec::new(),
            left: Vec::new(),
            unended: None,
        }
    }
}

/// The one topic there is.
struct Flights(u32);

impl Catalog for Flights {
    fn matching(&self, subscription: &Subscription) -> BTreeSet<TopicId> {
        let is_read = subscription.topics.contains(TOPIC);
        is_read.then_some(id()).into_iter().collect()
    }

    fn topic(&self, _: TopicId) -> Option<Topic> {
        Some(Topic::of(self.0))
    }
}

const fn id() -> TopicId {
    TopicId::from_bytes(TOPIC_ID)
}

pub(crate) const fn at(partition: u32) -> TopicPartition {
    TopicPartition {
        topic: id(),
        partition: PartitionIndex(partition),
    }
}

pub(crate) fn committed(offset: u64) -> Committed {
    Committed {
        offset: Offset(offset),
        metadata: String::new(),
        at_ms: 0,
    }
}

impl Coordinator {
    /// What is committed, by partition.
    pub(crate) fn offsets(&self) -> Vec<(u32, u64)> {
        let offsets = self.group.offsets();
        offsets.map(|(p, c)| (p.partition.0, c.offset.0)).collect()
    }

    /// Sets an offset, whoever reads.
    pub(crate) fn reset(&mut self, partition: u32, offset: u64) {
        self.group.reset([(at(partition), committed(offset))]);
        self.tell();
    }

    /// Declares a policy, on a live group or before.
    pub(crate) fn declare(&mut self, policy: GroupPolicy) {
        let catalog = Flights(self.partitions);
        self.group.set_policy(policy, &catalog, Now::default());
        self.tell();
    }

    /// Another broker coordinates from now on.
    pub(crate) fn move_to(&mut self, broker: usize) {
        self.here = Some(broker);
        self.moves += 1;
        self.end_streams(ErrorCode::NotCoordinator);
    }

    /// Gives all members up, as when their sessions are over.
    pub(crate) fn forget(&mut self) {
        let members: Vec<MemberId> = self.group.members().map(Member::id).collect();
        for member in members {
            let catalog = Flights(self.partitions);
            self.group.leave(member, false, &catalog, Now::default());
        }
        self.end_streams(ErrorCode::UnknownMember);
    }

    fn end_streams(&mut self, code: ErrorCode) {
        for (member, sink) in std::mem::take(&mut self.sinks) {
            let _ = sink.send(Err(refused(code).into()));
            self.group.disconnected(member);
        }
    }

    fn join(&mut self, join: v1::JoinGroup, partitions: u32, sink: Sink) -> Result<(), WireError> {
        let member = MemberId::try_from(&join.member_id[..]).expect("the client says who it is");
        self.partitions = partitions;
        let text = |text: &String| Some(text.clone()).filter(|t| !t.is_empty());
        let profile = Profile {
            instance_id: text(&join.instance_id),
            client_name: join.client_name.clone(),
            rack: text(&join.rack),
            subscription: Subscription {
                topics: join.topics.iter().cloned().collect(),
                patterns: join.patterns.iter().cloned().collect(),
            },
            session_timeout_ms: 60_000,
        };
        let joined = Join {
            member,
            profile,
            epoch: GroupEpoch(join.epoch),
        };
        self.joins.push(join);
        let joined = self
            .group
            .join(joined, &Flights(partitions), Now::default());
        joined.map_err(|refusal| WireError::new(refusal.code(), refusal.to_string()))?;
        self.told.remove(&member);
        self.sinks.insert(member, sink);
        self.tell();
        Ok(())
    }

    fn hear(&mut self, member: MemberId, says: Says) -> Result<(), WireError> {
        if self.is_silent {
            self.unheard_commits += usize::from(matches!(says, Says::Commit(_)));
            return Ok(());
        }
        let answer = match says {
            Says::Join(_) => return Err(refused(ErrorCode::InvalidRequest)),
            Says::Heartbeat(v1::MemberHeartbeat { epoch }) => {
                self.heartbeats.push(epoch);
                let heard = self
                    .group
                    .heartbeat(member, GroupEpoch(epoch), Now::default());
                heard.map_err(|refusal| WireError::new(refusal.code(), refusal.to_string()))?;
                Answer::Heartbeat(v1::HeartbeatAnswer { epoch })
            }
            Says::Commit(commit) => Answer::Commit(self.commit(member, commit)),
            Says::Lost(lost) => {
                self.lost.push((lost.partition, lost.from, lost.to));
                return Ok(());
            }
            Says::Leave(leave) => {
                self.left.push(leave.comes_back);
                let catalog = Flights(self.partitions);
                self.group
                    .leave(member, leave.comes_back, &catalog, Now::default());
                let sink = self.sinks.remove(&member);
                if let Some(unended) = &mut self.unended {
                    unended.extend(sink);
                }
                self.tell();
                return Ok(());
            }
        };
        self.say(member, answer);
        self.tell();
        Ok(())
    }

    fn commit(&mut self, member: MemberId, commit: v1::CommitRequest) -> v1::CommitResponse {
        let fault = self.commit_faults.pop_front();
        let by = Commit::Member(member, GroupEpoch(commit.epoch));
        let mut refusals = Vec::new();
        for one in commit.offsets {
            let offset = one.offset as u64;
            let error = match fault {
                Some(code) => Some(refused(code)),
                None => self
                    .group
                    .commit(by, at(one.partition), committed(offset))
                    .err()
                    .map(|refusal| WireError::new(refusal.code(), refusal.to_string())),
            };
            match error {
                None => self.commits.push((one.partition, offset)),
                Some(error) => refusals.push(v1::RefusedCommit {
                    topic_id: one.topic_id,
                    partition: one.partition,
                    error: Some(error.into()),
                }),
            }
        }
        v1::CommitResponse {
            request_id: commit.request_id,
            refused: refusals,
        }
    }

    fn say(&self, member: MemberId, response: Answer) {
        if let Some(sink) = self.sinks.get(&member) {
            // The client may be gone.
            let _ = sink.send(Ok(v1::MemberResponse {
                response: Some(response),
            }));
        }
    }

    /// Says what is new to whom it concerns.
    pub(crate) fn tell(&mut self) {
        if self.is_silent {
            return;
        }
        self.group.assert_invariants();
        for member in self.group.members() {
            let id = member.id();
            if !self.sinks.contains_key(&id) || self.told.get(&id) == Some(&member.epoch()) {
                continue;
            }
            let share = |(partition, since): (TopicPartition, GroupEpoch)| {
                let committed = self.group.committed(partition);
                v1::AssignedPartition {
                    topic_id: partition.topic.as_bytes().to_vec().into(),
                    topic: TOPIC.to_owned(),
                    partition: partition.partition.0,
                    since_epoch: since.0,
                    offset: committed.map_or(-1, |c| c.offset.0 as i64),
                    metadata: String::new(),
                }
            };
            let assigned = v1::Assigned {
                epoch: member.epoch().0,
                partitions: member.assigned().map(share).collect(),
                heartbeat_interval_ms: self.interval_ms,
                answer_timeout_ms: self.answer_timeout_ms,
                policy: Some(self.group.policy().into()),
            };
            self.told.insert(id, member.epoch());
            self.say(id, Answer::Assigned(assigned));
        }
    }
}

fn refused(code: ErrorCode) -> WireError {
    WireError::new(code, "refused by the fake coordinator")
}

pub(crate) struct FakeGroups {
    number: usize,
    cluster: Arc<Cluster>,
}

impl FakeGroups {
    pub(crate) fn server(number: usize, cluster: Arc<Cluster>) -> GroupsServer<Self> {
        GroupsServer::new(Self { number, cluster })
    }
}

#[tonic::async_trait]
impl Groups for FakeGroups {
    type JoinStream = Pin<Box<dyn Stream<Item = Result<v1::MemberResponse, Status>> + Send>>;

    async fn join(
        &self,
        request: Request<Streaming<v1::MemberRequest>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let (sink, receiver) = mpsc::unbounded_channel();
        let (number, cluster) = (self.asked(&request), Arc::clone(&self.cluster));
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            let mut member = None;
            while let Ok(Some(request)) = requests.message().await {
                let says = request.request.expect("the client says something");
                if let Err(error) = hear(number, &cluster, &mut member, says, &sink) {
                    let _ = sink.send(Err(error.into()));
                    return;
                }
            }
            let coordinator = &mut cluster.state().coordinator;
            let is_its = |member: &MemberId| {
                let its = coordinator.sinks.get(member);
                its.is_some_and(|its| its.same_channel(&sink))
            };
            if let Some(member) = member.filter(is_its) {
                coordinator.sinks.remove(&member);
                coordinator.group.disconnected(member);
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(
            receiver,
        ))))
    }

    async fn commit_offsets(
        &self,
        _: Request<v1::CommitOffsetsRequest>,
    ) -> Result<Response<v1::CommitOffsetsResponse>, Status> {
        Err(Status::unimplemented("for thin clients"))
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let number = self.asked(&request);
        let state = self.cluster.state();
        let members = state.coordinator.group.members().len() as u32;
        let is_here = state.coordinator.here == Some(number);
        let summary = v1::GroupSummary {
            group: format!("of-broker-{number}"),
            state: v1::GroupState::GroupStable.into(),
            members,
        };
        Ok(Response::new(v1::ListGroupsResponse {
            groups: is_here.then_some(summary).into_iter().collect(),
        }))
    }

    async fn describe_group(
        &self,
        request: Request<v1::DescribeGroupRequest>,
    ) -> Result<Response<v1::DescribeGroupResponse>, Status> {
        self.check_here(&request)?;
        let state = self.cluster.state();
        let offset = |(partition, committed): (TopicPartition, &Committed)| v1::GroupOffset {
            committed: Some(v1::CommittedOffset {
                topic_id: partition.topic.as_bytes().to_vec().into(),
                partition: partition.partition.0,
                offset: committed.offset.0 as i64,
                metadata: String::new(),
            }),
            committed_at_ms: 0,
        };
        Ok(Response::new(v1::DescribeGroupResponse {
            group: request.into_inner().group,
            state: v1::GroupState::GroupStable.into(),
            epoch: state.coordinator.group.epoch().0,
            members: Vec::new(),
            offsets: state.coordinator.group.offsets().map(offset).collect(),
            ..v1::DescribeGroupResponse::default()
        }))
    }

    async fn reset_offsets(
        &self,
        request: Request<v1::ResetOffsetsRequest>,
    ) -> Result<Response<v1::ResetOffsetsResponse>, Status> {
        self.check_here(&request)?;
        let coordinator = &mut self.cluster.state().coordinator;
        for one in request.into_inner().offsets {
            coordinator.reset(one.partition, one.offset as u64);
        }
        Ok(Response::new(v1::ResetOffsetsResponse::default()))
    }

    async fn delete_group(
        &self,
        request: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        self.check_here(&request)?;
        if self.cluster.state().coordinator.group.members().len() > 0 {
            return Err(refused(ErrorCode::GroupNotEmpty).into());
        }
        Ok(Response::new(v1::DeleteGroupResponse {}))
    }
}

impl FakeGroups {
    /// Whose answer it is: a broker passes on what it is asked to.
    fn asked<R>(&self, request: &Request<R>) -> usize {
        let state = &mut self.cluster.state();
        if !request.metadata().contains_key(ROUTE_HEADER) {
            return self.number;
        }
        state.routed += 1;
        state.coordinator.here.unwrap_or(self.number)
    }

    fn check_here<R>(&self, request: &Request<R>) -> Result<(), Status> {
        let number = self.asked(request);
        if self.cluster.state().coordinator.here == Some(number) {
            return Ok(());
        }
        Err(refused(ErrorCode::NotCoordinator).into())
    }
}

fn hear(
    number: usize,
    cluster: &Cluster,
    member: &mut Option<MemberId>,
    says: Says,
    sink: &Sink,
) -> Result<(), WireError> {
    let mut state = cluster.state();
    let partitions = state.partitions.len() as u32;
    let coordinator = &mut state.coordinator;
    if coordinator.here != Some(number) {
        return Err(refused(ErrorCode::NotCoordinator));
    }
    match (says, *member) {
        (Says::Join(join), _) if coordinator.is_silent => {
            coordinator.unheard_joins.push(join.epoch);
            Ok(())
        }
        (Says::Join(join), None) => {
            *member = MemberId::try_from(&join.member_id[..]).ok();
            coordinator.join(join, partitions, sink.clone())
        }
        (says, Some(member)) => coordinator.hear(member, says),
        (_, None) if coordinator.is_silent => Ok(()),
        (_, None) => Err(refused(ErrorCode::InvalidRequest)),
    }
}
