//! The scrubber: reads one sealed segment after the other and compares checksums, so that damage is known before the data is needed.

use std::sync::Arc;

use taffrail_core::{Offset, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::maintenance::every;
use crate::partition::{Partition, table::PartitionTable};

/// One segment in each interval, over all partitions in turn, until the broker stops. Interval 0: never.
pub(crate) async fn run(
    partitions: Arc<PartitionTable>,
    interval_ms: u64,
    stop: CancellationToken,
) {
    if interval_ms == 0 {
        return;
    }
    let mut ticks = every(interval_ms);
    let mut last = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let next = next_after(&partitions.all(), last);
        last = next.as_ref().map(|(partition, base)| (partition.id, *base));
        if let Some((partition, base)) = next {
            let scrubbed = tokio::task::spawn_blocking(move || partition.scrub(base)).await;
            if let Err(error) = scrubbed {
                tracing::error!(%error, "the scrubber panicked");
            }
        }
    }
}

/// The sealed segment after `last`, in the order of partitions and offsets; the first one after the last one.
fn next_after(
    partitions: &[Arc<Partition>],
    last: Option<(TopicPartition, Offset)>,
) -> Option<(Arc<Partition>, Offset)> {
    let mut sealed: Vec<_> = partitions
        .iter()
        .filter(|p| p.fault().is_none())
        .flat_map(|p| {
            p.sealed_segments()
                .into_iter()
                .map(move |base| (p.id, base, p))
        })
        .collect();
    sealed.sort_unstable_by_key(|(id, base, _)| (*id, *base));
    let after = sealed.partition_point(|(id, base, _)| Some((*id, *base)) <= last);
    let (_, base, partition) = sealed.get(after).or_else(|| sealed.first())?;
    Some((Arc::clone(partition), *base))
}
