//! Groups that nobody was in for long are forgotten, and no others.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use taffrail_broker::{BrokerConfig, DiskSettings, Environment};
use taffrail_core::group::GroupPolicy;

use super::*;

const DAY_MS: u64 = 24 * 3_600_000;
/// Groups are looked over at least so often.
const SWEEP_MS: u64 = 61_000;

/// The clocks of a broker, and how far each is ahead of the real one.
#[derive(Clone, Default)]
struct Clocks {
    uptime_ms: Arc<AtomicU64>,
    wall_ms: Arc<AtomicI64>,
}

impl Clocks {
    fn environment(&self) -> Environment {
        let real = Environment::real(None);
        let (uptime, clock) = (real.uptime, real.clock);
        let ahead = self.clone();
        let late = self.clone();
        Environment {
            uptime: Arc::new(move || uptime() + ahead.uptime_ms.load(Ordering::Relaxed)),
            clock: Arc::new(move || clock() + late.wall_ms.load(Ordering::Relaxed)),
            ..real
        }
    }

    fn pass(&self, ms: u64) {
        self.uptime_ms.fetch_add(ms, Ordering::Relaxed);
        self.leap(ms.cast_signed());
    }

    /// The wall clock alone.
    fn leap(&self, ms: i64) {
        self.wall_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

async fn coordinated() -> (Fixture, Clocks) {
    let clocks = Clocks::default();
    let environment = clocks.environment();
    let fixture = Fixture::in_environment(4, environment, DiskSettings::default()).await;
    // One coordinator, so that whatever it does to one group it might do to the others.
    let offsets = Topic::new(internal::OFFSETS, &[1]);
    fixture.controller.put(OFFSETS, offsets);
    coordinates(&fixture).await;
    let fixture = with_records(fixture).await;
    (fixture, clocks)
}

/// Of these groups offsets are kept for so long.
async fn keep(fixture: &Fixture, groups: &[(&str, u64)]) {
    let record = |(group, ms): &(&str, u64)| {
        let policy = GroupPolicy {
            offset_retention_ms: Some(*ms),
            ..GroupPolicy::default()
        };
        v1::GroupPolicyRecord {
            group: (*group).to_owned(),
            policy: Some((&policy).into()),
            forget: false,
        }
    };
    let records = groups.iter().map(record);
    fixture
        .controller
        .say(|update| update.groups.extend(records));
    until("the policies are known", async || {
        let is_known = |(group, _): &(&str, u64)| fixture.controller.group(group).is_some();
        groups.iter().all(is_known)
    })
    .await;
}

/// A member commits, which stays or leaves.
async fn member(fixture: &Fixture, group: &str) -> TestMember {
    let join = v1::JoinGroup {
        group: group.to_owned(),
        ..joining(1)
    };
    let mut member = TestMember::join(fixture.channel(), join).await;
    let epoch = member.assigned().await.epoch;
    assert_eq!(member.commit(epoch, vec![at(0, 5)]).await, []);
    member
}

async fn was_left(fixture: &Fixture, group: &str) {
    let member = member(fixture, group).await;
    member.leave(false);
    until("the member to be gone", async || {
        let described = describe(fixture, group).await;
        described.expect("known").members.is_empty()
    })
    .await;
}

/// One that is declared is known without anything of it.
async fn is_forgotten(fixture: &Fixture, group: &str) -> bool {
    match describe(fixture, group).await {
        Ok(known) => known.offsets.is_empty() && known.members.is_empty(),
        Err(error) => error.code == ErrorCode::UnknownGroup,
    }
}

#[tokio::test]
async fn a_group_that_nobody_was_in_for_long_is_forgotten_for_good_and_no_other() {
    let (fixture, clocks) = coordinated().await;
    keep(&fixture, &[("kept", 100 * DAY_MS), ("gone", 1_000)]).await;
    for group in ["billing", "kept", "gone"] {
        was_left(&fixture, group).await;
    }
    let _member = member(&fixture, "read").await;
    clocks.pass(SWEEP_MS);
    until("a short retention to be over", async || {
        is_forgotten(&fixture, "gone").await
    })
    .await;
    assert!(!is_forgotten(&fixture, "billing").await, "it has a month");
    clocks.pass(BrokerConfig::default().groups.offset_retention_ms + SWEEP_MS);
    until("the retention to be over", async || {
        is_forgotten(&fixture, "billing").await
    })
    .await;
    let fixture = fixture.restart().await;
    coordinates(&fixture).await;
    for (group, forgotten) in [
        ("billing", true),
        ("gone", true),
        ("kept", false),
        ("read", false),
    ] {
        assert_eq!(is_forgotten(&fixture, group).await, forgotten, "{group}");
    }
}

/// Forgotten by the next look over the groups.
async fn next_look(fixture: &Fixture, clocks: &Clocks) {
    was_left(fixture, "gone").await;
    clocks.pass(SWEEP_MS);
    until("a look", async || is_forgotten(fixture, "gone").await).await;
}

#[tokio::test]
async fn a_wall_clock_that_jumps_forgets_nobody() {
    let (fixture, clocks) = coordinated().await;
    keep(&fixture, &[("gone", 1_000)]).await;
    was_left(&fixture, "billing").await;
    let years_ms = (3_650 * DAY_MS).cast_signed();
    for leap_ms in [years_ms, -2 * years_ms] {
        clocks.leap(leap_ms);
        next_look(&fixture, &clocks).await;
        assert!(!is_forgotten(&fixture, "billing").await, "by {leap_ms}");
    }
    was_left(&fixture, "left-before-the-clock-was-set").await;
    clocks.leap(years_ms);
    next_look(&fixture, &clocks).await;
    let group = "left-before-the-clock-was-set";
    assert!(!is_forgotten(&fixture, group).await, "a minute ago");
    let fixture = fixture.crash_and_restart_in(clocks.environment()).await;
    coordinates(&fixture).await;
    clocks.leap(years_ms);
    next_look(&fixture, &clocks).await;
    let forgotten = is_forgotten(&fixture, "billing").await;
    assert!(!forgotten, "by what is known from the log");
}
