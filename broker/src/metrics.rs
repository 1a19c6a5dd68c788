//! What `/metrics` shows. Names and units are API:
//!
//! ```text
//! taffrail_broker_produce_bytes_total{topic}            batches stored
//! taffrail_broker_produce_records_total{topic}          records in them
//! taffrail_broker_fetch_bytes_total{topic}              batches sent to consumers
//! taffrail_broker_replicated_in_bytes_total{topic}      batches that came from leaders, and .._in_batches_total
//! taffrail_broker_replicated_out_bytes_total{topic}     batches sent to followers, and .._out_batches_total
//! taffrail_broker_replication_sessions{side}            open sessions, this broker being the leader or the follower
//! taffrail_broker_follower_lag_records{topic}           what the slowest follower of a partition led here does not have durably
//! taffrail_broker_requests_total{call}                  requests, by call
//! taffrail_broker_errors_total{call,code}               requests answered with an error, and sessions with leaders that ended with garbage
//! taffrail_broker_produce_seconds                       from the request's arrival to its answer
//! taffrail_broker_fetch_seconds                         the same, the long poll included
//! taffrail_broker_sync_seconds                          one fdatasync
//! taffrail_broker_group_requests, .._group_bytes        what one round of the disk thread wrote
//! taffrail_broker_sync_bytes                            what one sync made durable
//! taffrail_broker_consumer_groups, .._consumer_group_members   coordinated here
//! taffrail_broker_offset_commits_total                  positions of consumer groups that were taken over
//! taffrail_broker_compaction_bytes_total                read or written by compaction
//! taffrail_broker_compaction_cleaned_bytes_total        what passes that were done went over
//! taffrail_broker_compaction_removed_bytes_total        what logs became smaller by
//! taffrail_broker_compaction_seconds                    one pass over a log, with the waits for its limit
//! taffrail_broker_compactions_total{outcome}            passes over a log: done, stopped, failed
//! taffrail_broker_connections                           open connections on the client port
//! taffrail_broker_queue_bytes                           batches between network and disk
//! taffrail_broker_controller_connected                  1: the session with the active controller is open
//! taffrail_broker_disk_free_bytes, .._disk_total_bytes  the volume
//! taffrail_broker_disk_full                             1: produce is refused
//! taffrail_broker_open_files, .._open_files_max         files and connections of the process
//! taffrail_broker_partitions{state}                     leader, other, stray, offline
//! taffrail_broker_partition_log_bytes{topic,partition}  and .._log_start_offset, .._high_watermark, .._log_end_offset
//! taffrail_broker_partition_dirty_bytes{topic,partition}  and .._cleaned_offset: of compacted logs
//! ```

mod collect;

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use taffrail_core::ErrorCode;

pub(crate) use collect::PartitionCollector;

use crate::partition::compact::Ended;

/// Label of everything that is counted by topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabel {
    topic: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SideLabel {
    side: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    call: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabel {
    call: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// A topic's counters, held by its partitions.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopicMetrics {
    pub(crate) produce_bytes: Counter,
    pub(crate) produce_records: Counter,
    pub(crate) fetch_bytes: Counter,
    pub(crate) replicated_in: Replicated,
    pub(crate) replicated_out: Replicated,
}

/// Batches between brokers, in one direction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replicated {
    pub(crate) bytes: Counter,
    pub(crate) batches: Counter,
}

impl Replicated {
    pub(crate) fn count(&self, bytes: usize, batches: usize) {
        self.bytes.inc_by(bytes as u64);
        self.batches.inc_by(batches as u64);
    }
}

/// As [`Replicated`], of all topics.
#[derive(Debug, Default)]
struct ReplicatedFamily {
    bytes: Family<TopicLabel, Counter>,
    batches: Family<TopicLabel, Counter>,
}

impl ReplicatedFamily {
    fn register(&self, registry: &mut Registry, name: &str, help: &str) {
        registry.register_with_unit(name, help, Unit::Bytes, self.bytes.clone());
        registry.register(format!("{name}_batches"), help, self.batches.clone());
    }

    fn of(&self, label: &TopicLabel) -> Replicated {
        Replicated {
            bytes: self.bytes.get_or_create_owned(label),
            batches: self.batches.get_or_create_owned(label),
        }
    }
}

