//! What a coordinator does whose log takes nothing for a while.

use std::sync::Arc;

use taffrail_broker::{DiskSettings, Environment};
use taffrail_log::sim::SimDisk;

use super::*;
use crate::fixture::within;

/// The commit is refused with that code for now, nothing changes, and the group goes on with the same coordinator once `open` was called.
async fn a_commit_is_refused_and_no_more(
    fixture: &Fixture,
    expected: ErrorCode,
    close: impl AsyncFnOnce(),
    open: impl FnOnce(),
) {
    let mut first = TestMember::join(fixture.channel(), joining(1)).await;
    let all = first.assigned().await;
    assert_eq!(first.commit(all.epoch, vec![at(0, 5)]).await, []);
    close().await;
    let refused = within("a refusal", async {
        loop {
            let refused = first.commit(all.epoch, vec![at(0, 6)]).await;
            if !refused.is_empty() {
                return refused;
            }
        }
    })
    .await;
    let error: WireError = refused[0].error.clone().expect("why").into();
    assert_eq!((error.code, error.retriable), (expected, true), "{error}");
    assert_eq!(first.commit(all.epoch, vec![at(0, 7)]).await.len(), 1);
    let reset = v1::ResetOffsetsRequest {
        group: "billing".to_owned(),
        offsets: vec![at(0, 7)],
    };
    let reset = groups(fixture.channel()).reset_offsets(reset).await;
    assert_eq!(of(&reset.expect_err("nothing is stored")), expected);
    let described = describe(fixture, "billing").await.expect("coordinated");
    let committed = described.offsets[0].committed.clone().expect("one");
    assert!(committed.offset < 7, "nothing was stored");

    // A change of the group waits.
    let mut second = TestMember::join(fixture.channel(), joining(2)).await;
    open();
    assert!(second.assigned().await.partitions.is_empty());
    let half = first.assigned().await;
    first.heartbeat(half.epoch);
    let others = second.assigned().await;
    assert_eq!(half.partitions.len() + others.partitions.len(), 4);
    let mine = partitions(&half)[0];
    assert_eq!(first.commit(half.epoch, vec![at(mine, 8)]).await, []);
}

#[tokio::test]
async fn where_too_few_replicas_are_in_sync_a_commit_is_refused_and_no_group_ends() {
    let fixture = coordinated().await;
    let offsets = |generation, replicas: &[u32]| {
        let mut topic = Topic::new(internal::OFFSETS, &[1, 1]);
        (topic.generation, topic.partition_epoch) = (generation, generation);
        (topic.replicas, topic.isr) = (replicas.to_vec(), vec![1]);
        (topic.config.replicas, topic.config.min_in_sync) = (2, 2);
        fixture.controller.put(OFFSETS, topic);
    };
    // The other one does not run. A commit on its way while that becomes known would end the coordinator.
    let close = async || {
        offsets(2, &[1, 2]);
        let misses = |partition| {
            let report = fixture.controller.report(OFFSETS, partition);
            report.is_some_and(|report| !report.followers.is_empty())
        };
        until("the other replica is missed", async || {
            [0, 1].into_iter().all(misses)
        })
        .await;
    };
    let open = || offsets(3, &[1]);
    a_commit_is_refused_and_no_more(&fixture, ErrorCode::NotEnoughReplicas, close, open).await;
}

#[tokio::test]
async fn where_the_disk_is_full_a_commit_is_refused_and_no_group_ends() {
    let disk = SimDisk::new(1);
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        ..Environment::real(None)
    };
    let settings = DiskSettings {
        free_bytes_min: 2 << 30,
        space_interval_ms: 20,
        ballast_bytes: 0,
        ..DiskSettings::default()
    };
    let fixture = Fixture::in_environment(4, environment, settings).await;
    let fixture = with_records(with_offsets(fixture).await).await;
    let close = async || disk.set_capacity(Some(1 << 30));
    let open = || disk.set_capacity(None);
    a_commit_is_refused_and_no_more(&fixture, ErrorCode::DiskFull, close, open).await;
}
