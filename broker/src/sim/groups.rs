//! Coordinators, the streams of members, and what an observer reads in `__offsets`: what `group/coordinators.rs` and `rpc/groups` do with tasks.

use std::sync::Arc;

use futures::FutureExt as _;
use taffrail_api::{WireError, status::from_status, v1};
use taffrail_core::{ErrorCode, MemberId, Offset, TopicPartition};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::{Output, SimBroker};
use crate::{
    group::{
        CoordinatorView, GroupView,
        event::{Ask, Event, Position, Sink},
        records::{Key, decode_group, decode_offset},
    },
    rpc::groups::member::{Joined, answers},
};

/// A member's stream.
#[derive(Debug)]
pub(super) struct MemberStream {
    joined: Joined,
    /// The coordinator has one as well.
    sink: Sink,
    answers: mpsc::Receiver<Result<v1::MemberResponse, Status>>,
}

/// A record of `__offsets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRecord {
    /// Whose.
    pub group: String,
    /// What it says.
    pub says: GroupSays,
}

/// What a record of `__offsets` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupSays {
    /// Who is in the group.
    Members(Vec<MemberId>),
    /// How far a partition was read, and the note of whoever committed. `None`: it is forgotten.
    Committed(TopicPartition, Option<(Offset, String)>),
}

impl GroupRecord {
    /// What the record says.
    ///
    /// # Errors
    /// It is none of a coordinator.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Self, WireError> {
        let key = Key::decode(key)?;
        let says = match (key.partition, value) {
            (None, None) => GroupSays::Members(Vec::new()),
            (None, Some(value)) => {
                let members = decode_group(value)?.members;
                GroupSays::Members(members.into_iter().map(|member| member.id).collect())
            }
            (Some(partition), None) => GroupSays::Committed(partition, None),
            (Some(partition), Some(value)) => {
                let committed = decode_offset(value)?;
                GroupSays::Committed(partition, Some((committed.offset, committed.metadata)))
            }
        };
        Ok(Self {
            group: key.group,
            says,
        })
    }
}

/// Offsets that are to be set, whoever reads.
#[derive(Debug, Clone)]
pub struct Reset {
    /// Whose.
    pub group: String,
    /// Of which partition.
    pub partition: TopicPartition,
    /// Where to go on.
    pub offset: Offset,
    /// Is stored with it.
    pub note: String,
}

impl SimBroker {
    pub(super) fn member_says(&mut self, connection: u64, request: v1::MemberRequest) {
        let done = match self.members.get(&connection) {
            Some(stream) => at_once(stream.joined.hear(request)).map(|said| said.is_break()),
            None => self.member_joins(connection, request).map(|()| false),
        };
        match done {
            Ok(false) => {}
            Ok(true) => self.member_closed(connection),
            Err(error) => self.end_member(connection, error),
        }
    }

    fn member_joins(
        &mut self,
        connection: u64,
        request: v1::MemberRequest,
    ) -> Result<(), WireError> {
        let (sink, answers) = answers();
        let joined = at_once(Joined::join(&self.broker, Some(request), &sink))?;
        let stream = MemberStream {
            joined,
            sink,
            answers,
        };
        self.members.insert(connection, stream);
        Ok(())
    }

    pub(super) fn member_closed(&mut self, connection: u64) {
        if let Some(stream) = self.members.remove(&connection) {
            let _ = stream.joined.gone().now_or_never();
        }
    }

    fn end_member(&mut self, connection: u64, why: WireError) {
        self.member_closed(connection);
        self.outputs.push(Output::HangUpMember(connection, why));
    }

    pub(super) fn coordinate(&mut self) {
        let broker = Arc::clone(&self.broker);
        let notes = self.coordinators.step(&broker);
        self.outputs.extend(notes.into_iter().map(Output::Note));
    }

    pub(super) fn talk_to_members(&mut self) {
        let mut over = Vec::new();
        for (connection, stream) in &mut self.members {
            loop {
                match stream.answers.try_recv() {
                    Ok(Ok(response)) => {
                        let response = Box::new(response);
                        self.outputs.push(Output::ToMember(*connection, response));
                    }
                    Ok(Err(status)) => {
                        over.push((*connection, from_status(&status)));
                        break;
                    }
                    Err(_) => break,
                }
            }
            if stream.joined.is_over() && !over.iter().any(|(id, _)| id == connection) {
                let ended = "this broker does not coordinate the group any more";
                over.push((
                    *connection,
                    WireError::new(ErrorCode::NotCoordinator, ended),
                ));
            }
            debug_assert!(!stream.sink.has_lost(), "answers are taken at once");
        }
        for (connection, why) in over {
            self.end_member(connection, why);
        }
    }

    pub(super) fn reset(&mut self, id: u64, reset: Reset) {
        let (reply, answer) = oneshot::channel();
        let position = Position {
            partition: reset.partition,
            offset: reset.offset,
            metadata: reset.note,
        };
        let ask = Ask::Reset {
            positions: vec![position],
            reply,
        };
        let coordinator = self.broker.coordinators.of(&self.broker, &reset.group);
        let event = Event {
            group: reset.group,
            ask,
        };
        let full = || WireError::new(ErrorCode::NotCoordinator, "it is over, or has no room");
        match coordinator.and_then(|c| c.try_send(event).map_err(|_| full())) {
            Ok(()) => drop(self.resets.insert(id, answer)),
            Err(error) => self.outputs.push(Output::WasReset(id, Err(error))),
        }
    }

    pub(super) fn answer_resets(&mut self) {
        let outputs = &mut self.outputs;
        self.resets.retain(|id, answer| {
            let done = match answer.try_recv() {
                Ok(done) => done,
                Err(oneshot::error::TryRecvError::Empty) => return true,
                Err(oneshot::error::TryRecvError::Closed) => {
                    Err(WireError::new(ErrorCode::NotCoordinator, "it is over"))
                }
            };
            outputs.push(Output::WasReset(*id, done));
            false
        });
    }

    /// The coordinators that answer members here.
    pub fn coordinators(&self) -> impl Iterator<Item = CoordinatorView> {
        self.coordinators.sure()
    }

    /// The groups that are coordinated here.
    pub fn groups(&self) -> Vec<GroupView> {
        self.coordinators.groups()
    }
}

/// A coordinator's inbox has room: its events are dealt with after each input.
fn at_once<T>(asked: impl Future<Output = Result<T, WireError>>) -> Result<T, WireError> {
    let full = || {
        WireError::new(
            ErrorCode::ResourceExhausted,
            "a member says too much at a time",
        )
    };
    asked.now_or_never().unwrap_or_else(|| Err(full()))
}
