//! How often rare paths ran. A batch in which one never ran has not tested it.

use std::{collections::BTreeMap, fmt};

/// Paths that every batch has to take.
pub const RARE: [&str; 95] = [
    "acknowledged by all",
    "acknowledged by the leader",
    "all brokers crash at once",
    "alone with an older volume",
    "answer lost",
    "broker crashed, all unsynced lost",
    "broker crashed, anything unsynced lost",
    "broker crashed, nothing lost",
    "broker crashed, unsynced tails lost",
    "broker paused",
    "broker stopped in order",
    "change asked for late",
    "clock jumped",
    "commit refused as stale",
    "consumer overtaken by retention",
    "controller crashed",
    "controller deposed",
    "controller paused",
    "controllers duel",
    "coordinator cut off",
    "coordinator not sure",
    "coordinator paused",
    "copies added",
    "copies taken away",
    "disk full",
    "disk full refused",
    "disk slow",
    "duplicate answered",
    "duplicate message",
    "election",
    "follower out of range",
    "fsync failed",
    "group overtaken by retention",
    "in doubt after a restore",
    "in-sync set grew",
    "in-sync set shrank",
    "instance id in use",
    "late message",
    "leader alone while its disk hangs",
    "leader gone after a shrink",
    "leader gone after its election",
    "leader left alone by a loss",
    "leader not heard by controllers",
    "leader not told of a newcomer",
    "leadership handed over",
    "live group reset",
    "log began anew",
    "log cut",
    "log damaged",
    "logs diverged",
    "member came back",
    "member expired",
    "member forgotten",
    "member left",
    "member paused",
    "member stopped by itself",
    "members cut off",
    "members taken over",
    "message dropped",
    "message overtaken",
    "minInSync lowered",
    "minInSync raised",
    "move begun",
    "move ended",
    "network cut",
    "network slow",
    "not enough replicas",
    "not yet known",
    "older volume",
    "older volume recognized",
    "one broker heard only",
    "out of sequence",
    "outcome unknown",
    "partitions added",
    "power failed after a cut",
    "preferred replica leads again",
    "record repaired from a broker",
    "replica begins anew",
    "replica deleted",
    "replica offline",
    "said by a former run",
    "segments expired",
    "stale leader epoch",
    "static member came back",
    "store away",
    "store conflict",
    "store is old",
    "store outcome unknown",
    "store put came late",
    "store restored",
    "strays",
    "told twice to cut",
    "unconfirmed member",
    "volume wiped",
    "write torn",
];

/// Counts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// How often.
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// Paths that never ran.
    pub fn missing(&self) -> Vec<&'static str> {
        RARE.into_iter().filter(|what| self.of(what) == 0).collect()
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.0 {
            writeln!(f, "{count:>10}  {what}")?;
        }
        Ok(())
    }
}
