//! Thin members of groups.

use std::collections::BTreeSet;

use taffrail_api::v1::{gateway_client::GatewayClient, offset_query::Position};
use taffrail_broker::{DiskSettings, Environment};
use taffrail_core::group::{Delivery, GroupPolicy, OutOfRange};
use tonic::{Streaming, transport::Channel};

use super::{policies::declared, *};
use crate::fixture::within;

type Answers = Streaming<v1::SubscribeResponse>;

async fn subscribe(fixture: &Fixture) -> Answers {
    let nothing_more = v1::GroupSubscription::default();
    subscribe_with(fixture, nothing_more).await.expect("opens")
}

async fn subscribe_with(fixture: &Fixture, more: v1::GroupSubscription) -> Result<Answers, Status> {
    let request = v1::SubscribeRequest {
        group: Some(v1::GroupSubscription {
            group: "billing".to_owned(),
            topics: vec!["flights".to_owned()],
            ..more
        }),
        ..v1::SubscribeRequest::default()
    };
    let mut client: GatewayClient<Channel> = GatewayClient::new(fixture.channel());
    let opened = client.subscribe(request).await?;
    Ok(opened.into_inner())
}

/// What it is sent may lie for so long.
async fn subscribe_polling(fixture: &Fixture, interval_ms: u32) -> Result<Answers, Status> {
    let polling = v1::GroupSubscription {
        poll_interval_ms: interval_ms,
        ..v1::GroupSubscription::default()
    };
    subscribe_with(fixture, polling).await
}

async fn subscribe_from(fixture: &Fixture, rack: &str) -> Answers {
    let from = v1::GroupSubscription {
        rack: rack.to_owned(),
        ..v1::GroupSubscription::default()
    };
    subscribe_with(fixture, from).await.expect("opens")
}

/// Reads until the member is told something that is as it is wanted.
async fn read_until_told(
    answers: &mut Answers,
    is_wanted: impl Fn(&v1::SubscribedMember) -> bool,
) -> v1::SubscribedMember {
    loop {
        let answer = within("an answer", answers.message()).await.expect("open");
        let told = answer.expect("no end").member;
        if let Some(told) = told.filter(&is_wanted) {
            return told;
        }
    }
}

/// Reads until so many records came.
async fn read(answers: &mut Answers, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let answer = within("records", answers.message()).await.expect("open");
        let records = answer.expect("no end").records.into_iter();
        let value = |r: v1::SubscribedRecord| {
            String::from_utf8(r.value.unwrap_or_default().to_vec()).expect("text")
        };
        values.extend(records.map(value));
    }
    values
}

#[tokio::test]
async fn a_thin_member_says_where_its_client_runs() {
    let fixture = empty().await;
    let _answers = subscribe_from(&fixture, "west").await;
    let described = describe(&fixture, "billing").await.expect("known");
    assert_eq!(described.members[0].rack, "west");
}

#[tokio::test]
async fn a_thin_member_gets_nothing_again_that_it_was_sent() {
    let fixture = empty().await;
    let policy = GroupPolicy {
        delivery: Some(Delivery::AtMostOnce),
        ..GroupPolicy::default()
    };
    declared(&fixture, &policy).await;
    let mut client = fixture.client().await;
    let produced = client.produce(request(0, batch(&["a", "b"]))).await;
    produced.expect("stored");
    let mut killed = subscribe(&fixture).await;
    assert_eq!(read(&mut killed, 2).await, ["a", "b"]);
    let described = describe(&fixture, "billing").await.expect("known");
    let stored: BTreeSet<_> = described
        .offsets
        .into_iter()
        .filter_map(|o| o.committed.map(|c| (c.partition, c.offset)))
        .collect();
    assert!(
        stored.contains(&(0, 2)),
        "{stored:?}: before the client says anything"
    );
    drop(killed);
    let produced = client.produce(request(0, batch(&["c"]))).await;
    produced.expect("stored");
    let mut next = subscribe(&fixture).await;
    assert_eq!(read(&mut next, 1).await, ["c"]);
}

/// Reads until a partition cannot be read where the group is. No records come before that.
async fn gap(answers: &mut Answers) -> v1::SubscribedGap {
    loop {
        let answer = within("an answer", answers.message()).await.expect("open");
        let answer = answer.expect("no end");
        assert_eq!(answer.records, []);
        if let Some(gap) = answer.gap {
            return gap;
        }
    }
}

