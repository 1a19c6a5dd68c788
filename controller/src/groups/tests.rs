use std::time::Duration;

use taffrail_core::{BrokerNumber, Cleanup, TopicDefaults, TopicId, TopicSpec};

use super::{look::Groups, *};
use crate::view::View;

const SECOND: u64 = 1_000;
const COORDINATOR: BrokerNumber = BrokerNumber(7);
const ORDERS: TopicId = TopicId::from_bytes([1; 16]);

fn topic(spec: &TopicSpec) -> v1::TopicStatus {
    let config = spec
        .effective(&TopicDefaults::default())
        .expect("the defaults are enough");
    v1::TopicStatus {
        topic_id: bytes::Bytes::copy_from_slice(ORDERS.as_bytes()),
        effective: Some((&config).into()),
        ..v1::TopicStatus::default()
    }
}

/// Two partitions, of which `end` records are there since the epoch, and a broker that leads all of `__offsets`.
fn view_of(spec: &TopicSpec, start: i64, end: i64) -> View {
    let partition = |index| v1::PartitionStatus {
        topic: "orders".to_owned(),
        partition: index,
        leader: Some(7),
        log_start_offset: start,
        high_watermark: end,
        bytes: 100,
        oldest_append_time_ms: Some(0),
        is_reported: true,
        ..v1::PartitionStatus::default()
    };
    let offsets = (0..50).map(|index| v1::PartitionStatus {
        partition: index,
        leader: Some(7),
        leader_epoch: 1,
        ..v1::PartitionStatus::default()
    });
    View {
        topics: [("orders".to_owned(), topic(spec))].into(),
        partitions: [
            ("orders".to_owned(), vec![partition(0), partition(1)]),
            ("__offsets".to_owned(), offsets.collect()),
        ]
        .into(),
        brokers: vec![v1::BrokerStatus {
            number: 7,
            name: "main-0".to_owned(),
            ..v1::BrokerStatus::default()
        }],
        ..View::default()
    }
}

fn view(end: i64) -> View {
    view_of(&TopicSpec::default(), 0, end)
}

/// Two members, of which the first reads both partitions and the second nothing; `committed` of partition 0, nothing of partition 1.
fn report(coordinator_epoch: i32, epoch: u64, committed: i64) -> v1::GroupReport {
    let id = || bytes::Bytes::copy_from_slice(ORDERS.as_bytes());
    let offset = |partition, offset| v1::GroupReportOffset {
        topic_id: id(),
        partition,
        offset,
        committed_at_ms: 0,
    };
    v1::GroupReport {
        group: "billing".to_owned(),
        coordinator_epoch,
        is_gone: false,
        state: v1::GroupState::GroupStable.into(),
        epoch,
        member_partitions: vec![2, 0],
        topic_ids: vec![id()],
        offsets: vec![offset(1, -1), offset(0, committed)],
        is_unreadable: false,
        is_cut: true,
        lost: Vec::new(),
    }
}

fn gone(coordinator_epoch: i32) -> v1::GroupReport {
    v1::GroupReport {
        group: "billing".to_owned(),
        coordinator_epoch,
        is_gone: true,
        ..v1::GroupReport::default()
    }
}

fn declared(forget: bool) -> BTreeMap<String, WantedGroup> {
    let wanted = WantedGroup {
        forget,
        ..WantedGroup::default()
    };
    [("billing".to_owned(), wanted)].into()
}

#[test]
fn a_group_that_is_to_be_forgotten_is_there_until_its_coordinator_says_that_it_is_gone() {
    let is_there = |groups: &mut Groups| groups.look(&view(0), SECOND).contains_key("billing");
    let mut groups = Groups::default();
    // It was gone before anybody asked.
    groups.hear(COORDINATOR, &[gone(1)], SECOND);
    assert!(!is_there(&mut groups));
    groups.declare(&declared(false));
    assert!(is_there(&mut groups), "it may come to be");
    groups.declare(&declared(true));
    assert!(!is_there(&mut groups));
    groups.hear(COORDINATOR, &[report(1, 1, 0)], SECOND);
    assert!(is_there(&mut groups));
    groups.hear(COORDINATOR, &[gone(1)], SECOND);
    assert!(!is_there(&mut groups));
    // What is declared later under the same name has not gone.
    groups.declare(&BTreeMap::new());
    assert!(!is_there(&mut groups));
    groups.declare(&declared(true));
    assert!(is_there(&mut groups));
}

#[test]
fn a_declared_group_is_there_before_a_coordinator_speaks_of_it() {
    let mut groups = Groups::default();
    groups.declare(&declared(false));
    let seen = groups.look(&view(0), SECOND);
    let billing = &seen["billing"];
    assert!(!billing.is_reported);
    assert_eq!(billing.coordinator, Some(7));
    assert_eq!(billing.coordinator_name, "main-0");
    groups.declare(&BTreeMap::new());
    assert!(groups.look(&view(0), SECOND).is_empty());
}

