//! Consumer groups: their state, and how far they have read.

use std::time::Duration;

use serde::Serialize;
use taffrail_api::v1;
use taffrail_core::quantity::format_duration;

use super::Listing;
use crate::{
    table::{Table, human_count},
    time::{format_age, format_timestamp},
};

/// A list of groups.
pub(crate) struct Groups(pub(crate) Vec<GroupView>);

/// One group. Field names are API.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupView {
    name: String,
    state: &'static str,
    members: u32,
    /// Records that it has not read, in all partitions; this and what follows as of some seconds ago, and `null` if the controller does not know.
    lag: Option<u64>,
    /// The age of the oldest of them.
    lag_ms: Option<u64>,
    /// When retention deletes a record that it will not have read by then. `null` also if that will not be.
    loses_data_at: Option<String>,
    #[serde(skip)]
    loses_data_at_ms: Option<i64>,
}

impl GroupView {
    /// What its coordinator and the controller say.
    pub(crate) fn new(summary: v1::GroupSummary, status: Option<&v1::GroupStatus>) -> Self {
        let status = status.filter(|status| status.is_reported);
        let partitions = |status: &v1::GroupStatus| status.partitions.clone().into_iter();
        let deadlines = status.map(|s| partitions(s).filter_map(|p| p.loses_data_at_ms));
        let loses_data_at_ms = deadlines.and_then(Iterator::min);
        Self {
            state: state_name(summary.state()),
            name: summary.group,
            members: summary.members,
            lag: status.map(|s| partitions(s).map(|p| p.lag_records).sum()),
            lag_ms: status.map(|s| partitions(s).map(|p| p.lag_ms).max().unwrap_or(0)),
            loses_data_at: loses_data_at_ms.map(format_timestamp),
            loses_data_at_ms,
        }
    }
}

/// How long it is until then, to the second below an hour and to the minute above.
fn until(now_ms: i64, at_ms: Option<i64>) -> String {
    let Some(at_ms) = at_ms else {
        return "-".to_owned();
    };
    span(u64::try_from(at_ms - now_ms).unwrap_or(0))
}

fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    let seconds = if seconds > 3_600 {
        seconds - seconds % 60
    } else {
        seconds
    };
    format_duration(Duration::from_secs(seconds))
}

/// The state's name, as in the status of a `ConsumerGroup`.
pub(crate) const fn state_name(state: v1::GroupState) -> &'static str {
    match state {
        v1::GroupState::Unspecified => "Unknown",
        v1::GroupState::GroupEmpty => "Empty",
        v1::GroupState::GroupAssigning => "Assigning",
        v1::GroupState::GroupStable => "Stable",
    }
}

impl Listing for Groups {
    type Item = GroupView;
    const NOTHING: &'static str = "no groups";

    fn items(&self) -> &[GroupView] {
        &self.0
    }

    fn table(&self, _wide: bool, now_ms: i64) -> Table {
        let mut table = Table::new(&[
            "NAME",
            "STATE",
            "MEMBERS",
            "LAG",
            "LAG-TIME",
            "LOSES-DATA-IN",
        ]);
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        for group in &self.0 {
            table.row(vec![
                group.name.clone(),
                group.state.to_owned(),
                group.members.to_string(),
                dash(group.lag.map(human_count)),
                dash(group.lag_ms.map(span)),
                until(now_ms, group.loses_data_at_ms),
            ]);
        }
        table
    }
}

/// How far a group has read.
pub(crate) struct Progress(pub(crate) Vec<ProgressView>);

/// Of one partition. Field names are API.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProgressView {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    /// The next record to read.
    pub(crate) committed: Option<u64>,
    /// Where the next record will be written.
    pub(crate) end: u64,
    /// Records between them; none if nothing is committed.
    pub(crate) lag: Option<u64>,
    pub(crate) member: Option<String>,
    /// It goes to another member.
    pub(crate) revoking: bool,
    pub(crate) committed_at: Option<String>,
    #[serde(skip)]
    pub(crate) committed_at_ms: Option<i64>,
    /// The age of the first record that was not read; this and what follows as of some seconds ago, and `null` if the controller does not know.
    pub(crate) lag_ms: Option<u64>,
    /// When retention deletes a record that the group will not have read by then. `null` also if that will not be.
    pub(crate) loses_data_at: Option<String>,
    #[serde(skip)]
    pub(crate) loses_data_at_ms: Option<i64>,
}

impl ProgressView {
    /// As the commit's time is written.
    pub(crate) fn at(ms: Option<i64>) -> Option<String> {
        ms.map(format_timestamp)
    }
}

impl Listing for Progress {
    type Item = ProgressView;
    const NOTHING: &'static str = "the group has read nothing yet";

    fn items(&self) -> &[ProgressView] {
        &self.0
    }

    fn table(&self, wide: bool, now_ms: i64) -> Table {
        let mut heads = vec![
            "TOPIC",
            "PARTITION",
            "COMMITTED",
            "END",
            "LAG",
            "LAG-TIME",
            "LOSES-DATA-IN",
            "MEMBER",
        ];
        if wide {
            heads.push("COMMITTED-AGO");
        }
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let mut table = Table::new(&heads);
        for partition in &self.0 {
            let mut cells = vec![
                partition.topic.clone(),
                partition.partition.to_string(),
                dash(partition.committed.map(|offset| offset.to_string())),
                partition.end.to_string(),
                dash(partition.lag.map(human_count)),
                dash(partition.lag_ms.map(span)),
                until(now_ms, partition.loses_data_at_ms),
                match &partition.member {
                    Some(member) if partition.revoking => format!("{member} (revoking)"),
                    member => dash(member.clone()),
                },
            ];
            if wide {
                let ago = partition.committed_at_ms.map(|at| format_age(now_ms, at));
                cells.push(dash(ago));
            }
            table.row(cells);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_committed_has_no_lag_and_what_goes_says_so() {
        let partition = |number, committed: Option<u64>, revoking: bool| ProgressView {
            topic: "flights".to_owned(),
            partition: number,
            committed,
            end: 1_500,
            lag: committed.map(|committed| 1_500 - committed),
            member: revoking.then(|| "pod-0".to_owned()),
            revoking,
            committed_at: None,
            committed_at_ms: committed.map(|_| 1_000),
            lag_ms: committed.map(|_| 41_500),
            loses_data_at: None,
            loses_data_at_ms: committed.map(|_| 1_000 + 59_430_000),
        };
        let progress = Progress(vec![
            partition(0, Some(300), true),
            partition(1, None, false),
        ]);
        let mut out = Vec::new();
        let table = progress.table(true, 6_000);
        table.print(&mut out, "").expect("memory");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "TOPIC     PARTITION   COMMITTED   END    LAG     LAG-TIME   LOSES-DATA-IN   MEMBER             COMMITTED-AGO\n\
             flights   0           300         1500   1,200   41s        16h30m          pod-0 (revoking)   5s\n\
             flights   1           -           1500   -       -          -               -                  -\n"
        );
    }
}
