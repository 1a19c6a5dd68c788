//! Rules that are broken, and the seed that shows each: the table in `docs/SIMULATION.md`.

use std::{fmt::Write as _, path::PathBuf};

use taffrail_core::replica::Mutant;

use crate::Failure;

/// Where the table is.
pub fn document() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/SIMULATION.md"
    ))
}

/// `FsyncSkipped` is `fsync-skipped`.
pub fn name_of(mutant: Mutant) -> String {
    let mut name = String::new();
    for letter in format!("{mutant:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// The mutant of this name.
pub fn named(name: &str) -> Option<Mutant> {
    Mutant::ALL.into_iter().find(|m| name_of(*m) == name)
}

/// What may notice a broken rule: the invariant that it is for, or that it brings down first. Anything else that fails in a run does not show the rule.
pub const fn noticed_by(mutant: Mutant) -> &'static [&'static str] {
    const COUNTED: &str = "what counts is on the follower's disk";
    const MEMBERS: &str = "members of the in-sync set have what is committed";
    const ENOUGH: &str = "nothing is committed by fewer than minInSync members";
    const ON_LEADERS: &str = "acknowledged is on every leader";
    const SURVIVES: &str = "what is durable survives a restart";
    const SILENT: &str = "a coordinator that was replaced falls silent";
    match mutant {
        Mutant::NoEpochCheck => &["a leader counts only what is said in its epoch"],
        Mutant::DivergingCounted | Mutant::CountedBeforeDurable | Mutant::StaleAnswerObeyed => {
            &[COUNTED]
        }
        Mutant::OwnCountedBeforeDurable
        | Mutant::ShrinkBeforePersisted
        | Mutant::ExpansionNotCounted
        | Mutant::LateChangeAccepted => &[MEMBERS],
        Mutant::ExpansionCountedForMin | Mutant::HighWatermarkBelowMin => &[ENOUGH],
        Mutant::CaughtUpByHighWatermark => &["a newcomer has what is committed"],
        Mutant::IncarnationNotCompared => &["a leader counts only what the last run says"],
        Mutant::NoDivergenceCheck => &["exposed is never replaced"],
        Mutant::OldSyncCounted | Mutant::FsyncSkipped => &["durable is what was synced"],
        Mutant::ElectOutsideIsr => &["isr is in replicas, the leader in isr"],
        Mutant::LeaderIncarnationNotCompared => &["a leader epoch has one owner"],
        Mutant::UnconfirmedElected | Mutant::SnapshotElected => &[ON_LEADERS],
        Mutant::ElectedBeforeReports => &["nobody is elected before enough replicas have reported"],
        Mutant::RolledBackMapTrusted => &["in doubt every member has to report"],
        Mutant::ClaimRaisesPartitionEpoch => &["a claim changes no assignment"],
        Mutant::MapCreatedWithoutRoot => &["nothing is said before it is persisted"],
        Mutant::TruncationNotSynced => &[SURVIVES, "durable is what was synced"],
        Mutant::DamageTakenForTornTail => &[SURVIVES],
        Mutant::DuplicateAnsweredEarly => &["acknowledged is committed"],
        Mutant::CommitEpochIgnored => &["a committed offset moves back only by a reset"],
        Mutant::PartitionGivenBeforeRevoked => {
            &["a partition is processed by one member at a time"]
        }
        Mutant::AnsweredBeforeStored => &["a commit that is acknowledged is stored"],
        Mutant::SilentFollowerIgnored | Mutant::LateWordsCounted => &[SILENT],
    }
}

/// The seed that shows a broken rule, and what notices it in that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The rule.
    pub mutant: Mutant,
    /// The run.
    pub seed: u64,
    /// What is broken in it.
    pub by: String,
}

impl Shown {
    /// By this failure.
    pub fn of(mutant: Mutant, failure: &Failure) -> Self {
        Self {
            mutant,
            seed: failure.seed,
            by: noticed(&failure.broken).to_owned(),
        }
    }
}

impl Shown {
    /// By an invariant that is there for this rule?
    pub fn is_due(&self) -> bool {
        noticed_by(self.mutant).contains(&self.by.as_str())
    }
}

/// The invariant that `broken` names, after who broke it and before by what.
fn noticed(broken: &str) -> &str {
    let is_where = |part: &&str| {
        let mut letters = part.chars();
        let is_node = matches!(letters.next(), Some('b' | 'c'))
            && letters.next().is_some_and(|letter| letter.is_ascii_digit());
        is_node || *part == "panicked"
    };
    let mut parts = broken.split(": ");
    parts.find(|part| !is_where(part)).unwrap_or_default()
}

/// What shows which mutant, as `text` has it: rows of a mutant, a seed, the rule that is broken, and what notices it.
pub fn shown(text: &str) -> Vec<Shown> {
    let rows = text.lines().filter_map(row);
    let shown = rows.filter_map(|row| {
        Some(Shown {
            mutant: row.mutant,
            seed: row.seed.parse().ok()?,
            by: row.by.to_owned(),
        })
    });
    shown.collect()
}

/// `text` with these seeds and what they show. Rows of other mutants, and the rules, stay.
pub fn with_shown(text: &str, shown: &[Shown]) -> String {
    let mut changed = String::with_capacity(text.len());
    for line in text.lines() {
        let new = row(line).and_then(|row| {
            let shown = shown.iter().find(|shown| shown.mutant == row.mutant)?;
            Some((shown, row.rule))
        });
        let _ = match new {
            Some((Shown { mutant, seed, by }, rule)) => {
                let name = name_of(*mutant);
                writeln!(changed, "| `{name}` | {seed} | {rule} | {by} |")
            }
            None => writeln!(changed, "{line}"),
        };
    }
    changed
}

/// A row of the table.
struct Row<'a> {
    mutant: Mutant,
    seed: &'a str,
    rule: &'a str,
    by: &'a str,
}

fn row(line: &str) -> Option<Row<'_>> {
    let cells = line.strip_prefix("| `")?.strip_suffix('|')?;
    let mut cells = cells.split('|').map(str::trim);
    Some(Row {
        mutant: named(cells.next()?.trim_end_matches('`'))?,
        seed: cells.next()?,
        rule: cells.next()?,
        by: cells.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_table_says_of_seeds_is_replaced_and_nothing_else_is() {
        let text = "| mutant | seed | rule | by |\n| `fsync-skipped` | | no fsync | |\n| `no-epoch-check` | 4 | x | y |\nA line.\n";
        let of = |mutant, seed, by: &str| Shown {
            mutant,
            seed,
            by: by.to_owned(),
        };
        assert_eq!(shown(text), [of(Mutant::NoEpochCheck, 4, "y")]);
        let changed = with_shown(text, &[of(Mutant::FsyncSkipped, 17, "z")]);
        let expected = text.replace("| | no fsync | |", "| 17 | no fsync | z |");
        assert_eq!(changed, expected);
    }

    #[test]
    fn an_invariant_is_told_from_who_broke_it_and_by_what() {
        for (broken, name) in [
            ("a log is in order: b1: something", "a log is in order"),
            ("b1: a log is in order: something", "a log is in order"),
            (
                "c0 put map m (Election): a claim changes nothing: t/0",
                "a claim changes nothing",
            ),
            ("panicked: brokers are there: 3", "brokers are there"),
        ] {
            assert_eq!(noticed(broken), name);
        }
    }
}
