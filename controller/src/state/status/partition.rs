//! One partition: who has it, and if it is not served, why and what to do.

use std::mem;

use taffrail_api::v1;
use taffrail_core::{Assignment, BrokerNumber, TopicPartition};

use crate::state::{
    cluster::{Broker, Cluster, Topic},
    live::{Live, Liveness},
    moves,
    update::is_gone,
};

/// Why a partition is, or is not, served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartitionState {
    Online,
    /// Placed, and its broker has not opened it yet.
    Starting,
    /// It waits for brokers.
    Creating,
    Offline,
    /// Its record vanished from the store.
    Unknown,
}

impl PartitionState {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Online => "ONLINE",
            Self::Starting => "STARTING",
            Self::Creating => "CREATING",
            Self::Offline => "OFFLINE",
            Self::Unknown => "UNKNOWN",
        }
    }
}

pub(super) fn partition_status(
    cluster: &Cluster,
    live: &Live,
    topic: &Topic,
    index: u32,
) -> (PartitionState, v1::PartitionStatus) {
    let id = topic.partition(index);
    let mut status = v1::PartitionStatus {
        topic: topic.name.clone(),
        partition: index,
        ..v1::PartitionStatus::default()
    };
    let mut state = PartitionState::Creating;
    if let Some(record) = cluster.assignment(topic, id) {
        let picture = Picture { cluster, live };
        status.leader = record.leader.map(|b| b.0);
        status.leader_epoch = record.leader_epoch.0 as i32;
        status.partition_epoch = record.partition_epoch.0;
        status.replicas = record.replicas.iter().map(|b| b.0).collect();
        status.isr = record.isr.iter().map(|b| b.0).collect();
        let report = record.leader.and_then(|leader| live.report(leader, id));
        status.followers = picture.followers(record, report);
        (state, status.message) = picture.served(topic, id, record, &status.followers);
        let holder = record.leader.or(record.isr.first().copied());
        let report = holder.and_then(|holder| live.report(holder, id));
        if let Some(report) = report {
            status.log_start_offset = report.log_start_offset;
            status.high_watermark = report.high_watermark;
            status.log_end_offset = report.log_end_offset;
            status.bytes = report.bytes;
            status.oldest_append_time_ms = report.oldest_append_time_ms;
            status.is_reported = report.leading && report.leader_epoch == status.leader_epoch;
        }
        status.adding = record.adding.iter().map(|b| b.0).collect();
        status.removing = record.removing.iter().map(|b| b.0).collect();
        if status.message.is_empty() {
            moves::waits_for(live, topic, record).clone_into(&mut status.message);
        }
        if matches!(state, PartitionState::Online) {
            let said = picture.logs(id, record).into_iter();
            let all = [mem::take(&mut status.message)].into_iter().chain(said);
            let all: Vec<_> = all.filter(|message| !message.is_empty()).collect();
            status.message = all.join("; ");
        }
    } else if index < topic.placed {
        state = PartitionState::Unknown;
        "its record vanished from the store; it comes back when the brokers that have the data register".clone_into(&mut status.message);
    } else {
        "it waits for brokers".clone_into(&mut status.message);
    }
    state.name().clone_into(&mut status.state);
    (state, status)
}

#[derive(Clone, Copy)]
struct Picture<'a> {
    cluster: &'a Cluster,
    live: &'a Live,
}

