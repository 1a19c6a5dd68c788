//! A member's side of its stream: joins, stays, hears; stops by itself when it is not answered.

use std::collections::VecDeque;

use taffrail_api::{
    WireError,
    v1::{self, member_request::Request, member_response::Response},
};
use taffrail_core::{ErrorCode, MemberId};

use super::{
    PLANS,
    member::{Member, Pace, Stream, told},
};
use crate::world::{
    CLIENTS, MS, SECOND, Step, World,
    network::{ConnectionId, End, Peer, Wire},
};

/// A coordinator that says nothing for so long after a join is asked anew where it is.
const JOIN_PATIENCE: u64 = 3 * SECOND;

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
