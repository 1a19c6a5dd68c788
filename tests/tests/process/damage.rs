//! Files that are not as they were left.

use std::{fs, io::Write as _, process::Stdio};

use taffrail_core::internal::{OFFSETS, OFFSETS_PARTITIONS_DEFAULT};
use taffrail_record::partitioner::partition_for_key;
use taffrail_tests::{
    consumed,
    dev::Dev,
    manifest,
    partitions::{self, files, flip_a_bit, folders},
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

/// Two groups whose offsets are in two partitions of `__offsets`, and the number of the first one's.
fn two_groups() -> ([String; 2], u32) {
    let place = |group: &str| partition_for_key(group.as_bytes(), OFFSETS_PARTITIONS_DEFAULT).0;
    let first = "billing".to_owned();
    let mut others = (0..).map(|n| format!("audit-{n}"));
    let other = others.find(|group| place(group) != place(&first));
    let number = place(&first);
    ([first, other.expect("one of them")], number)
}

#[test]
fn a_flipped_bit_in_a_groups_offsets_is_told_by_that_group_and_others_commit() {
    let mut dev = Dev::start("flipped-offsets");
    dev.apply(&manifest::topic("events", &["partitions: 1"]));
    produce_numbers(&dev, "events", 10);
    let (groups, partition) = two_groups();
    let consume = |dev: &Dev, group: &str| dev.taffrail(&["consume", "events", "--group", group]);
    for group in &groups {
        consume(&dev, group).expect_success();
    }
    dev.kill();
    let folder = partitions::offsets_folder(dev.data_dir(), partition);
    flip_a_bit(&files(&folder, "log")[0], 70);
    dev.restart();

    let [damaged, other] = &groups;
    let described = dev.taffrail(&["groups", "describe", damaged]);
    for answer in [described, consume(&dev, damaged)] {
        let said = answer.expect_failure();
        let place = format!("PARTITION_OFFLINE: __offsets/{partition}, where the group is kept");
        for words in [&place, "taffrail get partitions __offsets -o wide"] {
            assert!(said.contains(words), "{words} in {said}");
        }
    }
    let listed = dev.taffrail(&["groups", "list"]);
    let words = format!("kept in __offsets/{partition} are not listed");
    assert!(listed.stderr.contains(&words), "{listed:?}");
    assert!(listed.expect_success().contains(other));
    let of_group = partitions::of(&dev, OFFSETS).swap_remove(partition as usize);
    let why = of_group.message;
    assert!(why.contains("is damaged at byte"), "{why}");
    produce_numbers(&dev, "events", 5);
    let read = consume(&dev, other).expect_success();
    assert_eq!(read.lines().count(), 5, "only what is new: {read}");
    let lag = dev.taffrail(&["groups", "lag", other]).expect_success();
    assert!(lag.contains("15"), "{lag}");
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

#[test]
fn what_is_damaged_and_has_no_other_copy_is_given_up_when_a_person_says_so() {
    let mut dev = Dev::start("log-repair");
    dev.apply(&manifest::topic("events", &["partitions: 2"]));
    produce_numbers(&dev, "events", 20_000);
    let before = [0, 1].map(|p| consumed::consume_partition(&dev, "events", p));
    let volume = dev.data_dir().join("broker-0");
    let repair = |dev: &Dev, args: &[&str]| {
        let volume = volume.to_string_lossy();
        let all = [&["log", "repair"], args, &[&*volume]].concat();
        dev.taffrail(&all)
    };
    let refused = repair(&dev, &["--cut"]).expect_failure();
    assert!(refused.contains("DATA_IN_USE"), "{refused}");
    dev.kill();
    let nothing = repair(&dev, &["--cut"]).expect_success();
    assert!(nothing.contains("no partition needs repair"), "{nothing}");
    let folder = &folders(dev.data_dir(), 1)[0];
    let file = files(folder, "log").swap_remove(0);
    flip_a_bit(&file, 300_000);
    let damaged = fs::read(&file).expect("it is there");

    let shown = repair(&dev, &[]);
    assert_eq!(shown.code, Some(7), "{shown:?}");
    let all = 2 + OFFSETS_PARTITIONS_DEFAULT;
    let one = format!("1 of {all} partitions");
    assert!(shown.stderr.contains(&one), "{shown:?}");
    let again = repair(&dev, &[]);
    assert_eq!(shown.stdout, again.stdout, "nothing was changed");
    let cut = repair(&dev, &["--cut"]).expect_success();
    assert!(cut.starts_with(&shown.stdout), "{cut}");
    let first_lost: usize = between(&cut, "offsets lost: ", " to ");
    let last_lost: usize = between(&cut, &format!("{first_lost} to "), ";");
    assert_eq!(last_lost + 1, before[1].len(), "{cut}");

    dev.restart();
    let states = partitions::after_start(&dev, "events");
    assert!(states.iter().all(|p| p.state == "ONLINE"), "{states:?}");
    assert_eq!(consumed::consume_partition(&dev, "events", 0), before[0]);
    let kept = consumed::consume_partition(&dev, "events", 1);
    assert!(first_lost > 0 && kept == before[1][..first_lost], "{cut}");
    let place = volume.join("quarantine");
    let told = &partitions::of(&dev, "events")[1].message;
    assert!(told.contains(&*place.to_string_lossy()), "{told}");
    let name = format!("{}.1", folder.file_name().expect("named").to_string_lossy());
    let set_aside = place.join(name).join(file.file_name().expect("named"));
    assert!(fs::read(set_aside).expect("kept") == damaged);
    produce_numbers(&dev, "events", 100);
}

/// The number between two texts.
#[track_caller]
fn between(text: &str, before: &str, after: &str) -> usize {
    let rest = text.split_once(before).map(|(_, rest)| rest);
    let number = rest.and_then(|rest| rest.split_once(after));
    let number = number.and_then(|(number, _)| number.parse().ok());
    number.unwrap_or_else(|| panic!("no number between {before:?} and {after:?} in {text}"))
}
