//! Who may process what, and until when.

use std::{sync::Arc, time::Duration};

use taffrail_client::{Client, ClientConfig, ErrorCode, Loss};

use super::*;
use crate::{
    cluster::{Cluster, TOPIC},
    consuming::append,
    following::until,
};

#[tokio::test]
async fn a_partition_goes_to_another_member_only_after_the_application_came_back_and_its_commit_is_stored()
 {
    let cluster = Cluster::start(1, 2).await;
    append(&cluster, 0, 0..10);
    append(&cluster, 1, 0..10);
    let builder = builder(&cluster).await.commit_interval(DEADLINE);
    let mut first = joined(builder).await;
    let mut seen = [batch(&mut first).await, batch(&mut first).await];
    seen.sort_unstable();
    assert_eq!(seen, [(0, 0, 10), (1, 0, 10)]);

    // The application processes the second batch.
    let mut second = member(&cluster).await;
    nothing_but_no_partitions(&mut second).await;
    assert_eq!(
        cluster.state().coordinator.offsets().len(),
        2,
        "where both began"
    );

    let gone = until_event(&mut first, revoked).await;
    assert_eq!(gone.len(), 1);
    nothing(&mut second).await;
    let gained = driven(
        &mut first,
        until_event(&mut second, |event| {
            assigned(event).filter(|gained| !gained.is_empty())
        }),
    )
    .await;
    assert_eq!(gained, gone);
    let offsets = cluster.state().coordinator.offsets();
    assert!(offsets.contains(&(gone[0], 10)), "{offsets:?}");
    append(&cluster, gone[0] as usize, 10..20);
    assert_eq!(batch(&mut second).await, (gone[0], 10, 20));
    assert_eq!(owned(&first).len(), 1);
}

/// It was told that there is nothing for it yet.
async fn nothing_but_no_partitions(group: &mut Group) {
    let gained = until_event(group, assigned).await;
    assert!(gained.is_empty());
    nothing(group).await;
}

#[tokio::test]
async fn heartbeats_go_on_while_a_batch_is_processed() {
    let cluster = Cluster::start(1, 1).await;
    cluster.state().coordinator.answer_timeout_ms = 1_000;
    append(&cluster, 0, 0..10);
    append(&cluster, 0, 10..20);
    let mut group = member(&cluster).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    let before = cluster.state().coordinator.heartbeats.len();
    until("heartbeats", || {
        cluster.state().coordinator.heartbeats.len() > before + 20
    })
    .await;
    assert_eq!(batch(&mut group).await, (0, 10, 20));
    assert_eq!(cluster.state().coordinator.joins.len(), 1);
}

#[tokio::test]
async fn a_member_that_is_not_answered_stops_and_comes_back_with_its_id_where_it_had_committed() {
    let cluster = Cluster::start(1, 1).await;
    cluster.state().coordinator.answer_timeout_ms = 300;
    append(&cluster, 0, 0..10);
    let mut group = member(&cluster).await;
    let id = group.member_id();
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    group.commit().await.expect("stored");
    append(&cluster, 0, 10..20);
    assert_eq!(batch(&mut group).await, (0, 10, 20));
    cluster.state().coordinator.is_silent = true;
    append(&cluster, 0, 20..30);
    // The application is busy for longer than the member may process: what was prefetched must not come.
    until("its time is over", || {
        cluster.state().coordinator.unheard_joins.contains(&0)
    })
    .await;
    let lost = event(&mut group).await.expect("no error");
    assert_eq!(loss(&lost), Some(Loss::NotAnswered), "{lost:?}");
    assert_eq!(owned(&group), [0; 0]);
    nothing(&mut group).await;
    cluster.state().coordinator.is_silent = false;
    assert_eq!(batch(&mut group).await, (0, 10, 20), "it was not committed");
    assert_eq!(group.member_id(), id);
    let joins = &cluster.state().coordinator.joins;
    let join = joins.last().expect("it joined");
    assert_eq!((&join.member_id[..], join.epoch), (&id.as_bytes()[..], 0));
}

