//! Where an embedded cluster listens.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
};

use clap::Args;
use taffrail_core::ErrorCode;

use crate::failure::{Exit, Failure, Outcome};

/// Where clients connect, unless told otherwise.
pub(crate) const DEFAULT_ADDRESS: &str = "127.0.0.1:9640";
/// Where metrics are, unless told otherwise.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9644);
/// Any port of the loopback, for what only this process and its children have to find.
pub(crate) const ANY_LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// From the ports of one broker to those of the next: 9640 and 9644, 9650 and 9654.
const PORTS_APART: u16 = 10;

/// Addresses of an embedded cluster.
#[derive(Args, Debug, Clone)]
pub(crate) struct Listen {
    /// Where clients connect; port 0 takes any free port
    #[arg(long, default_value = DEFAULT_ADDRESS, value_name = "IP:PORT")]
    pub(super) listen: SocketAddr,
    /// Where /metrics, /livez, /readyz and /log-level are served [default: 127.0.0.1:9644, or any free port if --listen is not the default]
    #[arg(long, value_name = "IP:PORT")]
    http_listen: Option<SocketAddr>,
}

/// Where one broker listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) client: SocketAddr,
    pub(super) http: SocketAddr,
    /// For the other brokers, which learn of it from the controller.
    pub(super) replication: SocketAddr,
}

impl Listen {
    /// Where metrics are to be.
    pub(super) fn http(&self) -> SocketAddr {
        let is_default = self.listen.to_string() == DEFAULT_ADDRESS;
        let default = if is_default {
            DEFAULT_HTTP
        } else {
            ANY_LOOPBACK
        };
        self.http_listen.unwrap_or(default)
    }

    /// Where each of so many brokers listens: addresses that were free just now, so that what is taken is said before anything is written.
    ///
    /// # Errors
    /// One is taken, or there is no such port.
    pub(super) fn of_brokers(&self, brokers: u16) -> Outcome<Vec<Addresses>> {
        // Held until all are found, or a free port might be found twice.
        let mut held = Vec::new();
        let mut find = |first, index| {
            let listener = hold(nth(first, index)?)?;
            let address = listener
                .local_addr()
                .map_err(|error| refused(first, &error));
            held.push(listener);
            address
        };
        (0..brokers)
            .map(|index| {
                Ok(Addresses {
                    client: find(self.listen, index)?,
                    http: find(self.http(), index)?,
                    replication: find(ANY_LOOPBACK, index)?,
                })
            })
            .collect()
    }
}

/// The address of the broker with this index, if the first one has `first`.
fn nth(first: SocketAddr, index: u16) -> Outcome<SocketAddr> {
    let mut address = first;
    if first.port() != 0 {
        let port = index
            .checked_mul(PORTS_APART)
            .and_then(|above| first.port().checked_add(above));
        address.set_port(port.ok_or_else(|| {
            Failure::usage(format!(
                "broker-{index} would listen {PORTS_APART} ports above the one before it, and there is no port above 65535: choose a lower one than {first}"
            ))
        })?);
    }
    Ok(address)
}

fn hold(address: SocketAddr) -> Outcome<TcpListener> {
    TcpListener::bind(address).map_err(|error| refused(address, &error))
}

fn refused(address: SocketAddr, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AddrInUse {
        return Failure::of(
            ErrorCode::AddressInUse,
            format!("{address} is taken by another process, perhaps another taffrail"),
        )
        .hint(
            "stop it, or choose other addresses: --listen 127.0.0.1:0 --http-listen 127.0.0.1:0",
        );
    }
    Failure::new(
        Exit::Failed,
        "IO",
        format!("cannot listen on {address}: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_found_once_each() {
        let listen = Listen {
            listen: ANY_LOOPBACK,
            http_listen: None,
        };
        let found = listen.of_brokers(8).expect("there are free ports");
        let mut ports: Vec<u16> = found
            .iter()
            .flat_map(|a| [a.client.port(), a.http.port()])
            .collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 16);
        assert!(!ports.contains(&0));
    }

    #[test]
    fn each_broker_is_ten_ports_above_the_one_before() {
        let first = "127.0.0.1:65520".parse().expect("an address");
        let second = nth(first, 1).expect("there is such a port");
        assert_eq!(second.port(), 65530);
        let failure = nth(first, 2).expect_err("there is none").to_string();
        assert!(failure.contains("choose a lower one"), "{failure}");
    }
}
