use serde_json::json;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn topic(status: Option<TopicStatus>) -> Topic {
    let mut topic: Topic = serde_json::from_value(json!({
        "apiVersion": "taffrail.dev/v1alpha1", "kind": "Topic",
        "metadata": { "name": "flights", "namespace": "streams", "generation": 2 },
        "spec": {},
    }))
    .expect("valid");
    topic.status = status;
    topic
}

fn seen(online: u32, bytes: u64) -> Sight {
    Sight {
        verdict: Verdict::Accepted {
            topic_id: TopicId::from_bytes([1; 16]),
        },
        seen: Some(v1::TopicStatus {
            effective: Some(v1::TopicConfig {
                partitions: 3,
                replicas: 1,
                min_in_sync: 1,
                durability: v1::Durability::Fsync.into(),
                retention_ms: Some(3_600_000),
                segment_bytes: 1 << 28,
                segment_max_age_ms: 86_400_000,
                max_batch_bytes: 1 << 20,
                ..v1::TopicConfig::default()
            }),
            partitions_online: online,
            bytes,
            ..v1::TopicStatus::default()
        }),
        ..Sight::default()
    }
}

fn reason(status: &TopicStatus, type_: &str) -> String {
    conditions::find(&status.conditions, type_)
        .expect("is there")
        .reason
        .clone()
}

#[test]
fn a_topic_is_ready_when_all_its_partitions_are_online() {
    let creating = next(&topic(None), &seen(1, 0), at(1));
    assert_eq!(reason(&creating, "Ready"), "Creating");
    assert_eq!(creating.observed_generation, Some(2));
    let ready = next(&topic(Some(creating)), &seen(3, 0), at(2));
    assert_eq!(reason(&ready, "Ready"), "AllPartitionsOnline");
    assert_eq!(reason(&ready, "Accepted"), "Valid");
    let lost = next(&topic(Some(ready)), &seen(2, 0), at(3));
    assert_eq!(reason(&lost, "Ready"), "PartitionsOffline");
    assert_eq!(lost.partitions.map(|p| p.offline), Some(1));
}

#[test]
fn a_topic_whose_partitions_serve_below_min_in_sync_is_not_ready_and_says_why() {
    let mut sight = seen(3, 0);
    let controllers = v1::Condition {
        r#type: "Ready".to_owned(),
        status: "False".to_owned(),
        reason: "UnderMinInSync".to_owned(),
        message: "produce with acks=all is refused".to_owned(),
    };
    sight.seen.as_mut().expect("set above").conditions = vec![controllers.clone()];
    let status = next(&topic(None), &sight, at(1));
    let ready = conditions::find(&status.conditions, "Ready").expect("is there");
    assert_eq!(
        (&*ready.status, &*ready.reason),
        ("False", "UnderMinInSync")
    );
    assert_eq!(ready.message, controllers.message);
    let back = next(&topic(Some(status)), &seen(3, 0), at(2));
    assert_eq!(reason(&back, "Ready"), "AllPartitionsOnline");
}

#[test]
fn a_topic_that_waits_for_brokers_is_not_accepted_yet_and_says_why() {
    let mut sight = seen(0, 0);
    let waits = v1::Condition {
        r#type: "Accepted".to_owned(),
        status: "False".to_owned(),
        reason: "NotEnoughBrokers".to_owned(),
        message: "partitions need 3 online brokers".to_owned(),
    };
    sight.seen.as_mut().expect("set above").conditions = vec![waits.clone()];
    let status = next(&topic(None), &sight, at(1));
    let accepted = conditions::find(&status.conditions, "Accepted").expect("is there");
    assert_eq!(
        (&*accepted.status, &*accepted.reason, &accepted.message),
        ("False", "NotEnoughBrokers", &waits.message)
    );
    assert_eq!(reason(&status, "Ready"), "Creating");
    let placed = next(&topic(Some(status)), &seen(3, 0), at(2));
    assert_eq!(reason(&placed, "Accepted"), "Valid");
}

