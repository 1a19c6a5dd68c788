//! From settings to a running broker.

use std::{future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Instant};

use prometheus_client::registry::Registry;
use taffrail_api::v1::Endpoint;
use taffrail_core::{Durability, replica::Standing};
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore, mpsc, watch},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    broker::Broker,
    cluster::{
        Membership,
        apply::{Conductor, Told, assign_of, log_config},
        create::Uncreated,
        known::Known,
        rebuild::Rebuilds,
        session::Session,
    },
    config::BrokerConfig,
    datadir::{
        DataDir,
        ballast::Ballast,
        boot::Boot,
        identity::Identity,
        metadata_file::MetadataFile,
        roster::Roster,
        scan::{self, Found},
    },
    disk::{self, Outboxes, maintenance, scrub, space::Space},
    environment::Environment,
    error::BrokerError,
    follower::{self, doubts::Doubts},
    group::{self, Coordinators},
    http,
    metrics::{Metrics, PartitionCollector},
    open_files,
    partition::{Fault, Partition, replicate::Assign, table::PartitionTable},
    peers::Peers,
    repeats::Repeats,
    rpc::{self, Subscriptions},
    running::{CutOff, RunningBroker},
};

/// Updates waiting to be obeyed. The controller sends one at a time for each change.
const INSTRUCTIONS_MAX: usize = 64;

/// Runs a broker until `shutdown` resolves, then stops it cleanly. While it still opens its logs it ends at once, and a thread goes on with the one that it
/// has begun: the data directory stays locked until that is over, or the process.
///
/// # Errors
/// It cannot start, a controller refused it for good, or a server failed.
pub async fn run(
    config: BrokerConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), BrokerError> {
    run_with(config, Environment::real(None), shutdown).await
}

/// As [`run`], in an environment of the caller's.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: BrokerConfig,
    environment: Environment,
    shutdown: impl Future<Output = ()>,
) -> Result<(), BrokerError> {
    let mut shutdown = pin!(shutdown);
    let started = tokio::select! {
        started = start_with(config, environment) => started,
        () = &mut shutdown => {
            tracing::info!("told to end before the logs were open: the next start recovers them");
            return Ok(());
        }
    };
    let mut broker = started?;
    tracing::info!(client = %broker.client_addr(), replication = %broker.replication_addr(), http = ?broker.http_addr(), "serving");
    let max = open_files::max();
    if max < open_files::FEW {
        tracing::warn!(
            max,
            "few files may be open, connections included: raise the hard limit (ulimit -Hn) before there are many partitions"
        );
    }
    let failure = tokio::select! {
        () = shutdown => None,
        failure = broker.failed() => Some(failure),
    };
    broker.stop().await;
    failure.map_or(Ok(()), Err)
}

/// Starts a broker.
///
/// # Errors
/// A setting makes no sense, an address is taken, or the data directory is locked, damaged, another cluster's or of a newer format.
pub async fn start(config: BrokerConfig) -> Result<RunningBroker, BrokerError> {
    start_with(config, Environment::real(None)).await
}

/// As [`start`], in an environment of the caller's.
///
/// # Errors
/// As [`start`].
pub async fn start_with(
    config: BrokerConfig,
    environment: Environment,
) -> Result<RunningBroker, BrokerError> {
    config.check()?;
    let client = listen(config.client_listen).await?;
    let replication = listen(config.replication_listen).await?;
    // Before the logs are opened: a broker that recovers for long must not look dead to whoever probes it.
    let early = Early::serve(&config, &environment).await?;
    let prepared = {
        let (config, environment) = (config.clone(), environment.clone());
        tokio::task::spawn_blocking(move || prepare(&config, &environment))
            .await
            .map_err(|e| BrokerError::Serve(format!("opening the data directory: {e}")))??
    };
    assemble(config, environment, prepared, client, replication, early).await
}

/// What there is of a broker before its logs are open. Dropping it ends it.
struct Early {
    site: http::Site,
    http_addr: Option<SocketAddr>,
    metrics: Arc<Metrics>,
    stopped: CancellationToken,
    tasks: JoinSet<Result<(), BrokerError>>,
}

