//! Ports for sessions of brokers: they close connections of those who do not get a session in time.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use tokio::{
    io::{AsyncRead as _, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};

use super::guarded::{Gate, Guard, Guarded, Limit, accept};

/// A connection without a session by then is closed: it would take the room of a broker.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// Set by the session that a connection is for. Among the extensions of every request.
#[derive(Debug, Clone, Default)]
pub struct Admission(Arc<AtomicBool>);

impl Admission {
    /// The connection may stay.
    pub fn admit(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The connections that `listener` accepts.
pub fn sessions(
    listener: TcpListener,
    limit: Limit,
) -> impl Stream<Item = io::Result<Guarded<Awaited>>> {
    accept(listener, limit, Sessions)
}

struct Sessions;

impl Gate for Sessions {
    type Guard = Awaited;

    fn accepted(&self) -> Awaited {
        Awaited {
            admission: Admission::default(),
            deadline: Some(Box::pin(sleep(SESSION_TIMEOUT))),
        }
    }
}

/// Ends a connection that does not get a session in time.
#[derive(Debug)]
pub struct Awaited {
    admission: Admission,
    /// Until it has.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Guard for Awaited {
    type Info = Admission;

    fn info(&self) -> Admission {
        self.admission.clone()
    }

    fn poll_read(
        &mut self,
        stream: Pin<&mut TcpStream>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.admission.0.load(Ordering::Relaxed) {
            self.deadline = None;
        }
        // Also one that keeps sending something has to have a session by then.
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        stream.poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tokio::io::AsyncReadExt as _;
    use tonic::transport::server::Connected as _;

    use super::*;

    async fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        (listener, address)
    }

    const ONE: Limit = Limit {
        connections_max: 1,
        what: "tests",
    };

    #[tokio::test]
    async fn a_connection_beyond_the_limit_is_closed_and_room_comes_back() {
        let (listener, address) = listener().await;
        let mut accepted = Box::pin(sessions(listener, ONE));
        let _first = TcpStream::connect(address).await.expect("connects");
        let first = accepted.next().await.expect("goes on").expect("accepted");
        let mut second = TcpStream::connect(address).await.expect("connects");
        let mut byte = [0];
        let refused = async {
            tokio::select! {
                read = second.read(&mut byte) => read.unwrap_or(0),
                _ = accepted.next() => panic!("there is no room"),
            }
        };
        assert_eq!(refused.await, 0, "it is closed");
        drop(first);
        let _third = TcpStream::connect(address).await.expect("connects");
        accepted.next().await.expect("goes on").expect("accepted");
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_gets_a_session_stays() {
        let (listener, address) = listener().await;
        let mut accepted = Box::pin(sessions(listener, ONE));
        let mut peer = TcpStream::connect(address).await.expect("connects");
        let mut stays = accepted.next().await.expect("goes on").expect("accepted");
        stays.connect_info().admit();
        let mut byte = [0];
        let waits = tokio::time::timeout(10 * SESSION_TIMEOUT, stays.read(&mut byte)).await;
        assert!(waits.is_err(), "it waits for its peer: {waits:?}");
        tokio::io::AsyncWriteExt::write_all(&mut peer, &[7])
            .await
            .expect("open");
        assert_eq!(stays.read(&mut byte).await.expect("open"), 1);
        drop(stays);

        let _stranger = TcpStream::connect(address).await.expect("connects");
        let mut goes = accepted.next().await.expect("goes on").expect("accepted");
        let ended = goes.read(&mut byte).await.expect_err("too late");
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
    }
}
