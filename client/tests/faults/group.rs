//! Members of a group against a coordinator that decides as a real one does.

mod admin;
mod committing;
mod declared;
mod membership;
mod moving;
mod policies;

use std::{sync::Arc, time::Duration};

use taffrail_client::{ClientError, Group, GroupBuilder, GroupEvent, Loss};
use tokio::time::timeout;

use crate::{
    cluster::{Cluster, TOPIC},
    consuming::config,
};

const DEADLINE: Duration = Duration::from_secs(20);
/// Long enough for whatever must not happen to happen.
const WHILE: Duration = Duration::from_millis(150);

/// To be set up further.
async fn builder(cluster: &Arc<Cluster>) -> GroupBuilder {
    let client = cluster.client().await;
    let group = client.group("billing").topic(TOPIC).consumer(config());
    group.commit_interval(Duration::from_millis(20))
}

async fn member(cluster: &Arc<Cluster>) -> Group {
    joined(builder(cluster).await).await
}

async fn joined(builder: GroupBuilder) -> Group {
    let joined = timeout(DEADLINE, builder.join()).await;
    joined.expect("in time").expect("joins")
}

async fn event(group: &mut Group) -> Result<GroupEvent, ClientError> {
    timeout(DEADLINE, group.next()).await.expect("in time")
}

/// Partition, first and next offset of the next batch.
async fn batch(group: &mut Group) -> (u32, u64, u64) {
    let batch = timeout(DEADLINE, group.next_batch()).await;
    let batch = batch.expect("in time").expect("no error");
    (
        batch.partition().0,
        batch.first_offset().0,
        batch.next_offset().0,
    )
}

/// Goes on until there is an event that `wanted` makes something of. Batches before it are dropped.
async fn until_event<T>(group: &mut Group, wanted: impl Fn(&GroupEvent) -> Option<T>) -> T {
    loop {
        let event = event(group).await.expect("no error");
        if let Some(found) = wanted(&event) {
            return found;
        }
    }
}

fn loss(event: &GroupEvent) -> Option<Loss> {
    match event {
        GroupEvent::Lost { why, .. } => Some(*why),
        _ => None,
    }
}

fn revoked(event: &GroupEvent) -> Option<Vec<u32>> {
    match event {
        GroupEvent::Revoked(partitions) => Some(numbers(partitions)),
        _ => None,
    }
}

fn assigned(event: &GroupEvent) -> Option<Vec<u32>> {
    match event {
        GroupEvent::Assigned(partitions) => Some(numbers(partitions)),
        _ => None,
    }
}

fn numbers(partitions: &[taffrail_client::GroupPartition]) -> Vec<u32> {
    partitions.iter().map(|p| p.partition.0).collect()
}

fn owned(group: &Group) -> Vec<u32> {
    numbers(&group.partitions())
}

/// Nothing comes for a while.
async fn nothing(group: &mut Group) {
    let came = timeout(WHILE, group.next()).await;
    assert!(came.is_err(), "{came:?}");
}

/// Awaits in the background, so that commits and changes go on.
async fn driven<T>(group: &mut Group, until: impl Future<Output = T>) -> T {
    let drive = async {
        loop {
            let came = group.next().await.expect("no error");
            assert!(!matches!(came, GroupEvent::Batch(_)), "{came:?}");
        }
    };
    tokio::select! {
        done = until => done,
        () = drive => unreachable!("it has no end"),
    }
}
