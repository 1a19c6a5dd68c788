//! A controller on files and one broker, in this process, over the same gRPC as in a cluster.
//!
//! ```text
//! <data dir>/controller    what the controller decided, in files
//! <data dir>/broker-0      the broker's volume
//! ```

mod signals;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use taffrail_broker::{BrokerConfig, BrokerError, RunningBroker, logging::LogControl};
use taffrail_controller::{
    ControllerConfig, ControllerError, ControllerHandle, Environment, FileStore, Mode, StoreError,
};
use taffrail_core::{ErrorCode, TopicDefaults};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, timeout},
};

pub(crate) use signals::{Interrupted, interrupted};

use crate::{
    connect::join_failure,
    failure::{Exit, Failure, Outcome},
    manifest::Cluster,
};

/// Where clients connect, unless told otherwise.
pub(crate) const DEFAULT_ADDRESS: &str = "127.0.0.1:9640";
/// Where metrics are, unless told otherwise.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9644);
/// The controller is for the broker beside it, and nobody follows that one: any port of the loopback does.
const ANY_LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How long the broker may take to register and to recover its partitions. Recovery after a crash reads what was not checkpointed.
const READY_DEADLINE: Duration = Duration::from_mins(5);
/// How often it is asked whether it failed instead.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// Addresses of an embedded cluster.
#[derive(Args, Debug, Clone)]
pub(crate) struct Listen {
    /// Where clients connect; port 0 takes any free port
    #[arg(long, default_value = DEFAULT_ADDRESS, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Where /metrics, /livez, /readyz and /log-level are served [default: 127.0.0.1:9644, or any free port if --listen is not the default]
    #[arg(long, value_name = "IP:PORT")]
    http_listen: Option<SocketAddr>,
}

/// What to start.
pub(crate) struct Options {
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// Addresses.
    pub(crate) listen: Listen,
    /// What a BrokerCluster says.
    pub(crate) cluster: Option<Cluster>,
    /// Changes the log level at run time.
    pub(crate) log: LogControl,
}

/// A running embedded cluster.
pub(crate) struct Embedded {
    controller: ControllerHandle,
    serving: JoinHandle<Result<(), ControllerError>>,
    stop_serving: oneshot::Sender<()>,
    broker: RunningBroker,
}

impl Embedded {
    /// Starts controller and broker, and waits until clients can be served.
    ///
    /// # Errors
    /// An address is taken, the data is another's or cannot be read, or the broker was refused.
    pub(crate) async fn start(options: Options) -> Outcome<Self> {
        let http = options.listen.http();
        for address in [options.listen.listen, http] {
            free(address).await?;
        }
        let (name, defaults) = named_defaults(options.cluster)?;
        let store = FileStore::open(options.data_dir.join("controller"))
            .map_err(|error| store_failure(&error))?;
        let config = ControllerConfig::new(name, Mode::Embedded, defaults);
        let controller = taffrail_controller::start(store, config, Environment::system())
            .await
            .map_err(|error| controller_failure(&error))?;
        let listener = TcpListener::bind(ANY_LOOPBACK)
            .await
            .map_err(|error| controller_failure(&error.into()))?;
        let address = listener
            .local_addr()
            .map_err(|error| controller_failure(&error.into()))?;
        let (stop_serving, stopped) = oneshot::channel();
        let serving = tokio::spawn(taffrail_controller::serve(
            controller.clone(),
            listener,
            async {
                // An error means that the embedded cluster was dropped, which is the end as well.
                let _ = stopped.await;
            },
        ));
        let broker = taffrail_broker::start_with(
            BrokerConfig {
                data_dir: options.data_dir.join("broker-0"),
                name: "broker-0".to_owned(),
                client_listen: options.listen.listen,
                replication_listen: ANY_LOOPBACK,
                http_listen: Some(http),
                controllers: vec![address.to_string()],
                ..BrokerConfig::default()
            },
            taffrail_broker::Environment::real(Some(options.log)),
        )
        .await
        .map_err(|error| broker_failure(&error))?;
        let mut embedded = Self {
            controller,
            serving,
            stop_serving,
            broker,
        };
        match embedded.ready().await {
            Ok(()) => Ok(embedded),
            Err(failure) => embedded.stop().await.and(Err(failure)),
        }
    }

