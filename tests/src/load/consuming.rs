//! The consumer's side.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use taffrail_client::{Client, Consumer, ConsumerConfig, PartitionIndex, Start};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{history::Read, wait};

/// How often it looks whether it has all.
const LOOK: Duration = Duration::from_millis(100);

/// Reads all partitions of a topic from their start, without end until told where that is.
pub(super) struct Consuming {
    /// How many records of each partition it was given.
    counts: Arc<[AtomicUsize]>,
    /// Where each partition ends, once that is known.
    ends: watch::Sender<Option<Vec<u64>>>,
    task: JoinHandle<Read>,
}

impl Consuming {
    pub(super) async fn start(client: &Client, topic: &str, partitions: usize) -> Self {
        let mut consumer = client.consumer(ConsumerConfig::default());
        let all = indexes(partitions).map(|index| (topic, index, Start::Earliest));
        consumer.assign(all).await.expect("the topic is there");
        let (ends, until) = watch::channel(None);
        let counts: Arc<[_]> = (0..partitions).map(|_| AtomicUsize::new(0)).collect();
        let reading = read(consumer, topic.to_owned(), until, Arc::clone(&counts));
        Self {
            counts,
            ends,
            task: tokio::spawn(reading),
        }
    }

    pub(super) fn partitions(&self) -> usize {
        self.counts.len()
    }

    /// How many records of each partition it was given so far.
    pub(super) fn counts(&self) -> Vec<usize> {
        let counts = self.counts.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Goes on to these ends, and gives everything before them.
    pub(super) async fn finish(self, ends: &[u64]) -> Read {
        self.ends.send_replace(Some(ends.to_vec()));
        let read = timeout(wait::PATIENCE, self.task).await;
        read.expect("the reader comes to the end")
            .expect("the reader is given what it should")
    }
}

/// Where each partition ends now.
pub(super) async fn ends(client: &Client, topic: &str, partitions: usize) -> Vec<u64> {
    let queries: Vec<_> = indexes(partitions)
        .map(|index| (topic.to_owned(), index, Start::Latest))
        .collect();
    let ends = client.offsets(&queries).await.expect("the leaders answer");
    ends.into_iter().map(|offset| offset.0).collect()
}

async fn read(
    mut consumer: Consumer,
    topic: String,
    ends: watch::Receiver<Option<Vec<u64>>>,
    counts: Arc<[AtomicUsize]>,
) -> Read {
    let mut read = Read::default();
    loop {
        let records = consumer.poll(LOOK).await;
        for record in records.expect("a consumer rides through whatever happens") {
            let value = record.value.expect("every record has a value");
            let value = String::from_utf8(value.to_vec()).expect("it is text");
            counts[record.partition.0 as usize].fetch_add(1, Ordering::Relaxed);
            read.note_next(record.partition.0, record.offset.0, value);
        }
        if let Some(ends) = &*ends.borrow() {
            let position = |index| {
                consumer
                    .position(&topic, index)
                    .map_or(0, |offset| offset.0)
            };
            let mut both = indexes(ends.len()).map(position).zip(ends);
            if both.all(|(position, end)| position >= *end) {
                // What nobody waited for may have come after the ends were asked for.
                read.cut(ends);
                return read;
            }
        }
    }
}

fn indexes(partitions: usize) -> impl Iterator<Item = PartitionIndex> {
    (0..partitions as u32).map(PartitionIndex)
}
