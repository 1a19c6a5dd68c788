//! To a leader: who is it, and does it speak our version.

use std::{error::Error, io, time::Duration};

use taffrail_api::{
    WireError,
    status::from_status,
    stream::{FrameReader, replicate},
    transport,
    v1::{self, FollowerMessage, LeaderMessage, follower_message, leader_message},
};
use taffrail_core::{BrokerNumber, ErrorCode};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::{broker::Broker, rpc::replication::VERSIONS};

const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// A leader answers a hello at once.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);
/// Messages that were made and not sent: they are better made later, when more is known.
const MESSAGES_MAX: usize = 2;

/// A session that the leader has accepted.
pub(super) struct Open {
    pub(super) outbox: mpsc::Sender<FollowerMessage>,
    pub(super) inbox: FrameReader<LeaderMessage>,
}

/// Why there is none.
pub(super) struct NotOpen {
    pub(super) error: WireError,
    /// There is a machine, and nobody listens.
    pub(super) is_refused: bool,
}

impl From<WireError> for NotOpen {
    fn from(error: WireError) -> Self {
        Self {
            error,
            is_refused: false,
        }
    }
}

/// Dials `leader` where the metadata says that it is.
pub(super) async fn open(broker: &Broker, leader: BrokerNumber) -> Result<Open, NotOpen> {
    let hello = hello(broker, leader)?;
    let address = address(broker, leader)?;
    let unreachable = |reason: String| {
        WireError::new(
            ErrorCode::LeaderUnreachable,
            format!("cannot follow broker {leader} at {address}: {reason}"),
        )
    };
    let endpoint = transport::endpoint(&address)
        .map_err(|e| unreachable(e.to_string()))?
        .connect_timeout(DIAL_TIMEOUT);
    let channel = endpoint.connect().await.map_err(|error| NotOpen {
        is_refused: is_refused(&error),
        error: unreachable(reason(&error)),
    })?;
    let (outbox, outgoing) = mpsc::channel(MESSAGES_MAX);
    // The channel is new and has room.
    let _ = outbox.try_send(FollowerMessage {
        message: Some(follower_message::Message::Hello(hello)),
    });
    let first = async {
        let mut inbox = replicate(channel, ReceiverStream::new(outgoing)).await?;
        Ok::<_, tonic::Status>((inbox.next().await?, inbox))
    };
    let (first, inbox) = timeout(HELLO_TIMEOUT, first)
        .await
        .map_err(|_| unreachable("it does not answer".to_owned()))?
        .map_err(|status| from_status(&status))?;
    match first.and_then(|m| m.message) {
        Some(leader_message::Message::Hello(hello)) => {
            check(&hello, leader)?;
            Ok(Open { outbox, inbox })
        }
        _ => Err(unreachable("it answered something else than a hello".to_owned()).into()),
    }
}

pub(super) fn hello(broker: &Broker, leader: BrokerNumber) -> Result<v1::FollowerHello, WireError> {
    let me = broker
        .membership
        .number()
        .ok_or_else(|| WireError::new(ErrorCode::NotYetKnown, "this broker has no number yet"))?;
    Ok(v1::FollowerHello {
        cluster_id: broker.known.borrow().view.cluster_id.clone(),
        broker: me.0,
        incarnation: Some(broker.membership.incarnation.into()),
        leader: leader.0,
        versions: Some(VERSIONS),
        window_bytes: u32::try_from(broker.config.replication.window_bytes).unwrap_or(u32::MAX),
    })
}

fn address(broker: &Broker, leader: BrokerNumber) -> Result<String, WireError> {
    let known = broker.known.borrow();
    let record = known.view.brokers.get(&leader);
    let endpoint = record.and_then(|b| b.replication.as_ref());
    endpoint.map(v1::Endpoint::address).ok_or_else(|| {
        WireError::new(
            ErrorCode::NotYetKnown,
            format!("where broker {leader} serves followers is not known; it has to register with an address"),
        )
    })
}

pub(super) fn check(hello: &v1::LeaderHello, leader: BrokerNumber) -> Result<(), WireError> {
    if !(VERSIONS.min..=VERSIONS.max).contains(&hello.version) {
        return Err(WireError::new(
            ErrorCode::UnsupportedVersion,
            format!(
                "broker {leader} chose version {} of replication, this release speaks {} to {}; upgrade the older one",
                hello.version, VERSIONS.min, VERSIONS.max
            ),
        ));
    }
    if hello.broker != leader.0 {
        return Err(WireError::new(
            ErrorCode::NotYetKnown,
            format!(
                "broker {} answers where broker {leader} should",
                hello.broker
            ),
        ));
    }
    Ok(())
}

fn is_refused(error: &tonic::transport::Error) -> bool {
    sources(error).any(|source| {
        let io = source.downcast_ref::<io::Error>();
        io.is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
    })
}

/// The innermost reason: the outer ones say "transport error".
fn reason(error: &tonic::transport::Error) -> String {
    sources(error)
        .last()
        .map_or_else(String::new, ToString::to_string)
}

fn sources(error: &tonic::transport::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |e| (*e).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_told_apart_from_a_host_that_is_not_found() {
        let dial = async |address: &str| {
            let endpoint = transport::endpoint(address).expect("an address");
            let endpoint = endpoint.connect_timeout(Duration::from_millis(50));
            endpoint.connect().await.expect_err("nobody is there")
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let error = dial(&address).await;
        assert!(is_refused(&error), "{error:?}");
        assert!(reason(&error).contains("refused"), "{}", reason(&error));
        // RFC 2606: there never is such a host.
        assert!(!is_refused(&dial("broker-0.invalid:9641").await));
    }

    #[test]
    fn another_broker_or_version_is_not_followed() {
        let hello = |broker, version| v1::LeaderHello {
            broker,
            version,
            incarnation: None,
        };
        let checked = |broker, version| check(&hello(broker, version), BrokerNumber(1));
        assert_eq!(checked(1, 1), Ok(()));
        let code = |broker, version| checked(broker, version).expect_err("refused").code;
        assert_eq!(code(2, 1), ErrorCode::NotYetKnown);
        assert_eq!(code(1, 2), ErrorCode::UnsupportedVersion);
    }
}
