//! A controller on files in this process, and brokers: one in this process too, or several in processes of their own. The same gRPC as in a cluster.
//!
//! ```text
//! <data dir>/controller    what the controller decided, in files
//! <data dir>/broker-0      a broker's volume
//! <data dir>/broker-0.log  what it logs, if it has a process of its own
//! ```

mod control;
mod failures;
mod listen;
mod processes;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use taffrail_broker::{BrokerConfig, RunningBroker};
use taffrail_core::{ErrorCode, TopicDefaults};
use tokio::time::{Instant, sleep, timeout};

pub(crate) use listen::{DEFAULT_ADDRESS, Listen};
pub(crate) use processes::BROKER;

use self::{
    control::Control,
    failures::broker_failure,
    processes::{Common, Processes},
};
use crate::{
    failure::{Failure, Outcome},
    logging::Logging,
    manifest::Cluster,
    signals,
};

/// Where the data is kept, unless told otherwise.
pub(crate) const DEFAULT_DATA_DIR: &str = "taffrail-data";
/// One machine is no place for more.
pub(crate) const BROKERS_MAX: u16 = 16;
/// How long brokers may take to register and to recover their partitions. Recovery after a crash reads what was not checkpointed.
const READY_DEADLINE: Duration = Duration::from_mins(5);
/// How often they are asked whether they failed instead.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// What to start.
pub(crate) struct Options {
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// Addresses.
    pub(crate) listen: Listen,
    /// What a BrokerCluster says.
    pub(crate) cluster: Option<Cluster>,
    /// How many brokers; `None`: what the BrokerCluster says, or one.
    pub(crate) brokers: Option<u16>,
    /// Start again a broker process that ends?
    pub(crate) restart: bool,
    /// Settings of brokers.
    pub(crate) broker_config: Option<PathBuf>,
    /// What is logged, and how.
    pub(crate) log: Logging,
}

/// A running embedded cluster.
pub(crate) struct Embedded {
    control: Control,
    brokers: Brokers,
}

/// Why an embedded cluster was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// What was to be done with it is done.
    Done,
    /// A signal came.
    Interrupted,
}

enum Brokers {
    /// In this process.
    One(Box<RunningBroker>),
    /// In processes of their own.
    Several(Processes),
}

/// Starts a cluster, does `work` once clients can be served, and stops it: after the work or with the first signal, also one that comes during the start.
///
/// # Errors
/// An address is taken, the data is another's or cannot be read, a broker was refused, or the work failed.
pub(crate) async fn run<W>(options: Options, work: W) -> Outcome<Stopped>
where
    W: AsyncFnOnce(&mut Embedded) -> Outcome,
{
    let stop = signals::interrupted()?.first();
    tokio::pin!(stop);
    let mut embedded = tokio::select! {
        started = Embedded::start(options) => started?,
        // The next start finds files as after a crash.
        () = &mut stop => return Ok(Stopped::Interrupted),
    };
    let worked = async {
        embedded.ready().await?;
        work(&mut embedded).await
    };
    let ended = tokio::select! {
        outcome = worked => outcome.map(|()| Stopped::Done),
        () = stop => Ok(Stopped::Interrupted),
    };
    embedded.stop().await.and(ended)
}

impl Embedded {
    /// Starts controller and brokers.
    async fn start(options: Options) -> Outcome<Self> {
        let (name, defaults, brokers) = wanted(options.cluster, options.brokers)?;
        let addresses = options.listen.of_brokers(brokers)?;
        let config = broker_config(options.broker_config.as_deref())?;
        enough_for_the_data(&options.data_dir, brokers)?;
        let controller_dir = options.data_dir.join("controller");
        let control = Control::start(&controller_dir, name, defaults).await?;
        let brokers = if brokers == 1 {
            let config = BrokerConfig {
                data_dir: options.data_dir.join("broker-0"),
                name: "broker-0".to_owned(),
                client_listen: options.listen.listen,
                http_listen: Some(options.listen.http()),
                // Nobody follows it.
                replication_listen: listen::ANY_LOOPBACK,
                controllers: vec![control.address().to_string()],
                ..config
            };
            start_one(config, options.log)
                .await
                .map(|broker| Brokers::One(Box::new(broker)))
        } else {
            let common = Common {
                data_dir: &options.data_dir,
                controller: control.address(),
                log: &options.log,
                restart: options.restart,
                shutdown_timeout: Duration::from_millis(config.shutdown_timeout_ms),
                broker_config: options.broker_config.as_deref(),
            };
            Processes::start(&common, addresses).map(Brokers::Several)
        };
        Ok(Self {
            control,
            brokers: brokers?,
        })
    }

