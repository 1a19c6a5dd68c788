//! Topics, in the shape of their Kubernetes resource, so that `-o yaml` can be applied again.

use std::time::Duration;

use serde::Serialize;
use taffrail_api::{WireError, v1};
use taffrail_core::{TopicConfig, TopicId};
use taffrail_crds::{
    GoDuration, Size, TopicSpec,
    topic::{
        Adoption, Cleanup, Compaction, DeletionPolicy, EffectiveTopic, Limits, Partitions,
        Retention, Segment, UncleanElection,
    },
};

use super::Listing;
use crate::{
    table::{Table, human_bytes},
    time::{format_age, format_timestamp},
};

/// A list of topics.
pub(crate) struct Topics(pub(crate) Vec<TopicView>);

/// One topic.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TopicView {
    api_version: &'static str,
    kind: &'static str,
    /// Its name.
    pub(crate) metadata: MetadataView,
    /// What was asked for.
    pub(crate) spec: TopicSpec,
    /// What is so.
    pub(crate) status: StatusView,
}

/// Whose.
#[derive(Debug, Serialize)]
pub(crate) struct MetadataView {
    /// The topic's name.
    pub(crate) name: String,
}

/// What is so.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusView {
    observed_generation: u64,
    /// The topic's identity.
    pub(crate) topic_id: String,
    /// What is in force.
    pub(crate) effective: EffectiveTopic,
    /// How many serve.
    pub(crate) partitions: Partitions,
    /// What it takes on disk.
    pub(crate) storage: StorageView,
    /// What holds and what does not.
    pub(crate) conditions: Vec<ConditionView>,
    #[serde(skip)]
    oldest_ms: Option<i64>,
}

/// What a topic takes on disk.
#[derive(Debug, Serialize)]
pub(crate) struct StorageView {
    /// Over all partitions.
    pub(crate) bytes: Size,
    /// When the oldest record kept was appended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oldest: Option<String>,
}

/// One condition.
#[derive(Debug, Serialize)]
pub(crate) struct ConditionView {
    /// `Ready` ...
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// True, False or Unknown.
    pub(crate) status: String,
    /// One word.
    pub(crate) reason: String,
    /// For a person.
    pub(crate) message: String,
}

impl TryFrom<v1::TopicStatus> for TopicView {
    type Error = WireError;

    fn try_from(status: v1::TopicStatus) -> Result<Self, WireError> {
        let id = TopicId::try_from(status.topic_id.as_ref())
            .map_err(|error| WireError::invalid(error.to_string()))?;
        let spec = status.spec.unwrap_or_default().try_into()?;
        let config: TopicConfig = status.effective.unwrap_or_default().try_into()?;
        Ok(Self {
            api_version: "taffrail.dev/v1alpha1",
            kind: "Topic",
            metadata: MetadataView { name: status.name },
            spec: as_resource(&spec),
            status: StatusView {
                observed_generation: status.generation,
                topic_id: id.to_string(),
                partitions: Partitions {
                    wanted: config.partitions,
                    online: status.partitions_online,
                    offline: status.partitions_offline,
                    under_replicated: status.partitions_under_replicated,
                    under_min_in_sync: status.partitions_under_min_in_sync,
                    moving: status.partitions_moving,
                },
                effective: EffectiveTopic::from(&config),
                storage: StorageView {
                    bytes: Size(status.bytes),
                    oldest: status.oldest_append_time_ms.map(format_timestamp),
                },
                conditions: status.conditions.into_iter().map(Into::into).collect(),
                oldest_ms: status.oldest_append_time_ms,
            },
        })
    }
}

impl From<v1::Condition> for ConditionView {
    fn from(condition: v1::Condition) -> Self {
        Self {
            kind: condition.r#type,
            status: condition.status,
            reason: condition.reason,
            message: condition.message,
        }
    }
}

impl TopicView {
    /// The condition of this type.
    pub(crate) fn condition(&self, kind: &str) -> Option<&ConditionView> {
        self.status.conditions.iter().find(|c| c.kind == kind)
    }

