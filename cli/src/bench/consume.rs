//! How fast records come out.

use std::time::Duration;

use taffrail_client::Client;
use taffrail_core::ErrorCode;

use super::{
    ConsumeBench,
    report::{Report, Run},
    source::Source,
};
use crate::{
    connect::{self, client_failure},
    failure::{Failure, Outcome},
};

/// A topic that has nothing more to give for this long has fewer records than asked for.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Reads `args.records` records from the earliest on.
pub(super) async fn run(client: &Client, args: &ConsumeBench) -> Outcome<Report> {
    connect::require_topic(client, &args.topic).await?;
    let run = Run::start();
    let mut source = Source::open(client, &args.topic, args.group.as_deref()).await?;
    let (mut records, mut bytes) = (0_u64, 0_u64);
    while records < args.records {
        let Ok(next) = tokio::time::timeout(IDLE_MAX, source.next()).await else {
            return Err(Failure::of(
                ErrorCode::TimedOut,
                format!("{} has {records} records, not {}", args.topic, args.records),
            )
            .hint("lower --records, or fill the topic with taffrail bench produce"));
        };
        let Some(batch) = next? else {
            break;
        };
        let mut read = batch.records().map_err(|error| client_failure(&error))?;
        while records < args.records
            && let Some(record) = read.next_ref()
        {
            let record = record.map_err(|error| client_failure(&error))?;
            records += 1;
            bytes += record.value.map_or(0, <[u8]>::len) as u64;
        }
    }
    source.close().await?;
    let report = run.report("consume", &args.topic, records, bytes, None);
    if bytes != records * u64::from(args.size) {
        eprintln!(
            "the values have {bytes} bytes, not the {} that --size says",
            records * u64::from(args.size)
        );
    }
    Ok(report)
}
