//! Connections of the HTTP port: few and brief, so that nobody takes them up by saying nothing, or little and slowly.

use std::{
    collections::VecDeque,
    future::Future as _,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Probes, scrapers and a person or two.
const CONNECTIONS_MAX: usize = 64;
/// A connection is closed then, whatever it does: a client that goes on opens another.
const LIFETIME: Duration = Duration::from_secs(30);

/// Always accepts: a probe must get its answer. Whoever has been there for longest makes way.
#[derive(Debug)]
pub struct BriefListener {
    listener: TcpListener,
    /// The newest connections, also those that have ended.
    newest: VecDeque<CancellationToken>,
}

impl BriefListener {
    /// Accepts what `listener` does.
    pub const fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            newest: VecDeque::new(),
        }
    }
}

impl Listener for BriefListener {
    type Io = Brief;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Brief, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let token = CancellationToken::new();
        let brief = Brief {
            stream,
            end: Box::pin(sleep(LIFETIME)),
            made_way: Box::pin(token.clone().cancelled_owned()),
        };
        self.newest.push_back(token);
        if self.newest.len() > CONNECTIONS_MAX
            && let Some(oldest) = self.newest.pop_front()
        {
            oldest.cancel();
        }
        (brief, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// Is it somebody on this machine, or in this pod?
    pub fn is_local(self) -> bool {
        self.0.ip().to_canonical().is_loopback()
    }
}

impl Connected<IncomingStream<'_, BriefListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BriefListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A connection whose reads and writes fail at the end of its life.
#[derive(Debug)]
pub struct Brief {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    made_way: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Brief {
    /// What has to wait waits no longer than this connection lives.
    fn while_alive<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_pending()
            && (self.end.as_mut().poll(cx).is_ready() || self.made_way.as_mut().poll(cx).is_ready())
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        poll
    }
}

impl AsyncRead for Brief {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.while_alive(cx, poll)
    }
}

impl AsyncWrite for Brief {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.while_alive(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.while_alive(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.while_alive(cx, poll)
    }
}
