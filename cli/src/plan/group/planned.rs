//! What each member would read.

use std::collections::BTreeSet;

use serde::Serialize;
use taffrail_core::{TopicPartition, group::Reader};

use super::topics::Known;
use crate::{table::Table, view::Listing};

/// One member's share. Field names are API.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlannedView {
    member: String,
    pub(super) reads: Vec<String>,
    gets: Vec<String>,
    gives_up: Vec<String>,
}

pub(super) struct Planned(pub(super) Vec<PlannedView>);

impl Planned {
    pub(super) fn new(
        members: &[(String, Reader)],
        assigned: Vec<BTreeSet<TopicPartition>>,
        known: &Known,
    ) -> Self {
        let labels = |partitions: &mut dyn Iterator<Item = &TopicPartition>| -> Vec<String> {
            partitions
                .map(|partition| known.label(*partition))
                .collect()
        };
        let rows = members
            .iter()
            .zip(assigned)
            .map(|((name, reader), reads)| PlannedView {
                member: name.clone(),
                reads: labels(&mut reads.iter()),
                gets: labels(&mut reads.difference(&reader.owned)),
                gives_up: labels(&mut reader.owned.difference(&reads)),
            });
        Self(rows.collect())
    }

    pub(super) fn read(&self) -> usize {
        self.0.iter().map(|row| row.reads.len()).sum()
    }

    /// Partitions that go from one member to another: what nobody has just now does not move.
    pub(super) fn moved(&self) -> usize {
        let given_up: BTreeSet<_> = self.0.iter().flat_map(|row| &row.gives_up).collect();
        let got = self.0.iter().flat_map(|row| &row.gets);
        got.filter(|partition| given_up.contains(partition)).count()
    }
}

impl Listing for Planned {
    type Item = PlannedView;
    const NOTHING: &'static str = "the group has no members";

    fn items(&self) -> &[PlannedView] {
        &self.0
    }

    fn table(&self, wide: bool, _now_ms: i64) -> Table {
        let mut table = Table::new(&["MEMBER", "READS", "GETS", "GIVES-UP"]);
        let cell = |partitions: &[String]| match partitions {
            [] => "-".to_owned(),
            partitions if wide || partitions.len() <= 4 => partitions.join(","),
            partitions => format!("{} partitions", partitions.len()),
        };
        for row in &self.0 {
            table.row(vec![
                row.member.clone(),
                row.reads.len().to_string(),
                cell(&row.gets),
                cell(&row.gives_up),
            ]);
        }
        table
    }
}
