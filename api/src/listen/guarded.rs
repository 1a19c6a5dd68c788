//! Connections that are accepted up to a limit, and ended by a guard that watches what is read.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tonic::transport::server::Connected;

/// The process is out of file descriptors or memory: give it a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections a port has room for.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// More are refused.
    pub connections_max: usize,
    /// What they are for, as the log calls them.
    pub what: &'static str,
}

/// Watches a connection. Dropped with it.
pub trait Guard: Unpin + Send + 'static {
    /// Among the extensions of every request.
    type Info: Clone + Send + Sync + 'static;

    /// What requests are told.
    fn info(&self) -> Self::Info;

    /// Reads from `stream`, or ends the connection with an error.
    fn poll_read(
        &mut self,
        stream: Pin<&mut TcpStream>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>>;
}

/// Makes the guards of a port.
pub trait Gate: Send + 'static {
    /// Of one connection.
    type Guard: Guard;

    /// One was accepted.
    fn accepted(&self) -> Self::Guard;

    /// One was refused: there are too many.
    fn refused(&self) {}
}

/// The connections that `listener` accepts.
pub fn accept<G: Gate>(
    listener: TcpListener,
    limit: Limit,
    gate: G,
) -> impl Stream<Item = io::Result<Guarded<G::Guard>>> {
    let Limit {
        connections_max,
        what,
    } = limit;
    let room = Arc::new(Semaphore::new(connections_max));
    stream::unfold(
        (listener, room, gate),
        move |(listener, room, gate)| async move {
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
                    gate.refused();
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
                let connection = Guarded {
                    stream,
                    guard: gate.accepted(),
                    _permit: permit,
                };
                return Some((Ok(connection), (listener, room, gate)));
            }
        },
    )
}

/// A connection and what guards it.
#[derive(Debug)]
pub struct Guarded<G> {
    stream: TcpStream,
    guard: G,
    _permit: OwnedSemaphorePermit,
}

impl<G: Guard> Connected for Guarded<G> {
    type ConnectInfo = G::Info;

    fn connect_info(&self) -> G::Info {
        self.guard.info()
    }
}

impl<G: Guard> AsyncRead for Guarded<G> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, guard, .. } = &mut *self;
        guard.poll_read(Pin::new(stream), cx, buf)
    }
}

impl<G: Guard> AsyncWrite for Guarded<G> {
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
