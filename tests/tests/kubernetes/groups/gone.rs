//! Groups whose next records are gone, and which have a policy for that.

use serde_json::Value;
use taffrail_tests::{
    flights, manifest,
    operated::{Broker, start},
    programs::Answer,
    wait,
};

use super::{declare, reason, until_status};

const CONSUME: [&str; 4] = ["consume", "flights", "--group", "billing"];

/// The offsets that are there of the only partition, as its leader says it now.
fn range(broker: &Broker) -> (u64, u64) {
    let end = |to: &str| {
        let reset = ["groups", "reset", "billing", "--to", to, "--dry-run"];
        let answer = broker.taffrail(&[&reset[..], &["-o", "json"]].concat());
        let list: Value = serde_json::from_str(&answer.expect_success()).expect("JSON");
        list["items"][0]["to"].as_u64().expect("an offset")
    };
    (end("earliest"), end("latest"))
}

/// Writes until the record at `offset` is gone.
fn outrun(broker: &Broker, offset: u64) {
    let file = flights::file();
    let produce = ["produce", "flights", &file.to_string_lossy()];
    wait::until("it is gone", wait::PATIENCE, || {
        let is_gone = range(broker).0 > offset;
        if !is_gone {
            broker.taffrail(&produce).expect_success();
        }
        is_gone.then_some(())
    });
}

fn consume(broker: &Broker) -> Answer {
    let ended = broker.taffrail(&CONSUME);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

/// Where it went on instead of at `wanted`, as it said.
fn resumed(said: &Answer, wanted: u64) -> u64 {
    let begins = format!("offset {wanted} of flights/0 is out of range, reading goes on at ");
    let found = said.stderr.split_once(&begins);
    let resumed = found.and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
    resumed.unwrap_or_else(|| panic!("no range: {}", said.stderr))
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_member_goes_on_where_the_policy_says_and_tells_the_range() {
    let (operated, broker) = start();
    let spec = [
        "partitions: 1",
        "retention: {bytesPerPartition: 1Mi}",
        "segment: {bytes: 1Mi}",
    ];
    operated.apply_and_wait(&manifest::topic("flights", &spec), "topic/flights");
    declare(&operated, &["onOutOfRange: Latest"]);
    // It begins at the first record, and then nobody reads.
    assert_eq!(consume(&broker).stdout, "");
    outrun(&broker, 0);
    let latest = consume(&broker);
    let (_, end) = range(&broker);
    assert_eq!(latest.stdout, "", "nothing is behind the end");
    assert_eq!(resumed(&latest, 0), end);
    // The member has left, and stands behind it: what was lost is told nevertheless.
    let lost = until_status(&operated, "the loss", |status| {
        reason(status, "DataSafe") == "DataLost"
    })["lost"][0]
        .clone();
    assert_eq!(
        (&lost["partition"], &lost["from"]),
        (&"flights/0".into(), &0.into())
    );
    let to = lost["to"].as_u64().expect("an offset");
    assert!(0 < to && to <= end, "{lost}");
    declare(&operated, &["onOutOfRange: Earliest"]);
    wait::until("the coordinator knows it", wait::PATIENCE, || {
        let describe = ["groups", "describe", "billing", "-o", "json"];
        let described = broker.taffrail(&describe).expect_success();
        described
            .contains(r#""onOutOfRange": "Earliest""#)
            .then_some(())
    });
    outrun(&broker, end);
    let earliest = consume(&broker);
    let (start, next) = range(&broker);
    let resumed = resumed(&earliest, end);
    // More may have gone since.
    assert!(end < resumed && resumed <= start, "{}", earliest.stderr);
    let read = earliest.stdout.lines().count() as u64;
    assert_eq!(read, next - resumed);
}
