//! How fast records go in.

use std::time::{Duration, Instant};

use taffrail_client::{Client, Delivery, Record, TopicProducer};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    ProduceBench,
    pace::Pace,
    payload::{Key, Payload},
    report::{Latencies, Report, Run},
};
use crate::{
    connect::{flush_failure, join_failure, produce_failure},
    failure::Outcome,
};

/// Without a rate every this many-th record is timed: timing each would be a part of what is measured.
const TIMED_EVERY: u64 = 16;
/// Timed records whose acknowledgement is awaited.
const TIMED_MAX: usize = 64 << 10;

type Timed = (Instant, Delivery);

/// Sends `args.records` records and waits for all acknowledgements.
pub(super) async fn run(client: &Client, args: &ProduceBench) -> Outcome<Report> {
    let payload = Payload::new(args.size).keys(args.keys);
    let producer = client.producer(args.config()?);
    let into = producer.topic(&args.topic).await;
    let into = into.map_err(|error| produce_failure(&error))?;
    let (timed, timings) = mpsc::channel(TIMED_MAX);
    let answers = tokio::spawn(collect(timings));
    let run = Run::start();
    if args.rate > 0.0 {
        paced(into, args, payload, timed).await?;
    } else {
        unpaced(&into, args, &payload, &timed).await?;
        drop(timed);
    }
    producer
        .close()
        .await
        .map_err(|error| flush_failure(&error))?;
    let answers = answers.await.map_err(|error| join_failure(&error))??;
    let bytes = args.records * u64::from(args.size);
    let report = run.report(
        "produce",
        &args.topic,
        args.records,
        bytes,
        answers.latencies.percentiles(),
    );
    Ok(report.with_longest_gap(answers.longest_gap))
}

async fn unpaced(
    into: &TopicProducer,
    args: &ProduceBench,
    payload: &Payload,
    timed: &mpsc::Sender<Timed>,
) -> Outcome {
    for index in 0..args.records {
        let key = payload.key();
        let taken = into.send(record(payload.value(index), key.as_ref())).await;
        let delivery = taken.map_err(|error| produce_failure(&error))?;
        if index.is_multiple_of(TIMED_EVERY)
            && timed.send((Instant::now(), delivery)).await.is_err()
        {
            return Ok(()); // a record failed, and the collector says which
        }
    }
    Ok(())
}

/// On a thread of its own, which keeps the pace.
async fn paced(
    into: TopicProducer,
    args: &ProduceBench,
    payload: Payload,
    timed: mpsc::Sender<Timed>,
) -> Outcome {
    let (records, rate) = (args.records, args.rate);
    let runtime = Handle::current();
    let sending = tokio::task::spawn_blocking(move || {
        let pace = Pace::new(rate);
        for index in 0..records {
            let due = pace.wait(index);
            let key = payload.key();
            let record = record(payload.value(index), key.as_ref());
            let taken = runtime.block_on(into.send(record));
            let delivery = taken.map_err(|error| produce_failure(&error))?;
            if timed.blocking_send((due, delivery)).is_err() {
                break; // a record failed, and the collector says which
            }
        }
        Ok(())
    });
    sending.await.map_err(|error| join_failure(&error))?
}

/// A value, with its key if there is one.
pub(super) fn record<'a>(value: &'a [u8], key: Option<&'a Key>) -> Record<'a> {
    let record = Record::new(value);
    key.map_or(record, |key| record.key(key))
}

/// What acknowledgements showed.
struct Answers {
    latencies: Latencies,
    /// Between two of them: how long nothing could be stored while a leader was replaced.
    longest_gap: Duration,
}

async fn collect(mut timings: mpsc::Receiver<Timed>) -> Outcome<Answers> {
    let mut latencies = Latencies::new()?;
    let mut longest_gap = Duration::ZERO;
    let mut last: Option<Instant> = None;
    while let Some((due, delivery)) = timings.recv().await {
        delivery.await.map_err(|error| produce_failure(&error))?;
        let now = Instant::now();
        latencies.add(now.saturating_duration_since(due));
        longest_gap = longest_gap.max(last.map_or(Duration::ZERO, |last| now - last));
        last = Some(now);
    }
    Ok(Answers {
        latencies,
        longest_gap,
    })
}
