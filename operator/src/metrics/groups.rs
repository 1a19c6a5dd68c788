//! Consumer groups, as their clusters' controllers see them: by group, topic and partition.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use taffrail_api::v1;

use super::losses::{GroupLosses, Place};
use crate::engines::{ClusterKey, Engines};

/// Shows the groups of every controller that runs here: a standby shows none.
#[derive(Debug)]
pub(super) struct GroupNumbers {
    pub(super) engines: Arc<Engines>,
    pub(super) losses: GroupLosses,
}

/// A number of a group.
type OfGroup = fn(&v1::GroupStatus) -> u32;

const GROUP_GAUGES: [(&str, &str, OfGroup); 2] = [
    ("group_members", "Members of a consumer group", |g| {
        g.members
    }),
    (
        "group_useful_members",
        "As many members of a consumer group can have something to read: the partitions of its topics",
        |g| g.useful_members,
    ),
];

/// A number of a partition, if it has one.
type OfPartition = fn(&v1::GroupPartitionStatus) -> Option<f64>;

const PARTITION_GAUGES: [(&str, &str, OfPartition); 4] = [
    (
        "group_lag_records",
        "Records of a partition that a consumer group has not read yet",
        |p| Some(p.lag_records as f64),
    ),
    (
        "group_lag_seconds",
        "How old the first record is that a consumer group has not read yet, about; 0 if everything was read",
        |p| Some(p.lag_ms as f64 / 1e3),
    ),
    (
        "group_committed_offset",
        "The next offset that a consumer group is to read of a partition; absent if nothing is committed",
        |p| (p.committed_offset >= 0).then_some(p.committed_offset as f64),
    ),
    (
        "group_data_loss_timestamp_seconds",
        "When retention will delete what a consumer group will not have read by then, at today's rates, since the epoch; absent if nothing is at risk",
        |p| p.loses_data_at_ms.map(|ms| ms as f64 / 1e3),
    ),
];

const STATES: [(v1::GroupState, &str); 3] = [
    (v1::GroupState::GroupEmpty, "Empty"),
    (v1::GroupState::GroupAssigning, "Assigning"),
    (v1::GroupState::GroupStable, "Stable"),
];

impl Collector for GroupNumbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let handles = self.engines.handles().into_iter();
        let views: Vec<_> = handles
            .map(|(key, handle)| (key, handle.groups()))
            .collect();
        for (key, groups) in &views {
            self.losses.note(key, groups);
        }
        let mut lost = self.losses.recent();
        lost.retain(|(place, _)| views.iter().any(|(key, _)| *key == place.cluster));
        encode_lost(&lost, &mut encoder)?;
        let groups: Vec<_> = views
            .iter()
            .flat_map(|(key, groups)| groups.values().map(move |group| (key, group)))
            .filter(|(_, group)| group.is_reported)
            .collect();
        encode_members(&groups, &mut encoder)?;
        encode_shares(&groups, &mut encoder)?;
        encode_states(&groups, &mut encoder)?;
        for (name, help, number) in PARTITION_GAUGES {
            encode_partitions(&groups, name, help, number, &mut encoder)?;
        }
        Ok(())
    }
}

/// Groups of which a coordinator has said something.
type Reported<'a> = [(&'a ClusterKey, &'a v1::GroupStatus)];

