//! Addresses that nobody listens on.

use std::{
    fs::{self, File},
    mem,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process,
};

/// Below the range from which Linux takes the ports of outgoing connections: those may be in use again before a program listens.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// An address on the loopback interface that was free just now and that no other test of this machine gets while this process lives: a locked file
/// stands for each port that was given out.
pub fn free() -> SocketAddr {
    let locks = std::env::temp_dir().join("taffrail-test-ports");
    fs::create_dir_all(&locks).expect("the temporary directory can be written");
    // Processes begin in different places, so that they seldom try the same port.
    let first = (process::id() % u32::from(PORTS.end - PORTS.start)) as u16;
    for step in 0..PORTS.end - PORTS.start {
        let port = PORTS.start + (first + step) % (PORTS.end - PORTS.start);
        let lock = File::create(locks.join(port.to_string())).expect("the lock file can be made");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if lock.try_lock().is_ok() && TcpListener::bind(address).is_ok() {
            // Locked until this process ends.
            mem::forget(lock);
            return address;
        }
    }
    panic!("no port of {PORTS:?} is free");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_given_out_once() {
        let given: Vec<SocketAddr> = (0..20).map(|_| free()).collect();
        let mut different = given.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), given.len());
    }
}
