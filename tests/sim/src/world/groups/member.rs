//! A member's side of its stream: joins, stays, hears; stops by itself when it is not answered.

use std::collections::{BTreeMap, VecDeque};

use taffrail_api::{
    WireError, convert,
    v1::{self, member_request::Request, member_response::Response},
};
use taffrail_core::{ErrorCode, MemberId, TopicPartition};

use super::PLANS;
use crate::world::{
    CLIENTS, MS, SECOND, Step, World,
    network::{ConnectionId, End, Peer, Wire},
};

/// A coordinator that says nothing for so long after a join is asked anew where it is.
const JOIN_PATIENCE: u64 = 3 * SECOND;

/// A partition, as an assignment tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) since: u64,
    /// The next one to read.
    pub(super) offset: u64,
}

/// What a member is to read.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) epoch: u64,
    pub(super) partitions: BTreeMap<TopicPartition, Share>,
}

/// A partition that a member reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) since: u64,
    /// The next one to hand out.
    pub(super) at: u64,
    /// Before it everything was processed.
    pub(super) done: u64,
    pub(super) committed: u64,
}

/// Records that are with the application, or are to be once they are committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    pub(super) partition: TopicPartition,
    pub(super) since: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) got_us: u64,
}

/// A commit that is with the coordinator.
#[derive(Debug, Clone)]
pub(super) struct Commit {
    pub(super) id: u64,
    pub(super) offsets: Vec<(TopicPartition, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    interval: u64,
    answer_timeout: u64,
}

#[derive(Debug)]
pub(super) struct Stream {
    id: ConnectionId,
    /// The assignment that was carried out when it joined.
    joined_with: u64,
    /// When the join and heartbeats were sent that are not answered.
    unanswered: VecDeque<u64>,
    /// `None`: it was not told yet.
    pace: Option<Pace>,
    beats_at_us: u64,
    /// The assignment that the coordinator knows to be carried out.
    said: u64,
    pub(super) commit: Option<Commit>,
}

/// A member's process, or its place.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) group: usize,
    /// What it knows of the cluster.
    pub(super) client: usize,
    pub(super) instance: Option<&'static str>,
    pub(super) id: MemberId,
    /// Raised when it starts and when it ends.
    pub(super) run: u64,
    pub(super) is_up: bool,
    pub(super) paused_until_us: u64,
    dials_at_us: u64,
    pub(super) applied: u64,
    pub(super) told: Option<Told>,
    /// It processes nothing from then on, unless it is answered.
    pub(super) valid_until_us: Option<u64>,
    pub(super) held: BTreeMap<TopicPartition, Held>,
    pub(super) stream: Option<Stream>,
    pub(super) batch: Option<Batch>,
    pub(super) busy_until_us: u64,
    pub(super) commits_at_us: u64,
    /// Partitions are to go since then.
    pub(super) changes_since_us: Option<u64>,
    pub(super) requests: u64,
}

impl Member {
    pub(super) fn new(group: usize, client: usize, instance: Option<&'static str>) -> Self {
        Self {
            group,
            client,
            instance,
            id: MemberId::from_bytes([0; 16]),
            run: 0,
            is_up: false,
            paused_until_us: 0,
            dials_at_us: 0,
            applied: 0,
            told: None,
            valid_until_us: None,
            held: BTreeMap::new(),
            stream: None,
            batch: None,
            busy_until_us: 0,
            commits_at_us: 0,
            changes_since_us: None,
            requests: 0,
        }
    }

    /// Is this its connection?
    pub(super) fn is_on(&self, connection: ConnectionId) -> bool {
        self.stream.as_ref().is_some_and(|s| s.id == connection)
    }

    /// Was it told on its stream what to read?
    pub(super) fn is_member(&self) -> bool {
        self.stream.as_ref().is_some_and(|s| s.pace.is_some())
    }

    /// May it process that partition, for all that it knows?
    pub(super) fn owns(&self, partition: TopicPartition, now_us: u64) -> bool {
        let is_valid = self.valid_until_us.is_some_and(|until| until > now_us);
        self.is_up && is_valid && self.held.contains_key(&partition)
    }

    /// What the answer to its commit acknowledges.
    pub(super) fn acknowledged(&self, answer: &v1::CommitResponse) -> Vec<(TopicPartition, u64)> {
        let commit = self.stream.as_ref().and_then(|s| s.commit.as_ref());
        let Some(commit) = commit.filter(|commit| commit.id == answer.request_id) else {
            return Vec::new();
        };
        let is_refused = |id: &TopicPartition| {
            let mut refused = answer.refused.iter();
            refused
                .any(|r| r.topic_id[..] == id.topic.as_bytes()[..] && r.partition == id.partition.0)
        };
        let taken = commit.offsets.iter().filter(|(id, _)| !is_refused(id));
        taken.copied().collect()
    }

