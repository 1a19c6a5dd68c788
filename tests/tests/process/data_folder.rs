//! Data folders that are not this cluster's.

use std::{fs, process::Command};

use serde_json::Value;
use taffrail_tests::{
    consumed,
    dev::Dev,
    manifest,
    partitions::{self, files, folders},
    programs, wait,
};

#[test]
fn a_volume_of_another_cluster_is_refused() {
    let mut ours = Dev::start("ours");
    let mut theirs = Dev::start("theirs");
    ours.stop();
    theirs.stop();
    let volume = ours.data_dir().join("broker-0");
    fs::remove_dir_all(&volume).expect("it can be removed");
    fs::rename(theirs.data_dir().join("broker-0"), &volume).expect("it can be moved");
    let status = ours.restart_in_vain();
    assert!(!status.success());
    let said = ours.said();
    assert!(said.contains("FOREIGN_CLUSTER"), "{said}");
}

#[test]
fn a_volume_of_a_newer_format_is_refused() {
    let mut dev = Dev::start("newer-volume");
    dev.stop();
    let identity = dev.data_dir().join("broker-0/identity");
    let text = fs::read_to_string(&identity).expect("the identity is readable");
    assert!(text.contains("format=1 "), "{text}");
    fs::write(&identity, text.replace("format=1 ", "format=99 ")).expect("it can be written");
    assert!(!dev.restart_in_vain().success());
    let said = dev.said();
    assert!(said.contains("newer") && said.contains("99"), "{said}");
}

#[test]
fn a_broker_that_does_not_start_logs_why_with_its_code() {
    let mut dev = Dev::start("code-in-the-log");
    dev.stop();
    let volume = dev.data_dir().join("broker-0");
    let identity = volume.join("identity");
    let text = fs::read_to_string(&identity).expect("the identity is readable");
    fs::write(&identity, text.replace("format=1 ", "format=99 ")).expect("it can be written");
    let ended = programs::answer(
        Command::new(programs::path("taffrail-broker"))
            .arg("--data-dir")
            .arg(&volume)
            .args(["--client-listen", "127.0.0.1:0"])
            .args(["--replication-listen", "127.0.0.1:0"])
            .args(["--http-listen", "127.0.0.1:0"])
            .args(["--log-format", "json"]),
    );
    assert_eq!(ended.code, Some(1));
    let lines = ended.stderr.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<_> = lines.collect::<Result<_, _>>().expect("each is JSON");
    let last = lines.last().expect("it says why");
    assert_eq!(last["level"], "ERROR", "{last}");
    assert_eq!(last["code"], "UNSUPPORTED_VERSION", "{last}");
    let message = last["message"].as_str().expect("text");
    assert!(message.contains("has format 99"), "{message}");
}

#[test]
fn a_data_folder_in_use_is_refused() {
    let dev = Dev::start("in-use");
    let data_dir = dev.data_dir().to_string_lossy().into_owned();
    let said = dev
        .taffrail(&["dev", "--data-dir", &data_dir, "--listen", "127.0.0.1:0"])
        .expect_failure();
    assert!(said.contains("in use"), "{said}");
    dev.apply(&manifest::topic("events", &[]));
}

#[test]
fn a_partition_without_its_identity_is_offline_and_says_so() {
    let mut dev = Dev::start("no-identity");
    dev.apply(&manifest::topic("events", &["partitions: 2"]));
    let keyed = (0..100).map(|n| format!("{{\"k\":\"{n}\"}}\n"));
    let file = dev
        .scratch()
        .write("keyed.ndjson", &keyed.collect::<String>());
    dev.taffrail(&[
        "produce",
        "events",
        &file.to_string_lossy(),
        "--key-field",
        "k",
    ])
    .expect_success();
    let healthy = consumed::consume_partition(&dev, "events", 0).len();
    dev.stop();
    let folder = &folders(dev.data_dir(), 1)[0];
    let segment = files(folder, "log").remove(0);
    let bytes = fs::read(&segment).expect("the segment is readable");
    fs::remove_file(folder.join("identity")).expect("it can be removed");
    dev.restart();
    let states = partitions::after_start(&dev, "events");
    assert_eq!(states[0].state, "ONLINE", "{states:?}");
    assert_ne!(states[1].state, "ONLINE", "{states:?}");
    assert!(states[1].message.contains("identity"), "{states:?}");
    assert_eq!(
        consumed::consume_partition(&dev, "events", 0).len(),
        healthy
    );
    assert!(
        fs::read(&segment).is_ok_and(|now| now == bytes),
        "its records are untouched"
    );
}

#[test]
fn a_partition_whose_directory_is_lost_is_offline_and_is_not_made_anew() {
    let mut dev = Dev::start("lost-partition");
    dev.apply(&manifest::topic(
        "events",
        &["partitions: 2", "deletionPolicy: Delete"],
    ));
    dev.stop();
    let folder = folders(dev.data_dir(), 1).remove(0);
    fs::remove_dir_all(&folder).expect("it can be removed");
    dev.restart();
    let states = partitions::after_start(&dev, "events");
    assert_eq!(states[0].state, "ONLINE", "{states:?}");
    assert_eq!(states[1].state, "OFFLINE", "{states:?}");
    let said = &states[1].message;
    assert!(
        said.contains("is gone") && said.contains("delete the Topic"),
        "{said}"
    );
    assert!(!folder.exists(), "it is not made anew");
    let roster = dev.data_dir().join("broker-0/roster");
    let lines = || {
        fs::read_to_string(&roster)
            .expect("there is a roster")
            .lines()
            .filter(|line| line.ends_with(" events"))
            .count()
    };
    assert_eq!(lines(), 2, "both partitions");

    dev.taffrail(&["delete", "events"]).expect_success();
    wait::until("a roster without the deleted", wait::PATIENCE, || {
        (lines() == 0).then_some(())
    });
}