    /// Where clients of this machine connect.
    pub(crate) fn address(&self) -> String {
        let mut address = self.broker.client_addr();
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        address.to_string()
    }

    /// Where metrics are.
    pub(crate) fn metrics(&self) -> String {
        match self.broker.http_addr() {
            Some(address) => format!("http://{address}/metrics"),
            None => "nowhere".to_owned(),
        }
    }

    async fn ready(&mut self) -> Outcome {
        let deadline = Instant::now() + READY_DEADLINE;
        while Instant::now() < deadline {
            if timeout(READY_INTERVAL, self.broker.ready()).await.is_ok() {
                return Ok(());
            }
            // Looked at, not waited for: a broker that was refused never becomes ready.
            if let Ok(error) = timeout(Duration::ZERO, self.broker.failed()).await {
                return Err(broker_failure(&error));
            }
        }
        Err(Failure::of(
            ErrorCode::TimedOut,
            format!("the broker was not ready within {READY_DEADLINE:?}"),
        )
        .hint("its log above says what it is doing"))
    }

    /// Serves until a signal comes.
    ///
    /// # Errors
    /// The broker or the controller cannot go on.
    pub(crate) async fn run_until(&mut self, stop: Interrupted) -> Outcome {
        tokio::select! {
            () = stop.first() => Ok(()),
            error = self.broker.failed() => Err(broker_failure(&error)),
            () = self.controller.deposed() => Err(Failure::of(
                ErrorCode::StaleController,
                "another process took over the cluster's metadata",
            )
            .hint("stop it, or use another --data-dir")),
        }
    }

    /// Stops the broker, then the controller.
    ///
    /// # Errors
    /// Serving the controller failed.
    pub(crate) async fn stop(self) -> Outcome {
        self.broker.stop().await;
        self.controller.stop().await;
        // An error means that serving ended before.
        let _ = self.stop_serving.send(());
        let served = self.serving.await.map_err(|error| join_failure(&error))?;
        served.map_err(|error| controller_failure(&error))
    }
}

impl Listen {
    fn http(&self) -> SocketAddr {
        let is_default = self.listen.to_string() == DEFAULT_ADDRESS;
        let default = if is_default {
            DEFAULT_HTTP
        } else {
            ANY_LOOPBACK
        };
        self.http_listen.unwrap_or(default)
    }
}

/// One broker is all there is here.
fn named_defaults(cluster: Option<Cluster>) -> Outcome<(String, TopicDefaults)> {
    let Some(cluster) = cluster else {
        return Ok(("dev".to_owned(), TopicDefaults::default()));
    };
    if cluster.defaults.brokers_wanted != 1 {
        return Err(Failure::of(
            ErrorCode::InvalidSpec,
            format!(
                "BrokerCluster {:?} wants {} brokers, and this process is one",
                cluster.name, cluster.defaults.brokers_wanted
            ),
        )
        .hint("set brokers: 1 here; more of them run on Kubernetes"));
    }
    Ok((cluster.name, cluster.defaults))
}

/// Fails if the address is taken, before anything is written.
async fn free(address: SocketAddr) -> Outcome {
    match TcpListener::bind(address).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Failure::new(
            Exit::Conflict,
            "ADDRESS_IN_USE",
            format!("{address} is taken by another process, perhaps another taffrail"),
        )
        .hint(
            "stop it, or choose other addresses: --listen 127.0.0.1:0 --http-listen 127.0.0.1:0",
        )),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            "IO",
            format!("cannot listen on {address}: {error}"),
        )),
    }
}

fn broker_failure(error: &BrokerError) -> Failure {
    match error {
        BrokerError::DataDirInUse { .. } => data_in_use(error),
        error => Failure::of(error.code(), error.to_string()),
    }
}

fn controller_failure(error: &ControllerError) -> Failure {
    match error {
        ControllerError::Store(error) => store_failure(error),
        error => Failure::new(Exit::Failed, "INTERNAL", error.to_string()),
    }
}

fn store_failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Locked { .. } => data_in_use(error),
        StoreError::NewerFormat { .. } => {
            Failure::of(ErrorCode::UnsupportedVersion, error.to_string())
        }
        error => Failure::new(Exit::Failed, "IO", error.to_string()),
    }
}

fn data_in_use(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Conflict, "DATA_IN_USE", error.to_string())
        .hint("one process at a time: stop the other one, or use another --data-dir")
}
