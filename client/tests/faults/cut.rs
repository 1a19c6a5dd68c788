//! A TCP forwarder whose connections can be cut, or stay open without a byte coming through.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

pub(crate) struct Forwarder {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
    frozen: watch::Sender<bool>,
}

impl Forwarder {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let connections: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let accepted = Arc::clone(&connections);
        let frozen = watch::Sender::new(false);
        let freezing = frozen.subscribe();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let freezing = freezing.clone();
                let forward = async move {
                    if let Ok(mut to) = TcpStream::connect(to).await {
                        tokio::select! {
                            // However it ends, both sides are closed.
                            _ = copy_bidirectional(&mut from, &mut to) => {}
                            () = is_frozen(freezing) => std::future::pending().await,
                        }
                    }
                };
                accepted.lock().expect("not poisoned").spawn(forward);
            }
        });
        Self {
            address,
            connections,
            frozen,
        }
    }

    /// Everything stays open, and nothing comes through any more.
    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    pub(crate) fn cut(&self) {
        self.connections.lock().expect("not poisoned").abort_all();
    }
}

async fn is_frozen(mut freezing: watch::Receiver<bool>) {
    let frozen = freezing.wait_for(|frozen| *frozen).await.is_ok();
    if !frozen {
        // The forwarder is gone, and its connections go with it.
        std::future::pending::<()>().await;
    }
}
