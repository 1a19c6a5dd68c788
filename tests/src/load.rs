//! A producer that waits for all in-sync replicas and a consumer beside it: both go on, whatever happens to the cluster.

mod consuming;
mod producing;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use tokio::task::JoinHandle;

use crate::{
    cluster::{BROKERS, Cluster},
    history::{Acknowledged, Read},
    numbered::Numbered,
    wait,
};

/// What the producer sent and was told.
#[derive(Debug, Default)]
struct Produced {
    sent: Numbered,
    acknowledged: Acknowledged,
    /// Acknowledged of each partition.
    counts: Vec<usize>,
    failures: Vec<String>,
}

/// Keyed, numbered records into all partitions of a topic, and the same records out again.
pub struct Load {
    topic: String,
    produced: Arc<Mutex<Produced>>,
    stop: Arc<AtomicBool>,
    producing: JoinHandle<()>,
    consuming: consuming::Consuming,
}

impl Load {
    /// Starts to send and to read.
    ///
    /// # Panics
    /// If there is no such topic.
    pub async fn start(cluster: &Cluster, topic: &str) -> Self {
        let client = cluster.client().await;
        let metadata = client.metadata(&[topic.to_owned()]).await;
        let metadata = metadata.expect("the cluster answers");
        let partitions = metadata.topics[topic].partitions.len();
        let produced = Arc::new(Mutex::new(Produced {
            counts: vec![0; partitions],
            ..Produced::default()
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let consuming = consuming::Consuming::start(&client, topic, partitions).await;
        let sending = producing::send(client, topic.to_owned(), produced.clone(), stop.clone());
        Self {
            topic: topic.to_owned(),
            produced,
            stop,
            producing: tokio::spawn(sending),
            consuming,
        }
    }

    /// Waits until `count` more records are acknowledged in every partition.
    ///
    /// # Panics
    /// If they are not within the tests' patience.
    pub async fn more(&self, count: usize) {
        let before = self.with(|produced| produced.counts.clone());
        wait::until_async(
            "acknowledgements from every partition",
            wait::PATIENCE,
            || async {
                self.with(|produced| {
                    let mut both = produced.counts.iter().zip(&before);
                    both.all(|(now, before)| *now >= before + count)
                        .then_some(())
                })
            },
        )
        .await;
    }

    /// How many were acknowledged of each partition.
    pub fn acknowledged(&self) -> Vec<usize> {
        self.with(|produced| produced.counts.clone())
    }

    /// Stops, waits until all replicas are in sync, and checks that no record was refused or lost, none invented, that both this load's reader and a new one were given
    /// the same, without gaps, each key in order, and that all replicas hold the same bytes.
    ///
    /// # Panics
    /// If the cluster broke its promise.
    pub async fn stop_and_check(self, cluster: &Cluster) {
        self.stop.store(true, Ordering::Relaxed);
        self.producing.await.expect("sending does not panic");
        cluster.metadata().until_in_sync(&self.topic, BROKERS).await;
        let client = cluster.client().await;
        let ends = consuming::ends(&client, &self.topic, self.consuming.partitions()).await;
        let partitions = self.consuming.partitions();
        let read: Read = self.consuming.finish(&ends).await;
        let again = consuming::Consuming::start(&client, &self.topic, partitions).await;
        let again = again.finish(&ends).await;
        read.check_same(&again);
        let produced = self.produced.lock().expect("nobody panicked with it");
        produced.acknowledged.check(&read);
        let repeated = produced.sent.check(&read);
        println!(
            "{} records acknowledged, {} read, {repeated} of them repeated by retries",
            produced.acknowledged.len(),
            read.len()
        );
        assert!(produced.failures.is_empty(), "{:#?}", produced.failures);
        drop(produced);
        cluster.check_replicas(&self.topic).await;
    }

    fn with<T>(&self, look: impl FnOnce(&Produced) -> T) -> T {
        look(&self.produced.lock().expect("nobody panicked with it"))
    }
}
