//! Which partitions of `__offsets` this broker coordinates, and where requests go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use taffrail_api::{WireError, stream::Route};
use taffrail_core::{BrokerNumber, ErrorCode, LeaderEpoch, TopicPartition, internal::OFFSETS};
use taffrail_record::partitioner::partition_for_key;
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinSet,
    time::sleep,
};

use super::{
    coordinator::{Coordinator, Inbox, not_coordinator},
    event::{Event, StreamId},
    reports::GroupReports,
    unloaded::Unloaded,
};
use crate::{
    broker::Broker,
    cluster::view::ClusterView,
    partition::{Partition, standing::Role},
};

/// Events that wait for a coordinator: as many as it deals with in a few writes.
pub(super) const EVENTS_MAX: usize = 4_096;
/// After a failure, before the groups are read again.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Streams of members that are passed on to other brokers. Each is a connection to one.
const PASSED_ON_MAX: usize = 500;

/// Partitions that are being made are looked for so often.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The coordinators that run here.
#[derive(Debug)]
pub(crate) struct Coordinators {
    running: RwLock<BTreeMap<TopicPartition, Running>>,
    pub(super) unloaded: Unloaded,
    streams: AtomicU64,
    /// Room for streams of members that are passed on to other brokers.
    pub(crate) passed_on: Semaphore,
    /// What they say of their groups.
    pub(crate) reports: Arc<GroupReports>,
}

