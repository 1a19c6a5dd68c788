//! Partitions: who leads them, and from where to where they reach.

use serde::Serialize;
use taffrail_api::v1;

use super::{Listing, numbers};
use crate::{
    table::{Table, human_bytes, human_count},
    time::format_timestamp,
};

/// A list of partitions.
pub(crate) struct Partitions(pub(crate) Vec<PartitionView>);

/// One partition. Field names are API.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartitionView {
    /// Of this topic.
    pub(crate) topic: String,
    partition: u32,
    leader: Option<u32>,
    leader_epoch: i32,
    partition_epoch: u64,
    replicas: Vec<u32>,
    isr: Vec<u32>,
    log_start_offset: i64,
    high_watermark: i64,
    log_end_offset: i64,
    bytes: u64,
    oldest: Option<String>,
    state: String,
    message: String,
    adding: Vec<u32>,
    removing: Vec<u32>,
    followers: Vec<FollowerView>,
}

/// A replica that follows, as its leader sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FollowerView {
    broker: u32,
    in_sync: bool,
    /// Absent: the leader has not heard it yet.
    durable_end_offset: Option<i64>,
    lag_ms: u32,
}

impl From<v1::PartitionStatus> for PartitionView {
    fn from(status: v1::PartitionStatus) -> Self {
        Self {
            topic: status.topic,
            partition: status.partition,
            leader: status.leader,
            leader_epoch: status.leader_epoch,
            partition_epoch: status.partition_epoch,
            replicas: status.replicas,
            isr: status.isr,
            log_start_offset: status.log_start_offset,
            high_watermark: status.high_watermark,
            log_end_offset: status.log_end_offset,
            bytes: status.bytes,
            oldest: status.oldest_append_time_ms.map(format_timestamp),
            state: status.state,
            message: status.message,
            adding: status.adding,
            removing: status.removing,
            followers: status
                .followers
                .into_iter()
                .map(FollowerView::from)
                .collect(),
        }
    }
}

impl From<v1::FollowerStatus> for FollowerView {
    fn from(status: v1::FollowerStatus) -> Self {
        Self {
            broker: status.broker,
            in_sync: status.in_sync,
            durable_end_offset: status.durable_end_offset,
            lag_ms: status.lag_ms,
        }
    }
}

impl Listing for Partitions {
    type Item = PartitionView;
    const NOTHING: &'static str =
        "no partitions; create a topic with: taffrail apply -f topic.yaml";

    fn items(&self) -> &[PartitionView] {
        &self.0
    }

    fn table(&self, wide: bool, _now_ms: i64) -> Table {
        let mut heads = vec![
            "TOPIC",
            "PARTITION",
            "STATE",
            "LEADER",
            "IN-SYNC",
            "START",
            "END",
            "SIZE",
        ];
        // Most of the time nothing moves.
        let moves = self.0.iter().any(PartitionView::is_moving);
        if moves {
            heads.push("MOVING");
        }
        if wide {
            heads.extend(["HIGH-WATERMARK", "EPOCH", "REPLICAS", "LAG"]);
        }
        let says_what = self.0.iter().any(|partition| !partition.message.is_empty());
        if says_what {
            heads.push("MESSAGE");
        }
        let mut table = Table::new(&heads);
        for partition in &self.0 {
            let mut cells = partition.cells(moves, wide);
            cells.extend(says_what.then(|| partition.message.clone()));
            table.row(cells);
        }
        table
    }
}

impl PartitionView {
    /// Do its replicas move?
    pub(crate) fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// Is it this one?
    pub(crate) fn is_of(&self, topic: &str, partition: u32) -> bool {
        self.topic == topic && self.partition == partition
    }

    /// What a move still has to do: `adding 4: 12,345 behind, removing 3`.
    fn moving(&self) -> String {
        let adding = self.adding.iter().map(|broker| match self.behind(*broker) {
            Some(behind) => format!("adding {broker}: {} behind", human_count(behind)),
            None => format!("adding {broker}: not heard yet"),
        });
        let removing = self
            .removing
            .iter()
            .map(|broker| format!("removing {broker}"));
        let steps: Vec<_> = adding.chain(removing).collect();
        if steps.is_empty() {
            return "-".to_owned();
        }
        steps.join(", ")
    }

    /// How many records a follower lacks.
    fn behind(&self, broker: u32) -> Option<u64> {
        let follower = self.followers.iter().find(|f| f.broker == broker)?;
        let lacks = self.log_end_offset - follower.durable_end_offset?;
        Some(lacks.max(0).cast_unsigned())
    }

    /// Members of the in-sync set that are there and keep up. It keeps others where it would be smaller than minInSync.
    fn in_sync(&self) -> Vec<u32> {
        let members = self.isr.iter().copied();
        let keeps_up = |member: &u32| {
            let mut followers = self.followers.iter();
            let follower = followers.find(|follower| follower.broker == *member);
            follower.is_none_or(|follower| follower.in_sync)
        };
        members.filter(keeps_up).collect()
    }

    /// Of each follower: 2:0s,3:12s.
    fn lags(&self) -> String {
        let lags = self.followers.iter().map(|follower| {
            let broker = follower.broker;
            match follower.durable_end_offset {
                Some(_) => format!("{broker}:{}s", follower.lag_ms.div_ceil(1_000)),
                None => format!("{broker}:-"),
            }
        });
        let lags: Vec<_> = lags.collect();
        if lags.is_empty() {
            "-".to_owned()
        } else {
            lags.join(",")
        }
    }

