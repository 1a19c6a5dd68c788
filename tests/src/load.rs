//! A producer that waits for all in-sync replicas and a consumer beside it: both go on, whatever happens to the cluster.

mod consuming;
mod producing;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use taffrail_client::Acks;
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    cluster::{BROKERS, Cluster},
    history::{Acknowledged, Read},
    numbered::Numbered,
    wait,
};

/// What the producer sent, and what it was told.
#[derive(Debug, Default)]
struct Ledger {
    sent: Numbered,
    acknowledged: Acknowledged,
    /// Acknowledged of each partition.
    counts: Vec<usize>,
    /// Of each partition: when a record was last acknowledged, and the longest time between two of them.
    gaps: Vec<(Option<Instant>, Duration)>,
    failures: Vec<String>,
    /// The producer's acknowledgements promise that a record is there to stay.
    is_promised: bool,
}

/// Keyed, numbered records into all partitions of a topic, and the same records out again.
pub struct Load {
    topic: String,
    ledger: Arc<Mutex<Ledger>>,
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
        Self::start_with(cluster, topic, Acks::All).await
    }

    /// The same with a record each `period`.
    ///
    /// # Panics
    /// If there is no such topic.
    pub async fn start_slow(cluster: &Cluster, topic: &str, period: Duration) -> Self {
        Self::begin(cluster, topic, (Acks::All, period)).await
    }

    /// The same with a producer that waits for less: records that it was told of may be lost, and come twice.
    ///
    /// # Panics
    /// If there is no such topic.
    pub async fn start_with(cluster: &Cluster, topic: &str, acks: Acks) -> Self {
        Self::begin(cluster, topic, (acks, producing::PERIOD)).await
    }

    async fn begin(cluster: &Cluster, topic: &str, (acks, period): (Acks, Duration)) -> Self {
        let client = cluster.client().await;
        let metadata = client.metadata(&[topic.to_owned()]).await;
        let metadata = metadata.expect("the cluster answers");
        let partitions = metadata.topics[topic].partitions.len();
        let ledger = Arc::new(Mutex::new(Ledger {
            counts: vec![0; partitions],
            gaps: vec![(None, Duration::ZERO); partitions],
            is_promised: acks == Acks::All,
            ..Ledger::default()
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let consuming = consuming::Consuming::start(&client, topic, partitions).await;
        let sending = producing::send(
            client,
            (acks, period),
            topic.to_owned(),
            ledger.clone(),
            stop.clone(),
        );
        Self {
            topic: topic.to_owned(),
            ledger,
            stop,
            producing: tokio::spawn(sending),
            consuming,
        }
    }

    /// Waits until `count` more records are acknowledged in every partition, and as many more were read.
    ///
    /// # Panics
    /// If they are not within the tests' patience.
    pub async fn more(&self, count: usize) {
        let acknowledged = || self.with(|ledger| ledger.counts.clone());
        let given = || self.consuming.counts();
        tokio::join!(
            grown("acknowledgements from every partition", count, acknowledged),
            grown("records read of every partition", count, given),
        );
    }

    /// Stops, waits until all replicas are in sync, and checks that no record was refused, lost or stored twice, where that is promised, that none was invented, that both this load's reader and a new one
    /// were given the same, without gaps, each key in order, that all replicas hold the same bytes, and that no process has ended by itself. Gives the longest time
    /// that a partition went without an acknowledgement.
    ///
    /// # Panics
    /// If the cluster broke its promise.
    pub async fn stop_and_check(self, cluster: &mut Cluster) -> Duration {
        cluster.check_alive();
        self.stop.store(true, Ordering::Relaxed);
        let sent = timeout(wait::PATIENCE, self.producing).await;
        let sent = sent.expect("what was sent is answered in time");
        sent.expect("sending does not panic");
        cluster.metadata().until_in_sync(&self.topic, BROKERS).await;
        let client = cluster.client().await;
        let ends = consuming::ends(&client, &self.topic, self.consuming.partitions()).await;
        let partitions = self.consuming.partitions();
        let read: Read = self.consuming.finish(&ends).await;
        let again = consuming::Consuming::start(&client, &self.topic, partitions).await;
        let again = again.finish(&ends).await;
        read.check_same(&again);
        let pause = {
            let ledger = self.ledger.lock().expect("nobody panicked with it");
            ledger.check(&read);
            ledger.longest_pause()
        };
        cluster.check_replicas(&self.topic).await;
        pause
    }

    fn with<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.ledger.lock().expect("nobody panicked with it"))
    }
}

/// Waits until each of these counts is higher than now by `count`.
async fn grown(what: &str, count: usize, counts: impl Fn() -> Vec<usize>) {
    let before = counts();
    wait::until_async(what, wait::PATIENCE, async || {
        let now = counts();
        let mut both = now.iter().zip(&before);
        both.all(|(now, before)| *now >= before + count)
            .then_some(())
    })
    .await;
}

impl Ledger {
    fn acknowledged(&mut self, partition: u32, offset: Option<u64>, value: String) {
        let at = partition as usize;
        self.counts[at] += 1;
        let (last, longest) = &mut self.gaps[at];
        let now = Instant::now();
        let gap = last.replace(now).map_or(Duration::ZERO, |last| now - last);
        *longest = gap.max(*longest);
        if self.is_promised {
            let offset = offset.expect("acks=all knows the offset");
            self.acknowledged.note(partition, offset, value);
        }
    }

    fn longest_pause(&self) -> Duration {
        let pauses = self.gaps.iter().map(|(_, longest)| *longest);
        pauses.max().unwrap_or_default()
    }

    fn check(&self, read: &Read) {
        self.acknowledged.check(read);
        let repeated = self.sent.check(read);
        assert!(
            !self.is_promised || repeated == 0,
            "records were stored twice"
        );
        eprintln!(
            "{} records acknowledged, {} read; longest pauses {:?}",
            self.counts.iter().sum::<usize>(),
            read.len(),
            self.gaps
                .iter()
                .map(|(_, longest)| longest)
                .collect::<Vec<_>>()
        );
        assert!(self.failures.is_empty(), "{:#?}", self.failures);
    }
}
