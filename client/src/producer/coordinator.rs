//! The producer's only task beside its lanes: finds leaders, opens lanes to them, ends pauses, fails what took too long. No record passes it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use taffrail_api::{WireError, status::from_status, stream};
use taffrail_core::{BrokerNumber, ErrorCode};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Core,
    lane::{Lane, LaneRequests},
    partition::PartitionQueue,
    topic::TopicQueues,
};
use crate::{
    client::no_leader,
    metadata::{Leader, Metadata},
};

/// How often timeouts are looked at while records are under way.
const TICK: Duration = Duration::from_millis(100);
/// How often topics are looked at for new partitions and limits.
const METADATA_AGE_MAX: Duration = Duration::from_secs(30);
/// A metadata answer is not waited for longer: timeouts have to be looked at.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs until the producer is closed. If the runtime drops it before, everything still here fails instead of waiting for ever.
pub(super) async fn run(core: Arc<Core>) {
    let _closing = CloseOnDrop(Arc::clone(&core));
    let mut coordinator = Coordinator {
        core,
        lanes: HashMap::new(),
        tasks: JoinSet::new(),
        refreshed: Instant::now(),
    };
    let mut changes = coordinator.core.client.changes();
    loop {
        let again = coordinator.round().await;
        let core = &coordinator.core;
        if core.shared.is_closed() {
            return;
        }
        let pause = if core.shared.budget.is_idle() {
            METADATA_AGE_MAX
        } else {
            TICK
        };
        let until_again = again.map(|at| at.saturating_duration_since(Instant::now()));
        let pause = until_again.map_or(pause, |until| until.min(pause));
        tokio::select! {
            () = core.shared.work.notified() => {}
            // Its sender is the client's, which lives as long as this.
            Ok(()) = changes.changed() => {
                let known = Arc::clone(&changes.borrow_and_update());
                update(&coordinator.core.topics(), &known);
            }
            () = sleep(pause) => {}
        }
        while coordinator.tasks.try_join_next().is_some() {}
    }
}

fn update(topics: &[Arc<TopicQueues>], known: &Metadata) {
    for topic in topics {
        if let Some(known) = known.topic(&topic.name) {
            topic.update(known);
        }
    }
}

