//! Brokers in processes of their own: this program under the name of theirs. One that ends is started again, as a StatefulSet would.
//!
//! A child stops when its standard input ends, so that none stays behind whatever becomes of this process.

mod child;

use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use taffrail_api::v1::BrokerStatus;
use tokio::time::sleep;

use self::child::{Child, Launch};
use super::listen::Addresses;
use crate::{
    failure::{Exit, Failure, Outcome},
    logging::Logging,
};

/// What a child is called by, and is told apart by: argument 0.
pub(crate) const BROKER: &str = "taffrail-broker";
/// How often children are looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// Long enough to see what the others make of it.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// What a broker gets beyond its `shutdown_timeout_ms` to end.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// What all brokers have in common.
pub(super) struct Common<'a> {
    /// Where their volumes and logs are.
    pub(super) data_dir: &'a Path,
    /// Where they find the controller.
    pub(super) controller: SocketAddr,
    /// What they log.
    pub(super) log: &'a Logging,
    /// Start again what ends?
    pub(super) restart: bool,
    /// How long the stop of one may take.
    pub(super) shutdown_timeout: Duration,
    /// A file with settings of theirs.
    pub(super) broker_config: Option<&'a Path>,
}

/// Broker processes.
pub(super) struct Processes {
    brokers: Vec<BrokerProcess>,
    restart: bool,
    /// Then they are killed.
    stop_within: Duration,
}

struct BrokerProcess {
    launch: Launch,
    addresses: Addresses,
    state: State,
}

enum State {
    Runs(Child),
    /// To be started again then, if ever.
    Ended(Option<Instant>),
}

impl Processes {
    /// Starts a process for each of `addresses`.
    ///
    /// # Errors
    /// One cannot be started.
    pub(super) fn start(common: &Common<'_>, addresses: Vec<Addresses>) -> Outcome<Self> {
        let start = |(index, addresses): (usize, Addresses)| {
            let launch = Launch::new(common, &format!("broker-{index}"), addresses)?;
            let child = launch.start()?;
            Ok(BrokerProcess {
                launch,
                addresses,
                state: State::Runs(child),
            })
        };
        let brokers = addresses.into_iter().enumerate().map(start);
        Ok(Self {
            brokers: brokers.collect::<Outcome<_>>()?,
            restart: common.restart,
            stop_within: common.shutdown_timeout + STOP_MARGIN,
        })
    }

    /// Where clients connect.
    pub(super) fn clients(&self) -> Vec<SocketAddr> {
        self.brokers.iter().map(|b| b.addresses.client).collect()
    }

    /// Where the first one listens.
    pub(super) fn first(&self) -> Addresses {
        self.brokers[0].addresses
    }

    /// Have all of them registered? At the start none may end.
    ///
    /// # Errors
    /// One ended.
    pub(super) fn are_ready(&mut self, registered: &[BrokerStatus]) -> Outcome<bool> {
        let mut ready = true;
        for broker in &mut self.brokers {
            if let State::Runs(child) = &mut broker.state {
                if let Some(status) = child.ended()? {
                    return Err(broker.launch.failed_to_start(status));
                }
                ready &= registered.iter().any(|b| {
                    b.name == broker.launch.name
                        && b.process_id == child.id()
                        && b.state == "ONLINE"
                });
            }
        }
        Ok(ready)
    }

    /// Says where each one is.
    pub(super) fn announce(&self) {
        for broker in &self.brokers {
            let State::Runs(child) = &broker.state else {
                continue;
            };
            tracing::info!(
                broker = broker.launch.name,
                pid = child.id(),
                client = %broker.addresses.client,
                http = %broker.addresses.http,
                log = %broker.launch.log.display(),
                "a broker serves"
            );
        }
    }

    /// Says when one ends, and starts it again after a while. Resolves when that cannot be done.
    pub(super) async fn look_after(&mut self) -> Failure {
        loop {
            let now = Instant::now();
            for broker in &mut self.brokers {
                if let Err(failure) = broker.look(now, self.restart) {
                    return failure;
                }
            }
            sleep(INTERVAL).await;
        }
    }

    /// Stops all of them at once, and kills what does not stop.
    pub(super) async fn stop(mut self) {
        let running = |brokers: &mut [BrokerProcess]| {
            brokers
                .iter_mut()
                .filter_map(BrokerProcess::running)
                .count()
        };
        for broker in &mut self.brokers {
            if let Some(child) = broker.running() {
                child.ask_to_end();
            }
        }
        let stop_within = self.stop_within;
        let deadline = Instant::now() + stop_within;
        while running(&mut self.brokers) > 0 && Instant::now() < deadline {
            sleep(INTERVAL).await;
        }
        for broker in &mut self.brokers {
            let name = broker.launch.name.clone();
            if let Some(child) = broker.running() {
                tracing::warn!(
                    broker = name,
                    pid = child.id(),
                    "did not stop within {stop_within:?} and is killed"
                );
                child.kill();
            }
        }
    }
}

impl BrokerProcess {
    fn look(&mut self, now: Instant, restart: bool) -> Outcome {
        match &mut self.state {
            State::Runs(child) => {
                let Some(status) = child.ended()? else {
                    return Ok(());
                };
                let (broker, pid) = (&self.launch.name, child.id());
                if restart {
                    tracing::warn!(%broker, pid, %status, "a broker process ended; it is started again in {AGAIN_AFTER:?}");
                } else {
                    tracing::warn!(%broker, pid, %status, "a broker process ended and is left so; stop the cluster and start it to have it back");
                }
                self.state = State::Ended(restart.then(|| now + AGAIN_AFTER));
            }
            State::Ended(Some(at)) if *at <= now => {
                let child = self.launch.start()?;
                tracing::info!(broker = self.launch.name, pid = child.id(), "started again");
                self.state = State::Runs(child);
            }
            State::Ended(_) => {}
        }
        Ok(())
    }

    /// Nothing once it ended.
    fn running(&mut self) -> Option<&mut Child> {
        let State::Runs(child) = &mut self.state else {
            return None;
        };
        matches!(child.ended(), Ok(None)).then_some(child)
    }
}

/// How many brokers have a volume here: one more than the highest number among them.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn volumes(data_dir: &Path) -> Outcome<u16> {
    let entries = match fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Failure::file("read", data_dir, &error)),
    };
    let mut volumes = 0;
    for entry in entries {
        let entry = entry.map_err(|error| Failure::file("read", data_dir, &error))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("broker-"));
        if let Some(number) = number.and_then(|number| number.parse::<u16>().ok()) {
            volumes = volumes.max(number.saturating_add(1));
        }
    }
    Ok(volumes)
}

fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, "IO", format!("cannot {what}: {error}"))
}
