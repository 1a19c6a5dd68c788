//! The main job on real input: apply a Topic, produce, consume.

use std::{collections::HashMap, process::Command};

use taffrail_tests::{
    consumed::{self, Consumed},
    dev::Dev,
    flights, manifest, programs,
    scratch::Scratch,
};

fn produce_flights(dev: &Dev) {
    dev.taffrail(&[
        "produce",
        "flights",
        &flights::file().to_string_lossy(),
        "--key-field",
        "tailnum",
        "--timestamp-field",
        "time_hour",
    ])
    .expect_success();
}

fn fields(record: &Consumed) -> HashMap<String, String> {
    let value = record.value.as_deref().expect("a flight has a value");
    serde_json::from_str(value).expect("the value is the row as JSON")
}

#[test]
fn the_flights_go_in_and_come_out_whole_in_order_and_with_their_times() {
    let dev = Dev::start("main-job");
    dev.apply(&manifest::topic("flights", &["partitions: 3"]));
    produce_flights(&dev);
    let records = consumed::consume(&dev, "flights");
    assert_eq!(records.len(), flights::COUNT);

    let mut sent: HashMap<String, Vec<HashMap<String, String>>> = HashMap::new();
    for flight in flights::all() {
        sent.entry(flight.tail_number)
            .or_default()
            .push(flight.fields);
    }
    let mut received: HashMap<String, Vec<HashMap<String, String>>> = HashMap::new();
    let mut home: HashMap<String, u32> = HashMap::new();
    for record in &records {
        let fields = fields(record);
        assert_eq!(
            record.timestamp.get(..19),
            fields["time_hour"].get(..19),
            "record time is the flight's"
        );
        if let Some(key) = &record.key {
            let partition = *home.entry(key.clone()).or_insert(record.partition);
            assert_eq!(partition, record.partition, "a key stays in its partition");
        }
        received
            .entry(record.key.clone().unwrap_or_default())
            .or_default()
            .push(fields);
    }
    // Flights without a tail number have no key, and no order among them.
    let keyless =
        |flights: &mut HashMap<String, Vec<_>>| flights.remove("").map(|flights| flights.len());
    assert_eq!(keyless(&mut sent), keyless(&mut received));
    assert!(
        sent == received,
        "each aircraft's flights come in the order in which they were sent"
    );
}

#[test]
fn the_log_is_read_again_after_a_clean_restart() {
    let mut dev = Dev::start("clean-restart");
    dev.apply(&manifest::topic("flights", &["partitions: 3"]));
    produce_flights(&dev);
    let before = consumed::consume(&dev, "flights");
    assert!(dev.stop().success(), "{}", dev.said());
    dev.restart();
    let mut after = consumed::consume(&dev, "flights");
    let mut before = before;
    let place = |record: &Consumed| (record.partition, record.offset);
    before.sort_by_key(place);
    after.sort_by_key(place);
    assert!(before == after, "the same records at the same places");
}

#[test]
fn reading_starts_at_a_time() {
    let dev = Dev::start("from-a-time");
    dev.apply(&manifest::topic("flights", &["partitions: 1"]));
    produce_flights(&dev);
    let lines = dev
        .taffrail(&[
            "consume",
            "flights",
            "--from",
            "2013-01-31T12:00:00Z",
            "--max",
            "1",
            "-o",
            "json",
        ])
        .expect_success();
    let first = &consumed::parse(&lines)[0];
    assert!(first.timestamp.as_str() >= "2013-01-31T12", "{first:?}");
}

#[test]
fn counting_prints_how_many_there_were_and_no_record() {
    let dev = Dev::start("count");
    dev.apply(&manifest::topic("flights", &["partitions: 3"]));
    produce_flights(&dev);
    let answer = dev.taffrail(&["consume", "flights", "--output", "count"]);
    assert_eq!(answer.stderr, "27,004 records read from flights\n");
    assert_eq!(answer.expect_success(), "");
}

#[test]
fn the_demo_shows_it_all_in_one_command() {
    let scratch = Scratch::new("demo");
    let shown = programs::answer(
        Command::new(programs::path("taffrail"))
            .args(["demo", "--once", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(scratch.path().join("data")),
    )
    .expect_success();
    assert!(shown.contains("27,004"), "{shown}");
}