    /// The oldest of what was sent is answered: its time counts from when it was sent.
    fn answered(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if let Some(pace) = stream.pace
            && let Some(sent_us) = stream.unanswered.pop_front()
        {
            let until = Some(sent_us + pace.answer_timeout);
            self.valid_until_us = self.valid_until_us.max(until);
        }
    }
}

/// An assignment as the wire has it.
pub(super) fn told(assigned: &v1::Assigned) -> Result<Told, String> {
    let partition = |p: &v1::AssignedPartition| {
        let id = convert::topic_partition(&p.topic_id, p.partition).map_err(|e| e.to_string())?;
        let share = Share {
            since: p.since_epoch,
            offset: u64::try_from(p.offset).unwrap_or(0),
        };
        Ok::<_, String>((id, share))
    };
    Ok(Told {
        epoch: assigned.epoch,
        partitions: assigned
            .partitions
            .iter()
            .map(partition)
            .collect::<Result<_, _>>()?,
    })
}

impl World {
    pub(super) fn member(&mut self, index: usize) -> &mut Member {
        &mut self.clients.groups.members[index]
    }

    pub(super) fn start_member(&mut self, index: usize) -> Step {
        if self.member(index).is_up {
            return Ok(());
        }
        self.name_member(index);
        let member = self.member(index);
        member.is_up = true;
        member.run += 1;
        member.paused_until_us = 0;
        let run = member.run;
        self.note(format!("m{index} starts"));
        self.step_member(index, run)
    }

