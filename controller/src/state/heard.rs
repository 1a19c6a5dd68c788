//! What brokers said of their replicas to this controller, as elections go by it.

use std::collections::HashMap;

use taffrail_api::v1;
use taffrail_core::{
    Assignment, BrokerNumber, Incarnation, LeaderEpoch, Offset, TopicPartition,
    replica::{Election, LogTail, Report, Standing},
};

use super::{
    cluster::{Cluster, Topic},
    live::Live,
    registration::{Registration, Stored},
};

/// A broker whose registration is being decided.
#[derive(Debug)]
pub(crate) struct Newcomer<'a> {
    pub(crate) number: BrokerNumber,
    pub(crate) registration: &'a Registration,
    stored: HashMap<TopicPartition, &'a Stored>,
}

impl<'a> Newcomer<'a> {
    pub(crate) fn new(number: BrokerNumber, registration: &'a Registration) -> Self {
        let stored = registration.stored.iter();
        Self {
            number,
            registration,
            stored: stored.map(|stored| (stored.partition, stored)).collect(),
        }
    }

    pub(crate) fn stored(&self, partition: TopicPartition) -> Option<&'a Stored> {
        self.stored.get(&partition).copied()
    }
}

/// Everybody who has been heard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard<'a> {
    pub(crate) live: &'a Live,
    pub(crate) newcomer: Option<&'a Newcomer<'a>>,
}

impl<'a> Heard<'a> {
    pub(crate) const fn of(live: &'a Live) -> Self {
        let newcomer = None;
        Self { live, newcomer }
    }

    /// Whoever holds `partition`, or should, has said so much of it.
    pub(crate) fn reports(
        self,
        cluster: &Cluster,
        partition: TopicPartition,
        record: Option<&Assignment>,
    ) -> Vec<Report<'a>> {
        let is_replica =
            |number: BrokerNumber| record.is_some_and(|r| r.replicas.contains(&number));
        let newcomer = self.newcomer.and_then(|new| {
            let stored = new.stored(partition);
            let said = Said {
                broker: new.number,
                incarnation: new.registration.incarnation(),
                is_alive: true,
                stored,
                latest: None,
            };
            (stored.is_some() || is_replica(new.number)).then(|| said.report(record))
        });
        let others = self.live.brokers.iter().filter_map(|(&broker, now)| {
            if self.newcomer.is_some_and(|new| new.number == broker) {
                return None;
            }
            let stored = now.stored.get(&partition);
            let known = cluster.brokers.get(&broker);
            let said = Said {
                broker,
                incarnation: now.incarnation,
                // Another run of it may be registered already, and its session not be open yet.
                is_alive: self.live.is_there(broker)
                    && known.is_some_and(|known| known.value.incarnation == now.incarnation),
                stored,
                latest: now.reports.get(&partition),
            };
            (stored.is_some() || is_replica(broker)).then(|| said.report(record))
        });
        newcomer.into_iter().chain(others).collect()
    }

    /// An election of a partition of `topic`, without exceptions.
    pub(crate) fn election<'b>(
        self,
        topic: &Topic,
        partition: TopicPartition,
        stored: Option<&'b Assignment>,
        reports: &'b [Report<'b>],
    ) -> Election<'b> {
        let configured = topic.config.min_in_sync as usize;
        Election {
            stored,
            reports,
            min_in_sync: stored.map_or(configured, |record| record.min_in_sync(configured)),
            except: None,
            loss_accepted: false,
            is_raised: stored.is_some_and(|record| self.live.has_raised(partition, record)),
            leap: self.live.leap,
        }
    }
}

struct Said<'a> {
    broker: BrokerNumber,
    incarnation: Incarnation,
    is_alive: bool,
    /// When it registered.
    stored: Option<&'a Stored>,
    /// Since.
    latest: Option<&'a v1::PartitionReport>,
}

impl<'a> Said<'a> {
    fn report(self, record: Option<&Assignment>) -> Report<'a> {
        let (tail, high_watermark) = match (self.latest, self.stored) {
            (Some(report), _) => (
                tail(report.last_epoch, report.durable_end_offset),
                offset(report.high_watermark),
            ),
            (None, Some(stored)) => (stored.tail, stored.high_watermark),
            (None, None) => (LogTail::default(), Offset(0)),
        };
        Report {
            broker: self.broker,
            incarnation: self.incarnation,
            is_alive: self.is_alive,
            standing: self.standing(record),
            is_confirmed: record.is_none_or(|record| record.awaits(self.broker).is_none()),
            tail,
            is_fresh: self
                .latest
                .zip(record)
                .is_some_and(|(report, record)| is_since_vacant(report, record)),
            high_watermark,
            // Also of a replica that was deleted: it moved elsewhere.
            record: self
                .stored
                .map(|stored| &stored.assignment)
                .filter(|seen| !seen.replicas.is_empty()),
        }
    }

    fn standing(&self, record: Option<&Assignment>) -> Standing {
        let has_fault = match (self.latest, self.stored) {
            (Some(report), _) => report.fault().to_core().is_some(),
            (None, Some(stored)) => stored.standing == Standing::Unusable,
            (None, None) => false,
        };
        // Its volume is older than the one that the map waits for. One that only ran anew is not, if its registration is yet to be decided as well.
        let is_another = record.is_some_and(|record| {
            let awaited = record.awaits(self.broker);
            awaited.is_some_and(|awaited| awaited != self.incarnation)
                && !awaits_former(record, self.broker, self.incarnation)
        });
        if has_fault || is_another {
            return Standing::Unusable;
        }
        // Whoever came back with less left the in-sync set then. If it is in it again, it has caught up.
        let is_in_sync = record.is_some_and(|r| r.isr.contains(&self.broker) && !r.is_unclean);
        match self.stored {
            Some(stored) if !is_in_sync => stored.standing,
            _ => Standing::Whole,
        }
    }
}

/// Does the record wait for a run before `own`? That one never reports any more. What waits for the last member goes on waiting for the volume that had
/// everything.
pub(super) fn awaits_former(record: &Assignment, number: BrokerNumber, own: Incarnation) -> bool {
    let awaited = record.awaits(number);
    record.isr != [number] && awaited.is_some_and(|run| run.generation < own.generation)
}

/// Was it said under the epoch of a record that nobody leads? Then nothing is acknowledged any more that it does not show.
fn is_since_vacant(report: &v1::PartitionReport, record: &Assignment) -> bool {
    record.leader.is_none()
        && !report.leading
        && u32::try_from(report.leader_epoch) == Ok(record.leader_epoch.0)
}

/// As brokers send it. Epochs begin at 1.
pub(crate) fn tail(last_epoch: i32, durable_end: i64) -> LogTail {
    let last_epoch = u32::try_from(last_epoch).ok().filter(|epoch| *epoch > 0);
    LogTail {
        last_epoch: last_epoch.map(LeaderEpoch),
        end: offset(durable_end),
    }
}

pub(crate) fn offset(offset: i64) -> Offset {
    Offset(u64::try_from(offset).unwrap_or_default())
}
