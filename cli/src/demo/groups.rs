//! Two groups read the same flights, each at its own pace, and one goes back in time.

use std::{cmp::Reverse, collections::BTreeMap};

use serde_json::Value;
use taffrail_client::{Client, ConsumedRecord, ConsumerConfig};

use super::{TOPIC, story};
use crate::{
    connect::client_failure,
    consume::{As, Member, Until},
    failure::Outcome,
    groups,
    time::From,
};

/// How long flights of each carrier were late.
pub(super) const DELAYS: &str = "delays";
/// How many flights went to each airport.
pub(super) const ARRIVALS: &str = "arrivals";
/// What the second group reads before the first one has read everything.
const HALF: u64 = 10_000;
/// One week before the end of the month.
pub(super) const BACK_TO: &str = "2013-01-24T00:00:00Z";

/// What a carrier's flights were late in all, in minutes, and how many there were.
#[derive(Debug, Default, Clone, Copy)]
struct Late {
    minutes: f64,
    flights: u64,
}

/// Tells it step by step.
pub(super) async fn show(client: &Client) -> Outcome {
    let mut arrivals: BTreeMap<String, u64> = BTreeMap::new();
    let half = read(client, ARRIVALS, HALF, |flight| {
        arrived(&mut arrivals, flight);
    })
    .await?;
    let mut delays: BTreeMap<String, Late> = BTreeMap::new();
    let all = read(client, DELAYS, u64::MAX, |flight| {
        delayed(&mut delays, flight);
    })
    .await?;
    story::read(DELAYS, all, &latest(delays))?;
    let behind = groups::behind(client, ARRIVALS).await?;
    let rest = read(client, ARRIVALS, u64::MAX, |flight| {
        arrived(&mut arrivals, flight);
    })
    .await?;
    story::read_later(ARRIVALS, half, behind, rest, &busiest(arrivals))?;
    let from = BACK_TO
        .parse::<From>()
        .map_err(crate::failure::Failure::usage)?;
    groups::reset_all(client, ARRIVALS, from).await?;
    let again = read(client, ARRIVALS, u64::MAX, |_| {}).await?;
    let untouched = groups::behind(client, DELAYS).await?;
    story::reset(again, untouched)
}

/// What the group has not read yet, up to `max` records. Says how many there were.
async fn read(
    client: &Client,
    group: &str,
    max: u64,
    mut each: impl FnMut(&Value),
) -> Outcome<u64> {
    let who = As {
        group: group.to_owned(),
        topic: Some(TOPIC.to_owned()),
        instance_id: None,
        rack: None,
        from: From::Earliest,
        consumer: ConsumerConfig::default(),
    };
    let mut member = Member::join(client, who, Until::End).await?;
    let mut count = 0;
    'reading: while let Some(batch) = member.next().await? {
        for record in batch.records().map_err(|error| client_failure(&error))? {
            if count == max {
                break 'reading;
            }
            let record = record.map_err(|error| client_failure(&error))?;
            each(&flight(&record));
            member.printed(&record);
            count += 1;
        }
    }
    member.close().await?;
    Ok(count)
}

/// Null if it is none: somebody else may write to the topic.
fn flight(record: &ConsumedRecord) -> Value {
    let value = record.value.as_deref().unwrap_or_default();
    serde_json::from_slice(value).unwrap_or_default()
}

fn text(flight: &Value, field: &str) -> Option<String> {
    flight[field].as_str().map(str::to_owned)
}

/// Of a CSV field, which may be text.
fn number(flight: &Value, field: &str) -> Option<f64> {
    let value = &flight[field];
    value
        .as_f64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

fn delayed(delays: &mut BTreeMap<String, Late>, flight: &Value) {
    // A flight that was cancelled has no delay.
    if let (Some(carrier), Some(minutes)) = (text(flight, "carrier"), number(flight, "dep_delay")) {
        let late = delays.entry(carrier).or_default();
        late.minutes += minutes;
        late.flights += 1;
    }
}

fn arrived(arrivals: &mut BTreeMap<String, u64>, flight: &Value) {
    if let Some(airport) = text(flight, "dest") {
        *arrivals.entry(airport).or_default() += 1;
    }
}

/// The three that were late most on average.
fn latest(delays: BTreeMap<String, Late>) -> String {
    let average = |late: Late| late.minutes / late.flights as f64;
    let mut carriers: Vec<_> = delays
        .into_iter()
        .map(|(c, late)| (c, average(late)))
        .collect();
    carriers.sort_by(|a, b| b.1.total_cmp(&a.1));
    let first = carriers.iter().take(3);
    let first: Vec<_> = first
        .map(|(carrier, minutes)| format!("{carrier} {minutes:.1} min late"))
        .collect();
    first.join(", ")
}

/// The three with most flights.
fn busiest(arrivals: BTreeMap<String, u64>) -> String {
    let mut airports: Vec<_> = arrivals.into_iter().collect();
    airports.sort_by_key(|(_, flights)| Reverse(*flights));
    let first = airports.iter().take(3);
    let first: Vec<_> = first
        .map(|(airport, flights)| format!("{airport} {flights}"))
        .collect();
    first.join(", ")
}
