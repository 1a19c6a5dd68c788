//! Members of groups that this broker stands in for: where their commits go.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use taffrail_api::{WireError, v1};
use taffrail_client::{Client, ClientConfig, ClientError};
use taffrail_core::MemberId;
use tokio::sync::{OnceCell, mpsc, oneshot};

/// What a thin client has processed.
#[derive(Debug)]
pub(crate) struct CommitRead {
    pub(crate) positions: Vec<v1::ReadPosition>,
    pub(crate) reply: oneshot::Sender<Vec<v1::RefusedPosition>>,
}

/// Subscriptions with a group, by the id of the member.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    /// Where this broker serves clients: it is one of its own, for members have their coordinator anywhere. `None`: it has no network.
    address: Option<SocketAddr>,
    client: OnceCell<Client>,
    open: Mutex<HashMap<MemberId, mpsc::Sender<CommitRead>>>,
}

impl Subscriptions {
    pub(crate) fn new(address: Option<SocketAddr>) -> Self {
        Self {
            address,
            client: OnceCell::new(),
            open: Mutex::default(),
        }
    }

    /// The client of all of them.
    pub(crate) async fn client(&self) -> Result<&Client, ClientError> {
        let connect = || async {
            let mut address = self
                .address
                .ok_or_else(|| WireError::invalid("a broker without a network"))?;
            if address.ip().is_unspecified() {
                address.set_ip(match address {
                    SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                    SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
                });
            }
            Client::connect(ClientConfig::new(address.to_string())).await
        };
        self.client.get_or_try_init(connect).await
    }

    pub(crate) fn of(&self, member: MemberId) -> Option<mpsc::Sender<CommitRead>> {
        self.lock().get(&member).cloned()
    }

    pub(super) fn insert(&self, member: MemberId, commits: mpsc::Sender<CommitRead>) {
        self.lock().insert(member, commits);
    }

    pub(super) fn remove(&self, member: MemberId) {
        self.lock().remove(&member);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MemberId, mpsc::Sender<CommitRead>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