/// Everything a broker counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    produce_bytes: Family<TopicLabel, Counter>,
    produce_records: Family<TopicLabel, Counter>,
    fetch_bytes: Family<TopicLabel, Counter>,
    replicated_in: ReplicatedFamily,
    replicated_out: ReplicatedFamily,
    replication_sessions: Family<SideLabel, Gauge>,
    requests: Family<CallLabel, Counter>,
    errors: Family<ErrorLabel, Counter>,
    produce_seconds: Latency,
    fetch_seconds: Latency,
    sync_seconds: Latency,
    group_requests: Size,
    group_bytes: Size,
    sync_bytes: Size,
    consumer_groups: Gauge,
    consumer_group_members: Gauge,
    pub(crate) offset_commits: Counter,
    compaction_bytes: Counter,
    compaction_cleaned_bytes: Counter,
    compaction_removed_bytes: Counter,
    compaction_seconds: PassLength,
    compactions: Family<OutcomeLabel, Counter>,
    pub(crate) connections: Gauge,
    pub(crate) controller_connected: Gauge,
}

/// 50 microseconds to 26 seconds.
#[derive(Debug)]
struct Latency(Histogram);

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(50e-6, 2.0, 20)))
    }
}

/// 1 millisecond to 70 minutes.
#[derive(Debug)]
struct PassLength(Histogram);

impl Default for PassLength {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(1e-3, 4.0, 12)))
    }
}

/// 1 to 16 million.
#[derive(Debug)]
struct Size(Histogram);

impl Default for Size {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(1.0, 4.0, 13)))
    }
}

