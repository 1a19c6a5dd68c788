//! Groups that are read from a log of more than one read, and from one of which most is gone.

use taffrail_broker::{DiskSettings, Environment};
use taffrail_core::Cleanup;

use super::*;
use crate::http::ask;

/// Of a commit's notes; many of them are more than what is read at a time.
const NOTE_BYTES: usize = 4_000;
const ROUNDS: i64 = 150;

/// A position with a long note.
fn noted(partition: u32, offset: i64) -> v1::CommittedOffset {
    v1::CommittedOffset {
        metadata: format!("{offset} {}", "x".repeat(NOTE_BYTES)),
        ..at(partition, offset)
    }
}

/// `__offsets` of one partition, with small segments.
async fn coordinated(cleanup: Cleanup) -> Fixture {
    let settings = DiskSettings {
        compaction_interval_ms: 20,
        checkpoint_interval_ms: 20,
        ..DiskSettings::default()
    };
    let fixture = Fixture::in_environment(4, Environment::real(None), settings).await;
    let mut offsets = Topic::new(internal::OFFSETS, &[1]);
    offsets.config.segment_bytes = 1 << 20;
    offsets.config.cleanup = cleanup;
    offsets.config.retention = None;
    fixture.controller.put(OFFSETS, offsets);
    coordinates(&fixture).await;
    with_records(fixture).await
}

async fn commit(fixture: &Fixture, group: &str, offsets: Vec<v1::CommittedOffset>) {
    let commit = v1::CommitOffsetsRequest {
        group: group.to_owned(),
        offsets,
        ..v1::CommitOffsetsRequest::default()
    };
    let stored = groups(fixture.channel()).commit_offsets(commit).await;
    assert_eq!(stored.expect("stores").into_inner().refused, []);
}

/// One group commits once, then another one again and again; one is deleted. Returns what is to be there then.
async fn history(fixture: &Fixture) -> [(&'static str, Vec<v1::CommittedOffset>); 2] {
    let first: Vec<_> = (0..4).map(|p| noted(p, 7)).collect();
    commit(fixture, "first", first.clone()).await;
    commit(fixture, "deleted", vec![noted(0, 1)]).await;
    let mut last = Vec::new();
    for offset in 0..ROUNDS {
        last = (0..4).map(|p| noted(p, offset)).collect();
        commit(fixture, "often", last.clone()).await;
    }
    let delete = v1::DeleteGroupRequest {
        group: "deleted".to_owned(),
    };
    let deleted = groups(fixture.channel()).delete_group(delete).await;
    deleted.expect("deletes");
    [("first", first), ("often", last)]
}

async fn is_there(fixture: Fixture, expected: [(&str, Vec<v1::CommittedOffset>); 2]) {
    let fixture = fixture.restart().await;
    coordinates(&fixture).await;
    for (group, offsets) in expected {
        let described = describe(&fixture, group).await.expect("known");
        let stored = described.offsets.into_iter().filter_map(|o| o.committed);
        assert_eq!(stored.collect::<Vec<_>>(), offsets, "{group}");
    }
    let deleted = describe(&fixture, "deleted").await;
    let deleted = deleted.expect_err("it was deleted");
    assert_eq!(deleted.code, ErrorCode::UnknownGroup);
}

#[tokio::test]
async fn groups_are_read_from_a_log_of_many_reads() {
    let fixture = coordinated(Cleanup::Delete).await;
    let expected = history(&fixture).await;
    is_there(fixture, expected).await;
}

#[tokio::test]
async fn groups_are_read_from_a_log_of_which_most_is_gone() {
    let fixture = coordinated(Cleanup::Compact).await;
    let expected = history(&fixture).await;
    until("compaction of what is full", async || {
        let (_, metrics) = ask(&fixture.broker, "GET /metrics", "").await;
        let name = "taffrail_broker_compaction_removed_bytes_total ";
        let removed = metrics.lines().find_map(|line| line.strip_prefix(name));
        removed.and_then(|bytes| bytes.parse().ok()) > Some(1_u64 << 20)
    })
    .await;
    is_there(fixture, expected).await;
}
