//! What an operator of the system sees: metrics, probes, logs whose level changes, a log that is verified offline.

use std::process::Stdio;

use taffrail_tests::{dev::Dev, http, manifest, wait};

fn get(dev: &Dev, path: &str) -> http::Response {
    http::request(dev.http(), "GET", path, "")
}

#[test]
fn metrics_are_prometheus_text_and_count_what_was_produced() {
    let dev = Dev::start("metrics");
    dev.apply(&manifest::topic("events", &["partitions: 1"]));
    let three = dev.scratch().write("three.txt", "one\ntwo\nthree\n");
    dev.taffrail(&["produce", "events", &three.to_string_lossy()])
        .expect_success();
    let metrics = get(&dev, "/metrics");
    assert_eq!(metrics.status, 200);
    let ours = |line: &&str| line.starts_with("taffrail_");
    assert!(
        metrics
            .body
            .lines()
            .any(|line| ours(&line) && line.ends_with(" 3")),
        "{}",
        metrics.body
    );
    for line in metrics
        .body
        .lines()
        .filter(|line| line.starts_with("# HELP"))
    {
        assert!(line.split(' ').nth(3).is_some(), "no help: {line}");
    }
}

#[test]
fn probes_say_that_it_lives_and_is_ready() {
    let dev = Dev::start("probes");
    assert_eq!(get(&dev, "/livez").status, 200);
    wait::until("readiness", wait::PATIENCE, || {
        (get(&dev, "/readyz").status == 200).then_some(())
    });
    assert_eq!(get(&dev, "/nowhere").status, 404);
}

#[test]
fn the_log_level_changes_while_it_runs() {
    let dev = Dev::start("log-level");
    let put = |level: &str| http::request(dev.http(), "PUT", "/log-level", level);
    let refused = put("taffrail_broker=loud");
    assert_eq!(refused.status, 400, "{refused:?}");
    let accepted = put("debug");
    assert!((200..300).contains(&accepted.status), "{accepted:?}");
    wait::until("a line of level debug", wait::PATIENCE, || {
        dev.taffrail(&["get", "topics"]).expect_success();
        dev.said().contains("DEBUG").then_some(())
    });
    let coloured = dev.said().contains('\u{1b}');
    assert!(!coloured, "a log in a file has no codes of a terminal");
}

#[test]
fn a_stopped_log_verifies_offline() {
    let mut dev = Dev::start("verify");
    dev.apply(&manifest::topic("events", &["partitions: 2"]));
    let three = dev.scratch().write("three.txt", "one\ntwo\nthree\n");
    dev.taffrail(&["produce", "events", &three.to_string_lossy()])
        .expect_success();
    dev.stop();
    dev.taffrail(&["log", "verify", &dev.data_dir().to_string_lossy()])
        .expect_success();
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let dev = Dev::start("broken-pipe");
    dev.apply(&manifest::topic("events", &["partitions: 1"]));
    let text = dev.scratch().write("many.txt", &"line\n".repeat(20_000));
    dev.taffrail(&["produce", "events", &text.to_string_lossy()])
        .expect_success();
    let mut consumer = dev
        .command()
        .args(["consume", "events", "-o", "raw"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("taffrail starts");
    drop(consumer.stdout.take());
    assert!(consumer.wait().expect("it ends").success());
}
