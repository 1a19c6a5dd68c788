//! Records of an iterator through a producer: reading, sending and waiting for acknowledgements go on side by side.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use taffrail_client::{Client, Delivery, ProducerConfig, Record, TopicProducer};
use tokio::sync::mpsc;

use super::AcksArg;
use crate::{
    connect::{flush_failure, join_failure, produce_failure},
    failure::{Failure, Outcome},
    input::{InputRecord, Progress, Records},
};

/// Records handed from the reading thread at a time.
const CHUNK_RECORDS: usize = 256;
/// Chunks read ahead: enough to hide the reading, few enough to forget about.
const CHUNKS_AHEAD: usize = 8;
/// Acknowledgements outstanding. The producer's own buffer is the real bound.
const DELIVERIES_MAX: usize = 64 << 10;
/// A file is in no hurry: fuller batches cost less.
const LINGER: Duration = Duration::from_millis(5);
/// How often the progress bar moves.
const RECORDS_PER_TICK: u64 = 1_024;

/// What was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// How many records were acknowledged.
    pub(crate) records: u64,
    /// Bytes of keys and values.
    pub(crate) bytes: u64,
    /// From the first byte read to the last acknowledgement.
    pub(crate) seconds: f64,
}

/// Sends all records and waits until each is acknowledged.
///
/// # Errors
/// The first record that cannot be read, or is not acknowledged; the failure says how many were.
pub(crate) async fn send_all(
    client: &Client,
    topic: &str,
    records: Records,
    acks: AcksArg,
    shown: Option<(&ProgressBar, &Progress)>,
) -> Outcome<Sent> {
    let started = Instant::now();
    let producer = client.producer(ProducerConfig {
        acks: acks.into(),
        linger: LINGER,
        ..ProducerConfig::default()
    });
    let (deliveries, delivered) = mpsc::channel(DELIVERIES_MAX);
    let acknowledged = tokio::spawn(count_acknowledged(delivered));
    let mut chunks = read_ahead(records);
    let into = producer.topic(topic).await;
    let into = into.map_err(|error| produce_failure(&error))?;
    let sent = send_chunks(&into, &mut chunks, &deliveries, shown).await;
    drop(deliveries);
    let closed = producer.close().await;
    let counted = acknowledged.await.map_err(|error| join_failure(&error))?;
    let records = counted.records;
    let failed = counted
        .failure
        .or(closed.err().map(|error| flush_failure(&error)));
    match failed.map_or(sent, Err) {
        Ok(bytes) => Ok(Sent {
            records,
            bytes,
            seconds: started.elapsed().as_secs_f64(),
        }),
        Err(failure) if records == 0 => Err(failure),
        Err(failure) => Err(failure.note(format!(
            "{records} records were acknowledged, then it failed (sending them again stores them twice)"
        ))),
    }
}

async fn send_chunks(
    into: &TopicProducer,
    chunks: &mut mpsc::Receiver<Outcome<Vec<InputRecord>>>,
    deliveries: &mpsc::Sender<Delivery>,
    shown: Option<(&ProgressBar, &Progress)>,
) -> Outcome<u64> {
    let (mut records, mut bytes) = (0_u64, 0);
    while let Some(chunk) = chunks.recv().await {
        for record in chunk? {
            bytes += (record.value.len() + record.key.as_ref().map_or(0, Vec::len)) as u64;
            let record = Record {
                key: record.key.as_deref(),
                value: Some(&record.value),
                timestamp_ms: record.timestamp_ms,
                ..Record::default()
            };
            let taken = into.send(record).await;
            let delivery = taken.map_err(|error| produce_failure(&error))?;
            if deliveries.send(delivery).await.is_err() {
                return Ok(bytes); // an earlier record failed, and that is what the user is told
            }
            records += 1;
            if let (0, Some((bar, progress))) = (records % RECORDS_PER_TICK, shown) {
                bar.set_position(progress.read());
                bar.set_message(format!("{records} records"));
            }
        }
    }
    Ok(bytes)
}

/// What became of the records.
struct Counted {
    records: u64,
    failure: Option<Failure>,
}

/// Stops at the first failure.
async fn count_acknowledged(mut delivered: mpsc::Receiver<Delivery>) -> Counted {
    let mut records = 0;
    while let Some(delivery) = delivered.recv().await {
        match delivery.await {
            Ok(_) => records += 1,
            Err(error) => {
                let failure = Some(produce_failure(&error));
                return Counted { records, failure };
            }
        }
    }
    Counted {
        records,
        failure: None,
    }
}

/// Reads on a thread of its own, which nobody waits for: a read of a terminal may never end.
fn read_ahead(records: Records) -> mpsc::Receiver<Outcome<Vec<InputRecord>>> {
    let (chunks, receiver) = mpsc::channel(CHUNKS_AHEAD);
    std::thread::spawn(move || {
        // An error means that the sender gave up: there is nobody to read for.
        let _ = read_chunks(records, &chunks);
    });
    receiver
}

type ChunkSender = mpsc::Sender<Outcome<Vec<InputRecord>>>;

fn read_chunks(
    records: Records,
    chunks: &ChunkSender,
) -> Result<(), mpsc::error::SendError<Outcome<Vec<InputRecord>>>> {
    let mut chunk = Vec::with_capacity(CHUNK_RECORDS);
    for record in records {
        match record {
            Ok(record) => chunk.push(record),
            Err(failure) => {
                chunks.blocking_send(Ok(chunk))?;
                return chunks.blocking_send(Err(failure));
            }
        }
        // Lines that somebody types are not kept until there are many.
        let is_idle = chunks.capacity() == chunks.max_capacity();
        if is_idle || chunk.len() == CHUNK_RECORDS {
            chunks.blocking_send(Ok(std::mem::take(&mut chunk)))?;
        }
    }
    chunks.blocking_send(Ok(chunk))
}
