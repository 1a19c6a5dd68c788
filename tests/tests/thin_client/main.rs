//! Any language with a stock gRPC library and our .proto files is a client: shown with Python, by tests/thin_client/thin_client.py.
#![forbid(unsafe_code)]

use std::{fs, process::Command};

use taffrail_tests::{dev::Dev, manifest, programs};
use taffrail_xtask::workspace_root;

/// Runs one scenario of the script against a fresh cluster with a topic `events` of three partitions.
fn run(scenario: &str) {
    let python = std::env::var_os("TAFFRAIL_PYTHON").expect(
        "TAFFRAIL_PYTHON names an interpreter with grpcio; run this test by `cargo xtask ci`",
    );
    let dev = Dev::start("thin-client");
    dev.apply(&manifest::topic("events", &["partitions: 3"]));
    let stubs = dev.scratch().path().join("stubs");
    fs::create_dir(&stubs).expect("the folder can be made");
    programs::answer(
        Command::new(python)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(workspace_root().join("tests/thin_client/thin_client.py"))
            .arg(workspace_root().join("api/proto"))
            .arg(stubs)
            .arg(dev.address().to_string())
            .arg(scenario),
    )
    .expect_success();
}

#[test]
#[ignore = "needs Python with grpcio: cargo xtask ci"]
fn what_is_published_is_received_in_order_with_all_its_parts() {
    run("publish_and_subscribe");
}

#[test]
#[ignore = "needs Python with grpcio: cargo xtask ci"]
fn of_two_members_of_a_group_one_is_killed_and_the_other_goes_on_where_it_had_committed() {
    run("group_of_two");
}

#[test]
#[ignore = "needs Python with grpcio: cargo xtask ci"]
fn an_unknown_topic_has_a_stable_code_in_the_trailer() {
    run("unknown_topic");
}

#[test]
#[ignore = "needs Python with grpcio: cargo xtask ci"]
fn bytes_that_are_no_message_are_refused_and_the_connection_goes_on() {
    run("malformed_message");
}

#[test]
#[ignore = "needs Python with grpcio: cargo xtask ci"]
fn the_health_service_says_serving() {
    run("health");
}

#[test]
#[ignore = "needs Python with grpcio: cargo xtask ci"]
fn the_reflection_service_knows_every_service_and_message() {
    run("reflection");
}
