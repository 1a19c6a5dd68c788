//! What is looked up at each scrape instead of being counted.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};
use tokio::sync::Semaphore;

use crate::{
    disk::space::Space,
    open_files,
    partition::{Partition, standing::Role, table::PartitionTable},
};

/// Partitions, queue and volume at the time of a scrape.
#[derive(Debug)]
pub(crate) struct PartitionCollector {
    pub(crate) partitions: Arc<PartitionTable>,
    pub(crate) space: Arc<Space>,
    pub(crate) queue: Arc<Semaphore>,
    pub(crate) queue_bytes_max: usize,
}

type Labels = [(&'static str, String)];

impl Collector for PartitionCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut partitions = self.partitions.all();
        partitions.sort_by(|a, b| (&a.topic_name, a.id).cmp(&(&b.topic_name, b.id)));
        states(&mut encoder, &partitions)?;
        for (name, help, unit, value) in OF_PARTITIONS {
            let samples = partitions.iter().map(|p| (labels(p), value(p)));
            family(&mut encoder, name, help, unit.as_ref(), samples)?;
        }
        let lags = follower_lags(&partitions);
        let lags = lags
            .iter()
            .map(|(topic, lag)| (vec![("topic", (*topic).to_owned())], *lag));
        family(
            &mut encoder,
            "follower_lag_records",
            "What the slowest follower of a partition led here does not have durably",
            None,
            lags,
        )?;
        let is_moving = |p: &&Arc<Partition>| {
            let standing = p.standing();
            standing.role == Role::Leader && standing.is_moving
        };
        let moving = partitions.iter().filter(is_moving).count();
        let queued = self
            .queue_bytes_max
            .saturating_sub(self.queue.available_permits());
        let quarantined = partitions.iter().filter(|p| p.quarantine().is_some());
        let single = [
            (
                "quarantined_partitions",
                "Partitions of which a log is kept that could not be used and was replaced",
                None,
                quarantined.count() as u64,
            ),
            (
                "queue",
                "Batches between network and disk",
                Some(Unit::Bytes),
                queued as u64,
            ),
            (
                "moving_partitions",
                "Partitions led here whose replicas move",
                None,
                moving as u64,
            ),
            (
                "disk_free",
                "Free on the volume",
                Some(Unit::Bytes),
                self.space.free_bytes(),
            ),
            (
                "disk_total",
                "Size of the volume",
                Some(Unit::Bytes),
                self.space.total_bytes(),
            ),
            (
                "disk_full",
                "1 while produce is refused",
                None,
                u64::from(self.space.is_full()),
            ),
            (
                "open_files",
                "Files and connections that the process has open",
                None,
                open_files::count().unwrap_or(0),
            ),
            (
                "open_files_max",
                "How many of them it may have open",
                None,
                open_files::max(),
            ),
        ];
        for (name, help, unit, value) in single {
            let name = format!("taffrail_broker_{name}");
            let metric =
                encoder.encode_descriptor(&name, help, unit.as_ref(), MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        Ok(())
    }
}

fn states(
    encoder: &mut DescriptorEncoder<'_>,
    partitions: &[Arc<Partition>],
) -> Result<(), fmt::Error> {
    let count = |state: &str| partitions.iter().filter(|p| state_of(p) == state).count() as u64;
    let samples = ["leader", "other", "stray", "offline"]
        .map(|state| (vec![("state", state.to_owned())], count(state)));
    family(
        encoder,
        "partitions",
        "Partitions on this broker",
        None,
        samples.into_iter(),
    )
}

/// By topic, of the partitions that this broker leads.
fn follower_lags(partitions: &[Arc<Partition>]) -> BTreeMap<&str, u64> {
    let mut lags = BTreeMap::new();
    for partition in partitions {
        let end = partition.progress.log_end();
        for follower in partition.followers().iter() {
            let has = follower.durable_end.unwrap_or_default();
            let lag: &mut u64 = lags.entry(&*partition.topic_name).or_default();
            *lag = (*lag).max(end.0.saturating_sub(has.0));
        }
    }
    lags
}

type Value = fn(&Partition) -> u64;

const OF_PARTITIONS: [(&str, &str, Option<Unit>, Value); 6] = [
    ("partition_log", "Size of the log", Some(Unit::Bytes), |p| {
        p.progress.bytes()
    }),
    (
        "partition_log_start_offset",
        "First record there is",
        None,
        |p| p.progress.log_start().0,
    ),
    (
        "partition_high_watermark",
        "Next record to become visible",
        None,
        |p| p.progress.high_watermark().0,
    ),
    (
        "partition_log_end_offset",
        "Next record to be appended",
        None,
        |p| p.progress.log_end().0,
    ),
    (
        "partition_dirty",
        "Of a compacted log, what waits for a pass",
        Some(Unit::Bytes),
        |p| p.progress.dirty_bytes(),
    ),
    (
        "partition_cleaned_offset",
        "Of a compacted log, where the last pass ended",
        None,
        |p| p.progress.cleaned_to().0,
    ),
];

fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    samples: impl Iterator<Item = (Vec<(&'static str, String)>, u64)>,
) -> Result<(), fmt::Error> {
    let name = format!("taffrail_broker_{name}");
    let mut metric = encoder.encode_descriptor(&name, help, unit, MetricType::Gauge)?;
    for (labels, value) in samples {
        let labels: &Labels = &labels;
        ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
            .encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn labels(partition: &Partition) -> Vec<(&'static str, String)> {
    vec![
        ("topic", partition.topic_name.to_string()),
        ("partition", partition.id.partition.to_string()),
    ]
}

fn state_of(partition: &Partition) -> &'static str {
    if partition.fault().is_some() {
        return "offline";
    }
    match partition.standing().role {
        Role::Leader => "leader",
        Role::Other { .. } => "other",
        Role::Stray => "stray",
    }
}
