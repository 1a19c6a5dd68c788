//! A member that does what a test says.

use std::time::Duration;

use taffrail_api::{
    WireError,
    status::from_status,
    v1::{self, groups_client::GroupsClient, member_request::Request, member_response::Response},
};
use tokio::{sync::mpsc, time::interval};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{routed::routed, topic_bytes};
use crate::fixture::within;

pub(crate) fn groups(channel: Channel) -> GroupsClient<Channel> {
    GroupsClient::new(channel)
}

/// Of group `billing`, that reads `flights`.
pub(crate) fn joining(member: u8) -> v1::JoinGroup {
    v1::JoinGroup {
        group: "billing".to_owned(),
        member_id: vec![member; 16].into(),
        topics: vec!["flights".to_owned()],
        ..v1::JoinGroup::default()
    }
}

/// A position in `flights`.
pub(crate) fn at(partition: u32, offset: i64) -> v1::CommittedOffset {
    v1::CommittedOffset {
        topic_id: topic_bytes(),
        partition,
        offset,
        metadata: String::new(),
    }
}

pub(crate) fn partitions(assigned: &v1::Assigned) -> Vec<u32> {
    assigned.partitions.iter().map(|p| p.partition).collect()
}

/// What is said on it.
type Stream = UnboundedReceiverStream<v1::MemberRequest>;

/// A member's stream.
pub(crate) struct TestMember {
    requests: mpsc::UnboundedSender<v1::MemberRequest>,
    responses: Streaming<v1::MemberResponse>,
    next_id: u64,
}

impl TestMember {
    pub(crate) async fn open(channel: Channel) -> Self {
        Self::open_by(channel, tonic::Request::new).await
    }

    async fn open_by(
        channel: Channel,
        request: impl FnOnce(Stream) -> tonic::Request<Stream>,
    ) -> Self {
        let (requests, stream) = mpsc::unbounded_channel();
        let stream = UnboundedReceiverStream::new(stream);
        let responses = groups(channel).join(request(stream)).await;
        Self {
            requests,
            responses: responses.expect("opens").into_inner(),
            next_id: 0,
        }
    }

    pub(crate) async fn join(channel: Channel, join: v1::JoinGroup) -> Self {
        let member = Self::open(channel).await;
        member.say(Request::Join(join));
        member
    }

    /// Through a broker that passes it on.
    pub(crate) async fn join_routed(channel: Channel, join: v1::JoinGroup) -> Self {
        let member = Self::open_by(channel, routed).await;
        member.say(Request::Join(join));
        member
    }

    pub(crate) fn say(&self, request: Request) {
        let request = v1::MemberRequest {
            request: Some(request),
        };
        // A stream that ended says why in its answers.
        let _ = self.requests.send(request);
    }

    async fn hear(&mut self) -> Result<Response, WireError> {
        let heard = within("an answer", self.responses.message()).await;
        let heard = heard.map_err(|status| from_status(&status))?;
        Ok(heard
            .expect("a stream ends with an error")
            .response
            .expect("something"))
    }

    /// The next assignment. Answers to heartbeats are passed over.
    pub(crate) async fn assigned(&mut self) -> v1::Assigned {
        loop {
            match self.hear().await.expect("no end") {
                Response::Assigned(assigned) => return assigned,
                Response::Heartbeat(_) => {}
                Response::Commit(commit) => panic!("{commit:?} was not asked for"),
            }
        }
    }

    pub(crate) fn heartbeat(&self, epoch: u64) {
        self.say(Request::Heartbeat(v1::MemberHeartbeat { epoch }));
    }

    /// Heartbeats for ever.
    pub(crate) fn talk(&self, epoch: u64) -> impl Future<Output = ()> + use<> {
        let requests = self.requests.clone();
        async move {
            let mut beats = interval(Duration::from_millis(20));
            loop {
                beats.tick().await;
                let request = Request::Heartbeat(v1::MemberHeartbeat { epoch });
                // A stream that ended says why in its answers.
                let _ = requests.send(v1::MemberRequest {
                    request: Some(request),
                });
            }
        }
    }

    /// What is refused of it.
    pub(crate) async fn commit(
        &mut self,
        epoch: u64,
        offsets: Vec<v1::CommittedOffset>,
    ) -> Vec<v1::RefusedCommit> {
        self.next_id += 1;
        self.say(Request::Commit(v1::CommitRequest {
            request_id: self.next_id,
            epoch,
            offsets,
        }));
        loop {
            match self.hear().await.expect("no end") {
                Response::Commit(commit) => {
                    assert_eq!(commit.request_id, self.next_id);
                    return commit.refused;
                }
                Response::Heartbeat(_) => {}
                Response::Assigned(assigned) => panic!("{assigned:?} was not expected"),
            }
        }
    }

    pub(crate) fn leave(&self, comes_back: bool) {
        self.say(Request::Leave(v1::LeaveGroup { comes_back }));
    }

    /// Why the stream ends.
    pub(crate) async fn ended(&mut self) -> WireError {
        loop {
            if let Err(error) = self.hear().await {
                return error;
            }
        }
    }
}