    /// Where clients of this machine connect: each broker's.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let addresses = match &self.brokers {
            Brokers::One(broker) => vec![broker.client_addr()],
            Brokers::Several(processes) => processes.clients(),
        };
        let reachable = addresses.into_iter().map(|mut address| {
            if address.ip().is_unspecified() {
                address.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            address.to_string()
        });
        reachable.collect()
    }

    /// The first broker's.
    pub(crate) fn address(&self) -> String {
        self.addresses().swap_remove(0)
    }

    /// Where metrics are.
    pub(crate) fn metrics(&self) -> String {
        let address: Option<SocketAddr> = match &self.brokers {
            Brokers::One(broker) => broker.http_addr(),
            Brokers::Several(processes) => Some(processes.first().http),
        };
        match address {
            Some(address) => format!("http://{address}/metrics"),
            None => "nowhere".to_owned(),
        }
    }

    /// Returns once clients can be served.
    async fn ready(&mut self) -> Outcome {
        let deadline = Instant::now() + READY_DEADLINE;
        while Instant::now() < deadline {
            match &mut self.brokers {
                Brokers::One(broker) => {
                    if timeout(READY_INTERVAL, broker.ready()).await.is_ok() {
                        return Ok(());
                    }
                    // Looked at, not waited for: a broker that was refused never becomes ready.
                    if let Ok(error) = timeout(Duration::ZERO, broker.failed()).await {
                        return Err(broker_failure(&error));
                    }
                }
                Brokers::Several(processes) => {
                    if processes.are_ready(&self.control.brokers())? {
                        processes.announce();
                        return Ok(());
                    }
                    sleep(READY_INTERVAL).await;
                }
            }
        }
        Err(Failure::of(
            ErrorCode::TimedOut,
            format!("the brokers were not ready within {READY_DEADLINE:?}"),
        )
        .hint("the log above says what they are doing, or the files DATA-DIR/broker-*.log"))
    }

    /// Resolves when a broker or the controller cannot go on.
    pub(crate) async fn failed(&mut self) -> Failure {
        tokio::select! {
            failure = self.brokers.failed() => failure,
            failure = self.control.failed() => failure,
        }
    }

    /// Stops the brokers, then the controller.
    ///
    /// # Errors
    /// Serving the controller failed.
    async fn stop(self) -> Outcome {
        match self.brokers {
            Brokers::One(broker) => broker.stop().await,
            Brokers::Several(processes) => processes.stop().await,
        }
        self.control.stop().await
    }
}

impl Brokers {
    async fn failed(&mut self) -> Failure {
        match self {
            Self::One(broker) => broker_failure(&broker.failed().await),
            Self::Several(processes) => processes.look_after().await,
        }
    }
}

/// What each broker is told. Read also where they have processes of their own, which would tell their logs only.
fn broker_config(file: Option<&Path>) -> Outcome<BrokerConfig> {
    let config = file.map_or_else(|| Ok(BrokerConfig::default()), BrokerConfig::from_file);
    config
        .and_then(|config| config.check().map(|()| config))
        .map_err(|error| broker_failure(&error))
}

async fn start_one(config: BrokerConfig, log: Logging) -> Outcome<RunningBroker> {
    let environment = taffrail_broker::Environment::real(Some(log.control));
    taffrail_broker::start_with(config, environment)
        .await
        .map_err(|error| broker_failure(&error))
}

/// The cluster's name, what topics have by default, and how many brokers there are.
fn wanted(cluster: Option<Cluster>, brokers: Option<u16>) -> Outcome<(String, TopicDefaults, u16)> {
    let Some(cluster) = cluster else {
        let brokers = brokers.unwrap_or(1);
        let defaults = TopicDefaults {
            brokers_wanted: brokers.into(),
            ..TopicDefaults::default()
        };
        return Ok(("dev".to_owned(), defaults, brokers));
    };
    let wanted = cluster.defaults.brokers_wanted;
    let refused = |problem: &str| {
        let what = format!("BrokerCluster {:?} wants {wanted} brokers", cluster.name);
        Failure::of(ErrorCode::InvalidSpec, format!("{what}, and {problem}"))
    };
    match (u16::try_from(wanted), brokers) {
        (Ok(wanted), Some(brokers)) if wanted != brokers => {
            Err(refused(&format!("--brokers says {brokers}"))
                .hint("leave --brokers out, or change the manifest"))
        }
        (Ok(wanted), _) if wanted <= BROKERS_MAX => Ok((cluster.name, cluster.defaults, wanted)),
        _ => Err(refused(&format!("here are at most {BROKERS_MAX}"))
            .hint("more of them run on Kubernetes")),
    }
}

/// What a command line needs to find the data: nothing where it is by default.
pub(crate) fn data_dir_flag(data_dir: &Path) -> String {
    if data_dir == Path::new(DEFAULT_DATA_DIR) {
        String::new()
    } else {
        format!(" --data-dir {}", data_dir.display())
    }
}

/// A volume that is left out would leave its partitions without a leader.
fn enough_for_the_data(data_dir: &Path, brokers: u16) -> Outcome {
    let volumes = processes::volumes(data_dir)?;
    if volumes <= brokers {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} holds the data of {volumes} brokers, and {brokers} would be started",
        data_dir.display()
    ))
    .hint(format!(
        "start all of them with: taffrail dev --brokers {volumes}{}; or use another --data-dir",
        data_dir_flag(data_dir)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_data_is_needs_saying_only_if_it_is_elsewhere() {
        assert_eq!(data_dir_flag(Path::new(DEFAULT_DATA_DIR)), "");
        assert_eq!(data_dir_flag(Path::new("/srv/log")), " --data-dir /srv/log");
    }
}