#[test]
fn what_the_coordinator_and_the_leaders_say_is_put_together() {
    let mut groups = Groups::default();
    groups.hear(COORDINATOR, &[report(1, 1, 200)], 0);
    for second in 0..=60 {
        groups.look(&view(second * 10), second.cast_unsigned() * SECOND);
    }
    let seen = groups.look(&view(600), 60 * SECOND);
    let billing = &seen["billing"];
    assert!(billing.is_reported && billing.is_cut && !billing.is_unreadable);
    assert_eq!(billing.state(), v1::GroupState::GroupStable);
    assert_eq!((billing.members, billing.useful_members), (2, 2));
    assert_eq!(
        (billing.member_partitions_min, billing.member_partitions_max),
        (0, 2)
    );
    let [first, second] = &billing.partitions[..] else {
        panic!("two partitions: {billing:?}");
    };
    assert_eq!((first.partition, first.committed_offset), (0, 200));
    assert_eq!((first.lag_records, first.lag_ms), (400, 40 * SECOND));
    let week_ms: i64 = 168 * 3_600 * 1_000;
    assert_eq!(
        first.loses_data_at_ms,
        Some(20_000 + week_ms),
        "the default retention after record 200 was appended"
    );
    assert_eq!((second.partition, second.committed_offset), (1, -1));
    assert_eq!(second.lag_records, 0, "where it begins is not known");
}

#[test]
fn what_is_only_compacted_is_never_lost() {
    let spec = TopicSpec {
        cleanup: Cleanup::Compact,
        ..TopicSpec::default()
    };
    let mut groups = Groups::default();
    groups.hear(COORDINATOR, &[report(1, 1, 200)], 0);
    let seen = groups.look(&view_of(&spec, 0, 600), 60 * SECOND);
    assert_eq!(seen["billing"].partitions[0].lag_records, 400);
    assert_eq!(seen["billing"].partitions[0].loses_data_at_ms, None);
}

#[test]
fn what_retention_took_unread_is_told_with_its_range() {
    let spec = TopicSpec {
        retention: Some(Duration::from_hours(1)),
        ..TopicSpec::default()
    };
    let mut groups = Groups::default();
    groups.hear(COORDINATOR, &[report(1, 1, 200)], 0);
    let seen = groups.look(&view_of(&spec, 350, 600), 60 * SECOND);
    let lost = &seen["billing"].partitions[0];
    assert_eq!(
        (lost.committed_offset, lost.lost_to_offset),
        (200, Some(350))
    );
}

#[test]
fn what_members_went_on_behind_is_told_for_a_while_and_once() {
    let spec = TopicSpec {
        retention: Some(Duration::from_hours(1)),
        ..TopicSpec::default()
    };
    let lost = |from, to| v1::MemberLoss {
        topic_id: bytes::Bytes::copy_from_slice(ORDERS.as_bytes()),
        partition: 0,
        from,
        to,
    };
    // It has committed what is behind the loss already, and what makes no sense says nothing.
    let said = |committed, lost: &[v1::MemberLoss]| v1::GroupReport {
        lost: lost.to_vec(),
        ..report(1, 1, committed)
    };
    let mut groups = Groups::default();
    let view = view_of(&spec, 350, 600);
    let told = |groups: &mut Groups, seconds: u64| {
        let seen = groups.look(&view, seconds * SECOND);
        let partition = &seen["billing"].partitions[0];
        partition.lost_from_offset.zip(partition.lost_to_offset)
    };
    groups.hear(COORDINATOR, &[said(360, &[lost(9, 9), lost(-1, 4)])], 0);
    assert_eq!(told(&mut groups, 1), None);
    groups.hear(COORDINATOR, &[said(360, &[lost(200, 350)])], 2 * SECOND);
    assert_eq!(told(&mut groups, 3), Some((200, 350)));
    // Reports repeat it.
    groups.hear(COORDINATOR, &[said(400, &[lost(200, 350)])], 500 * SECOND);
    assert_eq!(told(&mut groups, 601), Some((200, 350)));
    assert_eq!(told(&mut groups, 602), None);
    // What is gone and still to be read is what it is, whatever was before.
    groups.hear(COORDINATOR, &[said(300, &[lost(100, 120)])], 700 * SECOND);
    assert_eq!(told(&mut groups, 701), Some((300, 350)));
}

const FORMER: BrokerNumber = BrokerNumber(8);

/// With another leader of `__offsets`.
fn led_by(broker: Option<BrokerNumber>, leader_epoch: i32) -> View {
    let mut view = view(600);
    for partition in view.partitions.get_mut("__offsets").expect("there") {
        partition.leader = broker.map(|broker| broker.0);
        partition.leader_epoch = leader_epoch;
    }
    view
}