#[tokio::test]
async fn a_thin_member_that_goes_on_behind_a_gap_says_so_to_its_client_and_to_the_controller() {
    let fixture = with_expired().await;
    let policy = GroupPolicy {
        out_of_range: Some(OutOfRange::Earliest),
        ..GroupPolicy::default()
    };
    declared(&fixture, &policy).await;
    let mut calls = groups(fixture.channel());
    let commit = v1::CommitOffsetsRequest {
        group: "billing".to_owned(),
        offsets: vec![at(0, 0)],
        ..v1::CommitOffsetsRequest::default()
    };
    calls.commit_offsets(commit).await.expect("stores");
    let mut answers = subscribe(&fixture).await;
    let gap = gap(&mut answers).await;
    let resumed = gap.resumed.expect("it goes on");
    assert!(gap.wanted == 0 && resumed >= 3, "{gap:?}");
    let values = read(&mut answers, 1).await;
    assert!(values[0].starts_with("xxx"), "{}", values[0]);
    let told = || {
        let report = fixture.controller.group("billing");
        let lost = report.into_iter().flat_map(|report| report.lost);
        lost.map(|lost| (lost.partition, lost.from, lost.to)).next()
    };
    until("the controller to hear of it", async || {
        told() == Some((0, 0, resumed))
    })
    .await;
}

/// Of the records of the first partition this one is never gone.
const LAST: i64 = 5;

/// Two partitions; the first records of the first one are gone.
pub(super) async fn with_expired() -> Fixture {
    let disk = DiskSettings {
        expire_interval_ms: 20,
        ..DiskSettings::default()
    };
    let fixture = Fixture::in_environment(2, Environment::real(None), disk).await;
    let fixture = with_offsets(fixture).await;
    let mut topic = Topic::new("flights", &[1, 1]);
    topic.config.segment_bytes = 1 << 20;
    topic.config.retention_bytes_per_partition = Some(1 << 20);
    // In another epoch, so that it is waited for.
    (topic.generation, topic.leader_epoch) = (2, 2);
    fixture.put(topic).await;
    let mut client = fixture.client().await;
    let value = "x".repeat(600_000);
    for _ in 0..=LAST {
        let produced = client.produce(request(0, batch(&[&value]))).await;
        produced.expect("stored");
    }
    until("the oldest segments to go", async || {
        let found = client.offset(0, Position::Earliest(true)).await;
        found.expect("found").0 >= 3
    })
    .await;
    fixture
}

#[tokio::test]
async fn a_partition_whose_records_are_gone_waits_for_a_reset_and_the_others_go_on() {
    let fixture = with_expired().await;
    let mut calls = groups(fixture.channel());
    let commit = v1::CommitOffsetsRequest {
        group: "billing".to_owned(),
        offsets: vec![at(0, 0)],
        ..v1::CommitOffsetsRequest::default()
    };
    let stored = calls.commit_offsets(commit).await.expect("stores");
    assert_eq!(stored.into_inner().refused, []);
    let mut answers = subscribe(&fixture).await;
    let gap = gap(&mut answers).await;
    assert_eq!((&*gap.topic, gap.partition), ("flights", 0));
    assert_eq!((gap.wanted, gap.resumed), (0, None), "it waits");
    let why = gap.error.expect("a reason");
    let code = v1::ErrorCode::OffsetOutOfRange;
    assert_eq!((why.code(), why.message.contains("reset")), (code, true));
    let mut client = fixture.client().await;
    // Many times there and back: more than it takes to see that the other partition cannot be read.
    for n in 0..50 {
        let value = n.to_string();
        let produced = client.produce(request(1, batch(&[&value]))).await;
        produced.expect("stored");
        assert_eq!(read(&mut answers, 1).await, [value]);
    }
    let reset = v1::ResetOffsetsRequest {
        group: "billing".to_owned(),
        offsets: vec![at(0, LAST)],
    };
    calls.reset_offsets(reset).await.expect("resets");
    let values = read(&mut answers, 1).await;
    assert!(values[0].starts_with("xxx"), "{}", values[0]);
}

#[tokio::test]
async fn a_thin_client_that_takes_nothing_keeps_its_partitions_no_longer_than_it_may() {
    let fixture = empty().await;
    let mut client = fixture.client().await;
    let value = "x".repeat(600_000);
    // More than lies between a broker and a client.
    for _ in 0..25 {
        let produced = client.produce(request(0, batch(&[&value]))).await;
        produced.expect("stored");
    }
    let mut stopped = subscribe_polling(&fixture, 1_000).await.expect("opens");
    let before = read_until_told(&mut stopped, |told| told.partitions.len() == 4).await;
    let mut other = subscribe(&fixture).await;
    read_until_told(&mut other, |told| told.partitions.len() == 4).await;
    // It goes on, as another member.
    let is_another = |told: &v1::SubscribedMember| told.member_id != before.member_id;
    let reading = read_until_told(&mut other, |told| told.partitions.len() == 2);
    let (again, _) = tokio::join!(read_until_told(&mut stopped, is_another), reading);
    assert_ne!(again.member_id, before.member_id);
    let odd = subscribe_polling(&fixture, 999).await.map(drop);
    assert_eq!(of(&odd.expect_err("too short")), ErrorCode::InvalidRequest);
}
