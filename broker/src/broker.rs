//! What every part of a running broker shares.

use std::sync::Arc;

use taffrail_api::{WireError, stream::Route};
use taffrail_core::{BrokerNumber, ErrorCode, TopicPartition};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cluster::{ActiveController, Membership, asks::Asks, known::Known},
    config::BrokerConfig,
    disk::{DiskHandle, space::Space},
    environment::Environment,
    follower::{doubts::Doubts, positions::Positions},
    group::Coordinators,
    metrics::Metrics,
    partition::{Partition, standing::Role, table::PartitionTable},
    peers::Peers,
    rpc::Subscriptions,
};

/// The handles that tasks need. Each mutable thing has its owner elsewhere.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) config: BrokerConfig,
    pub(crate) environment: Environment,
    pub(crate) membership: Membership,
    pub(crate) partitions: Arc<PartitionTable>,
    pub(crate) disk: DiskHandle,
    pub(crate) space: Arc<Space>,
    /// Where replicas here stand, for the sessions with their leaders.
    pub(crate) positions: Arc<Positions>,
    /// What leaders here want of the controller.
    pub(crate) asks: Arc<Asks>,
    pub(crate) known: watch::Receiver<Arc<Known>>,
    pub(crate) active_controller: watch::Receiver<Option<ActiveController>>,
    pub(crate) peers: Peers,
    /// Leaders that cannot be heard just now.
    pub(crate) doubts: Doubts,
    /// Of consumer groups.
    pub(crate) coordinators: Coordinators,
    /// Members of groups that this broker is for thin clients.
    pub(crate) subscriptions: Subscriptions,
    pub(crate) metrics: Arc<Metrics>,
    /// Bytes of batches between network and disk.
    pub(crate) queue: Arc<Semaphore>,
    /// Batches that are decompressed at a time.
    pub(crate) decompressions: Arc<Semaphore>,
    /// Something changed that the controller should hear of before the next heartbeat.
    pub(crate) report_now: Notify,
    /// Somebody else should lead what this broker leads: it is about to stop.
    pub(crate) stopping: CancellationToken,
    /// The controller has made others the leaders, where it could.
    pub(crate) handed_over: CancellationToken,
    /// No new requests; those under way are finished.
    pub(crate) draining: CancellationToken,
    /// Everything ends.
    pub(crate) stopped: CancellationToken,
    /// Tasks of streams, awaited at the end.
    pub(crate) streams: TaskTracker,
}

/// Who has to serve a partition.
#[derive(Debug)]
pub(crate) enum Place {
    /// This broker, or it says why not.
    Here(Arc<Partition>),
    /// Another one, to whom the request is passed on.
    There(BrokerNumber),
}

impl Broker {
    /// Who serves `id` for a request that is to be routed or not.
    pub(crate) fn place(&self, id: TopicPartition, route: Route) -> Result<Place, WireError> {
        let local = self.partitions.get(id);
        if let Some(partition) = &local
            && (route == Route::Direct || partition.standing().role == Role::Leader)
        {
            return Ok(Place::Here(Arc::clone(partition)));
        }
        let known = self.known.borrow();
        let leader = known
            .view
            .leader(id)
            .filter(|l| Some(*l) != self.membership.number());
        match (leader, route, local) {
            (Some(leader), Route::Through, _) => Ok(Place::There(leader)),
            (_, _, Some(partition)) => Ok(Place::Here(partition)),
            (Some(leader), Route::Direct, None) => Err(WireError::new(
                ErrorCode::NotLeader,
                format!("broker {leader} leads {id}, not this one; refresh the metadata"),
            )),
            (None, _, None) if known.view.partitions.contains_key(&id) => Err(WireError::new(
                ErrorCode::NotLeader,
                format!("{id} has no leader that serves just now; refresh the metadata and retry"),
            )),
            (None, _, None) => Err(known.view.missing(id)),
        }
    }

    /// A clock that never goes back.
    pub(crate) fn uptime_ms(&self) -> u64 {
        (self.environment.uptime)()
    }

    /// Where the active controller is.
    pub(crate) fn controller(&self) -> Result<ActiveController, WireError> {
        self.active_controller.borrow().clone().ok_or_else(|| {
            WireError::new(
                ErrorCode::ControllerUnavailable,
                "no active controller can be reached; records are served on, topics cannot change until it is back",
            )
        })
    }

    /// What a request gets once the broker stops.
    pub(crate) fn shutting_down() -> WireError {
        WireError::new(
            ErrorCode::ShuttingDown,
            "the broker is stopping; refresh the metadata and retry",
        )
    }
}
