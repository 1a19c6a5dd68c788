//! A proxy in front of each replication port and of the controller's.
//!
//! Cut bytes wait until the cut is healed, as TCP would send them again. Who opened a connection is known by the process that owns its other end.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{sync::watch, task::JoinSet};

use super::{Cuts, End, gate::Gate};

/// All connections of brokers to each other and to the controller.
#[derive(Debug)]
pub(super) struct Proxies {
    cuts: watch::Sender<Cuts>,
    pids: Arc<Mutex<Vec<u32>>>,
    gates: Mutex<JoinSet<()>>,
}

impl Default for Proxies {
    fn default() -> Self {
        Self {
            cuts: watch::Sender::new(Cuts::new()),
            pids: Arc::default(),
            gates: Mutex::default(),
        }
    }
}

impl Proxies {
    /// Where brokers dial this end, which listens at `inside`.
    pub(super) async fn gate(&self, to: End, inside: SocketAddr) -> SocketAddr {
        let gate = Gate::open(to, inside).await;
        let address = gate.address();
        let serving = gate.serve(self.pids.clone(), self.cuts.subscribe());
        let mut gates = self.gates.lock().expect("nobody panicked with it");
        gates.spawn(serving);
        address
    }

    /// The brokers' processes, by index.
    pub(super) fn set_pids(&self, pids: Vec<u32>) {
        *self.pids.lock().expect("nobody panicked with it") = pids;
    }

    pub(super) fn cut(&self, from: End, to: End) {
        assert!(![from, to].contains(&End::Clients), "clients go straight");
        self.cuts.send_modify(|cuts| {
            cuts.insert((from, to));
        });
    }

    pub(super) fn heal(&self) {
        self.cuts.send_modify(Cuts::clear);
    }
}