fn encode_members(
    groups: &Reported<'_>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    for (name, help, number) in GROUP_GAUGES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (key, group) in groups {
            let cluster = key.to_string();
            let labels = [("cluster", &*cluster), ("group", &*group.group)];
            ConstGauge::new(i64::from(number(group))).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_shares(
    groups: &Reported<'_>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let (name, gauge) = ("group_partitions_per_member", MetricType::Gauge);
    let help = "The fewest and the most partitions that a member of a consumer group reads; absent without members";
    let mut family = encoder.encode_descriptor(name, help, None, gauge)?;
    for (key, group) in groups.iter().filter(|(_, group)| group.members > 0) {
        let cluster = key.to_string();
        for (bound, number) in [
            ("min", group.member_partitions_min),
            ("max", group.member_partitions_max),
        ] {
            let labels = [
                ("cluster", &*cluster),
                ("group", &*group.group),
                ("bound", bound),
            ];
            ConstGauge::new(i64::from(number)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_states(
    groups: &Reported<'_>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let help = "1 for the state that a consumer group is in, 0 for the others";
    let mut family = encoder.encode_descriptor("group_state", help, None, MetricType::Gauge)?;
    for (key, group) in groups {
        let cluster = key.to_string();
        for (state, name) in STATES {
            let labels = [
                ("cluster", &*cluster),
                ("group", &*group.group),
                ("state", name),
            ];
            let is_in = i64::from(group.state() == state);
            ConstGauge::new(is_in).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_partitions(
    groups: &Reported<'_>,
    name: &str,
    help: &str,
    number: OfPartition,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (key, group) in groups {
        let cluster = key.to_string();
        for partition in &group.partitions {
            let Some(number) = number(partition) else {
                continue;
            };
            let index = partition.partition.to_string();
            let labels = [
                ("cluster", &*cluster),
                ("group", &*group.group),
                ("topic", &*partition.topic),
                ("partition", &*index),
            ];
            ConstGauge::new(number).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_lost(
    lost: &[(Place, i64)],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let help = "Records that retention deleted before a consumer group read them, until an hour after it has gone on behind them; absent otherwise";
    let gauge = MetricType::Gauge;
    let mut family = encoder.encode_descriptor("group_lost_records", help, None, gauge)?;
    for (place, records) in lost {
        let cluster = place.cluster.to_string();
        let index = place.partition.to_string();
        let labels = [
            ("cluster", &*cluster),
            ("group", &*place.group),
            ("topic", &*place.topic),
            ("partition", &*index),
        ];
        ConstGauge::new(*records).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    /// One group, shown as the registry of an operator shows it.
    #[derive(Debug)]
    struct One(v1::GroupStatus);

    impl Collector for One {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            let key = ClusterKey {
                namespace: "streams".to_owned(),
                name: "main".to_owned(),
            };
            let losses = GroupLosses::default();
            losses.note(&key, &[(self.0.group.clone(), self.0.clone())].into());
            encode_lost(&losses.recent(), &mut encoder)?;
            let groups = [(&key, &self.0)];
            encode_members(&groups, &mut encoder)?;
            encode_shares(&groups, &mut encoder)?;
            encode_states(&groups, &mut encoder)?;
            for (name, help, number) in PARTITION_GAUGES {
                encode_partitions(&groups, name, help, number, &mut encoder)?;
            }
            Ok(())
        }
    }

    fn shown(partition: v1::GroupPartitionStatus) -> String {
        let mut registry = Registry::with_prefix("taffrail_operator");
        registry.register_collector(Box::new(One(v1::GroupStatus {
            group: "billing".to_owned(),
            state: v1::GroupState::GroupStable.into(),
            members: 2,
            useful_members: 5,
            member_partitions_min: 1,
            member_partitions_max: 4,
            partitions: vec![partition],
            is_reported: true,
            ..v1::GroupStatus::default()
        })));
        let mut text = String::new();
        encode(&mut text, &registry).expect("it has room");
        text
    }

    #[test]
    fn a_group_is_shown_by_partition_under_documented_names() {
        let text = shown(v1::GroupPartitionStatus {
            topic: "orders".to_owned(),
            partition: 7,
            committed_offset: 100,
            lag_records: 18,
            lag_ms: 41_500,
            loses_data_at_ms: Some(1_795_000_000_000),
            lost_to_offset: Some(250),
            lost_from_offset: Some(100),
        });
        let of = r#"cluster="streams/main",group="billing""#;
        let partition = format!(r#"{{{of},topic="orders",partition="7"}}"#);
        for sample in [
            format!("taffrail_operator_group_members{{{of}}} 2\n"),
            format!("taffrail_operator_group_useful_members{{{of}}} 5\n"),
            format!("taffrail_operator_group_partitions_per_member{{{of},bound=\"min\"}} 1\n"),
            format!("taffrail_operator_group_partitions_per_member{{{of},bound=\"max\"}} 4\n"),
            format!("taffrail_operator_group_state{{{of},state=\"Stable\"}} 1\n"),
            format!("taffrail_operator_group_state{{{of},state=\"Empty\"}} 0\n"),
            format!("taffrail_operator_group_lag_records{partition} 18.0\n"),
            format!("taffrail_operator_group_lag_seconds{partition} 41.5\n"),
            format!("taffrail_operator_group_committed_offset{partition} 100.0\n"),
            format!(
                "taffrail_operator_group_data_loss_timestamp_seconds{partition} 1795000000.0\n"
            ),
            format!("taffrail_operator_group_lost_records{partition} 150\n"),
        ] {
            assert!(text.contains(&sample), "{sample} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_not_is_not_shown() {
        let text = shown(v1::GroupPartitionStatus {
            topic: "orders".to_owned(),
            committed_offset: -1,
            ..v1::GroupPartitionStatus::default()
        });
        for name in [
            "committed_offset",
            "data_loss_timestamp_seconds",
            "lost_records",
        ] {
            let sample = format!("taffrail_operator_group_{name}{{");
            assert!(!text.contains(&sample), "{text}");
        }
        assert!(
            text.contains("taffrail_operator_group_lag_records{"),
            "{text}"
        );
    }
}
