//! Which thread waits for the disk.

use std::{
    collections::HashMap,
    sync::Arc,
    thread::{self, ThreadId},
};

use taffrail_broker::{DiskSettings, Environment};
use taffrail_log::sim::SimDisk;

use crate::fixture::{Client, Fixture, batch, request};

/// Three records in three batches, on a disk that says who reads.
async fn three_records(disk: &SimDisk) -> (Fixture, Client) {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        ..Environment::real(None)
    };
    let fixture = Fixture::in_environment(1, environment, DiskSettings::default()).await;
    let mut client = fixture.client().await;
    for value in ["a", "b", "c"] {
        let produced = client.produce(request(0, batch(&[value]))).await;
        produced.expect("stored");
    }
    (fixture, client)
}

/// Reads since `before`, on this thread, which serves all requests, and on others.
fn reads_since(before: &HashMap<ThreadId, u64>, disk: &SimDisk) -> (u64, u64) {
    let (mut here, mut elsewhere) = (0, 0);
    for (id, reads) in disk.reads_by_thread() {
        let reads = reads - before.get(&id).copied().unwrap_or(0);
        if id == thread::current().id() {
            here += reads;
        } else {
            elsewhere += reads;
        }
    }
    (here, elsewhere)
}

#[tokio::test]
async fn what_is_in_memory_is_read_where_the_request_is() {
    let disk = SimDisk::new(1);
    let (_fixture, client) = three_records(&disk).await;
    let before = disk.reads_by_thread();
    assert_eq!(client.values(0, 0).await, ["a", "b", "c"]);
    assert_eq!(reads_since(&before, &disk), (0, 0), "nobody waits");
}

#[tokio::test]
async fn what_is_not_in_memory_is_never_read_where_the_request_is() {
    let disk = SimDisk::new(1);
    let (_fixture, client) = three_records(&disk).await;
    disk.set_uncached(Some(".log"));
    let before = disk.reads_by_thread();
    for first in 0..3 {
        assert_eq!(
            client.values(0, first).await,
            ["a", "b", "c"][first as usize..]
        );
    }
    let (here, elsewhere) = reads_since(&before, &disk);
    assert_eq!(here, 0, "other requests would wait too");
    assert!(elsewhere >= 3, "{elsewhere} reads");
}
