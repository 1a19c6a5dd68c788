//! A network between brokers, and from them to the controller, that can be cut in one direction: by the kernel between namespaces, or by a proxy in front of each
//! replication port and of the controller's.

mod gate;
mod namespaces;
mod proxies;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use self::{namespaces::Namespaces, proxies::Proxies};
use crate::ports;

/// Who sends, or is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The broker with this index.
    Broker(usize),
    /// Whoever decides for the brokers.
    Controller,
    /// This process: clients, and whoever looks.
    Clients,
}

impl From<usize> for End {
    fn from(index: usize) -> Self {
        Self::Broker(index)
    }
}

/// From whom to whom nothing arrives.
type Cuts = BTreeSet<(End, End)>;

/// What connects brokers with each other, with the controller and with clients.
#[derive(Debug)]
pub struct Network(Kind);

#[derive(Debug)]
enum Kind {
    /// Nothing can be cut.
    Loopback,
    Proxies(Proxies),
    Namespaces(Namespaces),
}

impl Network {
    /// Brokers reach each other straight.
    pub(crate) fn absent() -> Self {
        Self(Kind::Loopback)
    }

    /// Each end has a namespace of its own where this user may make some, and proxies stand between them elsewhere.
    pub(crate) fn present() -> Self {
        Namespaces::available().map_or_else(Self::of_proxies, |namespaces| {
            Self(Kind::Namespaces(namespaces))
        })
    }

    /// Brokers reach each other through proxies, whatever this user may do.
    pub(crate) fn of_proxies() -> Self {
        Self(Kind::Proxies(Proxies::default()))
    }

    /// An address of this end that nobody listens on.
    pub(crate) fn free_address(&self, end: impl Into<End>) -> SocketAddr {
        let host = match &self.0 {
            Kind::Namespaces(namespaces) => namespaces.address(end.into()),
            Kind::Loopback | Kind::Proxies(_) => Ipv4Addr::LOCALHOST,
        };
        SocketAddr::new(IpAddr::V4(host), ports::free().port())
    }

    /// Runs a program where this end is.
    pub(crate) fn command(&self, end: impl Into<End>, program: &Path) -> Command {
        match &self.0 {
            Kind::Namespaces(namespaces) => namespaces.command(end.into(), program),
            Kind::Loopback | Kind::Proxies(_) => Command::new(program),
        }
    }

    /// Where brokers dial this end, which listens at `inside`.
    pub(crate) async fn gate(&self, to: impl Into<End>, inside: SocketAddr) -> SocketAddr {
        match &self.0 {
            Kind::Proxies(proxies) => proxies.gate(to.into(), inside).await,
            Kind::Loopback | Kind::Namespaces(_) => inside,
        }
    }

    /// The brokers' processes, by index.
    pub(crate) fn set_pids(&self, pids: Vec<u32>) {
        if let Kind::Proxies(proxies) = &self.0 {
            proxies.set_pids(pids);
        }
    }

    /// Can clients be cut off? Proxies stand only between brokers and in front of the controller.
    pub fn cuts_clients(&self) -> bool {
        matches!(self.0, Kind::Namespaces(_))
    }

    /// Nothing that `from` sends arrives at `to` any more, whoever opened the connection.
    ///
    /// # Panics
    /// If brokers reach each other straight, or clients are to be cut off and cannot be.
    pub fn cut(&self, from: impl Into<End>, to: impl Into<End>) {
        match &self.0 {
            Kind::Loopback => panic!("start the cluster with a network that can be cut"),
            Kind::Proxies(proxies) => proxies.cut(from.into(), to.into()),
            Kind::Namespaces(namespaces) => namespaces.cut(from.into(), to.into()),
        }
    }

    /// All arrives again, also what was held up.
    pub fn heal(&self) {
        match &self.0 {
            Kind::Loopback => {}
            Kind::Proxies(proxies) => proxies.heal(),
            Kind::Namespaces(namespaces) => namespaces.heal(),
        }
    }
}
