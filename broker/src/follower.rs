//! Following: one session with each broker that leads a partition of which this one holds a replica.
//!
//! ```text
//! positions          where this broker's replicas stand, for the sessions with their leaders
//! dial               to a leader: who is it, and does it speak our version
//! link               the session with one leader: dialled, kept, dialled again
//! follower_session   the state machine: positions and answers in, what to say and to obey out
//! check              answers that may be obeyed
//! throttle           replicas that catch up leave room for those in sync
//! doubts             leaders that cannot be heard just now
//! ```

pub(crate) mod check;
mod dial;
pub(crate) mod doubts;
pub(crate) mod follower_session;
mod link;
pub(crate) mod positions;
#[cfg(feature = "sim")]
pub(crate) mod stepped;
pub(crate) mod throttle;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use taffrail_core::BrokerNumber;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::{link::Link, throttle::Throttle};
use crate::{broker::Broker, cluster::view::ClusterView};

/// A session's task.
struct Kept {
    ended: CancellationToken,
    task: JoinHandle<()>,
}

impl Kept {
    async fn end(self) {
        self.ended.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a session with a leader did not end");
        }
    }
}

/// Keeps the sessions until the broker stops.
pub(crate) async fn run(broker: Arc<Broker>) {
    let rate = broker.config.replication.catch_up_bytes_per_s_max;
    let throttle = Arc::new(Mutex::new(Throttle::new(rate, broker.uptime_ms())));
    let mut known = broker.known.clone();
    let mut kept: BTreeMap<BrokerNumber, Kept> = BTreeMap::new();
    loop {
        let leaders = match broker.membership.number() {
            Some(me) => leaders_of(me, &known.borrow_and_update().view),
            None => BTreeSet::new(),
        };
        // Awaited, so that there never are two sessions with one leader.
        for (_, over) in kept.extract_if(.., |leader, _| !leaders.contains(leader)) {
            over.end().await;
        }
        for leader in leaders {
            kept.entry(leader).or_insert_with(|| {
                let link = Link {
                    broker: Arc::clone(&broker),
                    leader,
                    throttle: Arc::clone(&throttle),
                };
                let ended = broker.stopped.child_token();
                Kept {
                    task: tokio::spawn(link.run(ended.clone())),
                    ended,
                }
            });
        }
        tokio::select! {
            () = broker.stopped.cancelled() => break,
            changed = known.changed() => if changed.is_err() {
                break;
            }
        }
    }
    for (_, over) in kept {
        over.end().await;
    }
}

/// Who leads something of which `me` holds a replica.
pub(crate) fn leaders_of(me: BrokerNumber, view: &ClusterView) -> BTreeSet<BrokerNumber> {
    let followed = view
        .partitions
        .values()
        .filter(|a| a.replicas.contains(&me));
    followed
        .filter_map(|a| a.leader.filter(|leader| *leader != me))
        .collect()
}

#[cfg(test)]
mod tests {
    use taffrail_core::{Assignment, PartitionIndex, TopicId, TopicPartition};

    use super::*;

    #[test]
    fn leaders_are_those_of_partitions_of_which_this_broker_holds_a_replica() {
        let numbers = |of: &[u32]| of.iter().copied().map(BrokerNumber).collect::<Vec<_>>();
        let assignments = [
            (vec![1, 2], Some(1)),
            (vec![2, 3], Some(2)),
            (vec![1, 3], Some(3)),
            (vec![2, 4], None),
            (vec![2, 5], Some(5)),
        ];
        let at = |partition| TopicPartition {
            topic: TopicId::from_bytes([1; 16]),
            partition: PartitionIndex(partition),
        };
        let view = ClusterView {
            partitions: (0..)
                .map(at)
                .zip(assignments.map(|(replicas, leader)| Assignment {
                    replicas: numbers(&replicas),
                    leader: leader.map(BrokerNumber),
                    ..Assignment::default()
                }))
                .collect(),
            ..ClusterView::default()
        };
        let leaders: Vec<_> = leaders_of(BrokerNumber(2), &view).into_iter().collect();
        assert_eq!(leaders, numbers(&[1, 5]));
    }
}