impl Metrics {
    /// Registers all of them but what is collected at each scrape.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("taffrail_broker");
        registry.register_with_unit(
            "produce",
            "Batches stored",
            Unit::Bytes,
            self.produce_bytes.clone(),
        );
        registry.register(
            "produce_records",
            "Records stored",
            self.produce_records.clone(),
        );
        registry.register_with_unit(
            "fetch",
            "Batches sent to consumers",
            Unit::Bytes,
            self.fetch_bytes.clone(),
        );
        self.replicated_in
            .register(registry, "replicated_in", "Batches that came from leaders");
        self.replicated_out
            .register(registry, "replicated_out", "Batches sent to followers");
        registry.register(
            "replication_sessions",
            "Open sessions between brokers, by the side of this one",
            self.replication_sessions.clone(),
        );
        registry.register("requests", "Requests by call", self.requests.clone());
        registry.register(
            "errors",
            "Requests answered with an error",
            self.errors.clone(),
        );
        registry.register_with_unit(
            "produce",
            "From the arrival of a produce request to its answer",
            Unit::Seconds,
            self.produce_seconds.0.clone(),
        );
        registry.register_with_unit(
            "fetch",
            "From the arrival of a fetch request to its answer",
            Unit::Seconds,
            self.fetch_seconds.0.clone(),
        );
        registry.register_with_unit(
            "sync",
            "One sync of one log",
            Unit::Seconds,
            self.sync_seconds.0.clone(),
        );
        registry.register(
            "group_requests",
            "Requests written in one round",
            self.group_requests.0.clone(),
        );
        registry.register_with_unit(
            "group",
            "Written in one round",
            Unit::Bytes,
            self.group_bytes.0.clone(),
        );
        registry.register_with_unit(
            "sync",
            "Made durable by one sync",
            Unit::Bytes,
            self.sync_bytes.0.clone(),
        );
        self.register_compaction(registry);
        registry.register(
            "consumer_groups",
            "Consumer groups coordinated here",
            self.consumer_groups.clone(),
        );
        registry.register(
            "consumer_group_members",
            "Members of the groups coordinated here",
            self.consumer_group_members.clone(),
        );
        registry.register(
            "offset_commits",
            "Positions of consumer groups that were taken over",
            self.offset_commits.clone(),
        );
        registry.register(
            "connections",
            "Open connections on the client port",
            self.connections.clone(),
        );
        registry.register(
            "controller_connected",
            "1 while the session with the active controller is open",
            self.controller_connected.clone(),
        );
    }

    fn register_compaction(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "compaction",
            "Read or written by compaction",
            Unit::Bytes,
            self.compaction_bytes.clone(),
        );
        registry.register_with_unit(
            "compaction",
            "One pass of compaction over a log, with the waits for its limit",
            Unit::Seconds,
            self.compaction_seconds.0.clone(),
        );
        registry.register_with_unit(
            "compaction_cleaned",
            "Of logs before the passes that were done, as far as these went",
            Unit::Bytes,
            self.compaction_cleaned_bytes.clone(),
        );
        registry.register_with_unit(
            "compaction_removed",
            "What logs became smaller by",
            Unit::Bytes,
            self.compaction_removed_bytes.clone(),
        );
        registry.register(
            "compactions",
            "Passes of compaction over a log",
            self.compactions.clone(),
        );
        // Shown from the beginning: an alert on the first one needs a zero before it.
        for outcome in ["done", "stopped", "failed"] {
            drop(self.compactions.get_or_create(&OutcomeLabel { outcome }));
        }
    }

    /// A topic's counters, to be kept.
    pub(crate) fn topic(&self, topic: &str) -> TopicMetrics {
        let label = TopicLabel {
            topic: topic.to_owned(),
        };
        TopicMetrics {
            produce_bytes: self.produce_bytes.get_or_create_owned(&label),
            produce_records: self.produce_records.get_or_create_owned(&label),
            fetch_bytes: self.fetch_bytes.get_or_create_owned(&label),
            replicated_in: self.replicated_in.of(&label),
            replicated_out: self.replicated_out.of(&label),
        }
    }

    /// Open sessions in which this broker is `leader` or `follower`.
    pub(crate) fn sessions(&self, side: &'static str) -> Gauge {
        self.replication_sessions
            .get_or_create_owned(&SideLabel { side })
    }

    /// A call's counter, to be kept by whoever counts often.
    pub(crate) fn requests(&self, call: &'static str) -> Counter {
        self.requests.get_or_create_owned(&CallLabel { call })
    }

    pub(crate) fn error(&self, call: &'static str, code: ErrorCode) {
        self.errors
            .get_or_create(&ErrorLabel {
                call,
                code: code.name(),
            })
            .inc();
    }

    pub(crate) fn produced(&self, elapsed: Duration) {
        self.produce_seconds.0.observe(elapsed.as_secs_f64());
    }

    pub(crate) fn fetched(&self, elapsed: Duration) {
        self.fetch_seconds.0.observe(elapsed.as_secs_f64());
    }

    pub(crate) fn group_written(&self, requests: u64, bytes: u64) {
        self.group_requests.0.observe(requests as f64);
        self.group_bytes.0.observe(bytes as f64);
    }

    pub(crate) fn compaction_bytes(&self, bytes: u64) {
        self.compaction_bytes.inc_by(bytes);
    }

    pub(crate) fn compaction_took(&self, elapsed: Duration) {
        self.compaction_seconds.0.observe(elapsed.as_secs_f64());
    }

    pub(crate) fn compacted(&self, ended: Ended) {
        let outcome = match ended {
            Ended::Done {
                bytes,
                removed_bytes,
            } => {
                self.compaction_cleaned_bytes.inc_by(bytes);
                self.compaction_removed_bytes.inc_by(removed_bytes);
                "done"
            }
            Ended::Stopped => "stopped",
            Ended::Failed => "failed",
        };
        self.compactions
            .get_or_create(&OutcomeLabel { outcome })
            .inc();
    }

    pub(crate) fn synced(&self, elapsed: Duration, bytes: u64) {
        self.sync_seconds.0.observe(elapsed.as_secs_f64());
        self.sync_bytes.0.observe(bytes as f64);
    }
}

/// What one coordinator adds to what is shown; taken away when it is dropped.
#[derive(Debug)]
pub(crate) struct CoordinatedMetrics {
    metrics: Arc<Metrics>,
    groups: i64,
    members: i64,
}

impl CoordinatedMetrics {
    pub(crate) const fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            groups: 0,
            members: 0,
        }
    }

    /// So many now.
    pub(crate) fn set(&mut self, groups: usize, members: usize) {
        let (groups, members) = (groups as i64, members as i64);
        self.metrics.consumer_groups.inc_by(groups - self.groups);
        let change = members - self.members;
        self.metrics.consumer_group_members.inc_by(change);
        (self.groups, self.members) = (groups, members);
    }
}

impl Drop for CoordinatedMetrics {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}

/// The registry as Prometheus reads it.
pub(crate) fn render(registry: &Arc<Registry>) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    Ok(text)
}
