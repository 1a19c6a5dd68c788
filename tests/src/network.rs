//! A network between brokers that can be cut in one direction: a proxy in front of each replication port.
//!
//! Cut bytes wait until the cut is healed, as TCP would send them again. Who opened a connection is known by the process that owns its other end.

mod gate;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{sync::watch, task::JoinSet};

/// From whom to whom nothing arrives, by index.
type Cuts = BTreeSet<(usize, usize)>;

/// All connections between brokers, or nothing if they are to go straight.
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

    /// Where others dial the broker with this index, which listens at `inside`.
    pub(crate) async fn gate(&self, index: usize, inside: SocketAddr) -> SocketAddr {
        let Some(proxies) = &self.proxies else {
            return inside;
        };
        let gate = gate::Gate::open(index, inside).await;
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
    pub fn cut(&self, from: usize, to: usize) {
        self.change(|cuts| {
            cuts.insert((from, to));
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
