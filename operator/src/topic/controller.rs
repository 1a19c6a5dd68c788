//! What is asked of a cluster's controller, with a deadline: a controller that does not answer is one that is not there.

use std::{future::Future, time::Duration};

use taffrail_controller::{Applied, ApplyError, ControllerHandle, Deleted};
use taffrail_core::{DeletionPolicy, TopicId, TopicSpec};
use tokio::time::timeout;

/// A decision takes a few writes to the API server, each with a deadline of its own.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Creates or changes a topic. A new one gets the identity `id`.
pub(crate) async fn apply(
    handle: &ControllerHandle,
    id: Option<TopicId>,
    name: &str,
    spec: TopicSpec,
) -> Result<Applied, ApplyError> {
    within(handle.apply_topic_as(id, name, spec)).await
}

/// Ends a topic.
pub(crate) async fn delete(
    handle: &ControllerHandle,
    name: &str,
    policy: DeletionPolicy,
) -> Result<Deleted, ApplyError> {
    within(handle.delete_topic(name, policy)).await
}

async fn within<T>(answer: impl Future<Output = Result<T, ApplyError>>) -> Result<T, ApplyError> {
    timeout(ANSWER_TIMEOUT, answer)
        .await
        .unwrap_or(Err(ApplyError::NotActive))
}