    /// It is another one from now on.
    fn name_member(&mut self, index: usize) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.chance.bits().to_be_bytes());
        id[8] = index as u8;
        let member = self.member(index);
        member.id = MemberId::from_bytes(id);
        let (id, is_static) = (member.id, member.instance.is_some());
        if is_static {
            self.clients.groups.statics.insert(id);
        }
    }

    fn step_member(&mut self, index: usize, run: u64) -> Step {
        if self.member(index).run != run {
            return Ok(());
        }
        let next = self.chance.between(50 * MS, 150 * MS);
        self.plan(next, move |w| w.step_member(index, run));
        let now_us = self.now_us;
        let member = self.member(index);
        if member.paused_until_us > now_us {
            return Ok(());
        }
        if member.valid_until_us.is_some_and(|until| until <= now_us) {
            self.count("member stopped by itself");
            self.lose(index, "it was not answered");
        }
        if self.member(index).stream.is_none() {
            self.dial_coordinator(index);
        } else {
            self.stay(index);
        }
        self.work(index)
    }

    /// Everything is given up.
    pub(super) fn lose(&mut self, index: usize, why: &str) {
        self.note(format!("m{index} loses everything: {why}"));
        let member = self.member(index);
        member.applied = 0;
        member.told = None;
        member.valid_until_us = None;
        member.held.clear();
        member.batch = None;
        member.changes_since_us = None;
        self.hang_up(index);
    }

    pub(super) fn hang_up(&mut self, index: usize) {
        let again = self.now_us + self.chance.between(30 * MS, 300 * MS);
        let member = self.member(index);
        member.dials_at_us = again;
        if let Some(stream) = member.stream.take() {
            self.close(stream.id, End::Dialled);
        }
    }

    fn dial_coordinator(&mut self, index: usize) {
        let now_us = self.now_us;
        let member = self.member(index);
        let (group, client, run) = (member.group, member.client, member.run);
        if member.dials_at_us > now_us {
            return;
        }
        member.dials_at_us = now_us + SECOND;
        self.refresh(client);
        let coordinated = self.coordinated_by(group);
        let leader = coordinated.and_then(|partition| self.leader_of(client, partition));
        let Some((node, _)) = leader else {
            return;
        };
        let delay = self.delay();
        self.plan(delay, move |w| w.join(index, run, node));
    }

    fn join(&mut self, index: usize, run: u64, node: usize) -> Step {
        let is_cut = self.network.cut[CLIENTS][node] || self.network.cut[node][CLIENTS];
        let is_there = self.brokers[node].process.is_some() && !is_cut;
        let member = &self.clients.groups.members[index];
        if member.run != run || member.stream.is_some() || !is_there {
            return Ok(());
        }
        let (from, to) = (
            Peer {
                node: CLIENTS,
                run: index as u64,
            },
            Peer {
                node,
                run: self.brokers[node].run,
            },
        );
        let id = self.connect(from, to, None);
        let now_us = self.now_us;
        let member = self.member(index);
        // What was told on a stream before and is not carried out is void.
        if member
            .told
            .as_ref()
            .is_some_and(|t| t.epoch > member.applied)
        {
            member.told = None;
            member.changes_since_us = None;
        }
        let plan = &PLANS[member.group];
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let join = v1::JoinGroup {
            group: plan.name.to_owned(),
            member_id: member.id.as_bytes().to_vec().into(),
            instance_id: member.instance.unwrap_or_default().to_owned(),
            client_name: format!("m{index}"),
            topics: names(plan.topics),
            patterns: names(plan.patterns),
            session_timeout_ms: plan.session_timeout_ms,
            epoch: member.applied,
            ..v1::JoinGroup::default()
        };
        member.stream = Some(Stream {
            id,
            joined_with: member.applied,
            unanswered: VecDeque::from([now_us]),
            pace: None,
            beats_at_us: 0,
            said: member.applied,
            commit: None,
        });
        let what = format!("m{index} joins at b{node} with {}", member.applied);
        self.note(what);
        self.say(index, Request::Join(join));
        Ok(())
    }

    pub(super) fn say(&mut self, index: usize, request: Request) {
        let Some(stream) = &self.member(index).stream else {
            return;
        };
        let (id, request) = (stream.id, Some(request));
        let request = Box::new(v1::MemberRequest { request });
        self.send(id, End::Dialled, Wire::Member(request));
    }

    fn stay(&mut self, index: usize) {
        let now_us = self.now_us;
        let member = self.member(index);
        let applied = member.applied;
        let Some(stream) = &mut member.stream else {
            return;
        };
        // Half of the time is left then to find another coordinator.
        let patience = stream.pace.map_or(JOIN_PATIENCE, |p| p.answer_timeout / 2);
        let waits_since = stream.unanswered.front();
        if waits_since.is_some_and(|sent| sent + patience <= now_us) {
            self.count("coordinator silent");
            return self.hang_up(index);
        }
        let Some(pace) = stream.pace else {
            return;
        };
        if stream.said != applied || stream.beats_at_us <= now_us {
            stream.said = applied;
            stream.beats_at_us = now_us + pace.interval;
            stream.unanswered.push_back(now_us);
            let epoch = applied;
            self.say(index, Request::Heartbeat(v1::MemberHeartbeat { epoch }));
        }
    }

    /// Something comes on a connection that a member dialled.
    pub(in crate::world) fn member_hears(&mut self, id: ConnectionId, wire: Wire) -> Step {
        let mut members = self.clients.groups.members.iter();
        let Some(index) = members.position(|m| m.is_on(id)) else {
            return Ok(());
        };
        let paused_until_us = self.member(index).paused_until_us;
        if paused_until_us > self.now_us {
            let wait = paused_until_us - self.now_us;
            self.plan(wait, move |w| w.member_hears(id, wire));
            return Ok(());
        }
        match wire {
            Wire::Coordinator(answer) => match answer.response {
                Some(Response::Assigned(assigned)) => return self.is_assigned(index, &assigned),
                Some(Response::Heartbeat(_)) => self.member(index).answered(),
                Some(Response::Commit(answer)) => return self.committed(index, &answer),
                None => {}
            },
            Wire::Refused(why) => self.refused(index, &why),
            _ => self.hang_up(index),
        }
        Ok(())
    }

    fn is_assigned(&mut self, index: usize, assigned: &v1::Assigned) -> Step {
        let now_us = self.now_us;
        let told = told(assigned)?;
        self.note(format!("m{index} is told {told:?}"));
        let member = self.member(index);
        let is_static = member.instance.is_some();
        let Some(stream) = &mut member.stream else {
            return Ok(());
        };
        let is_first = stream.pace.is_none();
        let joined_with = stream.joined_with;
        stream.pace = Some(Pace {
            interval: u64::from(assigned.heartbeat_interval_ms) * MS,
            answer_timeout: u64::from(assigned.answer_timeout_ms) * MS,
        });
        if is_first {
            stream.beats_at_us = now_us;
            member.answered();
            if joined_with > 0 {
                self.count("member came back");
            } else if is_static && !told.partitions.is_empty() {
                self.count("static member came back");
            } else {
                self.count("member joined");
            }
        }
        self.member(index).told = Some(told);
        Ok(())
    }

    pub(super) fn refused(&mut self, index: usize, why: &WireError) {
        self.note(format!("m{index} is refused: {why}"));
        match why.code {
            ErrorCode::UnknownMember => {
                self.count("member forgotten");
                self.lose(index, "it is forgotten");
                self.name_member(index);
            }
            ErrorCode::InstanceIdInUse => {
                self.count("instance id in use");
                self.hang_up(index);
            }
            _ => self.hang_up(index),
        }
    }
}