#[tokio::test]
async fn a_member_that_was_forgotten_joins_as_another_one_and_goes_on_at_the_commit() {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    let mut group = member(&cluster).await;
    let id = group.member_id();
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    group.commit().await.expect("stored");
    cluster.state().coordinator.forget();
    assert_eq!(until_event(&mut group, loss).await, Loss::Forgotten);
    append(&cluster, 0, 10..20);
    assert_eq!(batch(&mut group).await, (0, 10, 20));
    assert_ne!(group.member_id(), id);
    let state = cluster.state();
    assert_eq!(
        state.coordinator.joins.last().map(|join| join.epoch),
        Some(0)
    );
}

#[tokio::test]
async fn an_application_that_stays_away_loses_its_partitions_and_gets_them_when_it_is_back() {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    let builder = builder(&cluster).await;
    let mut group = joined(builder.poll_interval_max(Duration::from_millis(200))).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    until("it leaves", || cluster.state().coordinator.left == [false]).await;
    until("nobody is in the group", || {
        cluster.state().coordinator.group.members().len() == 0
    })
    .await;
    let alone = until("it joins", || cluster.state().coordinator.joins.len() > 1);
    let alone = timeout(WHILE, alone).await;
    alone.expect_err("it does not come back alone");
    let lost = event(&mut group).await.expect("no error");
    assert_eq!(loss(&lost), Some(Loss::TooSlow), "{lost:?}");
    assert_eq!(batch(&mut group).await, (0, 0, 10));
}

#[tokio::test]
async fn an_application_that_waits_for_records_is_not_away() {
    let cluster = Cluster::start(1, 1).await;
    let builder = builder(&cluster).await;
    let away = Duration::from_millis(500);
    let mut group = joined(builder.poll_interval_max(away)).await;
    let waiting = async { while event(&mut group).await.is_ok() {} };
    let waited = timeout(away * 2, waiting).await;
    waited.expect_err("there is nothing to read");
    append(&cluster, 0, 0..10);
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    assert_eq!(cluster.state().coordinator.left, [false; 0]);
}

#[tokio::test]
async fn who_closes_commits_and_leaves_and_a_static_member_says_that_it_comes_back() {
    for instance in [None, Some("pod-0")] {
        let cluster = Cluster::start(1, 1).await;
        append(&cluster, 0, 0..10);
        append(&cluster, 0, 10..20);
        let mut builder = builder(&cluster).await.commit_interval(DEADLINE);
        if let Some(instance) = instance {
            builder = builder.instance_id(instance);
        }
        let mut group = joined(builder).await;
        assert_eq!(batch(&mut group).await, (0, 0, 10));
        assert_eq!(batch(&mut group).await, (0, 10, 20));
        group.close().await.expect("closes");
        let state = cluster.state();
        assert_eq!(state.coordinator.left, [instance.is_some()]);
        assert_eq!(
            state.coordinator.offsets(),
            [(0, 10)],
            "the last batch may have failed"
        );
    }
}

#[tokio::test]
async fn the_coordinators_topic_is_waited_for() {
    let cluster = Cluster::start(1, 1).await;
    cluster.state().coordinator.here = None;
    append(&cluster, 0, 0..10);
    let late = {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            until("it is looked for", || cluster.state().asked > 5).await;
            cluster.state().coordinator.here = Some(0);
        })
    };
    let mut group = member(&cluster).await;
    assert_eq!(batch(&mut group).await, (0, 0, 10));
    late.await.expect("no panic");
}

#[tokio::test]
async fn without_the_coordinators_topic_joining_ends_with_the_call_timeout_and_says_why() {
    let cluster = Cluster::start(1, 1).await;
    cluster.state().coordinator.here = None;
    let config = ClientConfig {
        bootstrap: vec![cluster.address(0)],
        call_timeout: Duration::from_millis(200),
        ..ClientConfig::default()
    };
    let client = Client::connect(config).await.expect("connects");
    let refused = client.group("billing").topic(TOPIC).join().await;
    let error = refused.expect_err("nobody coordinates");
    assert_eq!(error.code(), ErrorCode::TimedOut);
    assert!(error.to_string().contains("__offsets"), "{error}");
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_before_anybody_is_asked() {
    use taffrail_client::{Offset, Start};
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    for builder in [
        client.group("__internal").topic(TOPIC),
        client.group("a/b").topic(TOPIC),
        client
            .group("billing")
            .topic(TOPIC)
            .start(Start::Offset(Offset(7))),
    ] {
        let error = builder.join().await.expect_err("refused");
        assert_eq!(error.code(), ErrorCode::InvalidRequest);
    }
    assert!(cluster.state().coordinator.joins.is_empty());
}
