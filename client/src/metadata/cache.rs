//! The newest view, and how it is renewed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use taffrail_api::v1::{self, broker_client::BrokerClient};
use tokio::{sync::watch, time::timeout};
use tonic::{Status, transport::Channel};

use super::Metadata;
use crate::{connections::Connections, error::ClientError};

/// A broker answers from memory; one that takes longer hangs, and the next one is asked.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Topics that are followed at most. Whoever uses more asks for the others when a request fails.
const USED_MAX: usize = 1_000;

/// Shared by everything that one client makes.
#[derive(Debug, Default)]
pub(crate) struct MetadataCache {
    current: watch::Sender<Arc<Metadata>>,
    /// Topics that are produced to or consumed from.
    used: watch::Sender<BTreeSet<String>>,
}

impl MetadataCache {
    pub(crate) fn current(&self) -> Arc<Metadata> {
        Arc::clone(&self.current.borrow())
    }

    /// Says when there is a newer view.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Metadata>> {
        self.current.subscribe()
    }

    /// The topic is followed from now on.
    pub(crate) fn use_topic(&self, name: &str) {
        if !self.used.borrow().contains(name) {
            self.used
                .send_if_modified(|used| used.len() < USED_MAX && used.insert(name.to_owned()));
        }
    }

    pub(super) fn used(&self) -> watch::Receiver<BTreeSet<String>> {
        self.used.subscribe()
    }

    /// Of all brokers that are known.
    pub(super) fn addresses(&self) -> Vec<String> {
        let known = self.current.borrow();
        known.brokers.values().map(|b| b.address.clone()).collect()
    }

    /// The view after an answer.
    pub(super) fn take_in(&self, answer: v1::Metadata) -> Arc<Metadata> {
        self.current.send_modify(|current| {
            let mut next = Metadata::clone(current);
            next.merge(answer);
            *current = Arc::new(next);
        });
        self.current()
    }

    /// Asks a broker for `topics` (empty: all) and takes the answer in. Each time another one, while they answer: one that is cut off from the
    /// controller says for ever what it heard last.
    pub(crate) async fn refresh(
        &self,
        connections: &Connections,
        topics: &[String],
    ) -> Result<Arc<Metadata>, ClientError> {
        let request = v1::GetMetadataRequest {
            topics: topics.to_vec(),
        };
        let answer = connections
            .any_broker(connections.next_turn(), self.addresses(), |channel| {
                ask(channel, request.clone())
            })
            .await?;
        Ok(self.take_in(answer))
    }

    /// Asks every broker for `topics` and takes all answers in.
    ///
    /// # Errors
    /// None answers.
    pub(crate) async fn refresh_of_all(
        &self,
        connections: &Connections,
        topics: &[String],
    ) -> Result<(), ClientError> {
        let request = v1::GetMetadataRequest {
            topics: topics.to_vec(),
        };
        let ask = |channel| ask(channel, request.clone());
        for answer in connections.every_broker(self.addresses(), ask).await? {
            self.take_in(answer);
        }
        Ok(())
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
