//! What groups cost the API server.

use std::time::{Duration, Instant};

use taffrail_tests::{
    operated::{Broker, Operated},
    wait,
};

use super::{consume, declare, start_with_flights};

/// Of samples whose line has all of `parts` and none of `others`.
fn sum(metrics: &str, parts: &[&str], others: &[&str]) -> u64 {
    let has = |line: &&str| parts.iter().all(|part| line.contains(part));
    let lacks = |line: &&str| !others.iter().any(|other| line.contains(other));
    let lines = metrics.lines().filter(has).filter(lacks);
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

/// Writes, Leases apart, which are renewed by the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Writes {
    /// As the operator counts them: of all kinds, and of clusters' metadata.
    operator: u64,
    /// As the API server counts its requests.
    server: u64,
}

impl Writes {
    fn now(operated: &Operated) -> Self {
        Self::of(operated, "", "")
    }

    /// Only of ConsumerGroups.
    fn of_groups(operated: &Operated) -> Self {
        Self::of(
            operated,
            "kind=\"ConsumerGroup\"",
            "resource=\"consumergroups\"",
        )
    }

    /// Whose samples have these labels.
    fn of(operated: &Operated, kind: &str, resource: &str) -> Self {
        let metrics = operated.metrics();
        let metrics = |name| sum(&metrics, &[name, kind], &["kind=\"Lease\""]);
        let raw = ["get", "--raw", "/metrics"];
        let server = operated.api().kubectl(&raw).expect_success();
        let requests = |verb| {
            let verb = format!("verb=\"{verb}\"");
            let parts = ["apiserver_request_total{", &verb, resource];
            sum(&server, &parts, &["resource=\"leases\""])
        };
        Self {
            operator: metrics("taffrail_operator_api_writes_total{")
                + metrics("taffrail_operator_metadata_writes_total{"),
            server: ["POST", "PUT", "PATCH", "APPLY", "DELETE"]
                .into_iter()
                .map(requests)
                .sum(),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            operator: self.operator - before.operator,
            server: self.server - before.server,
        }
    }
}

/// What it costs when members, or others, come one after the other for a minute at least.
struct Spell {
    writes: Writes,
    of_groups: Writes,
    rounds: u64,
    seconds: u64,
}

impl Spell {
    /// `read` reads some records.
    fn of(operated: &Operated, broker: &Broker, read: &[&str]) -> Self {
        let (begun, before) = (Instant::now(), Writes::now(operated));
        let of_groups = Writes::of_groups(operated);
        let mut spell = Self {
            writes: before,
            of_groups,
            rounds: 0,
            seconds: 0,
        };
        while spell.seconds < 60 || spell.rounds <= 2 * spell.may() {
            assert!(spell.seconds < 180, "only {} rounds", spell.rounds);
            let some = ["consume", "flights", "--max", "10"];
            let read = broker.taffrail(&[&some[..], read].concat());
            assert_eq!(read.expect_success().lines().count(), 10);
            spell.rounds += 1;
            spell.seconds = begun.elapsed().as_secs();
        }
        spell.writes = Writes::now(operated).since(before);
        spell.of_groups = Writes::of_groups(operated).since(of_groups);
        spell
    }

    /// Writes that the group's numbers take, every 30 seconds, and conditions that lasted; other kinds' numbers may fall on this or that side of the end.
    const fn may(&self) -> u64 {
        4 + self.seconds / 15
    }
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn joins_commits_and_leaves_cost_the_api_server_no_writes_of_their_own() {
    let (operated, broker) = start_with_flights();
    declare(&operated, &["topics: [{name: flights}]"]);
    let without = Spell::of(&operated, &broker, &[]).writes;
    let with = Spell::of(&operated, &broker, &["--group", "billing"]);
    let (may, writes) = (with.may(), with.writes);
    assert!(
        writes.operator <= without.operator + may && writes.server <= without.server + may,
        "{writes:?} in {} rounds, {without:?} without a group",
        with.rounds
    );
    let groups = with.of_groups;
    assert!(groups.operator <= may && groups.server <= may, "{groups:?}");
    // A group at rest, without a lag that grows, costs nothing at all, once all is said.
    consume(&broker);
    let mut quiet = (Instant::now(), Writes::of_groups(&operated));
    wait::until(
        "more than those 30 seconds without a write",
        wait::PATIENCE,
        || {
            let now = Writes::of_groups(&operated);
            if now != quiet.1 {
                quiet = (Instant::now(), now);
            }
            (quiet.0.elapsed() >= Duration::from_secs(45)).then_some(())
        },
    );
}
