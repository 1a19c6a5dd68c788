//! A topic's conditions. Types and reasons are API; messages say what to do and hold no times, and no counters but of partitions that move.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_api::v1::{Condition, LedPartitions, PartitionStatus};
use taffrail_core::BrokerNumber;

use super::partition::PartitionState;
use crate::state::{
    cluster::{Cluster, Topic},
    live::{Live, LiveBroker, Liveness},
};

/// What a topic's conditions follow from.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    cluster: &'a Cluster,
    live: &'a Live,
    pub(super) online: u32,
    pub(super) offline: u32,
    creating: u32,
    starting: u32,
    pub(super) moving: u32,
    pub(super) under_replicated: u32,
    pub(super) under_min_in_sync: u32,
    /// Of those that move: with more or fewer replicas afterwards.
    resized: u32,
    is_replica_missing: bool,
    is_out_of_sync: bool,
    /// Replicas share a rack while another one has none of them.
    is_skewed: bool,
    leaders: BTreeMap<BrokerNumber, u32>,
    brokers: BTreeSet<BrokerNumber>,
    /// Of the whole cluster.
    racks: BTreeSet<&'a str>,
    /// In the whole cluster.
    brokers_online: usize,
}

impl<'a> Standing<'a> {
    pub(super) fn new(cluster: &'a Cluster, live: &'a Live) -> Self {
        let brokers = cluster.brokers.keys();
        let known = cluster.brokers.values().map(|broker| &broker.value);
        let racks = known.filter_map(|broker| broker.rack.as_deref());
        Self {
            cluster,
            live,
            online: 0,
            offline: 0,
            creating: 0,
            starting: 0,
            moving: 0,
            under_replicated: 0,
            under_min_in_sync: 0,
            resized: 0,
            is_replica_missing: false,
            is_out_of_sync: false,
            is_skewed: false,
            leaders: BTreeMap::new(),
            brokers: BTreeSet::new(),
            racks: racks.collect(),
            brokers_online: brokers.filter(|number| live.is_online(**number)).count(),
        }
    }

    pub(super) fn count(&mut self, state: PartitionState, status: &PartitionStatus, topic: &Topic) {
        match state {
            PartitionState::Online => self.online += 1,
            PartitionState::Starting => self.starting += 1,
            PartitionState::Creating => self.creating += 1,
            PartitionState::Offline | PartitionState::Unknown => self.offline += 1,
        }
        if status.replicas.is_empty() {
            return;
        }
        if let Some(leader) = status.leader {
            *self.leaders.entry(BrokerNumber(leader)).or_default() += 1;
        }
        let is_moving = !status.adding.is_empty() || !status.removing.is_empty();
        let before = status.replicas.len() - status.adding.len();
        let after = status.replicas.len() - status.removing.len();
        let has_other_count = before != after || after != topic.config.replicas as usize;
        self.moving += u32::from(is_moving || has_other_count);
        self.resized += u32::from(has_other_count);
        let replicas = status.replicas.iter().map(|&number| BrokerNumber(number));
        self.brokers.extend(replicas.clone());
        let is_gone = |number| self.live.liveness(number) == Liveness::Offline;
        self.is_replica_missing |= replicas.clone().any(is_gone);
        self.is_skewed |= !is_moving && self.shares_racks(replicas);
        self.count_in_sync(status, topic);
    }

    fn count_in_sync(&mut self, status: &PartitionStatus, topic: &Topic) {
        let in_sync = status.followers.iter().filter(|f| f.in_sync);
        let added = in_sync
            .clone()
            .filter(|f| status.adding.contains(&f.broker));
        let added = added.count();
        let in_sync = in_sync.count() + usize::from(status.leader.is_some());
        self.is_out_of_sync |= in_sync < status.replicas.len();
        let settled = status.replicas.len() - status.adding.len();
        self.under_replicated += u32::from(in_sync - added < settled);
        let min_in_sync = settled.min(topic.config.min_in_sync as usize);
        self.under_min_in_sync += u32::from(in_sync < min_in_sync);
    }

    /// Could they stand in more racks? One that says of none shares it with nobody.
    fn shares_racks(&self, replicas: impl Iterator<Item = BrokerNumber>) -> bool {
        let brokers = replicas.filter_map(|number| self.cluster.brokers.get(&number));
        let racks: Vec<_> = brokers.filter_map(|b| b.value.rack.as_deref()).collect();
        let used: BTreeSet<_> = racks.iter().copied().collect();
        used.len() < racks.len().min(self.racks.len())
    }

    /// Who leads how many.
    pub(super) fn leaders(&self) -> Vec<LedPartitions> {
        let led = self.leaders.iter().map(|(number, partitions)| {
            let broker = self.cluster.brokers.get(number);
            LedPartitions {
                broker: number.0,
                name: broker.map_or_else(String::new, |broker| broker.value.name.clone()),
                partitions: *partitions,
            }
        });
        led.collect()
    }

