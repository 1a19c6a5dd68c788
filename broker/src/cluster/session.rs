//! The session with the active controller: dial, register, heartbeat; and again, for as long as the broker runs. The data plane goes on without it.

use std::{
    net::SocketAddr,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use taffrail_api::{
    WireError, transport,
    v1::{
        self, BrokerMessage, ControllerMessage, broker_message,
        controller_client::ControllerClient, controller_message,
    },
};
use taffrail_core::{BrokerNumber, ClusterId, ErrorCode};
use tokio::{
    net::lookup_host,
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Streaming, transport::Channel};

use super::{
    ActiveController,
    apply::Instruction,
    known::Known,
    reports::{self, Reported},
};
use crate::{
    broker::Broker,
    datadir::{boot::Boot, identity::Identity},
    error::BrokerError,
    repeats::Repeats,
};

/// The protocol version of this release.
const VERSION: u32 = 1;
/// A controller answers a registration after it has written its maps.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(30);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// A controller that took office goes by it: see [`transport::CONTROLLER_FOUND_WITHIN`].
const BACKOFF_MAX: Duration = transport::CONTROLLER_REDIAL_MAX;
const HEARTBEAT_INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
/// Messages on their way to the controller. It is behind by minutes of heartbeats if this is full.
const OUTBOX_MESSAGES_MAX: usize = 256;

/// Keeps the session. The one owner of the identity.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) broker: Arc<Broker>,
    pub(crate) identity: Identity,
    pub(crate) boot: Boot,
    pub(crate) client_endpoint: v1::Endpoint,
    pub(crate) replication_endpoint: v1::Endpoint,
    pub(crate) known: watch::Receiver<Arc<Known>>,
    pub(crate) instructions: mpsc::Sender<Instruction>,
    pub(crate) active: watch::Sender<Option<ActiveController>>,
    /// Sessions that ended.
    pub(crate) ends: Repeats,
    /// The last one ended without a word: the next begins so.
    pub(crate) is_silent: bool,
}

/// A session that a controller has accepted.
struct Open {
    outbox: mpsc::Sender<BrokerMessage>,
    inbox: Streaming<ControllerMessage>,
    registered: v1::Registered,
    channel: Channel,
}

/// Why there is no session.
enum NoSession {
    /// Try the next address, and later this one again.
    Retry(WireError),
    /// The broker must not go on.
    Fatal(BrokerError),
}

