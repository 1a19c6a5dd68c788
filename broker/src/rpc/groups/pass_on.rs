//! Calls of clients that cannot reach a group's coordinator: passed on to it, as they come.

use std::{
    future::{Future, ready},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use taffrail_api::{
    WireError,
    status::from_status,
    v1::{self, groups_client::GroupsClient},
};
use taffrail_core::{BrokerNumber, ErrorCode};
use tokio::{sync::oneshot, time::timeout};
use tonic::{Response, Status, Streaming, transport::Channel};

use super::{ANSWER_TIMEOUT, late};
use crate::{
    broker::Broker,
    group::event::{Sink, slow},
    rpc::foreign,
};

/// A coordinator takes a stream at once, and says what is wrong with it later.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the coordinator that runs there, and gives its answer.
pub(super) async fn pass_on<T, F>(
    broker: &Broker,
    coordinator: BrokerNumber,
    call: &'static str,
    ask: impl FnOnce(GroupsClient<Channel>) -> F,
) -> Result<T, WireError>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let asked = async {
        let answered = timeout(ANSWER_TIMEOUT, ask(broker.peers.groups(coordinator)?)).await;
        let answered = answered.map_err(|_| late())?;
        answered.map_err(|status| from_status(&status))
    };
    let answered: Result<Response<T>, WireError> = asked.await;
    answered.map(Response::into_inner).inspect_err(|error| {
        broker.metrics.error(call, error.code);
    })
}

/// A member's stream, whose first word was read already. It ends when either end does.
///
/// # Errors
/// Why the coordinator ended it, or that it cannot be reached; or what is wrong with what the member says, which takes no answers or is one of too many.
pub(super) async fn pass_on_stream(
    broker: &Broker,
    coordinator: BrokerNumber,
    first: v1::MemberRequest,
    requests: Streaming<v1::MemberRequest>,
    sink: &Sink,
) -> Result<(), WireError> {
    let room = broker.coordinators.passed_on.try_acquire();
    let _room = room.map_err(|_| too_many())?;
    let mut there = broker.peers.groups_apart(coordinator)?;
    let (said, nonsense) = until_nonsense(first, requests);
    let passed = async {
        let opened = timeout(OPEN_TIMEOUT, there.join(said)).await;
        let opened = opened.map_err(|_| late())?;
        let mut answers = opened.map_err(|s| from_status(&s))?.into_inner();
        while let Some(answer) = answers.message().await.map_err(|s| from_status(&s))? {
            if !sink.pass(answer) {
                return Err(slow());
            }
        }
        Ok(())
    };
    tokio::select! {
        passed = passed => passed,
        Ok(error) = nonsense => Err(error),
        () = sink.closed() => Ok(()),
    }
}

/// What a member says, until it says nonsense, and what that was. A stream that breaks ends for the coordinator, which waits for the member to come back.
fn until_nonsense(
    first: v1::MemberRequest,
    requests: Streaming<v1::MemberRequest>,
) -> (
    impl Stream<Item = v1::MemberRequest> + Send + 'static,
    oneshot::Receiver<WireError>,
) {
    let (found, nonsense) = oneshot::channel();
    let found = Some(found);
    let rest = requests.scan(found, |found, said| {
        ready(match said {
            Ok(said) => Some(said),
            Err(status) => {
                if let Some(found) = found.take() {
                    // Nobody listens any more where the stream has ended for another reason.
                    let _ = found.send(foreign::error(&status));
                }
                None
            }
        })
    });
    (stream::iter([first]).chain(rest), nonsense)
}

fn too_many() -> WireError {
    WireError::new(
        ErrorCode::ResourceExhausted,
        "this broker passes as many members on to other brokers as it may: connect to the coordinator, or to another broker",
    )
}
