//! Ports for sessions of brokers: they accept up to a limit, and close connections of those who do not get a session in time.

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

use futures::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tonic::transport::server::Connected;

/// The process is out of file descriptors or memory: give it a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
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

/// How many connections a port has room for.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// More are refused.
    pub connections_max: usize,
    /// What they are for, as the log calls them.
    pub what: &'static str,
}

/// The connections that `listener` accepts.
pub fn sessions(listener: TcpListener, limit: Limit) -> impl Stream<Item = io::Result<Connection>> {
    let Limit {
        connections_max,
        what,
    } = limit;
    let room = Arc::new(Semaphore::new(connections_max));
    stream::unfold((listener, room), move |(listener, room)| async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, what, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                tracing::warn!(
                    connections_max,
                    what,
                    "refused a connection: there are too many"
                );
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection went away while it was accepted");
                continue;
            }
            let connection = Connection {
                stream,
                admission: Admission::default(),
                deadline: Some(Box::pin(sleep(SESSION_TIMEOUT))),
                _permit: permit,
            };
            return Some((Ok(connection), (listener, room)));
        }
    })
}

/// A connection that has to get a session in time.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    admission: Admission,
    /// Until it has.
    deadline: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = Admission;

    fn connect_info(&self) -> Admission {
        self.admission.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
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
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    /// Without this h2 would copy every batch.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tokio::io::AsyncReadExt as _;

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
