//! From a volume to a broker: what `start.rs` does with a real one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use taffrail_core::TopicPartition;
use taffrail_log::{Disk, LogError};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Clock, Due, Durable, Now, SimBroker};
use crate::{
    BrokerConfig, Environment,
    broker::Broker,
    cluster::{
        Membership,
        apply::{Told, log_config},
        known::Known,
        rebuild::Rebuilds,
    },
    datadir::{
        ballast::Ballast,
        partition_dir_name,
        scan::{self, Found},
    },
    disk::{Outboxes, space::Space, stepped::Stepped},
    follower::{doubts::Doubts, throttle::Throttle},
    group::{Coordinators, stepped::Stepped as CoordinatorsHere},
    metrics::Metrics,
    partition::table::PartitionTable,
    peers::Peers,
    rpc::{Subscriptions, replication::stepped::Seats},
    start::take_in,
};

/// Where partitions are on the simulated disk.
const PARTITIONS: &str = "/partitions";

/// How a simulated broker runs.
pub struct Settings {
    /// Its name and limits.
    pub config: BrokerConfig,
    /// 64 random bits.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// A small sync is done by the writer itself, as if nothing else came meanwhile.
    pub syncs_itself: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Where the log of a partition is.
pub fn partition_dir(id: TopicPartition) -> PathBuf {
    Path::new(PARTITIONS).join(partition_dir_name(id))
}

pub(super) fn quarantine_dir(id: TopicPartition, n: u32) -> PathBuf {
    Path::new("/quarantine").join(format!("{}.{n}", partition_dir_name(id)))
}

impl SimBroker {
    /// A process starts on a volume: the next incarnation is durable, and every log is open.
    pub fn start(disk: Arc<dyn Disk>, mut durable: Durable, settings: Settings, now: Now) -> Self {
        let Settings {
            config,
            random,
            syncs_itself,
        } = settings;
        durable.identity.begin_run(random());
        let clock = Arc::new(Clock::default());
        clock.wall_ms.store(now.wall_ms, Ordering::Relaxed);
        clock.uptime_ms.store(now.uptime_ms, Ordering::Relaxed);
        let environment = environment(disk, &clock, random);
        // Through the file's format, as a real one.
        let known = if durable.known == Known::default() {
            Known::default()
        } else {
            Known::from_file(durable.known.to_file()).expect("what was written is read")
        };
        let space = Arc::new(Space::new(
            Arc::clone(&environment.disk),
            PathBuf::from("/"),
            Ballast::none(),
            config.disk.free_bytes_min,
        ));
        let _ = space.look();
        let found = open_all(&environment.disk, &mut durable, &known);
        let me = known
            .view
            .brokers
            .iter()
            .find(|(_, b)| b.uuid[..] == durable.identity.broker.as_bytes()[..])
            .map(|(number, _)| *number);
        let membership = Membership::new(durable.identity.incarnation(), me, known.view.stamp);
        let metrics = Arc::new(Metrics::default());
        let outboxes = Outboxes::default();
        let (handle, disk) = Stepped::new(&environment, &space, &metrics, outboxes.clone());
        let (known_sender, known_receiver) = watch::channel(Arc::new(known));
        let (_, active_controller) = watch::channel(None);
        let rate = config.replication.catch_up_bytes_per_s_max;
        let broker = Arc::new(Broker {
            environment,
            membership,
            partitions: Arc::new(PartitionTable::default()),
            disk: handle,
            space,
            positions: outboxes.positions,
            asks: outboxes.asks,
            known: known_receiver.clone(),
            active_controller,
            peers: Peers::new(known_receiver),
            doubts: Doubts::default(),
            coordinators: Coordinators::default(),
            subscriptions: Subscriptions::new(None),
            metrics,
            queue: Arc::new(Semaphore::new(config.limits.queue_bytes_max)),
            decompressions: Arc::new(Semaphore::new(config.limits.decompressions_max)),
            report_now: Notify::new(),
            stopping: CancellationToken::new(),
            handed_over: CancellationToken::new(),
            draining: CancellationToken::new(),
            stopped: CancellationToken::new(),
            streams: TaskTracker::new(),
            config,
        });
        let mut sim = Self {
            broker,
            disk,
            clock,
            durable,
            known: known_sender,
            told: Told::default(),
            rebuilds: Rebuilds::default(),
            session: None,
            leaders: BTreeMap::new(),
            followers: BTreeMap::new(),
            seats: Seats::default(),
            throttle: Throttle::new(rate, now.uptime_ms),
            jobs: BTreeMap::new(),
            jobs_made: 0,
            asked: BTreeMap::new(),
            coordinators: CoordinatorsHere::default(),
            members: BTreeMap::new(),
            resets: BTreeMap::new(),
            syncs_itself,
            due: Due::default(),
            outputs: Vec::new(),
        };
        sim.take_in(found);
        sim
    }

    fn take_in(&mut self, found: Vec<Found>) {
        let known = Arc::clone(&self.known.borrow());
        let assigns = found
            .into_iter()
            .filter_map(|found| take_in(&self.broker, found, &known));
        let assigns: Vec<_> = assigns.collect();
        let broker = Arc::clone(&self.broker);
        Self::obeyed(&mut self.disk, broker.disk.assign(assigns));
        self.follow(&known);
    }
}

fn environment(
    disk: Arc<dyn Disk>,
    clock: &Arc<Clock>,
    random: Arc<dyn Fn() -> u64 + Send + Sync>,
) -> Environment {
    let (wall, uptime) = (Arc::clone(clock), Arc::clone(clock));
    Environment {
        disk,
        clock: Arc::new(move || wall.wall_ms.load(Ordering::Relaxed)),
        uptime: Arc::new(move || uptime.uptime_ms.load(Ordering::Relaxed)),
        random,
        boot_id: String::new(),
        log_control: None,
    }
}

/// Every partition that may be there, as `datadir/scan.rs` finds them.
fn open_all(disk: &Arc<dyn Disk>, durable: &mut Durable, known: &Known) -> Vec<Found> {
    let _ = disk.create_dir(Path::new(PARTITIONS));
    let seen = known.seen.keys().copied();
    let ids: BTreeSet<_> = seen.chain(durable.roster.keys().copied()).collect();
    let mut all = Vec::new();
    for id in ids {
        let path = partition_dir(id);
        let config = log_config(known.config_of(id));
        match scan::open(id, &path, disk, durable.identity.cluster, config) {
            Ok(Some(found)) => {
                if !found.topic_name.is_empty() {
                    durable.roster.insert(id, found.topic_name.as_str().into());
                }
                all.push(found);
            }
            Ok(None) => {
                if let Some(topic) = durable.roster.get(&id) {
                    all.push(Found {
                        id,
                        topic_name: topic.to_string(),
                        log: Err(LogError::Lost { dir: path }),
                        clean_stop: false,
                    });
                }
            }
            Err(error) => panic!("a volume of this cluster only: {error}"),
        }
    }
    all
}
