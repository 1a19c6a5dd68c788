//! Channels to brokers. Each producer and consumer has its own, so that their bytes do not wait for each other.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use taffrail_api::{status::from_status, stream::Route, transport};
use tonic::{Status, transport::Channel};

use crate::error::ClientError;

/// An address that could not be reached is not dialled again for this long where there is another way.
const AVOID: Duration = Duration::from_secs(5);
/// And for so many times as long as it took to find that out: whoever waits for a dial that hangs does so seldom.
const AVOID_TIMES: u32 = 12;
/// A refused connection is what a restarting broker looks like: that many attempts come before the way through another one.
const REFUSED_ATTEMPTS: u32 = 7;

/// A broker that takes requests for a leader, and how.
#[derive(Debug, Clone)]
pub(crate) struct Reached {
    pub(crate) channel: Channel,
    pub(crate) route: Route,
    /// Whose channel it is.
    pub(crate) address: String,
}

/// Where all brokers are asked, so many are at a time.
const AT_ONCE: usize = 16;

/// For what any broker answers alike.
pub(crate) const BOOTSTRAP_FIRST: usize = 0;

#[derive(Debug)]
pub(crate) struct Connections {
    bootstrap: Vec<String>,
    open: Mutex<Open>,
    said_routed: AtomicBool,
    /// Which broker is asked first of those that are asked in turn.
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct Open {
    channels: HashMap<String, Channel>,
    /// Until when.
    avoided: HashMap<String, Instant>,
}

impl Connections {
    pub(crate) fn new(bootstrap: Vec<String>) -> Self {
        Self {
            bootstrap,
            open: Mutex::default(),
            said_routed: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
        }
    }

    /// The same bootstrap, no channel shared.
    pub(crate) fn separate(&self) -> Self {
        Self::new(self.bootstrap.clone())
    }

    /// A way to the leader at `address`: straight, or through a bootstrap broker where its address cannot be reached from here.
    /// `attempts` failed before this one.
    pub(crate) async fn leader(
        &self,
        address: &str,
        attempts: u32,
    ) -> Result<Reached, ClientError> {
        let reason = if self.is_avoided(address) {
            "it could not be reached a moment ago".to_owned()
        } else {
            let begun = Instant::now();
            match self.dial(address).await {
                Ok(channel) => {
                    return Ok(Reached {
                        channel,
                        route: Route::Direct,
                        address: address.to_owned(),
                    });
                }
                Err(error) if is_refused(&error) && attempts < REFUSED_ATTEMPTS => {
                    return Err(unreachable(address, &error));
                }
                Err(error) => {
                    // Counted from the last dial: who is asked all the time would be avoided for ever otherwise.
                    self.avoid_for(address, AVOID.max(begun.elapsed() * AVOID_TIMES));
                    with_causes(&error)
                }
            }
        };
        for through in self.bootstrap.iter().filter(|b| plain(b) != address) {
            let Ok(channel) = self.dial(through).await else {
                continue;
            };
            if !self.said_routed.swap(true, Relaxed) {
                tracing::warn!(
                    leader = address,
                    through,
                    reason,
                    "the leader's address cannot be reached from here, requests go through another broker"
                );
            }
            return Ok(Reached {
                channel,
                route: Route::Through,
                address: through.clone(),
            });
        }
        // Nobody else: the next attempt dials it again.
        self.open().avoided.remove(address);
        Err(ClientError::Unreachable {
            addresses: address.to_owned(),
            reason,
        })
    }

    /// The channel did not work: dial anew next time.
    pub(crate) fn forget(&self, address: &str) {
        self.open().channels.remove(address);
    }