struct CloseOnDrop(Arc<Core>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Coordinator {
    core: Arc<Core>,
    lanes: HashMap<BrokerNumber, Arc<Lane>>,
    tasks: JoinSet<()>,
    refreshed: Instant,
}

/// A partition without a lane.
struct Homeless {
    topic: Arc<TopicQueues>,
    partition: Arc<PartitionQueue>,
    attempts: u32,
}

impl Coordinator {
    /// Looks at everything once; says when to look again at the latest.
    async fn round(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let topics = self.core.topics();
        let mut again: Option<Instant> = None;
        let mut homeless = Vec::new();
        let mut refresh = BTreeSet::new();
        let flush_all = self.core.shared.take_exhausted();
        let known = self.core.client.known();
        for topic in &topics {
            for partition in topic.partitions() {
                if flush_all {
                    partition.flush();
                }
                let wants = partition.tend(now, known.epoch(&topic.name, partition.index()));
                if let Some(lane) = wants.silent {
                    lane.die(&WireError::new(
                        ErrorCode::TimedOut,
                        "the broker did not answer a produce request in time",
                    ));
                }
                again = again.into_iter().chain(wants.again).min();
                if !wants.lane {
                    continue;
                }
                if wants.refresh {
                    refresh.insert(topic.name.to_string());
                }
                homeless.push(Homeless {
                    topic: Arc::clone(topic),
                    partition,
                    attempts: wants.attempts,
                });
            }
        }
        if self.refreshed.elapsed() >= METADATA_AGE_MAX {
            refresh.extend(topics.iter().map(|t| t.name.to_string()));
        }
        let failure = match self.refresh(refresh, &topics).await {
            None if !homeless.is_empty() => self.identify().await,
            failure => failure,
        };
        for homeless in homeless {
            self.house(&homeless, failure.as_ref());
        }
        again
    }

    async fn refresh(
        &mut self,
        names: BTreeSet<String>,
        topics: &[Arc<TopicQueues>],
    ) -> Option<WireError> {
        if names.is_empty() {
            return None;
        }
        self.refreshed = Instant::now();
        let names: Vec<String> = names.into_iter().collect();
        let refresh = self.core.client.refresh(&names);
        let failure = match timeout(REFRESH_TIMEOUT, refresh).await {
            Ok(Ok(metadata)) => {
                update(topics, &metadata);
                return None;
            }
            Ok(Err(error)) => WireError::new(error.code(), error.to_string()),
            Err(_elapsed) => WireError::new(ErrorCode::TimedOut, "no broker answers about topics"),
        };
        tracing::debug!(%failure, "metadata could not be refreshed");
        Some(failure)
    }

    /// Gets an id if there has to be one. Nothing is sent without.
    async fn identify(&self) -> Option<WireError> {
        let shared = &self.core.shared;
        if !shared.needs_producer_id() {
            return None;
        }
        match self.core.client.init_producer().await {
            Ok(id) => {
                shared.set_producer_id(id);
                None
            }
            Err(error) => {
                let failure = WireError::new(
                    error.code(),
                    format!("no broker gives a producer id: {error}"),
                );
                tracing::debug!(%failure, "nothing can be sent yet");
                Some(failure)
            }
        }
    }

    /// Gives the partition a lane to its leader, or a pause.
    fn house(&mut self, homeless: &Homeless, failure: Option<&WireError>) {
        let Homeless {
            topic,
            partition,
            attempts,
        } = homeless;
        let known = self.core.client.known();
        let leader = known.leader(&topic.name, partition.index());
        let id = known.topic(&topic.name).map(|t| t.id_bytes.clone());
        match (leader, id, failure) {
            (Some(leader), Some(id), None) => {
                let lane = self.lane(&leader, *attempts);
                partition.assign(&lane, id, leader.epoch);
            }
            (_, _, Some(failure)) => partition.no_lane(failure),
            (_, None, None) => partition.no_lane(&WireError::new(
                ErrorCode::UnknownTopic,
                format!("topic {:?} is gone", topic.name),
            )),
            (None, _, None) => partition.no_lane(&no_leader(&topic.name, partition.index())),
        }
    }

    fn lane(&mut self, leader: &Leader, attempts: u32) -> Arc<Lane> {
        if let Some(lane) = self.lanes.get(&leader.broker)
            && !lane.is_dead()
        {
            return Arc::clone(lane);
        }
        let lane = Arc::new(Lane::default());
        self.lanes.insert(leader.broker, Arc::clone(&lane));
        let drive = drive(
            Arc::clone(&self.core),
            Arc::clone(&lane),
            leader.address.clone(),
            attempts,
        );
        self.tasks.spawn(drive);
        lane
    }
}

/// Opens the lane's stream and hands out answers until it ends, one way or the other.
async fn drive(core: Arc<Core>, lane: Arc<Lane>, address: String, attempts: u32) {
    let _dead = DieOnDrop(Arc::clone(&lane));
    let reached = match core.connections.leader(&address, attempts).await {
        Ok(reached) => reached,
        Err(error) => {
            lane.die(&WireError::new(error.code(), error.to_string()));
            return;
        }
    };
    let requests = LaneRequests::new(Arc::clone(&lane));
    let answers = async {
        let mut answers = stream::produce(reached.channel, reached.route, requests).await?;
        while let Some(answer) = answers.next().await? {
            lane.answered(answer);
        }
        Ok::<_, tonic::Status>(())
    };
    let ended = tokio::select! {
        ended = answers => ended,
        () = lane.killed() => Ok(()),
    };
    core.connections.forget(&reached.address);
    let error = match ended {
        Ok(()) => WireError::new(ErrorCode::LeaderUnreachable, "the broker ended the stream"),
        Err(status) => from_status(&status),
    };
    lane.die(&error);
}

/// A lane whose task is gone is dead, whatever ended the task.
struct DieOnDrop(Arc<Lane>);

impl Drop for DieOnDrop {
    fn drop(&mut self) {
        let reason = "the producer's task ended";
        self.0.die(&WireError::new(ErrorCode::ShuttingDown, reason));
    }
}
