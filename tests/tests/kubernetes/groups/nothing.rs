//! Groups of topics that are not there.

use taffrail_tests::{manifest, operated::start};

use super::{declare, member, reason, until_status};

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_pattern_that_matches_no_topic_is_said_by_status_and_tools() {
    let (operated, broker) = start();
    let topic = manifest::topic("flights", &[]);
    operated.apply_and_wait(&topic, "topic/flights");
    declare(&operated, &["topics: [{pattern: 'fligths.*'}]"]);
    until_status(&operated, "that there is nothing to read", |status| {
        reason(status, "Consuming") == "NothingToRead"
    });
    let read = broker.taffrail(&["consume", "--group", "billing"]);
    assert_eq!((read.code, &*read.stdout), (Some(0), ""), "{}", read.stderr);
    assert!(read.stderr.contains("nothing to read"), "{}", read.stderr);
    // It names a topic that is there, and may not read it.
    let member = member(&operated, &broker, "one");
    let with_member = until_status(&operated, "a member", |status| status["members"] == 1);
    for (type_, expected) in [("Consuming", "NothingToRead"), ("Balanced", "Stable")] {
        assert_eq!(reason(&with_member, type_), expected, "{with_member}");
    }
    let described = broker.taffrail(&["groups", "describe", "billing"]);
    let described = described.expect_success();
    for part in ["fligths.* (no such topic)", "flights (no such topic)"] {
        assert!(described.contains(part), "{described}");
    }
    declare(&operated, &["topics: [{pattern: 'flights.*'}]"]);
    until_status(&operated, "that it reads", |status| {
        reason(status, "Consuming") == "Progressing"
    });
    drop(member);
}