#[test]
fn partitions_are_counted_and_leaders_are_shown_by_broker() {
    let mut sight = seen(3, 0);
    let led = |broker: u32, name: &str, partitions| v1::LedPartitions {
        broker,
        name: name.to_owned(),
        partitions,
    };
    let said = sight.seen.as_mut().expect("set above");
    said.partitions_under_replicated = 2;
    said.partitions_moving = 1;
    said.leaders = vec![
        led(1, "main-0", 1),
        led(2, "main-1", 1),
        led(4, "main-0", 1),
    ];
    let status = next(&topic(None), &sight, at(1));
    let partitions = status.partitions.clone().expect("known");
    assert_eq!((partitions.under_replicated, partitions.moving), (2, 1));
    let leaders = status.placement.clone().expect("known").leaders_by_broker;
    assert_eq!(
        leaders,
        [("main-0".to_owned(), 2), ("main-1".to_owned(), 1)].into()
    );
    // None of it is worth a write at once.
    let later = next(&topic(Some(status.clone())), &seen(3, 0), at(2));
    assert_ne!(later, status);
    assert!(differs_in_numbers_only(&status, &later));
    let offline = next(&topic(Some(status.clone())), &seen(2, 0), at(2));
    assert!(!differs_in_numbers_only(&status, &offline));
}

#[test]
fn what_is_in_force_is_shown() {
    let status = next(&topic(None), &seen(3, 0), at(1));
    let effective = status.effective.expect("known");
    assert_eq!(
        effective.retention.time.map(String::from),
        Some("1h".to_owned())
    );
    assert_eq!((effective.replicas, effective.min_in_sync), (1, 1));
}

#[test]
fn a_refused_topic_does_not_show_the_owners_numbers() {
    let sight = Sight {
        verdict: Verdict::Refused("NameConflict", "taken".to_owned()),
        ..seen(3, 4096)
    };
    let status = next(&topic(None), &sight, at(1));
    assert_eq!(reason(&status, "Accepted"), "NameConflict");
    assert_eq!(reason(&status, "Ready"), "NotAccepted");
    assert_eq!(
        (status.storage, status.partitions, status.topic_id),
        (None, None, None)
    );
}

#[test]
fn an_unavailable_cluster_leaves_what_was_known() {
    let ready = next(&topic(None), &seen(3, 4096), at(1));
    let sight = Sight {
        verdict: Verdict::Unavailable("away".to_owned()),
        ..Sight::default()
    };
    let status = next(&topic(Some(ready.clone())), &sight, at(2));
    assert_eq!(reason(&status, "Ready"), "ClusterUnavailable");
    assert_eq!(reason(&status, "Accepted"), "Valid");
    assert_eq!(status.storage, ready.storage);
    assert_eq!(status.topic_id, ready.topic_id);
}

#[test]
fn numbers_alone_are_written_every_thirty_seconds() {
    let first = next(&topic(None), &seen(3, 1 << 20), at(100));
    let grown = next(&topic(Some(first.clone())), &seen(3, 1 << 30), at(110));
    assert!(differs_in_numbers_only(&first, &grown));
    assert!(!storage_is_due(&first, at(110)));
    assert!(storage_is_due(&first, at(130)));
    let same = next(&topic(Some(first.clone())), &seen(3, 1 << 20), at(200));
    assert_eq!(same, first, "unchanged numbers keep their time");
}

#[test]
fn every_condition_is_there_from_the_first_look_on() {
    let types = |status: &TopicStatus| -> Vec<String> {
        status.conditions.iter().map(|c| c.type_.clone()).collect()
    };
    let mut all = vec!["Accepted", "Ready"];
    all.extend(CONTROLLERS);
    let mut sight = seen(3, 0);
    assert_eq!(types(&next(&topic(None), &sight, at(1))), all);
    let full = v1::Condition {
        r#type: "CapacityOK".to_owned(),
        status: "False".to_owned(),
        reason: "WritesRefused".to_owned(),
        message: "a broker's disk is full".to_owned(),
    };
    sight
        .seen
        .as_mut()
        .expect("set above")
        .conditions
        .push(full);
    let status = next(&topic(None), &sight, at(1));
    assert_eq!(reason(&status, "CapacityOK"), "WritesRefused");
    assert_eq!(reason(&status, "Progressing"), "ClusterUnavailable");
}

#[test]
fn storage_says_how_much_there_is_and_since_when() {
    let mut sight = seen(3, 12_345_678);
    let told = sight.seen.as_mut().expect("set above");
    told.oldest_append_time_ms = Some(1_359_000_000_999);
    let status = next(&topic(None), &sight, at(1_360_000_000));
    let storage = serde_json::to_value(status.storage).expect("JSON");
    let expected = json!({
        "bytes": "11Mi", "oldest": "2013-01-24T04:00:00Z", "updatedAt": "2013-02-04T17:46:40Z",
    });
    assert_eq!(storage, expected);
}
