//! A network between brokers, and from them to the controller, that can be cut in one direction: a proxy in front of each replication port and of the controller's.
//!
//! Cut bytes wait until the cut is healed, as TCP would send them again. Who opened a connection is known by the process that owns its other end.

mod gate;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{sync::watch, task::JoinSet};

/// Who sends, or is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The broker with this index.
    Broker(usize),
    /// Whoever decides for the brokers.
    Controller,
}

impl From<usize> for End {
    fn from(index: usize) -> Self {
        Self::Broker(index)
    }
}

/// From whom to whom nothing arrives.
type Cuts = BTreeSet<(End, End)>;

/// All connections of brokers to each other and to the controller, or nothing if they are to go straight. Clients always go straight.
#[derive(Debug)]
pub struct Network {
    proxies: Option<Proxies>,
}

#[derive(Debug)]
struct Proxies {
    cuts: watch::Sender<Cuts>,
    pids: Arc<Mutex<Vec<u32>>>,
    gates: Mutex<JoinSet<()>>,
}

impl Network {
    /// Brokers reach each other straight.
    pub(crate) fn absent() -> Self {
        Self { proxies: None }
    }

    /// Brokers reach each other through proxies.
    pub(crate) fn present() -> Self {
        Self {
            proxies: Some(Proxies {
                cuts: watch::Sender::new(Cuts::new()),
                pids: Arc::default(),
                gates: Mutex::default(),
            }),
        }
    }

    /// Where brokers dial this end, which listens at `inside`.
    pub(crate) async fn gate(&self, to: impl Into<End>, inside: SocketAddr) -> SocketAddr {
        let Some(proxies) = &self.proxies else {
            return inside;
        };
        let gate = gate::Gate::open(to.into(), inside).await;
        let address = gate.address();
        let serving = gate.serve(proxies.pids.clone(), proxies.cuts.subscribe());
        let mut gates = proxies.gates.lock().expect("nobody panicked with it");
        gates.spawn(serving);
        address
    }

    /// The brokers' processes, by index.
    pub(crate) fn set_pids(&self, pids: Vec<u32>) {
        if let Some(proxies) = &self.proxies {
            *proxies.pids.lock().expect("nobody panicked with it") = pids;
        }
    }

    /// Nothing that `from` sends arrives at `to` any more, whoever opened the connection.
    ///
    /// # Panics
    /// If brokers reach each other straight.
    pub fn cut(&self, from: impl Into<End>, to: impl Into<End>) {
        let direction = (from.into(), to.into());
        self.change(|cuts| {
            cuts.insert(direction);
        });
    }

    /// All arrives again, also what was held up.
    ///
    /// # Panics
    /// If brokers reach each other straight.
    pub fn heal(&self) {
        self.change(Cuts::clear);
    }

    fn change(&self, change: impl FnOnce(&mut Cuts)) {
        let proxies = self.proxies.as_ref();
        let proxies = proxies.expect("start the cluster with a network that can be cut");
        proxies.cuts.send_modify(change);
    }
}
