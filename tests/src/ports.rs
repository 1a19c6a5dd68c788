//! Addresses that nobody listens on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// An address on the loopback interface that was free just now. The kernel hands out ports in turn, so that two tests that ask at the same time get
/// different ones.
pub fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound")
}