impl Session {
    /// Runs until the broker stops.
    ///
    /// # Errors
    /// A controller refused this broker for good.
    pub(crate) async fn run(mut self) -> Result<(), BrokerError> {
        let stopped = self.broker.stopped.clone();
        let mut backoff = BACKOFF_MIN;
        loop {
            let begun = Instant::now();
            let outcome = tokio::select! {
                () = stopped.cancelled() => return Ok(()),
                outcome = self.once() => outcome,
            };
            self.active.send_replace(None);
            self.broker.metrics.controller_connected.set(0);
            match outcome {
                Ok(reason) => {
                    let said = self
                        .ends
                        .happened(self.broker.uptime_ms(), &reason.to_string());
                    self.is_silent = said.is_none();
                    if let Some(more) = said {
                        tracing::warn!(%reason, more, "the session with the controller ended; serving goes on");
                    }
                    // One that ends at once, again and again, is no better than none.
                    if begun.elapsed() > BACKOFF_MAX {
                        backoff = BACKOFF_MIN;
                    }
                }
                // For a person: another process has a copy of this volume.
                Err(NoSession::Retry(error)) if error.code == ErrorCode::BrokerFenced => {
                    let now_ms = self.broker.uptime_ms();
                    if let Some(more) = self.ends.happened(now_ms, &error.to_string()) {
                        tracing::error!(%error, more, "the controller refuses this process");
                    }
                }
                Err(NoSession::Retry(error)) => tracing::debug!(%error, "no controller yet"),
                Err(NoSession::Fatal(error)) => return Err(error),
            }
            let jitter = (self.broker.environment.random)() % (backoff.as_millis() as u64 / 2 + 1);
            tokio::select! {
                () = stopped.cancelled() => return Ok(()),
                () = sleep(backoff + Duration::from_millis(jitter)) => {}
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// One round over all addresses, and the session with the first active controller. The reason why it ended.
    async fn once(&mut self) -> Result<WireError, NoSession> {
        let mut last = WireError::new(
            ErrorCode::ControllerUnavailable,
            "no controller address resolves",
        );
        for address in self.addresses().await {
            match self.open(address).await {
                Ok(open) => {
                    self.confirm(&open.registered).await?;
                    return Ok(self.keep(open, address).await);
                }
                Err(NoSession::Retry(error)) => last = error,
                Err(fatal) => return Err(fatal),
            }
        }
        Err(NoSession::Retry(last))
    }

    async fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for name in &self.broker.config.controllers {
            match lookup_host(name).await {
                Ok(found) => addresses.extend(found),
                Err(error) => tracing::debug!(%name, %error, "cannot resolve a controller"),
            }
        }
        addresses
    }

    async fn open(&self, address: SocketAddr) -> Result<Open, NoSession> {
        let unavailable = |what: &str, reason: String| {
            NoSession::Retry(WireError::new(
                ErrorCode::ControllerUnavailable,
                format!("{what} {address}: {reason}"),
            ))
        };
        let mut endpoint = transport::endpoint(&address.to_string())
            .map_err(|e| unavailable("dial", e.to_string()))?
            .connect_timeout(transport::CONTROLLER_DIAL_TIMEOUT);
        if let Some(origin) = self.broker.config.controller_origin() {
            endpoint = endpoint.origin(origin);
        }
        let channel = endpoint
            .connect()
            .await
            .map_err(|e| unavailable("dial", e.to_string()))?;
        let (outbox, outgoing) = mpsc::channel(OUTBOX_MESSAGES_MAX);
        let register = broker_message::Message::Register(self.register());
        // The channel is new and has room.
        let _ = outbox.try_send(message(register));
        let mut client = ControllerClient::new(channel.clone())
            .max_decoding_message_size(transport::CALL_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(transport::CALL_MESSAGE_BYTES_MAX);
        let first = async {
            let mut inbox = client
                .session(ReceiverStream::new(outgoing))
                .await?
                .into_inner();
            Ok::<_, tonic::Status>((inbox.message().await?, inbox))
        };
        let (first, inbox) = timeout(REGISTER_TIMEOUT, first)
            .await
            .map_err(|_| unavailable("register with", "no answer in time".to_owned()))?
            .map_err(|status| NoSession::Retry((&status).into()))?;
        match first.and_then(|m| m.message) {
            Some(controller_message::Message::Registered(registered)) => Ok(Open {
                outbox,
                inbox,
                registered,
                channel,
            }),
            Some(controller_message::Message::NotActive(_)) => Err(NoSession::Retry(
                WireError::new(ErrorCode::NotActive, format!("{address} is a standby")),
            )),
            Some(controller_message::Message::Refused(refused)) => Err(refusal(refused)),
            _ => Err(unavailable(
                "register with",
                "an answer that is none".to_owned(),
            )),
        }
    }

    fn register(&self) -> v1::Register {
        let known = self.known.borrow();
        v1::Register {
            client_endpoint: Some(self.client_endpoint.clone()),
            replication_endpoint: Some(self.replication_endpoint.clone()),
            process_id: std::process::id(),
            ..registration(&self.broker, &self.identity, &known)
        }
    }

    /// Makes the registration durable. Nothing of the session counts before.
    async fn confirm(&mut self, registered: &v1::Registered) -> Result<(), NoSession> {
        let cluster: ClusterId = registered.cluster_id.parse().map_err(|e| {
            NoSession::Retry(WireError::invalid(format!(
                "the controller's cluster id: {e}"
            )))
        })?;
        if let Some(ours) = self.identity.cluster.filter(|ours| *ours != cluster) {
            return Err(NoSession::Fatal(BrokerError::Refused(WireError::new(
                ErrorCode::ForeignCluster,
                format!(
                    "the data directory belongs to cluster {ours}, the controller to {cluster}; use the right data directory or controller"
                ),
            ))));
        }
        if registered.version != VERSION {
            return Err(NoSession::Fatal(BrokerError::Refused(WireError::new(
                ErrorCode::UnsupportedVersion,
                format!(
                    "the controller chose protocol version {}, this release speaks {VERSION}; upgrade the older side",
                    registered.version
                ),
            ))));
        }
        let (mut identity, mut boot) = (self.identity.clone(), self.boot.clone());
        let boot_id = self.broker.environment.boot_id.clone();
        let confirmed = tokio::task::spawn_blocking(move || {
            boot.confirm(&boot_id)?;
            identity.confirm(cluster)?;
            Ok::<_, BrokerError>((identity, boot))
        });
        match confirmed.await {
            Ok(Ok(confirmed)) => {
                (self.identity, self.boot) = confirmed;
                // What the replicas lack, if anything, is in the maps by now.
                for partition in self.broker.partitions.all() {
                    partition.set_may_lack(false);
                }
            }
            Ok(Err(error)) => {
                return Err(NoSession::Retry(WireError::new(
                    error.code(),
                    error.to_string(),
                )));
            }
            Err(error) => {
                return Err(NoSession::Retry(WireError::new(
                    ErrorCode::Internal,
                    error.to_string(),
                )));
            }
        }
        self.broker
            .membership
            .set_number(BrokerNumber(registered.broker_number));
        Ok(())
    }

    /// Heartbeats up, updates down, until something breaks.
    async fn keep(&self, mut open: Open, address: SocketAddr) -> WireError {
        if !self.is_silent {
            tracing::info!(controller = %address, broker = open.registered.broker_number,
                incarnation = %self.identity.incarnation(), "registered");
        }
        self.active.send_replace(Some(ActiveController {
            channel: open.channel.clone(),
        }));
        self.broker.metrics.controller_connected.set(1);
        let mut ticks = interval(heartbeat_interval(&open.registered));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let failed = CancellationToken::new();
        let mut reported = Reported::default();
        self.broker.disk.confirm_again();
        let mut said_stopping = false;
        loop {
            tokio::select! {
                () = self.broker.stopping.cancelled(), if !said_stopping => {
                    said_stopping = true;
                    let stopping = broker_message::Message::Stopping(v1::Stopping {});
                    if let Err(error) = send(&open.outbox, stopping) {
                        return error;
                    }
                }
                _ = ticks.tick() => {
                    if let Err(error) = self.heartbeat(&open.outbox, &mut reported) {
                        return error;
                    }
                }
                () = self.broker.report_now.notified() => {
                    if let Err(error) = self.heartbeat(&open.outbox, &mut reported) {
                        return error;
                    }
                }
                () = self.broker.asks.news.notified() => {
                    if let Err(error) = self.ask(&open.outbox) {
                        return error;
                    }
                }
                () = failed.cancelled() => {
                    return WireError::new(ErrorCode::StaleController, "an update could not be obeyed");
                }
                received = open.inbox.message() => {
                    if let ControlFlow::Break(error) = self.receive(received, &open.outbox, &failed).await {
                        return error;
                    }
                }
            }
        }
    }

    fn heartbeat(
        &self,
        outbox: &mpsc::Sender<BrokerMessage>,
        reported: &mut Reported,
    ) -> Result<(), WireError> {
        let heartbeat = heartbeat(&self.broker, reported);
        send(outbox, broker_message::Message::Heartbeat(heartbeat))
    }

    /// Sends what leaders here want of the controller.
    fn ask(&self, outbox: &mpsc::Sender<BrokerMessage>) -> Result<(), WireError> {
        let Some(requests) = self.broker.asks.take().into_wire() else {
            return Ok(());
        };
        send(outbox, broker_message::Message::IsrRequests(requests))
    }

    async fn receive(
        &self,
        received: Result<Option<ControllerMessage>, tonic::Status>,
        outbox: &mpsc::Sender<BrokerMessage>,
        failed: &CancellationToken,
    ) -> ControlFlow<WireError> {
        let unavailable = |reason: &str| {
            ControlFlow::Break(WireError::new(ErrorCode::ControllerUnavailable, reason))
        };
        match received {
            Err(status) => ControlFlow::Break((&status).into()),
            Ok(None) => unavailable("the controller ended the session"),
            Ok(Some(received)) => match received.message {
                Some(controller_message::Message::Update(update)) => {
                    let instruction = Instruction {
                        update,
                        outbox: outbox.clone(),
                        failed: failed.clone(),
                    };
                    match self.instructions.send(instruction).await {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(_) => unavailable("the broker stops"),
                    }
                }
                Some(controller_message::Message::Refused(refused)) => {
                    ControlFlow::Break(refused.error.unwrap_or_default().into())
                }
                Some(controller_message::Message::NotActive(_)) => {
                    unavailable("the controller is no longer active")
                }
                Some(controller_message::Message::HandedOver(done)) => {
                    tracing::info!(
                        kept = done.kept,
                        "others lead what this broker led, but for what they cannot"
                    );
                    self.broker.handed_over.cancel();
                    ControlFlow::Continue(())
                }
                Some(controller_message::Message::Registered(_)) | None => {
                    ControlFlow::Continue(())
                }
            },
        }
    }
}

/// What a registration says, but for addresses.
pub(crate) fn registration(broker: &Broker, identity: &Identity, known: &Known) -> v1::Register {
    v1::Register {
        cluster_id: identity.cluster.map_or_else(String::new, |c| c.to_string()),
        broker_uuid: bytes::Bytes::copy_from_slice(identity.broker.as_bytes()),
        candidates: identity.candidates.iter().map(|i| (*i).into()).collect(),
        name: broker.config.name.clone(),
        rack: broker.config.rack.clone().unwrap_or_default(),
        versions: Some(v1::VersionRange {
            min: VERSION,
            max: VERSION,
        }),
        software_version: env!("CARGO_PKG_VERSION").to_owned(),
        highest_stamp: Some(known.view.stamp.into()),
        stored: reports::stored(known, &broker.partitions.all()),
        broker_number: broker.membership.number().map(|n| n.0),
        ..v1::Register::default()
    }
}

/// How this broker is, and what changed since `reported`.
pub(crate) fn heartbeat(broker: &Broker, reported: &mut Reported) -> v1::Heartbeat {
    let space = &broker.space;
    v1::Heartbeat {
        incarnation: Some(broker.membership.incarnation.into()),
        applied: Some(broker.membership.applied().into()),
        disk_total_bytes: space.total_bytes(),
        disk_free_bytes: space.free_bytes(),
        partitions: reported.changes(&broker.partitions.all()),
        disk_full: space.is_full(),
        doubts: broker.doubts.all(broker.uptime_ms()),
        groups: broker.coordinators.reports.changes(&mut reported.groups),
    }
}

/// Some refusals are for good: the volume is another cluster's, or no common version.
fn refusal(refused: v1::Refused) -> NoSession {
    let error: WireError = refused.error.unwrap_or_default().into();
    if error.retriable {
        NoSession::Retry(error)
    } else {
        NoSession::Fatal(BrokerError::Refused(error))
    }
}

fn heartbeat_interval(registered: &v1::Registered) -> Duration {
    match registered.heartbeat_interval_ms {
        0 => HEARTBEAT_INTERVAL_DEFAULT,
        ms => Duration::from_millis(u64::from(ms)),
    }
}

fn send(
    outbox: &mpsc::Sender<BrokerMessage>,
    what: broker_message::Message,
) -> Result<(), WireError> {
    outbox.try_send(message(what)).map_err(|e| {
        WireError::new(
            ErrorCode::ControllerUnavailable,
            format!("the controller does not read: {e}"),
        )
    })
}

const fn message(message: broker_message::Message) -> BrokerMessage {
    BrokerMessage {
        message: Some(message),
    }
}