    /// How its old records go.
    pub(crate) fn cleanup(&self) -> Cleanup {
        self.status.effective.cleanup.unwrap_or(Cleanup::Delete)
    }

    /// `7d`, `50Gi`, both or `forever`.
    pub(crate) fn retention(&self) -> String {
        let Retention {
            time,
            bytes_per_partition,
        } = &self.status.effective.retention;
        match (time, bytes_per_partition) {
            (None, None) => "forever".to_owned(),
            (Some(time), None) => time.to_string(),
            (None, Some(bytes)) => bytes.to_string(),
            (Some(time), Some(bytes)) => format!("{time},{bytes}"),
        }
    }
}

impl Listing for Topics {
    type Item = TopicView;
    const NOTHING: &'static str = "no topics; create one with: taffrail apply -f topic.yaml";

    fn items(&self) -> &[TopicView] {
        &self.0
    }

    fn table(&self, wide: bool, now_ms: i64) -> Table {
        let mut heads = vec![
            "NAME",
            "PARTITIONS",
            "REPLICAS",
            "READY",
            "RETENTION",
            "SIZE",
            "OLDEST",
        ];
        if wide {
            heads.extend([
                "REASON",
                "ONLINE",
                "MIN-IN-SYNC",
                "DURABILITY",
                "CLEANUP",
                "TOPIC-ID",
            ]);
        }
        let mut table = Table::new(&heads);
        for topic in &self.0 {
            table.row(topic.cells(wide, now_ms));
        }
        table
    }
}

impl TopicView {
    fn cells(&self, wide: bool, now_ms: i64) -> Vec<String> {
        let (status, effective) = (&self.status, &self.status.effective);
        let ready = self.condition("Ready");
        let oldest = status.oldest_ms.map(|ms| format_age(now_ms, ms));
        let mut cells = vec![
            self.metadata.name.clone(),
            effective.partitions.to_string(),
            effective.replicas.to_string(),
            ready.map_or_else(|| "Unknown".to_owned(), |c| c.status.clone()),
            self.retention(),
            human_bytes(status.storage.bytes.0),
            oldest.unwrap_or_else(|| "-".to_owned()),
        ];
        if wide {
            cells.extend([
                ready.map_or_else(|| "-".to_owned(), |c| c.reason.clone()),
                format!("{}/{}", status.partitions.online, status.partitions.wanted),
                effective.min_in_sync.to_string(),
                format!("{:?}", effective.durability),
                format!("{:?}", self.cleanup()),
                status.topic_id.clone(),
            ]);
        }
        cells
    }
}