    pub(super) fn conditions(&self, topic: &Topic) -> Vec<Condition> {
        vec![
            self.accepted(topic),
            self.ready(),
            self.fully_replicated(),
            self.placement_satisfied(topic),
            self.capacity_ok(topic),
            self.progressing(topic),
        ]
    }

    fn accepted(&self, topic: &Topic) -> Condition {
        let needed = topic.config.replicas;
        if self.creating > 0 && self.brokers_online < needed as usize {
            let message = format!(
                "partitions need {needed} online brokers; they are created as soon as these are there"
            );
            return condition("Accepted", "False", "NotEnoughBrokers", message);
        }
        condition("Accepted", "True", "Valid", "")
    }

    fn ready(&self) -> Condition {
        let (status, reason, message) = if self.offline > 0 {
            (
                "False",
                "PartitionsOffline",
                "partitions are offline; taffrail get partitions says which and why",
            )
        } else if self.creating > 0 || self.starting > 0 {
            (
                "False",
                "Creating",
                "partitions are being placed and opened by their brokers",
            )
        } else if self.under_min_in_sync > 0 {
            (
                "False",
                "UnderMinInSync",
                "partitions have fewer in-sync replicas than minInSync: produce with acks=all is refused there",
            )
        } else {
            ("True", "AllPartitionsOnline", "")
        };
        condition("Ready", status, reason, message)
    }

    fn fully_replicated(&self) -> Condition {
        let (status, reason, message) = if self.is_replica_missing {
            (
                "False",
                "BrokerDown",
                "brokers that hold replicas are offline; start them again",
            )
        } else if self.creating > 0 || self.is_out_of_sync {
            (
                "False",
                "CatchingUp",
                "replicas are being created or catch up",
            )
        } else {
            ("True", "InSync", "")
        };
        condition("FullyReplicated", status, reason, message)
    }

    fn placement_satisfied(&self, topic: &Topic) -> Condition {
        if !self.racks.is_empty() && self.racks.len() < topic.config.replicas as usize {
            let message =
                "there are fewer racks than replicas; add brokers in other racks or lower replicas";
            return condition("PlacementSatisfied", "False", "TooFewRacks", message);
        }
        if self.is_skewed {
            let message = "partitions have several replicas in one rack and none in another; taffrail move TOPIC --partition P --to ... moves them";
            return condition("PlacementSatisfied", "False", "RackSkew", message);
        }
        condition("PlacementSatisfied", "True", "Satisfied", "")
    }

    fn capacity_ok(&self, topic: &Topic) -> Condition {
        let brokers = || self.brokers.iter().filter_map(|n| self.live.brokers.get(n));
        let (status, reason, message) = if brokers().any(|broker| broker.disk_full) {
            (
                "False",
                "WritesRefused",
                "a broker's disk is full and it refuses writes; shorten retention or add storage",
            )
        } else if brokers().any(is_under_pressure) {
            (
                "False",
                "DiskPressure",
                "a broker has less than a tenth of its disk left; shorten retention or add storage",
            )
        } else if self.outgrows_disk(topic) {
            (
                "False",
                "RetentionWillNotFit",
                "retention.bytesPerPartition over all partitions of a broker exceeds its disk; lower it or add storage",
            )
        } else {
            ("True", "RetentionFits", "")
        };
        condition("CapacityOK", status, reason, message)
    }

    /// Would this topic alone, at its limit on every partition, not fit the smallest disk it is on? An even spread is assumed.
    fn outgrows_disk(&self, topic: &Topic) -> bool {
        let Some(limit) = topic.config.retention_bytes_per_partition else {
            return false;
        };
        let disks = self.brokers.iter().filter_map(|n| self.live.brokers.get(n));
        let smallest = disks
            .map(|b| b.disk_total_bytes)
            .filter(|total| *total > 0)
            .min();
        let replicas = u64::from(topic.placed) * u64::from(topic.config.replicas);
        let on_each = replicas.div_ceil(self.brokers.len().max(1) as u64);
        smallest.is_some_and(|smallest| limit.saturating_mul(on_each) > smallest)
    }

    fn progressing(&self, topic: &Topic) -> Condition {
        if self.creating > 0 {
            let message = "partitions are being added";
            return condition("Progressing", "True", "AddingPartitions", message);
        }
        if self.moving > 0 {
            let moved = topic.placed - self.moving;
            let message = format!(
                "{moved} of {} partitions have their replicas where they belong",
                topic.placed
            );
            let reason = if self.resized > 0 {
                "ChangingReplicas"
            } else {
                "Moving"
            };
            return condition("Progressing", "True", reason, message);
        }
        condition("Progressing", "False", "Idle", "")
    }
}

/// Has it less than a tenth of its disk left?
pub(super) fn is_under_pressure(broker: &LiveBroker) -> bool {
    broker.disk_total_bytes > 0 && broker.disk_free_bytes < broker.disk_total_bytes / 10
}

fn condition(kind: &str, status: &str, reason: &str, message: impl Into<String>) -> Condition {
    Condition {
        r#type: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.into(),
    }
}
