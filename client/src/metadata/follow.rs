//! Follows the topics in use: a broker says by itself when a leader moves or partitions are added. Where that breaks off, another broker is asked
//! after a pause; meanwhile, and with brokers that cannot be followed, metadata is asked for when a request fails, as it always is.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use taffrail_api::{
    status::from_status,
    transport::CALL_MESSAGE_BYTES_MAX,
    v1::{self, broker_client::BrokerClient},
};
use taffrail_core::ErrorCode;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tonic::{Status, Streaming, transport::Channel};

use super::cache::{ASK_TIMEOUT, MetadataCache};
use crate::{backoff::Backoff, connections::Connections, error::ClientError};

/// How often another broker than the one that is followed is asked: that one may be cut off from the controller and not know that others lead.
const COMPARE_INTERVAL: Duration = Duration::from_secs(10);

/// One that was followed for so long did not fail at once: the next pause is short again.
const GOOD_WHILE: Duration = Duration::from_secs(30);
/// Topics that are taken into use one after the other are asked for together.
const GATHERING: Duration = Duration::from_millis(20);

/// Runs until its client is dropped.
pub(crate) async fn follow(
    cache: Arc<MetadataCache>,
    connections: Arc<Connections>,
    backoff: Backoff,
) {
    let mut used = cache.used();
    let mut attempts = 0;
    loop {
        let topics = used.borrow_and_update().clone();
        if topics.is_empty() {
            if used.changed().await.is_err() {
                return;
            }
            sleep(GATHERING).await;
            continue;
        }
        let began = Instant::now();
        let error = tokio::select! {
            changed = used.changed() => {
                if changed.is_err() {
                    return;
                }
                sleep(GATHERING).await;
                continue;
            }
            error = watch(&cache, &connections, topics) => error,
        };
        if error.code() == ErrorCode::UnsupportedVersion {
            tracing::debug!(%error, "brokers cannot be followed; metadata is asked for when a request fails");
            return;
        }
        if began.elapsed() > GOOD_WHILE {
            attempts = 0;
        }
        attempts += 1;
        let pause = backoff.pause(attempts);
        tracing::debug!(%error, ?pause, "metadata is not followed just now");
        sleep(pause).await;
    }
}

/// Takes in what a broker says, until it says no more.
async fn watch(
    cache: &MetadataCache,
    connections: &Connections,
    topics: BTreeSet<String>,
) -> ClientError {
    let others = cache.addresses();
    let request = v1::GetMetadataRequest {
        topics: topics.into_iter().collect(),
    };
    let turn = connections.next_turn();
    let opened = connections.any_broker(turn, others, |channel| open(channel, request.clone()));
    let mut changes = match opened.await {
        Ok(changes) => changes,
        Err(error) => return error,
    };
    let mut compare = interval_at(Instant::now() + COMPARE_INTERVAL, COMPARE_INTERVAL);
    compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            change = changes.message() => match change {
                Ok(Some(change)) => {
                    cache.take_in(change);
                }
                Ok(None) => return from_status(&Status::unavailable("the broker said no more")).into(),
                Err(status) => return from_status(&status).into(),
            },
            _ = compare.tick() => {
                // If nobody answers, the stream ends soon, or what it says is the best there is.
                let _ = cache.refresh(connections, &request.topics).await;
            }
        }
    }
}

async fn open(
    channel: Channel,
    request: v1::GetMetadataRequest,
) -> Result<Streaming<v1::Metadata>, Status> {
    let mut client = BrokerClient::new(channel).max_decoding_message_size(CALL_MESSAGE_BYTES_MAX);
    match timeout(ASK_TIMEOUT, client.watch_metadata(request)).await {
        Ok(changes) => Ok(changes?.into_inner()),
        Err(_elapsed) => Err(Status::unavailable("it does not answer")),
    }
}