impl Default for Coordinators {
    fn default() -> Self {
        Self {
            running: RwLock::default(),
            unloaded: Unloaded::default(),
            streams: AtomicU64::new(0),
            passed_on: Semaphore::new(PASSED_ON_MAX),
            reports: Arc::default(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) epoch: LeaderEpoch,
    pub(super) events: mpsc::Sender<Event>,
}

impl Coordinators {
    /// A number for a new stream.
    pub(crate) fn stream_id(&self) -> StreamId {
        StreamId(self.streams.fetch_add(1, Ordering::Relaxed))
    }

    /// Who coordinates a group, if that is another broker and the caller asks to be routed to it.
    pub(crate) fn elsewhere(broker: &Broker, group: &str, route: Route) -> Option<BrokerNumber> {
        if route == Route::Direct {
            return None;
        }
        let known = broker.known.borrow();
        let partition = partition(&known.view, group).ok()?;
        let leader = known.view.leader(partition);
        leader.filter(|leader| Some(*leader) != broker.membership.number())
    }

    /// All others that coordinate groups.
    pub(crate) fn others(broker: &Broker) -> BTreeSet<BrokerNumber> {
        let known = broker.known.borrow();
        let topic = known.view.topic_named(OFFSETS);
        let partitions = topic.map(|(topic, _)| known.view.partitions_of(topic));
        let leaders = partitions
            .into_iter()
            .flatten()
            .filter_map(|(_, a)| a.leader);
        let me = broker.membership.number();
        leaders.filter(|leader| Some(*leader) != me).collect()
    }

    /// Where requests for a group go.
    ///
    /// # Errors
    /// Another broker coordinates it, or nobody just now.
    pub(crate) fn of(
        &self,
        broker: &Broker,
        group: &str,
    ) -> Result<mpsc::Sender<Event>, WireError> {
        let known = broker.known.borrow();
        let partition = partition(&known.view, group)?;
        let running = self
            .read()
            .get(&partition)
            .map(|running| running.events.clone());
        // One that reads anew what could not be read answers nobody yet.
        let running = running.filter(|_| self.unloaded.why(partition).is_none());
        running.ok_or_else(|| self.absence(broker, &known.view, partition))
    }

    /// Why nobody here coordinates the groups of a partition.
    fn absence(&self, broker: &Broker, view: &ClusterView, partition: TopicPartition) -> WireError {
        let leader = view.leader(partition);
        let index = partition.partition;
        let is_here = leader.is_some() && leader == broker.membership.number();
        // Where another one leads, that one's word counts.
        if is_here || leader.is_none() {
            let replica = broker.partitions.get(partition);
            let offline = replica.and_then(|replica| offline(&replica));
            let unloaded = || self.unloaded.why(partition).filter(|_| is_here);
            if let Some(why) = offline.or_else(unloaded) {
                return why;
            }
        }
        match leader {
            Some(leader) => not_coordinator(&format!(
                "broker {leader} coordinates the group, or will in a moment: it leads {OFFSETS}/{index}"
            )),
            None => not_coordinator(&format!(
                "nobody coordinates the group just now: {OFFSETS}/{index} has no leader"
            )),
        }
    }

    /// All that run here.
    pub(crate) fn all(&self) -> Vec<mpsc::Sender<Event>> {
        self.read()
            .values()
            .map(|running| running.events.clone())
            .collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<TopicPartition, Running>> {
        self.running.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// True: it was not running.
    pub(super) fn begin(&self, id: TopicPartition, running: Running) -> bool {
        let mut all = self.running.write().unwrap_or_else(PoisonError::into_inner);
        if all
            .get(&id)
            .is_some_and(|before| before.epoch >= running.epoch)
        {
            return false;
        }
        all.insert(id, running);
        true
    }

    pub(super) fn end(&self, id: TopicPartition, epoch: LeaderEpoch) {
        let mut all = self.running.write().unwrap_or_else(PoisonError::into_inner);
        if all.get(&id).is_some_and(|running| running.epoch == epoch) {
            all.remove(&id);
        }
        self.reports.end(id, epoch);
    }
}

/// The partition of `__offsets` that keeps a group.
fn partition(view: &ClusterView, group: &str) -> Result<TopicPartition, WireError> {
    let Some((topic, _)) = view.topic_named(OFFSETS) else {
        return Err(WireError::new(
            ErrorCode::NotCoordinator,
            format!(
                "there is no topic {OFFSETS} yet: it is made once enough brokers are there; retry"
            ),
        ));
    };
    let partitions = view.partitions_of(topic).count() as u32;
    if partitions == 0 {
        return Err(not_coordinator("the group's partition is not there yet"));
    }
    let partition = partition_for_key(group.as_bytes(), partitions);
    Ok(TopicPartition { topic, partition })
}

/// Starts a coordinator for each partition of `__offsets` that this broker comes to lead, until everything ends.
pub(crate) async fn run(broker: Arc<Broker>) {
    let mut known = broker.known.clone();
    let news = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    loop {
        let led = led(&broker, &news);
        for partition in led.partitions {
            let (events, received) = mpsc::channel(EVENTS_MAX);
            let epoch = partition.standing().leader_epoch;
            let unloaded = &broker.coordinators.unloaded;
            if !unloaded.may_try(partition.id, epoch, broker.uptime_ms()) {
                continue;
            }
            let running = Running { epoch, events };
            if broker.coordinators.begin(partition.id, running) {
                let inbox = Inbox {
                    events: received,
                    known: broker.known.clone(),
                };
                tasks.spawn(coordinate(Arc::clone(&broker), partition, epoch, inbox));
            }
        }
        tokio::select! {
            () = broker.draining.cancelled() => break,
            () = broker.stopped.cancelled() => break,
            changed = known.changed() => if changed.is_err() {
                break;
            },
            () = news.notified() => {}
            () = sleep(LOOK_INTERVAL), if led.is_more_to_come => {}
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Partitions of `__offsets` that this broker leads.
#[derive(Default)]
pub(super) struct Led {
    pub(super) partitions: Vec<Arc<Partition>>,
    /// It is to lead others that it does not have yet.
    is_more_to_come: bool,
}

/// Of partitions that this broker will lead, `news` hears when it does.
pub(super) fn led(broker: &Broker, news: &Arc<Notify>) -> Led {
    let known = Arc::clone(&broker.known.borrow());
    let Some((topic, _)) = known.view.topic_named(OFFSETS) else {
        return Led::default();
    };
    let me = broker.membership.number();
    let all = known.view.partitions_of(topic);
    let mut led = Led::default();
    for (id, _) in all.filter(|(_, a)| a.leader.is_some() && a.leader == me) {
        let Some(partition) = broker.partitions.get(id) else {
            led.is_more_to_come = true;
            continue;
        };
        if partition.standing().role != Role::Leader {
            partition.waiters.add(news);
        }
        // Looked at again: it may have become one meanwhile.
        if partition.standing().role == Role::Leader && partition.fault().is_none() {
            led.partitions.push(partition);
        }
    }
    led
}

async fn coordinate(
    broker: Arc<Broker>,
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
    mut inbox: Inbox,
) {
    let known = Arc::clone(&inbox.known.borrow_and_update());
    let load = Coordinator::load(Arc::clone(&broker), Arc::clone(&partition), epoch, &known);
    let deposed = deposed(&broker, &partition, epoch);
    let loaded = tokio::select! {
        loaded = load => loaded,
        why = deposed => Err(why),
    };
    let pause = match loaded {
        Ok(coordinator) => {
            broker.coordinators.unloaded.forget(partition.id);
            let ended = coordinator.run(&mut inbox).await;
            if ended.code != ErrorCode::ShuttingDown {
                tracing::info!(partition = %partition.label(), %epoch, reason = %ended, "does not coordinate groups any more");
            }
            RETRY_INTERVAL
        }
        Err(error) => not_loaded(&broker, &partition, epoch, &error),
    };
    // Whoever waits in the inbox hears that nobody is there.
    broker.coordinators.end(partition.id, epoch);
    drop(inbox);
    if still_leads(&partition, epoch) {
        tokio::select! {
            () = broker.draining.cancelled() => {}
            () = sleep(pause) => {}
        }
    }
}

/// Groups could not be read. Returns how long to wait before the next try, if this broker still leads then.
pub(super) fn not_loaded(
    broker: &Broker,
    partition: &Partition,
    epoch: LeaderEpoch,
    why: &WireError,
) -> Duration {
    let unloaded = &broker.coordinators.unloaded;
    let is_over = why.code == ErrorCode::ShuttingDown || !still_leads(partition, epoch);
    // A partition that is offline says so itself.
    if is_over || partition.fault().is_some() {
        unloaded.forget(partition.id);
        return RETRY_INTERVAL;
    }
    let label = partition.label();
    let (wait_ms, is_news) = unloaded.failed(partition.id, epoch, why.clone(), broker.uptime_ms());
    if is_news {
        tracing::warn!(partition = %label, %epoch, reason = %why, "cannot read groups: those of this partition are not served, others are");
    } else {
        tracing::debug!(partition = %label, %epoch, wait_ms, "groups cannot be read still");
    }
    Duration::from_millis(wait_ms)
}

/// What members hear of a replica that cannot be used.
pub(super) fn offline(partition: &Partition) -> Option<WireError> {
    let fault = partition.fault()?;
    let reason = format!(
        "{}; the groups that are kept there are not coordinated until another replica leads or this one is repaired, other groups are: see taffrail get partitions {OFFSETS} -o wide",
        fault.message
    );
    Some(partition.offline(&reason))
}

pub(super) fn still_leads(partition: &Partition, epoch: LeaderEpoch) -> bool {
    let standing = partition.standing();
    standing.role == Role::Leader && standing.leader_epoch == epoch
}

/// Resolves when this broker does not lead any more, or stops.
async fn deposed(broker: &Broker, partition: &Arc<Partition>, epoch: LeaderEpoch) -> WireError {
    let news = Arc::new(Notify::new());
    loop {
        partition.waiters.add(&news);
        if !still_leads(partition, epoch) {
            return not_coordinator("another broker leads by now");
        }
        tokio::select! {
            () = broker.draining.cancelled() => return Broker::shutting_down(),
            () = news.notified() => {}
        }
    }
}