impl Early {
    async fn serve(config: &BrokerConfig, environment: &Environment) -> Result<Self, BrokerError> {
        let metrics = Arc::new(Metrics::default());
        let site = http::Site::new(&metrics, environment.log_control.clone());
        let stopped = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let mut http_addr = None;
        if let Some(address) = config.http_listen {
            let (listener, bound) = listen(address).await?;
            tasks.spawn(http::serve(site.clone(), listener, stopped.clone()));
            http_addr = Some(bound);
        }
        Ok(Self {
            site,
            http_addr,
            metrics,
            stopped,
            tasks,
        })
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BrokerError> {
    let failed = |source| BrokerError::Listen { address, source };
    let listener = taffrail_api::listen::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// What was read from the data directory.
struct Prepared {
    dir: DataDir,
    identity: Identity,
    file: MetadataFile,
    known: Known,
    space: Space,
    roster: Roster,
    boot: Boot,
    rebuilds: Rebuilds,
    found: Vec<Found>,
}

/// Blocking: locks the directory, makes the next incarnation durable, opens every log.
fn prepare(config: &BrokerConfig, environment: &Environment) -> Result<Prepared, BrokerError> {
    let started = Instant::now();
    let dir = DataDir::open(&config.data_dir)?;
    let space = Space::new(
        Arc::clone(&environment.disk),
        dir.path().to_owned(),
        Ballast::of(&dir, config.disk.ballast_bytes),
        config.disk.free_bytes_min,
    );
    // A full disk gives up its ballast here: everything below writes.
    space.look();
    let identity = Identity::next_start(&dir, &*environment.random)?;
    let file = MetadataFile::of(&dir);
    let known = file.load(&dir)?;
    let mut roster = Roster::load(dir.path())?;
    let disk = &environment.disk;
    let found = scan::open_all(&dir, &mut roster, disk, identity.cluster, |id| {
        log_config(known.config_of(id))
    })?;
    let mut boot = Boot::load(dir.path())?;
    let same_boot = boot.is_same(&environment.boot_id);
    let may_lack = found.iter().filter(|found| {
        // Without a configuration it may have been the weaker promise.
        let config = known.config_of(found.id);
        let durability = config.map_or(Durability::PageCache, |c| c.durability);
        found.standing(durability, same_boot) == Standing::MayLack
    });
    let may_lack: Vec<_> = may_lack.map(|found| found.id).collect();
    if !may_lack.is_empty() {
        tracing::warn!(
            partitions = may_lack.len(),
            "stopped uncleanly and on another run of the kernel: pageCache replicas may lack records"
        );
    }
    let rebuilds = Rebuilds::load(&dir.quarantine());
    // Before anybody hears of it.
    boot.note(may_lack)?;
    tracing::info!(partitions = found.len(), elapsed_ms = started.elapsed().as_millis() as u64,
        incarnation = %identity.incarnation(), "opened the data directory");
    Ok(Prepared {
        dir,
        identity,
        file,
        known,
        space,
        roster,
        boot,
        rebuilds,
        found,
    })
}

async fn assemble(
    config: BrokerConfig,
    environment: Environment,
    prepared: Prepared,
    client: (TcpListener, SocketAddr),
    replication: (TcpListener, SocketAddr),
    early: Early,
) -> Result<RunningBroker, BrokerError> {
    let Prepared {
        dir,
        identity,
        file,
        known,
        space,
        roster,
        boot,
        rebuilds,
        found,
    } = prepared;
    let me = known
        .view
        .brokers
        .iter()
        .find(|(_, b)| b.uuid[..] == identity.broker.as_bytes()[..])
        .map(|(number, _)| *number);
    let membership = Membership::new(identity.incarnation(), me, known.view.stamp);
    let Early {
        site,
        http_addr,
        metrics,
        stopped,
        mut tasks,
    } = early;
    let space = Arc::new(space);
    let dir = Arc::new(dir);
    let outboxes = Outboxes::default();
    let (disk, threads) = disk::start(
        &config.disk,
        Arc::clone(&dir),
        &environment,
        &space,
        &metrics,
        outboxes.clone(),
    )
    .map_err(|source| BrokerError::System {
        what: "start disk threads",
        source,
    })?;
    let (known_sender, known_receiver) = watch::channel(Arc::new(known));
    let (active_sender, active_receiver) = watch::channel(None);
    let partitions = Arc::new(PartitionTable::default());
    let queue = Arc::new(Semaphore::new(config.limits.queue_bytes_max));
    let registry = registry(
        &metrics,
        &partitions,
        &space,
        &queue,
        config.limits.queue_bytes_max,
    );
    let client_endpoint = advertised("client", config.client_advertised.as_deref(), client.1)?;
    let replication_endpoint = advertised(
        "replication",
        config.replication_advertised.as_deref(),
        replication.1,
    )?;
    let broker = Arc::new(Broker {
        environment,
        membership,
        partitions,
        disk,
        space,
        positions: outboxes.positions,
        asks: outboxes.asks,
        known: known_receiver.clone(),
        active_controller: active_receiver,
        peers: Peers::new(known_receiver.clone()),
        doubts: Doubts::default(),
        coordinators: Coordinators::default(),
        subscriptions: Subscriptions::new(Some(client.1)),
        metrics,
        queue,
        decompressions: Arc::new(Semaphore::new(config.limits.decompressions_max)),
        report_now: Notify::new(),
        stopping: CancellationToken::new(),
        handed_over: CancellationToken::new(),
        draining: CancellationToken::new(),
        stopped,
        streams: TaskTracker::new(),
        config,
    });
    let known = Arc::clone(&known_sender.borrow());
    let assigns: Vec<_> = found
        .into_iter()
        .filter_map(|found| take_in(&broker, found, &known))
        .collect();
    for partition in broker.partitions.all() {
        partition.set_may_lack(boot.may_lack(partition.id));
        if let Some(kept) = rebuilds.kept(partition.id) {
            partition.set_quarantine(kept);
        }
    }
    broker.disk.assign(assigns).await;
    let (instructions, received) = mpsc::channel(INSTRUCTIONS_MAX);
    let conductor = Conductor {
        broker: Arc::clone(&broker),
        dir,
        file,
        roster,
        known: known_sender,
        told: Told::default(),
        rebuilds,
        disobeyed: Repeats::default(),
        undeleted: Vec::new(),
        uncreated: Uncreated::default(),
    };
    let session = Session {
        broker: Arc::clone(&broker),
        identity,
        boot,
        client_endpoint,
        replication_endpoint,
        known: known_receiver,
        instructions,
        active: active_sender,
        ends: Repeats::default(),
        is_silent: false,
    };
    let (disk, space, settings, stopped) = (
        broker.disk.clone(),
        Arc::clone(&broker.space),
        broker.config.disk.clone(),
        broker.stopped.clone(),
    );
    tasks.spawn(async move {
        maintenance::run(disk, space, settings, stopped).await;
        Ok(())
    });
    let (partitions, scrub_ms, stopped) = (
        Arc::clone(&broker.partitions),
        broker.config.disk.scrub_interval_ms,
        broker.stopped.clone(),
    );
    tasks.spawn(async move {
        scrub::run(partitions, scrub_ms, stopped).await;
        Ok(())
    });
    tasks.spawn(async move {
        conductor.run(received).await;
        Ok(())
    });
    tasks.spawn(session.run());
    let following = follower::run(Arc::clone(&broker));
    tasks.spawn(async move {
        following.await;
        Ok(())
    });
    let coordinating = group::coordinators::run(Arc::clone(&broker));
    tasks.spawn(async move {
        coordinating.await;
        Ok(())
    });
    let (replication_listener, replication_addr) = replication;
    tasks.spawn(rpc::replication::serve(
        Arc::clone(&broker),
        replication_listener,
    ));
    let (client_listener, client_addr) = client;
    let clients = tokio::spawn(rpc::server::serve(Arc::clone(&broker), client_listener));
    site.open(Arc::clone(&broker), registry);
    Ok(RunningBroker {
        _cut_off: CutOff {
            broker: Arc::clone(&broker),
            clients: clients.abort_handle(),
        },
        broker,
        client_addr,
        replication_addr,
        http_addr,
        tasks,
        clients,
        threads,
    })
}

fn registry(
    metrics: &Metrics,
    partitions: &Arc<PartitionTable>,
    space: &Arc<Space>,
    queue: &Arc<Semaphore>,
    queue_bytes_max: usize,
) -> Arc<Registry> {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    registry.register_collector(Box::new(PartitionCollector {
        partitions: Arc::clone(partitions),
        space: Arc::clone(space),
        queue: Arc::clone(queue),
        queue_bytes_max,
    }));
    Arc::new(registry)
}

/// A partition that was on the disk. One that is this broker's alone serves at once, with or without a controller.
pub(crate) fn take_in(broker: &Broker, found: Found, known: &Known) -> Option<Assign> {
    let Found {
        id,
        topic_name,
        log,
        ..
    } = found;
    let topic_name: Arc<str> = topic_name.into();
    let metrics = broker.metrics.topic(&topic_name);
    let durability = known
        .config_of(id)
        .map(|t| t.durability)
        .unwrap_or_default();
    let partition = match log {
        Ok(log) => {
            let partition = Arc::new(Partition::new(id, topic_name, log.reader(), metrics));
            broker.disk.adopt(&partition, log, durability);
            partition
        }
        Err(error) => Arc::new(Partition::broken(
            id,
            topic_name,
            Fault::of(&error),
            metrics,
        )),
    };
    broker.partitions.insert(Arc::clone(&partition));
    let me = broker.membership.number()?;
    Some(assign_of(broker, &partition, me, known))
}

/// How others reach a port of this broker: as they are told to, or where it listens.
fn advertised(
    port: &str,
    advertised: Option<&str>,
    bound: SocketAddr,
) -> Result<Endpoint, BrokerError> {
    if let Some(address) = advertised {
        return Endpoint::parse(address)
            .map_err(|e| BrokerError::config(format!("{port}_advertised: {}", e.message)));
    }
    let host = if bound.ip().is_unspecified() {
        tracing::warn!(
            "{port}_listen is all addresses, advertising 127.0.0.1; set {port}_advertised for peers elsewhere"
        );
        "127.0.0.1".to_owned()
    } else {
        bound.ip().to_string()
    };
    Ok(Endpoint {
        host,
        port: u32::from(bound.port()),
    })
}
