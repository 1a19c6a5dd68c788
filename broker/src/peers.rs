//! Other brokers, for requests that are to be routed to them.

mod produce;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::stream;
use taffrail_api::{
    WireError,
    status::from_status,
    stream::{Route, fetch},
    transport,
    v1::{self, broker_client::BrokerClient, groups_client::GroupsClient},
};
use taffrail_core::{BrokerNumber, ErrorCode};
use tokio::sync::watch;
use tonic::transport::Channel;

pub(crate) use self::produce::ProduceLink;
use crate::{cluster::known::Known, partition::ack::Responder};

/// Connections to other brokers, made when they are needed.
#[derive(Debug)]
pub(crate) struct Peers {
    known: watch::Receiver<Arc<Known>>,
    peers: Mutex<HashMap<BrokerNumber, Arc<Peer>>>,
}

#[derive(Debug)]
struct Peer {
    address: String,
    channel: Channel,
    produce: Mutex<Option<ProduceLink>>,
}

impl Peers {
    pub(crate) fn new(known: watch::Receiver<Arc<Known>>) -> Self {
        Self {
            known,
            peers: Mutex::default(),
        }
    }

    /// Passes a produce request on, by a stream shared with others. It is answered in any case.
    pub(crate) async fn produce(
        &self,
        leader: BrokerNumber,
        request: v1::ProduceRequest,
        responder: Responder,
    ) {
        let link = match self.peer(leader) {
            Ok(peer) => peer.produce_link(),
            Err(error) => return responder.answer(Err(error)),
        };
        link.send(request, responder).await;
    }

    /// A produce stream to a broker for one stream of a client.
    pub(crate) fn open_produce(&self, leader: BrokerNumber) -> Result<ProduceLink, WireError> {
        Ok(ProduceLink::open(self.peer(leader)?.channel.clone()))
    }

    /// Passes a fetch on.
    pub(crate) async fn fetch(
        &self,
        leader: BrokerNumber,
        request: v1::FetchRequest,
    ) -> Result<v1::FetchResponse, WireError> {
        let peer = self.peer(leader)?;
        let requests = stream::iter([request]);
        let mut answers = fetch(peer.channel.clone(), Route::Direct, requests)
            .await
            .map_err(|s| from_status(&s))?;
        answers
            .next()
            .await
            .map_err(|s| from_status(&s))?
            .ok_or_else(|| unreachable_leader(leader, "it gave no answer"))
    }

    /// Passes offset queries on.
    pub(crate) async fn list_offsets(
        &self,
        leader: BrokerNumber,
        request: v1::ListOffsetsRequest,
    ) -> Result<v1::ListOffsetsResponse, WireError> {
        let peer = self.peer(leader)?;
        BrokerClient::new(peer.channel.clone())
            .list_offsets(request)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|s| from_status(&s))
    }

    /// Passes a member's stream on, over a connection of its own: one that stays for so long, and whose answers may lie there, keeps nobody else's calls waiting.
    pub(crate) fn groups_apart(
        &self,
        coordinator: BrokerNumber,
    ) -> Result<GroupsClient<Channel>, WireError> {
        let address = self.peer(coordinator)?.address.clone();
        let endpoint = transport::endpoint(&address);
        let endpoint = endpoint.map_err(|e| unreachable_leader(coordinator, &e.to_string()))?;
        let groups = GroupsClient::new(endpoint.connect_lazy());
        Ok(groups.max_decoding_message_size(transport::CALL_MESSAGE_BYTES_MAX))
    }

    /// Passes what is asked of coordinators on.
    pub(crate) fn groups(
        &self,
        coordinator: BrokerNumber,
    ) -> Result<GroupsClient<Channel>, WireError> {
        let peer = self.peer(coordinator)?;
        let groups = GroupsClient::new(peer.channel.clone());
        Ok(groups.max_decoding_message_size(transport::CALL_MESSAGE_BYTES_MAX))
    }

    fn peer(&self, number: BrokerNumber) -> Result<Arc<Peer>, WireError> {
        let address = self
            .known
            .borrow()
            .view
            .brokers
            .get(&number)
            .and_then(|b| b.client.as_ref().map(v1::Endpoint::address))
            .ok_or_else(|| unreachable_leader(number, "its address is not known"))?;
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(&number).filter(|p| p.address == address) {
            return Ok(Arc::clone(peer));
        }
        let channel = transport::endpoint(&address)
            .map_err(|e| unreachable_leader(number, &e.to_string()))?
            .connect_lazy();
        let peer = Arc::new(Peer {
            address,
            channel,
            produce: Mutex::new(None),
        });
        peers.insert(number, Arc::clone(&peer));
        Ok(peer)
    }
}

impl Peer {
    fn produce_link(&self) -> ProduceLink {
        let mut link = self.produce.lock().unwrap_or_else(PoisonError::into_inner);
        match &*link {
            Some(link) if link.is_open() => link.clone(),
            _ => link.insert(ProduceLink::open(self.channel.clone())).clone(),
        }
    }
}

fn unreachable_leader(leader: BrokerNumber, reason: &str) -> WireError {
    WireError::new(
        ErrorCode::LeaderUnreachable,
        format!("cannot route to broker {leader}: {reason}; retry"),
    )
}