impl Picture<'_> {
    /// How far they are, by what their leader reports. A member that is late or lost does not count as in sync, also where the set cannot spare it.
    fn followers(
        self,
        record: &Assignment,
        leaders: Option<&v1::PartitionReport>,
    ) -> Vec<v1::FollowerStatus> {
        let replicas = record.replicas.iter();
        let followers = replicas.filter(|r| record.leader != Some(**r));
        let status = followers.map(|follower| {
            let mut reports = leaders.iter().flat_map(|report| &report.followers);
            let report = reports.find(|report| report.broker == follower.0);
            let keeps_up =
                !report.is_some_and(|report| report.late) && !is_gone(self.live, *follower);
            v1::FollowerStatus {
                broker: follower.0,
                in_sync: record.isr.contains(follower) && keeps_up,
                durable_end_offset: report.and_then(|report| report.durable_end_offset),
                lag_ms: report.map_or(0, |report| report.lag_ms),
            }
        });
        status.collect()
    }

    /// Is the partition served, and if not, why and what to do.
    fn served(
        self,
        topic: &Topic,
        id: TopicPartition,
        record: &Assignment,
        followers: &[v1::FollowerStatus],
    ) -> (PartitionState, String) {
        let Some(leader) = record.leader else {
            return self.vacant(topic, id, record);
        };
        let name = self.name(leader);
        if self.live.liveness(leader) == Liveness::Offline {
            return self.leader_offline(topic, record, leader);
        }
        let Some(report) = self.live.report(leader, id) else {
            let message = format!("broker {name} has not opened it yet");
            return (PartitionState::Starting, message);
        };
        if report.fault() != v1::PartitionFault::None {
            let message = format!("broker {name}: {}", report.fault_message);
            return (PartitionState::Offline, message);
        }
        if !report.leading || u32::try_from(report.leader_epoch) != Ok(record.leader_epoch.0) {
            let message = format!("broker {name} does not lead it yet");
            return (PartitionState::Starting, message);
        }
        (PartitionState::Online, in_sync(topic, record, followers))
    }

    fn leader_offline(
        self,
        topic: &Topic,
        record: &Assignment,
        leader: BrokerNumber,
    ) -> (PartitionState, String) {
        let name = self.name(leader);
        let broker = self.cluster.brokers.get(&leader);
        let bare = broker.map_or("", |broker| &broker.value.name);
        let (what, start) = self.why_missed(record, leader);
        let heir = broker.and_then(|broker| self.successor(&broker.value));
        let message = match heir {
            Some(heir) => format!(
                "broker {name} {what}, and {bare} came back with another volume as broker {heir}; bring back its former volume"
            ),
            None => {
                format!("broker {name} is offline and {what}; {start}")
            }
        };
        (PartitionState::Offline, message + accept(topic, record))
    }

    /// What a leader that is offline is to its partition, and what to do about it.
    fn why_missed(self, record: &Assignment, leader: BrokerNumber) -> (String, &'static str) {
        let others = record.isr.iter().filter(|member| **member != leader);
        let away = others.filter(|member| !self.live.is_online(**member));
        let away: Vec<_> = away.map(|member| self.name(*member)).collect();
        let what = match (record.replicas.len(), record.isr.len()) {
            (1, _) => "has the only copy",
            (_, 1) => "is the last in-sync replica",
            _ if away.is_empty() => {
                "led it, and the other in-sync replicas restarted since: one of them may lack records"
            }
            _ => {
                let what = format!(
                    "led it, and in-sync replica {} is away too",
                    away.join(", ")
                );
                return (what, "start them again with their volumes");
            }
        };
        (what.to_owned(), "start it again with its volume")
    }

    /// Replicas whose logs cannot be used, or could not.
    fn logs(self, id: TopicPartition, record: &Assignment) -> Vec<String> {
        let logs = record.replicas.iter().filter_map(|replica| {
            let report = self.live.report(*replica, id)?;
            let name = self.name(*replica);
            if report.fault() != v1::PartitionFault::None {
                return Some(format!("broker {name}: {}", report.fault_message));
            }
            let kept = &report.quarantine;
            (!kept.is_empty()).then(|| format!("broker {name} {kept}"))
        });
        logs.collect()
    }

    /// Why no member of the in-sync set can be used, if all are there and none can.
    fn all_unusable(self, id: TopicPartition, record: &Assignment) -> Option<String> {
        let faults = record.isr.iter().map(|member| {
            let report = self.live.report(*member, id)?;
            let is_faulted = report.fault() != v1::PartitionFault::None;
            is_faulted.then(|| format!("broker {}: {}", self.name(*member), report.fault_message))
        });
        let faults: Option<Vec<_>> = faults.collect();
        Some(faults?.join("; ")).filter(|message| !message.is_empty())
    }

    /// Nobody leads.
    fn vacant(
        self,
        topic: &Topic,
        id: TopicPartition,
        record: &Assignment,
    ) -> (PartitionState, String) {
        if let Some(message) = self.all_unusable(id, record) {
            return (PartitionState::Offline, message);
        }
        let awaited = match &record.isr[..] {
            [last] => record.awaits(*last).map(|run| (*last, run)),
            _ => None,
        };
        let is_older = awaited.is_some_and(|(last, run)| {
            let broker = self.cluster.brokers.get(&last);
            broker.is_some_and(|broker| broker.value.incarnation != run)
        });
        if is_older {
            let message = "the only in-sync replica is on a volume older than the one last seen; bring back the newer volume";
            return (
                PartitionState::Offline,
                message.to_owned() + accept(topic, record),
            );
        }
        // Below minInSync, replicas that left are asked as well.
        let is_below = record.isr.len() < record.min_in_sync(topic.config.min_in_sync as usize);
        let asked = if record.is_unclean || is_below {
            &record.replicas
        } else {
            &record.isr
        };
        let missing = asked.iter().filter(|r| !self.live.is_online(**r));
        let missing: Vec<_> = missing.map(|number| self.name(*number)).collect();
        let why = if record.is_unclean {
            "its last in-sync replica stopped uncleanly and may lack records, so all replicas are compared"
        } else {
            "its in-sync replicas restarted, so they are compared"
        };
        if missing.is_empty() {
            let ahead = self.ahead(id, record);
            if is_below && !record.is_unclean && !ahead.is_empty() {
                let message = format!(
                    "its in-sync replicas restarted while they were fewer than minInSync, and lack records that broker {} has, acknowledged or not; \
                     set minInSync: {} in the Topic to go on without those, or uncleanElection: Allow to go on with them",
                    ahead.join(", "),
                    record.isr.len(),
                );
                return (PartitionState::Offline, message);
            }
            let message = format!("{why}; it is led in a moment");
            return (PartitionState::Starting, message);
        }
        let message = format!("{why}; start broker {} again", missing.join(", "));
        (PartitionState::Offline, message + accept(topic, record))
    }

    /// Replicas that have more than every member of the in-sync set.
    fn ahead(self, id: TopicPartition, record: &Assignment) -> Vec<String> {
        let end = |replica: &BrokerNumber| {
            let report = self.live.report(*replica, id)?;
            Some((report.last_epoch, report.durable_end_offset))
        };
        let most = record.isr.iter().filter_map(end).max();
        let ahead = record.replicas.iter().filter(|r| end(r) > most);
        ahead.map(|number| self.name(*number)).collect()
    }

    /// With its name.
    fn name(self, number: BrokerNumber) -> String {
        let broker = self.cluster.brokers.get(&number);
        format!(
            "{number} ({})",
            broker.map_or("", |broker| &broker.value.name)
        )
    }

    /// A broker of the same name on another volume that is there instead.
    fn successor(self, broker: &Broker) -> Option<BrokerNumber> {
        let others = self.cluster.brokers.values().map(|other| &other.value);
        let mut same =
            others.filter(|other| other.name == broker.name && other.number != broker.number);
        same.find(|other| self.live.liveness(other.number) != Liveness::Offline)
            .map(|other| other.number)
    }
}

/// How to lose records rather than to wait, where there is somebody to lead.
fn accept(topic: &Topic, record: &Assignment) -> &'static str {
    let never = topic.spec.unclean_election == taffrail_core::UncleanElection::Never;
    if never && record.replicas.len() > 1 {
        "; or set uncleanElection: Allow in the Topic, and lose what only that replica has"
    } else {
        ""
    }
}

/// How many replicas are in sync, if not all are, and what that means.
fn in_sync(topic: &Topic, record: &Assignment, followers: &[v1::FollowerStatus]) -> String {
    let isr = 1 + followers.iter().filter(|f| f.in_sync).count();
    let replicas = record.replicas.len();
    let needed = record.min_in_sync(topic.config.min_in_sync as usize);
    if isr < needed {
        return format!(
            "{isr} of {replicas} replicas in sync, {needed} needed: produce with acks=all is refused"
        );
    }
    // Of a partition that moves there is more to say.
    if isr < replicas && !record.is_moving() {
        return format!("{isr} of {replicas} replicas in sync");
    }
    String::new()
}
