//! How long a record takes, from the moment it is due to the consumer's hands, both in this process.

use std::time::{Duration, Instant};

use taffrail_client::{Client, TopicProducer};
use taffrail_core::ErrorCode;
use tokio::{runtime::Handle, sync::oneshot, task::JoinHandle};

use super::{
    LatencyBench, ProduceBench,
    pace::Pace,
    payload::{MARK_BYTES, Payload},
    produce::record,
    report::{Latencies, Report, Run},
    source::Source,
};
use crate::{
    connect::{client_failure, flush_failure, join_failure, produce_failure},
    failure::{Failure, Outcome},
};

/// A record that is not seen for this long is lost.
const ARRIVAL_DEADLINE: Duration = Duration::from_mins(1);

/// Sends records and waits for each at the consumer.
pub(super) async fn run(client: &Client, args: &LatencyBench) -> Outcome<Report> {
    let (group, args) = (args.group.as_deref(), &args.sent);
    if (args.size as usize) < MARK_BYTES {
        return Err(Failure::usage(format!(
            "--size must be at least {MARK_BYTES}: records are marked, to be found again"
        )));
    }
    let payload = Payload::new(args.size).keys(args.keys);
    let source = Source::open_at_end(client, &args.topic, group).await?;
    let mut arrivals = Arrivals {
        source,
        payload: payload.clone(),
    };
    let producer = client.producer(args.config()?);
    let into = producer.topic(&args.topic).await;
    let into = into.map_err(|error| produce_failure(&error))?;
    // Connections are made and the partition's first long poll is waiting before anything is timed.
    one_at_a_time(&into, &payload, &mut arrivals, 1).await?;
    let run = Run::start();
    let latencies = if args.rate > 0.0 {
        paced(into, args, payload, arrivals).await?
    } else {
        one_at_a_time(&into, &payload, &mut arrivals, args.records).await?
    };
    producer
        .close()
        .await
        .map_err(|error| flush_failure(&error))?;
    let bytes = args.records * u64::from(args.size);
    Ok(run.report(
        "latency",
        &args.topic,
        args.records,
        bytes,
        latencies.percentiles(),
    ))
}

/// The next record only when the last was consumed.
async fn one_at_a_time(
    into: &TopicProducer,
    payload: &Payload,
    arrivals: &mut Arrivals,
    records: u64,
) -> Outcome<Latencies> {
    let mut latencies = Latencies::new()?;
    for index in 0..records {
        let value = payload.marked(index);
        let sent = Instant::now();
        // The consumer's hands are where the record ends, so its acknowledgement is not awaited.
        let key = payload.key();
        let taken = into.send(record(&value, key.as_ref())).await;
        drop(taken.map_err(|error| produce_failure(&error))?);
        while !arrivals.next().await?.contains(&index) {}
        latencies.add(sent.elapsed());
    }
    Ok(latencies)
}

/// Sent on a thread of its own, which keeps the pace, and received here.
async fn paced(
    into: TopicProducer,
    args: &ProduceBench,
    payload: Payload,
    mut arrivals: Arrivals,
) -> Outcome<Latencies> {
    let (paces, pace) = oneshot::channel();
    let mut sending: JoinHandle<Outcome> = {
        let (records, rate) = (args.records, args.rate);
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            let pace = Pace::new(rate);
            // An error means that the receiving side failed, which is what the user is told.
            let _ = paces.send(pace);
            for index in 0..records {
                let (value, key) = (payload.marked(index), payload.key());
                pace.wait(index);
                let taken = runtime.block_on(into.send(record(&value, key.as_ref())));
                drop(taken.map_err(|error| produce_failure(&error))?);
            }
            Ok(())
        })
    };
    let pace = pace
        .await
        .map_err(|_| Failure::of(ErrorCode::Internal, "the sender is gone"))?;
    let mut latencies = Latencies::new()?;
    let mut received = 0;
    let mut is_sent = false;
    while received < args.records {
        let came = tokio::select! {
            sent = &mut sending, if !is_sent => {
                sent.map_err(|error| join_failure(&error))??;
                is_sent = true;
                continue;
            }
            came = arrivals.next() => came?,
        };
        for index in came {
            latencies.add(Instant::now().saturating_duration_since(pace.intended(index)));
            received += 1;
        }
    }
    Ok(latencies)
}

/// The records of this run as the consumer sees them.
struct Arrivals {
    source: Source,
    payload: Payload,
}

impl Arrivals {
    /// The numbers of those that came, at least one answer of the consumer.
    async fn next(&mut self) -> Outcome<Vec<u64>> {
        let Ok(batch) = tokio::time::timeout(ARRIVAL_DEADLINE, self.source.next()).await else {
            return Err(Failure::of(
                ErrorCode::TimedOut,
                format!("no record came for {} s", ARRIVAL_DEADLINE.as_secs()),
            )
            .hint("look at the topic with taffrail describe"));
        };
        let Some(batch) = batch? else {
            return Ok(Vec::new());
        };
        let mut indexes = Vec::new();
        let mut records = batch.records().map_err(|error| client_failure(&error))?;
        while let Some(record) = records.next_ref() {
            let record = record.map_err(|error| client_failure(&error))?;
            indexes.extend(record.value.and_then(|value| self.payload.index_of(value)));
        }
        Ok(indexes)
    }
}
