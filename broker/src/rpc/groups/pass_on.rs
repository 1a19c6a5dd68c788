//! Calls of clients that cannot reach a group's coordinator: passed on to it, as they come.

use std::future::Future;

use futures::{StreamExt as _, stream};
use taffrail_api::{
    WireError,
    status::from_status,
    v1::{self, groups_client::GroupsClient},
};
use taffrail_core::BrokerNumber;
use tokio::time::timeout;
use tonic::{Response, Status, Streaming, transport::Channel};

use super::{ANSWER_TIMEOUT, late};
use crate::{broker::Broker, group::event::Sink};

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
    broker.metrics.requests(call).inc();
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
/// Why the coordinator ended it, or that it cannot be reached.
pub(super) async fn pass_on_stream(
    broker: &Broker,
    coordinator: BrokerNumber,
    first: v1::MemberRequest,
    requests: Streaming<v1::MemberRequest>,
    sink: &Sink,
) -> Result<(), WireError> {
    let mut there = broker.peers.groups(coordinator)?;
    // A stream that breaks ends for the coordinator, which waits for the member to come back.
    let rest = requests.take_while(|r| std::future::ready(r.is_ok()));
    let said = stream::iter([Ok(first)])
        .chain(rest)
        .filter_map(|said| std::future::ready(said.ok()));
    let passed = async {
        let answers = there.join(said).await.map_err(|s| from_status(&s))?;
        let mut answers = answers.into_inner();
        while let Some(answer) = answers.message().await.map_err(|s| from_status(&s))? {
            if !sink.pass(answer).await {
                break;
            }
        }
        Ok(())
    };
    tokio::select! {
        passed = passed => passed,
        () = sink.closed() => Ok(()),
    }
}
