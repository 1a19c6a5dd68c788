//! A TCP forwarder whose connections can be cut.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

pub(crate) struct Forwarder {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Forwarder {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let connections: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let accepted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let forward = async move {
                    if let Ok(mut to) = TcpStream::connect(to).await {
                        // However it ends, both sides are closed.
                        let _ = copy_bidirectional(&mut from, &mut to).await;
                    }
                };
                accepted.lock().expect("not poisoned").spawn(forward);
            }
        });
        Self {
            address,
            connections,
        }
    }

    pub(crate) fn cut(&self) {
        self.connections.lock().expect("not poisoned").abort_all();
    }
}