fn told_all(epoch: i32) -> Vec<v1::ToldAll> {
    let told = |partition| v1::ToldAll {
        partition,
        coordinator_epoch: epoch,
    };
    (0..50).map(told).collect()
}

fn committed(groups: &mut Groups, view: &View) -> Option<i64> {
    let seen = groups.look(view, SECOND);
    Some(seen.get("billing")?.partitions[0].committed_offset)
}

#[test]
fn only_the_coordinator_is_heeded_and_a_former_one_until_it_speaks() {
    let mut groups = Groups::default();
    groups.hear(FORMER, &[report(1, 4, 200)], 0);
    groups.hear(COORDINATOR, &[report(3, 9, 900)], 0);
    let now = led_by(Some(COORDINATOR), 2);
    assert_eq!(
        committed(&mut groups, &now),
        Some(200),
        "it is not known to lead in epoch 3"
    );
    assert_eq!(committed(&mut groups, &led_by(None, 2)), Some(200));
    let mut groups = Groups::default();
    groups.hear(FORMER, &[report(1, 4, 200)], 0);
    groups.hear(COORDINATOR, &[report(2, 5, 300)], 0);
    groups.hear(FORMER, &[gone(1)], 0);
    groups.hear(COORDINATOR, &[gone(1)], 0);
    assert_eq!(committed(&mut groups, &now), Some(300));
    groups.hear(COORDINATOR, &[gone(2)], 0);
    assert_eq!(committed(&mut groups, &now), None);
    groups.hear(FORMER, &[report(1, 4, 200)], 0);
    assert_eq!(
        committed(&mut groups, &led_by(Some(COORDINATOR), 1)),
        Some(200),
        "for all that is known it led last"
    );
}

#[test]
fn what_a_former_coordinator_forgot_goes_when_the_next_one_has_told_all() {
    let mut groups = Groups::default();
    groups.hear(FORMER, &[report(1, 4, 200)], 0);
    let now = led_by(Some(COORDINATOR), 2);
    groups.told_all(FORMER, &told_all(2));
    groups.told_all(COORDINATOR, &told_all(1));
    assert_eq!(committed(&mut groups, &now), Some(200));
    groups.told_all(COORDINATOR, &told_all(2));
    assert_eq!(committed(&mut groups, &now), None);
}

#[test]
fn while_a_leader_says_nothing_of_its_log_what_was_known_stands() {
    let mut groups = Groups::default();
    groups.hear(COORDINATOR, &[report(1, 1, 200)], 0);
    let silent = || {
        let mut view = view(0);
        for partition in view.partitions.get_mut("orders").expect("there") {
            partition.is_reported = false;
        }
        view
    };
    let seen = groups.look(&silent(), 0);
    assert_eq!(seen["billing"].partitions, [], "nothing is known");
    groups.look(&view(600), SECOND);
    let seen = groups.look(&silent(), 2 * SECOND);
    assert_eq!(seen["billing"].partitions[0].lag_records, 400);
}

#[test]
fn a_group_without_a_name_is_none() {
    let mut report = report(1, 1, 200);
    report.group = "a\nb".to_owned();
    let mut groups = Groups::default();
    groups.hear(COORDINATOR, &[report], 0);
    assert!(groups.look(&view(600), 0).is_empty());
}

#[test]
fn progress_and_assignments_are_counted_for_a_while() {
    let mut groups = Groups::default();
    groups.hear(COORDINATOR, &[report(1, 1, 200)], 0);
    groups.look(&view(600), 0);
    groups.hear(COORDINATOR, &[report(1, 2, 200)], 10 * SECOND);
    let seen = groups.look(&view(600), 10 * SECOND);
    assert_eq!(seen["billing"].progress_ms, None, "nothing moved so far");
    assert_eq!(seen["billing"].assignments_recent, 1);
    groups.hear(COORDINATOR, &[report(1, 2, 250)], 20 * SECOND);
    groups.look(&view(600), 20 * SECOND);
    let seen = groups.look(&view(600), 50 * SECOND);
    assert_eq!(seen["billing"].progress_ms, Some(30 * SECOND));
    let seen = groups.look(&view(600), 611 * SECOND);
    assert_eq!(seen["billing"].assignments_recent, 0);
}

#[test]
fn a_report_that_makes_no_sense_says_what_it_can() {
    let mut report = report(1, 1, 200);
    report.topic_ids.push(bytes::Bytes::from_static(b"short"));
    report.offsets[0].topic_id = bytes::Bytes::from_static(b"short");
    report.offsets[1].partition = 9;
    let mut groups = Groups::default();
    groups.hear(COORDINATOR, &[report], 0);
    let seen = groups.look(&view(600), 0);
    assert_eq!(seen["billing"].useful_members, 2);
    assert_eq!(seen["billing"].partitions, [], "there is no partition 9");
}