    /// For what any broker says and may be old: each time another one is to be asked first.
    pub(crate) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Relaxed)
    }

    /// Calls one broker after the other, bootstrap first ([`BOOTSTRAP_FIRST`]) or beginning with another one, until one answers. What a broker refuses is
    /// not asked of the next one.
    pub(crate) async fn any_broker<T, F>(
        &self,
        first: usize,
        others: Vec<String>,
        call: impl Fn(Channel) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut last = None;
        let mut addresses = self.with_bootstrap(&others);
        let from = first % addresses.len().max(1);
        addresses.rotate_left(from);
        // Those that did not answer a moment ago come last.
        addresses.sort_by_key(|address| self.is_avoided(address));
        for address in &addresses {
            let channel = match self.dial(address).await {
                Ok(channel) => channel,
                Err(error) => {
                    self.avoid(address);
                    last.get_or_insert_with(|| unreachable(address, &error));
                    continue;
                }
            };
            match call(channel).await {
                Ok(answer) => return Ok(answer),
                Err(status) => {
                    let error = from_status(&status);
                    if !is_broken(&status) {
                        return Err(error.into());
                    }
                    self.forget(address);
                    self.avoid(address);
                    last = Some(error.into());
                }
            }
        }
        Err(match last {
            Some(ClientError::Unreachable { reason, .. }) => {
                let tried: Vec<_> = addresses.iter().map(|address| plain(address)).collect();
                ClientError::Unreachable {
                    addresses: tried.join(", "),
                    reason,
                }
            }
            Some(error) => error,
            None => nobody_known(),
        })
    }

    /// Calls all brokers, several at once. Those that do not answer are left out.
    ///
    /// # Errors
    /// None answers.
    pub(crate) async fn every_broker<T, F>(
        &self,
        others: Vec<String>,
        call: impl Fn(Channel) -> F,
    ) -> Result<Vec<T>, ClientError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let call = &call;
        let one = async |address: &String| {
            let dialled = self.dial(address).await;
            let channel = dialled.map_err(|error| unreachable(address, &error))?;
            let answer = call(channel).await;
            answer.map_err(|status| ClientError::from(from_status(&status)))
        };
        let addresses = self.with_bootstrap(&others);
        let mut calls = stream::iter(addresses.into_iter().map(one)).buffer_unordered(AT_ONCE);
        let (mut answers, mut last) = (Vec::new(), None);
        while let Some(answer) = calls.next().await {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) if answers.is_empty() => Err(error),
            None if answers.is_empty() => Err(nobody_known()),
            _ => Ok(answers),
        }
    }

    /// Bootstrap first, each once.
    fn with_bootstrap<'a>(&'a self, others: &'a [String]) -> Vec<&'a String> {
        let mut addresses: Vec<&String> = Vec::new();
        for address in self.bootstrap.iter().chain(others) {
            if addresses.iter().all(|known| plain(known) != plain(address)) {
                addresses.push(address);
            }
        }
        addresses
    }

    async fn dial(&self, address: &str) -> Result<Channel, tonic::transport::Error> {
        if let Some(channel) = self.open().channels.get(address) {
            return Ok(channel.clone());
        }
        let channel = transport::endpoint(address)?.connect().await?;
        let mut open = self.open();
        open.avoided.remove(address);
        let entry = open.channels.entry(address.to_owned());
        Ok(entry.or_insert(channel).clone())
    }

    fn avoid(&self, address: &str) {
        self.avoid_for(address, AVOID);
    }

    fn avoid_for(&self, address: &str, period: Duration) {
        let avoided = &mut self.open().avoided;
        avoided.insert(address.to_owned(), Instant::now() + period);
    }

    fn is_avoided(&self, address: &str) -> bool {
        let until = self.open().avoided.get(address).copied();
        until.is_some_and(|until| Instant::now() < until)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Did the connection fail, rather than the broker refuse?
fn is_broken(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
        || (status.code() == tonic::Code::Unavailable && status.details().is_empty())
}

fn is_refused(error: &tonic::transport::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn unreachable(address: &str, error: &tonic::transport::Error) -> ClientError {
    ClientError::Unreachable {
        addresses: address.to_owned(),
        reason: with_causes(error),
    }
}

fn nobody_known() -> ClientError {
    ClientError::Unreachable {
        addresses: "(none given)".to_owned(),
        reason: "the list of bootstrap addresses is empty".to_owned(),
    }
}

fn plain(address: &str) -> &str {
    address.split_once("://").map_or(address, |(_, rest)| rest)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn listening() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        (listener, address)
    }

    #[tokio::test]
    async fn who_could_not_be_reached_is_dialled_again_however_often_it_is_asked_for_meanwhile() {
        let ((_another, another), (_leader, leader)) = (listening().await, listening().await);
        let connections = Connections::new(vec![another]);
        let route = async || connections.leader(&leader, 0).await.map(|r| r.route);
        connections.avoid(&leader);
        let until = connections.open().avoided[&leader];
        for _ in 0..3 {
            assert_eq!(route().await.expect("a way"), Route::Through);
        }
        assert_eq!(connections.open().avoided[&leader], until);
        let now = Instant::now();
        connections.open().avoided.insert(leader.clone(), now);
        assert_eq!(route().await.expect("a way"), Route::Direct);
    }
}
