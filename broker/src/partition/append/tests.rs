use taffrail_core::{ClusterId, PartitionIndex, TopicId, TopicPartition};
use taffrail_log::{PartitionIdentity, StdDisk};
use taffrail_record::{BatchBuilder, Compression, NewRecord};

use super::*;
use crate::partition::verify::{Limits, verify};

fn owned(dir: &std::path::Path) -> OwnedLog {
    let id = TopicPartition {
        topic: TopicId::from_bytes([1; 16]),
        partition: PartitionIndex(0),
    };
    let identity = PartitionIdentity {
        cluster: ClusterId::from_bytes([2; 16]),
        topic: id.topic,
        partition: id.partition,
        topic_name: "flights".to_owned(),
    };
    let log = PartitionLog::create(
        Arc::new(StdDisk::default()),
        dir,
        &identity,
        LogConfig::default(),
    )
    .expect("created");
    let metrics = crate::metrics::Metrics::default().topic("flights");
    let partition = Partition::new(id, "flights".into(), log.reader(), metrics);
    OwnedLog::new(Arc::new(partition), log, Durability::PageCache)
}

/// Queues one record that was accepted under `epoch`.
fn queue(log: &mut OwnedLog, epoch: u32) -> tokio::sync::oneshot::Receiver<Outcome> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&NewRecord::default());
    let batch = builder.build().expect("not empty");
    let limits = Limits {
        batch_bytes_max: 1 << 20,
        decompressed_bytes_max: 1 << 20,
    };
    let (responder, outcome) = Responder::once([None, None]);
    log.enqueue(Append {
        partition: Arc::clone(&log.partition),
        content: verify(&batch, limits, LeaderEpoch(epoch)),
        responder,
    });
    outcome
}

#[test]
fn behind_a_fence_nothing_of_an_older_epoch_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut log = owned(&dir.path().join("flights-0"));
    let mut outcomes = vec![queue(&mut log, 1)];
    log.write(0);
    outcomes.push(queue(&mut log, 1));
    log.fence(LeaderEpoch(2));
    let end = log.partition.progress.log_end();
    outcomes.push(queue(&mut log, 1));
    log.write(0);
    assert_eq!(log.partition.progress.log_end(), end, "it has stopped");
    outcomes.push(queue(&mut log, 2));
    log.write(0);
    log.settle();
    let codes: Vec<_> = outcomes
        .iter_mut()
        .map(|outcome| outcome.try_recv().expect("answered").err().map(|e| e.code))
        .collect();
    let stale = Some(ErrorCode::StaleLeaderEpoch);
    assert_eq!(codes, [None, stale, stale, None]);
    assert_eq!(log.partition.progress.log_end(), taffrail_core::Offset(2));
}
