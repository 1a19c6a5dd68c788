//! Data that a group is about to lose, and data that it has lost.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::Value;
use taffrail_tests::{
    manifest,
    operated::{Operated, start},
    wait,
};

use super::{consume, declare, produce, reason, status, until_status};

const RETENTION: Duration = Duration::from_secs(150);
/// How far the deadline may be off: the controller looks every two seconds, and what is shown is rounded down to ten.
const SLACK: Duration = Duration::from_secs(15);

fn time(value: &Value) -> SystemTime {
    let text = value.as_str().expect("a time");
    text.parse::<Timestamp>().expect("a time").into()
}

/// Events of the group with this reason: their notes.
fn notes(operated: &Operated, reason: &str) -> Vec<String> {
    let recorded = operated.api().get(&["events.events.k8s.io"]);
    let events = recorded["items"].as_array().expect("a list").iter();
    let about = events.filter(|event| event["regarding"]["kind"] == "ConsumerGroup");
    let of_reason = about.filter(|event| event["reason"] == reason);
    of_reason.map(|event| event["note"].to_string()).collect()
}

/// What `kubectl get` shows of the group below LAG and LOSES-DATA-IN.
fn columns(operated: &Operated) -> [String; 2] {
    let table = operated.api().kubectl(&["get", "cg", "billing"]);
    let table = table.expect_success();
    let (header, row) = table.split_once('\n').expect("a row");
    ["LAG ", "LOSES-DATA-IN"].map(|head| {
        let begins = header.find(head).expect("a column");
        let cell = row.get(begins..).unwrap_or_default().split(' ').next();
        cell.unwrap_or_default().to_owned()
    })
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn data_at_risk_and_data_lost_are_told_with_their_offsets() {
    let (operated, broker) = start();
    let spec = [
        "partitions: 1",
        // Rates are known after a minute. All records of one run go into one segment, also on a busy machine.
        "retention: {time: 150s}",
        "segment: {maxAge: 30s}",
    ];
    operated.apply_and_wait(&manifest::topic("flights", &spec), "topic/flights");
    declare(&operated, &["topics: [{name: flights}]"]);
    // It begins, and then nobody reads.
    assert_eq!(consume(&broker), 0);
    let before = SystemTime::now();
    produce(&broker);
    let after = SystemTime::now();
    let soon = until_status(&operated, "the deadline", |status| {
        reason(status, "DataSafe") == "ExpiringSoon"
    });
    assert_eq!(soon["lossDeadline"]["partition"], "flights/0");
    let at = time(&soon["lossDeadline"]["at"]);
    let may_be = before + RETENTION - SLACK..=after + RETENTION + SLACK;
    assert!(may_be.contains(&at), "{at:?} is not in {may_be:?}");
    let [lag, left] = columns(&operated);
    assert_eq!(lag, soon["lag"]["records"].to_string());
    assert_eq!(left, soon["lossDeadline"]["in"], "LOSES-DATA-IN");
    // Only segments that are full or old are deleted, and more records make it so.
    let records = soon["lag"]["records"].as_u64().expect("a number");
    produce(&broker);
    let lost = until_status(&operated, "the loss", |status| {
        reason(status, "DataSafe") == "DataLost"
    })["lost"][0]
        .clone();
    assert!(time(&lost["seenAt"]) >= at, "{lost} before {at:?}");
    let get = ["get", "partitions", "flights", "-o", "json"];
    let log: Value = serde_json::from_str(&broker.taffrail(&get).expect_success()).expect("JSON");
    assert_eq!(log["items"][0]["logStartOffset"], records);
    for (field, expected) in [
        ("partition", Value::from("flights/0")),
        ("from", 0.into()),
        ("to", records.into()),
    ] {
        assert_eq!(lost[field], expected, "{lost}");
    }
    let told = wait::until("the event", wait::PATIENCE, || {
        let told = notes(&operated, "DataLost");
        (!told.is_empty()).then_some(told)
    });
    let offsets = format!("offsets 0 to {} of flights/0", records - 1);
    assert!(told[0].contains(&offsets), "{told:?}");
    assert_eq!(notes(&operated, "ExpiringSoon").len(), 1);
    let metrics = operated.metrics();
    let sample = format!(
        "taffrail_operator_group_lost_records{{cluster=\"default/main\",group=\"billing\",topic=\"flights\",partition=\"0\"}} {records}\n"
    );
    assert!(metrics.contains(&sample), "{metrics}");
    // Nobody has decided where it goes on.
    let refused = broker.taffrail(&["consume", "flights", "--group", "billing"]);
    let refused = refused.expect_failure();
    assert!(refused.contains("OFFSET_OUT_OF_RANGE"), "{refused}");
    let reset = ["groups", "reset", "billing", "--to", "earliest"];
    broker.taffrail(&reset).expect_success();
    assert_eq!(consume(&broker) as u64, records, "as many once more");
    assert!(status(&operated)["lost"][0]["to"] == records, "still shown");
}