/// What a user wrote, in the resource's shape: what was left out stays out.
fn as_resource(spec: &taffrail_core::TopicSpec) -> TopicSpec {
    let duration = |d: Option<Duration>| d.map(GoDuration);
    let retention = Retention {
        time: duration(spec.retention),
        bytes_per_partition: spec.retention_bytes_per_partition.map(Size),
    };
    let compaction = Compaction {
        min_lag: duration(spec.compaction_min_lag),
        tombstone_retention: duration(spec.tombstone_retention),
    };
    let segment = Segment {
        bytes: spec.segment_bytes.map(Size),
        max_age: duration(spec.segment_max_age),
    };
    let limits = Limits {
        max_batch_bytes: spec.max_batch_bytes.map(Size),
    };
    TopicSpec {
        cluster_ref: None,
        topic_name: None,
        partitions: spec.partitions,
        replicas: spec.replicas,
        min_in_sync: spec.min_in_sync,
        durability: spec.durability.map(Into::into),
        retention: (retention != Retention::default()).then_some(retention),
        cleanup: match spec.cleanup {
            taffrail_core::Cleanup::Delete => None,
            cleanup => Some(cleanup.into()),
        },
        compaction: (compaction != Compaction::default()).then_some(compaction),
        segment: (segment != Segment::default()).then_some(segment),
        limits: (limits != Limits::default()).then_some(limits),
        deletion_policy: match spec.deletion_policy {
            taffrail_core::DeletionPolicy::Retain => None,
            taffrail_core::DeletionPolicy::Delete => Some(DeletionPolicy::Delete),
            taffrail_core::DeletionPolicy::DeleteIfEmpty => Some(DeletionPolicy::DeleteIfEmpty),
        },
        adoption: match spec.adoption {
            taffrail_core::Adoption::Never => None,
            taffrail_core::Adoption::ByName => Some(Adoption::ByName),
            taffrail_core::Adoption::Fresh => Some(Adoption::Fresh),
        },
        unclean_election: match spec.unclean_election {
            taffrail_core::UncleanElection::Never => None,
            taffrail_core::UncleanElection::Allow => Some(UncleanElection::Allow),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Output, print};

    fn flights() -> Topics {
        let spec = taffrail_core::TopicSpec {
            partitions: Some(3),
            retention: Some(Duration::from_hours(168)),
            ..taffrail_core::TopicSpec::default()
        };
        let config = spec
            .effective(&taffrail_core::TopicDefaults::default())
            .expect("valid");
        let status = v1::TopicStatus {
            name: "flights".into(),
            topic_id: vec![7; 16].into(),
            spec: Some((&spec).into()),
            effective: Some((&config).into()),
            conditions: vec![v1::Condition {
                r#type: "Ready".into(),
                status: "True".into(),
                reason: "AllPartitionsOnline".into(),
                message: String::new(),
            }],
            partitions_online: 3,
            bytes: 3 << 20,
            oldest_append_time_ms: Some(0),
            generation: 1,
            ..v1::TopicStatus::default()
        };
        Topics(vec![status.try_into().expect("valid")])
    }

    fn printed(output: Output) -> String {
        let mut out = Vec::new();
        print(&flights(), output, 3_600_000, &mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_topic_is_a_row() {
        assert_eq!(
            printed(Output::Table),
            "NAME      PARTITIONS   REPLICAS   READY   RETENTION   SIZE    OLDEST\n\
             flights   3            1          True    168h        3.0Mi   60m\n"
        );
        assert!(
            printed(Output::Wide)
                .contains("AllPartitionsOnline   3/3      1             Fsync        Delete")
        );
    }

    #[test]
    fn what_is_printed_as_yaml_can_be_applied_again() {
        let text = printed(Output::Yaml);
        let manifests = crate::manifest::parse("get", &text).expect("a manifest");
        assert_eq!(manifests.topics[0].name, "flights");
        assert_eq!(manifests.topics[0].spec.partitions, Some(3));
    }

    #[test]
    fn a_compacted_topic_says_so_and_can_be_applied_again() {
        let spec = taffrail_core::TopicSpec {
            cleanup: taffrail_core::Cleanup::Compact,
            compaction_min_lag: Some(Duration::from_mins(5)),
            ..taffrail_core::TopicSpec::default()
        };
        let config = spec.effective(&taffrail_core::TopicDefaults::default());
        let status = v1::TopicStatus {
            name: "prices".into(),
            topic_id: vec![7; 16].into(),
            spec: Some((&spec).into()),
            effective: Some((&config.expect("valid")).into()),
            ..v1::TopicStatus::default()
        };
        let prices = Topics(vec![status.try_into().expect("valid")]);
        let mut out = Vec::new();
        print(&prices, Output::Yaml, 0, &mut out).expect("memory");
        let text = String::from_utf8(out).expect("text");
        let manifests = crate::manifest::parse("get", &text).expect("a manifest");
        assert_eq!(manifests.topics[0].spec, spec);
        assert!(text.contains("tombstoneRetention: 24h"), "{text}");
        assert_eq!(prices.0[0].retention(), "forever");
    }

    #[test]
    fn json_has_the_fields_of_the_resource() {
        let json: serde_json::Value = serde_json::from_str(&printed(Output::Json)).expect("JSON");
        let topic = &json["items"][0];
        assert_eq!(topic["kind"], "Topic");
        assert_eq!(topic["spec"]["retention"]["time"], "168h");
        assert_eq!(topic["status"]["effective"]["minInSync"], 1);
        assert_eq!(topic["status"]["partitions"]["online"], 3);
        assert_eq!(topic["status"]["conditions"][0]["type"], "Ready");
    }
}