    fn cells(&self, moves: bool, wide: bool) -> Vec<String> {
        let leader = self.leader.map(|number| number.to_string());
        let mut cells = vec![
            self.topic.clone(),
            self.partition.to_string(),
            self.state.clone(),
            leader.unwrap_or_else(|| "-".to_owned()),
            numbers(&self.in_sync()),
            self.log_start_offset.to_string(),
            self.log_end_offset.to_string(),
            human_bytes(self.bytes),
        ];
        if moves {
            cells.push(self.moving());
        }
        if wide {
            cells.extend([
                self.high_watermark.to_string(),
                self.leader_epoch.to_string(),
                numbers(&self.replicas),
                self.lags(),
            ]);
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn print(list: &[v1::PartitionStatus], wide: bool) -> String {
        let list = list.iter().cloned().map(PartitionView::from).collect();
        let mut out = Vec::new();
        let table = Partitions(list).table(wide, 0);
        table.print(&mut out, "").expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_fields_of_a_partition_are_what_they_were() {
        let follower = v1::FollowerStatus {
            broker: 2,
            in_sync: true,
            durable_end_offset: Some(7),
            lag_ms: 3,
        };
        let status = v1::PartitionStatus {
            topic: "flights".into(),
            replicas: vec![1, 2],
            isr: vec![1, 2],
            log_end_offset: 7,
            oldest_append_time_ms: Some(0),
            state: "ONLINE".into(),
            followers: vec![follower],
            ..v1::PartitionStatus::default()
        };
        let expected = json!({
            "topic": "flights",
            "partition": 0,
            "leader": null,
            "leaderEpoch": 0,
            "partitionEpoch": 0,
            "replicas": [1, 2],
            "isr": [1, 2],
            "logStartOffset": 0,
            "highWatermark": 0,
            "logEndOffset": 7,
            "bytes": 0,
            "oldest": "1970-01-01T00:00:00Z",
            "state": "ONLINE",
            "message": "",
            "adding": [],
            "removing": [],
            "followers": [
                { "broker": 2, "inSync": true, "durableEndOffset": 7, "lagMs": 3 },
            ],
        });
        let view = serde_json::to_value(PartitionView::from(status));
        assert_eq!(view.expect("JSON"), expected);
    }

    #[test]
    fn what_moves_says_what_is_missing_and_what_does_not_has_no_column() {
        let heard = v1::FollowerStatus {
            broker: 4,
            durable_end_offset: Some(2_345),
            ..v1::FollowerStatus::default()
        };
        let moving = v1::PartitionStatus {
            topic: "flights".into(),
            log_end_offset: 14_690,
            adding: vec![4, 5],
            followers: vec![heard],
            removing: vec![3],
            ..v1::PartitionStatus::default()
        };
        let text = print(&[moving, v1::PartitionStatus::default()], false);
        let expected = "adding 4: 12,345 behind, adding 5: not heard yet, removing 3";
        assert!(text.contains(expected), "{text}");
        let text = print(&[v1::PartitionStatus::default()], false);
        assert!(!text.contains("MOVING"), "{text}");
    }

    #[test]
    fn the_lag_of_each_follower_is_shown() {
        let follower = |broker, durable_end_offset, lag_ms| v1::FollowerStatus {
            broker,
            durable_end_offset,
            lag_ms,
            ..v1::FollowerStatus::default()
        };
        let status = v1::PartitionStatus {
            followers: vec![
                follower(2, Some(9), 0),
                follower(3, Some(4), 11_300),
                follower(4, None, 0),
            ],
            ..v1::PartitionStatus::default()
        };
        assert_eq!(PartitionView::from(status).lags(), "2:0s,3:12s,4:-");
    }

    #[test]
    fn a_member_that_does_not_keep_up_is_not_shown_as_in_sync() {
        let follower = |broker, in_sync| v1::FollowerStatus {
            broker,
            in_sync,
            ..v1::FollowerStatus::default()
        };
        let status = v1::PartitionStatus {
            leader: Some(1),
            isr: vec![1, 2, 3],
            followers: vec![follower(2, false), follower(3, true)],
            ..v1::PartitionStatus::default()
        };
        let view = PartitionView::from(status);
        assert_eq!(view.in_sync(), [1, 3]);
        assert_eq!(view.isr, [1, 2, 3], "JSON has the set as it is stored");
    }

    #[test]
    fn a_partition_without_a_leader_has_a_dash() {
        let status = v1::PartitionStatus {
            topic: "flights".into(),
            partition: 1,
            state: "OFFLINE".into(),
            message: "the disk says no".into(),
            ..v1::PartitionStatus::default()
        };
        for wide in [false, true] {
            let text = print(&[status.clone(), v1::PartitionStatus::default()], wide);
            assert!(text.contains("flights   1           OFFLINE   -"), "{text}");
            assert!(text.contains("the disk says no"), "{text}");
        }
        let text = print(&[v1::PartitionStatus::default()], false);
        assert!(!text.contains("MESSAGE"), "nobody has one: {text}");
    }
}
