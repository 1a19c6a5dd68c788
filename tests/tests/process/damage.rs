//! Files that are not as they were left.

use std::{fs, io::Write as _, path::Path, process::Stdio};

use taffrail_tests::{
    consumed,
    dev::Dev,
    manifest,
    partitions::{self, files, folders},
};

/// Keyed lines, so that every partition gets some.
fn produce_numbers(dev: &Dev, topic: &str, count: usize) {
    let mut child = dev
        .command()
        .args(["produce", topic, "--format", "ndjson", "--key-field", "n"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("taffrail starts");
    let mut input = child.stdin.take().expect("it is piped");
    for n in 0..count {
        writeln!(input, "{{\"n\":\"{n}\",\"text\":\"{}\"}}", "x".repeat(100)).expect("it reads");
    }
    drop(input);
    assert!(child.wait().expect("it ends").success());
}

fn flip_a_bit(file: &Path, position: usize) {
    let mut bytes = fs::read(file).expect("the segment is readable");
    bytes[position] ^= 0b0001_0000;
    fs::write(file, bytes).expect("the segment can be written");
}

#[test]
fn without_its_indexes_a_partition_serves_the_same() {
    let mut dev = Dev::start("no-index");
    dev.apply(&manifest::topic(
        "events",
        &["partitions: 2", "segment: {bytes: 1Mi}"],
    ));
    produce_numbers(&dev, "events", 30_000);
    let before = consumed::consume(&dev, "events").len();
    dev.stop();
    for folder in (0..2).flat_map(|partition| folders(dev.data_dir(), partition)) {
        for index in files(&folder, "index")
            .into_iter()
            .chain(files(&folder, "timeindex"))
        {
            fs::remove_file(index).expect("it can be removed");
        }
    }
    dev.restart();
    assert_eq!(consumed::consume(&dev, "events").len(), before);
}

#[test]
fn a_flipped_bit_is_told_by_its_partition_and_the_others_serve_on() {
    let mut dev = Dev::start("flipped-bit");
    dev.apply(&manifest::topic("events", &["partitions: 3"]));
    produce_numbers(&dev, "events", 20_000);
    let healthy: Vec<usize> = [0, 2]
        .map(|partition| consumed::consume_partition(&dev, "events", partition).len())
        .to_vec();
    dev.kill();
    let folder = &folders(dev.data_dir(), 1)[0];
    flip_a_bit(&files(folder, "log")[0], 2_000);
    let verified = dev.taffrail(&["log", "verify", &dev.data_dir().to_string_lossy()]);
    assert_eq!(verified.code, Some(7), "{verified:?}");
    dev.restart();

    let said = dev
        .taffrail(&["consume", "events", "--partition", "1", "-o", "json"])
        .expect_failure();
    let tells = said.contains("CORRUPT_BATCH") || said.contains("PARTITION_OFFLINE");
    assert!(tells && said.contains('1'), "{said}");
    for (partition, count) in [0, 2].into_iter().zip(healthy) {
        assert_eq!(
            consumed::consume_partition(&dev, "events", partition).len(),
            count
        );
    }
    let states = partitions::after_start(&dev, "events");
    for healthy in [0, 2] {
        assert_eq!(states[healthy].state, "ONLINE", "{states:?}");
    }
}

#[test]
fn a_torn_tail_is_cut_and_told() {
    let mut dev = Dev::start("torn-tail");
    dev.apply(&manifest::topic("events", &["partitions: 1"]));
    produce_numbers(&dev, "events", 1_000);
    let before = consumed::consume(&dev, "events").len();
    dev.kill();
    let segment = files(&folders(dev.data_dir(), 0)[0], "log")
        .pop()
        .expect("there is a segment");
    let torn = {
        let bytes = fs::read(&segment).expect("the segment is readable");
        let used = bytes
            .iter()
            .rposition(|b| *b != 0)
            .expect("it holds records")
            + 1;
        // The first bytes of another batch, as a crash in the middle of a write leaves them.
        let mut torn = bytes[..used].to_vec();
        torn.extend_from_slice(&bytes[..40.min(used)]);
        torn
    };
    fs::write(&segment, torn).expect("the segment can be written");
    dev.restart();
    assert_eq!(consumed::consume(&dev, "events").len(), before);
    assert!(dev.said().contains("torn"), "{}", dev.said());
}
