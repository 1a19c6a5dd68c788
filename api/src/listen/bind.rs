//! Listening on all addresses of a machine, whichever kinds it has.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::TcpListener;

/// Listens on `address`. `[::]` stands for all addresses, of IPv4 too: where the kernel has no IPv6 it is `0.0.0.0`.
///
/// # Errors
/// The kernel refuses.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    or_ipv4(address, TcpListener::bind).await
}

async fn or_ipv4<T, F>(address: SocketAddr, bind: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let refused = match bind(address).await {
        Ok(bound) => return Ok(bound),
        Err(refused) => refused,
    };
    let is_all = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let is_final = matches!(
        refused.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
    );
    if !is_all || is_final {
        return Err(refused);
    }
    tracing::info!(%address, %refused, "no IPv6 here; listening on all addresses of IPv4");
    bind(SocketAddr::new(
        Ipv4Addr::UNSPECIFIED.into(),
        address.port(),
    ))
    .await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// A kernel without IPv6.
    async fn ipv4_only(address: SocketAddr) -> io::Result<SocketAddr> {
        let no_such_family = || io::Error::from_raw_os_error(97);
        address
            .is_ipv4()
            .then_some(address)
            .ok_or_else(no_such_family)
    }

    #[tokio::test]
    async fn all_addresses_are_those_of_ipv4_where_there_is_no_ipv6() {
        let bound = or_ipv4(address("[::]:9640"), ipv4_only).await;
        assert_eq!(bound.expect("listens"), address("0.0.0.0:9640"));
        // One that was chosen is not replaced.
        or_ipv4(address("[::1]:9640"), ipv4_only)
            .await
            .expect_err("it is not there");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_not_sought_elsewhere() {
        let taken = async |address: SocketAddr| -> io::Result<SocketAddr> {
            assert!(address.is_ipv6(), "not asked for");
            Err(io::ErrorKind::AddrInUse.into())
        };
        let error = or_ipv4(address("[::]:9640"), taken).await;
        assert_eq!(error.expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn ipv4_reaches_what_listens_on_all_addresses() {
        let listener = bind(address("[::]:0")).await.expect("listens");
        let port = listener.local_addr().expect("bound").port();
        let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        connected.expect("connects");
    }
}
