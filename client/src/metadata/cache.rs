//! The newest view, and how it is renewed.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use taffrail_api::v1::{self, broker_client::BrokerClient};
use tokio::time::timeout;
use tonic::{Status, transport::Channel};

use super::Metadata;
use crate::{connections::Connections, error::ClientError};

/// A broker answers from memory; one that takes longer hangs, and the next one is asked.
const ASK_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Shared by everything that one client makes.
#[derive(Debug, Default)]
pub(crate) struct MetadataCache {
    current: RwLock<Arc<Metadata>>,
}

impl MetadataCache {
    pub(crate) fn current(&self) -> Arc<Metadata> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks a broker for `topics` (empty: all) and takes the answer in.
    pub(crate) async fn refresh(
        &self,
        connections: &Connections,
        topics: &[String],
    ) -> Result<Arc<Metadata>, ClientError> {
        let known = self.current();
        let others = known.brokers.values().map(|b| b.address.clone());
        let request = v1::GetMetadataRequest {
            topics: topics.to_vec(),
        };
        let answer = connections
            .any_broker(others.collect(), |channel| ask(channel, request.clone()))
            .await?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Metadata::clone(&current);
        next.merge(answer);
        *current = Arc::new(next);
        Ok(Arc::clone(&current))
    }
}

async fn ask(channel: Channel, request: v1::GetMetadataRequest) -> Result<v1::Metadata, Status> {
    let mut client = BrokerClient::new(channel)
        .max_decoding_message_size(taffrail_api::transport::CALL_MESSAGE_BYTES_MAX);
    match timeout(ASK_TIMEOUT, client.get_metadata(request)).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_elapsed) => Err(Status::unavailable("it does not answer")),
    }
}
