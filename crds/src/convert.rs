//! Resources as users write them -> what core decides on.

mod group;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use taffrail_core::{
    self as core, TopicConfig, TopicDefaults,
    rules::{self, Violation},
    settings::{self, InvalidSetting},
};

use self::group::in_ms;
use crate::{
    broker_cluster::{BrokerCluster, BrokerClusterSpec, DefaultTopic},
    topic::{
        Adoption, Cleanup, Compaction, DeletionPolicy, Durability, EffectiveTopic, Limits,
        Retention, Segment, Topic, TopicSpec, UncleanElection,
    },
    units::{GoDuration, Size},
};

impl From<Durability> for core::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Fsync => Self::Fsync,
            Durability::PageCache => Self::PageCache,
        }
    }
}

impl From<core::Durability> for Durability {
    fn from(durability: core::Durability) -> Self {
        match durability {
            core::Durability::Fsync => Self::Fsync,
            core::Durability::PageCache => Self::PageCache,
        }
    }
}

impl From<Cleanup> for core::Cleanup {
    fn from(cleanup: Cleanup) -> Self {
        match cleanup {
            Cleanup::Delete => Self::Delete,
            Cleanup::Compact => Self::Compact,
            Cleanup::CompactAndDelete => Self::CompactAndDelete,
        }
    }
}

impl From<core::Cleanup> for Cleanup {
    fn from(cleanup: core::Cleanup) -> Self {
        match cleanup {
            core::Cleanup::Delete => Self::Delete,
            core::Cleanup::Compact => Self::Compact,
            core::Cleanup::CompactAndDelete => Self::CompactAndDelete,
        }
    }
}

impl From<DeletionPolicy> for core::DeletionPolicy {
    fn from(policy: DeletionPolicy) -> Self {
        match policy {
            DeletionPolicy::Retain => Self::Retain,
            DeletionPolicy::Delete => Self::Delete,
            DeletionPolicy::DeleteIfEmpty => Self::DeleteIfEmpty,
        }
    }
}

impl From<UncleanElection> for core::UncleanElection {
    fn from(election: UncleanElection) -> Self {
        match election {
            UncleanElection::Never => Self::Never,
            UncleanElection::Allow => Self::Allow,
        }
    }
}

impl From<Adoption> for core::Adoption {
    fn from(adoption: Adoption) -> Self {
        match adoption {
            Adoption::Never => Self::Never,
            Adoption::ByName => Self::ByName,
            Adoption::Fresh => Self::Fresh,
        }
    }
}

impl TryFrom<&TopicSpec> for core::TopicSpec {
    type Error = Vec<Violation>;

    fn try_from(spec: &TopicSpec) -> Result<Self, Vec<Violation>> {
        let retention = spec.retention.as_ref();
        let compaction = spec.compaction.as_ref();
        let segment = spec.segment.as_ref();
        let wanted = Self {
            partitions: spec.partitions,
            replicas: spec.replicas,
            min_in_sync: spec.min_in_sync,
            durability: spec.durability.map(Into::into),
            retention: retention.and_then(|r| r.time).map(|d| d.0),
            retention_bytes_per_partition: retention
                .and_then(|r| r.bytes_per_partition)
                .map(|s| s.0),
            cleanup: spec.cleanup.map(Into::into).unwrap_or_default(),
            compaction_min_lag: compaction.and_then(|c| c.min_lag).map(|d| d.0),
            tombstone_retention: compaction.and_then(|c| c.tombstone_retention).map(|d| d.0),
            segment_bytes: segment.and_then(|s| s.bytes).map(|s| s.0),
            segment_max_age: segment.and_then(|s| s.max_age).map(|d| d.0),
            max_batch_bytes: spec
                .limits
                .as_ref()
                .and_then(|l| l.max_batch_bytes)
                .map(|s| s.0),
            deletion_policy: spec.deletion_policy.map(Into::into).unwrap_or_default(),
            adoption: spec.adoption.map(Into::into).unwrap_or_default(),
            unclean_election: spec.unclean_election.map(Into::into).unwrap_or_default(),
        };
        let mut violations = rules::check_topic(&wanted);
        if let Some(name) = &spec.topic_name {
            violations.extend(rules::check_topic_name(name));
        }
        if violations.is_empty() {
            Ok(wanted)
        } else {
            Err(violations)
        }
    }
}

impl Topic {
    /// The name that clients use, for a cluster in namespace `cluster_namespace`; `None`: the topic's own, whatever that is.
    pub fn client_name(&self, cluster_namespace: Option<&str>) -> String {
        let explicit = self.spec.topic_name.as_deref();
        name_for_clients(&self.metadata, explicit, cluster_namespace)
    }
}

/// What a resource's topic or group is called by clients.
fn name_for_clients(
    metadata: &ObjectMeta,
    explicit: Option<&str>,
    cluster_namespace: Option<&str>,
) -> String {
    let name = metadata.name.clone().unwrap_or_default();
    if let Some(explicit) = explicit {
        return explicit.to_owned();
    }
    match (&metadata.namespace, cluster_namespace) {
        (Some(own), Some(cluster)) if own != cluster => format!("{own}.{name}"),
        _ => name,
    }
}

impl From<&TopicConfig> for EffectiveTopic {
    fn from(config: &TopicConfig) -> Self {
        Self {
            partitions: config.partitions,
            replicas: config.replicas,
            min_in_sync: config.min_in_sync,
            durability: config.durability.into(),
            retention: Retention {
                time: config.retention.map(GoDuration),
                bytes_per_partition: config.retention_bytes_per_partition.map(Size),
            },
            cleanup: Some(config.cleanup.into()),
            compaction: config.cleanup.compacts().then_some(Compaction {
                min_lag: Some(GoDuration(config.compaction_min_lag)),
                tombstone_retention: Some(GoDuration(config.tombstone_retention)),
            }),
            segment: Segment {
                bytes: Some(Size(config.segment_bytes)),
                max_age: Some(GoDuration(config.segment_max_age)),
            },
            limits: Limits {
                max_batch_bytes: Some(Size(config.max_batch_bytes)),
            },
        }
    }
}

impl BrokerClusterSpec {
    /// What topics that do not say get in this cluster.
    ///
    /// # Errors
    /// Every rule that the number of brokers, the rack's key, the clients' port or the defaults break.
    pub fn topic_defaults(&self) -> Result<TopicDefaults, Vec<Violation>> {
        let defaults = self.defaults.clone().unwrap_or_default();
        let given = defaults.topic.unwrap_or_default();
        let group = defaults.group.unwrap_or_default();
        let offsets_partitions = group.offsets_partitions;
        let mut violations = rules::check_brokers(None, self.brokers);
        if let Some(rack) = &self.rack {
            violations.extend(rules::check_rack_key(&rack.topology_key));
        }
        let client = self.listeners.as_ref().and_then(|all| all.client.as_ref());
        violations.extend(rules::check_client_port(client.and_then(|c| c.port)));
        violations.extend(rules::check_offsets_partitions(offsets_partitions));
        let session_timeout = group.session_timeout.map(|timeout| timeout.0);
        violations.extend(rules::check_default_session_timeout(session_timeout));
        let checked = core::TopicSpec::try_from(&given.as_spec());
        let topic = checked.unwrap_or_else(|broken| {
            let broken = broken.into_iter().map(|v| v.within("spec.defaults.topic"));
            violations.extend(broken);
            core::TopicSpec::default()
        });
        if !violations.is_empty() {
            return Err(violations);
        }
        let fallback = TopicDefaults::default();
        Ok(TopicDefaults {
            brokers_wanted: self.brokers,
            partitions: topic.partitions.unwrap_or(fallback.partitions),
            durability: topic.durability.unwrap_or(fallback.durability),
            retention: topic.retention.or(fallback.retention),
            retention_bytes_per_partition: topic.retention_bytes_per_partition,
            segment_bytes: topic.segment_bytes.unwrap_or(fallback.segment_bytes),
            segment_max_age: topic.segment_max_age.unwrap_or(fallback.segment_max_age),
            max_batch_bytes: topic.max_batch_bytes.unwrap_or(fallback.max_batch_bytes),
            offsets_partitions: offsets_partitions.unwrap_or(fallback.offsets_partitions),
        })
    }

    /// Checks the settings of the brokers.
    ///
    /// # Errors
    /// Each that a broker does not have or would refuse.
    pub fn check_broker_config(&self) -> Result<(), Vec<InvalidSetting>> {
        let check = |(name, value): (&String, &u64)| settings::check(name, *value).err();
        let invalid: Vec<_> = self.broker_config.iter().filter_map(check).collect();
        if invalid.is_empty() {
            Ok(())
        } else {
            Err(invalid)
        }
    }

    /// Settings of the brokers by name: `brokerConfig`, and what the defaults say of others.
    pub fn broker_settings(&self) -> BTreeMap<&str, u64> {
        let defaults = self.defaults.iter();
        let group = defaults.filter_map(|defaults| defaults.group.as_ref());
        let timeout = group.filter_map(|group| group.session_timeout);
        let timeout = timeout.map(|timeout| (settings::SESSION_TIMEOUT, in_ms(timeout)));
        let named = self.broker_config.iter();
        let named = named.map(|(name, value)| (name.as_str(), *value));
        timeout.chain(named).collect()
    }

    /// The port that clients dial.
    pub fn client_port(&self) -> u16 {
        self.listeners
            .as_ref()
            .and_then(|l| l.client.as_ref())
            .and_then(|c| c.port)
            .unwrap_or(9640)
    }
}

impl BrokerCluster {
    /// May a Topic or ConsumerGroup of `namespace` live here?
    pub fn admits(&self, namespace: &str) -> bool {
        use crate::broker_cluster::NamespacesFrom;
        let from = self.spec.topic_namespaces.as_ref().map(|n| n.from);
        match from.unwrap_or(NamespacesFrom::Same) {
            NamespacesFrom::All => true,
            NamespacesFrom::Same => self.metadata.namespace.as_deref() == Some(namespace),
        }
    }
}

impl DefaultTopic {
    fn as_spec(&self) -> TopicSpec {
        TopicSpec {
            partitions: self.partitions,
            durability: self.durability,
            retention: self.retention.clone(),
            segment: self.segment.clone(),
            limits: self.limits.clone(),
            ..TopicSpec::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(namespace: &str, topic_name: Option<&str>) -> Topic {
        let spec = TopicSpec {
            topic_name: topic_name.map(ToOwned::to_owned),
            ..TopicSpec::default()
        };
        let mut topic = Topic::new("orders", spec);
        topic.metadata.namespace = Some(namespace.to_owned());
        topic
    }

    #[test]
    fn a_topic_outside_the_clusters_namespace_carries_its_namespace() {
        assert_eq!(
            topic("streams", None).client_name(Some("streams")),
            "orders"
        );
        assert_eq!(
            topic("shop", None).client_name(Some("streams")),
            "shop.orders"
        );
        assert_eq!(topic("shop", None).client_name(None), "orders");
        assert_eq!(topic("shop", Some("o")).client_name(Some("streams")), "o");
    }

    #[test]
    fn every_broken_rule_is_reported_at_once() {
        let spec = TopicSpec {
            partitions: Some(0),
            topic_name: Some("__offsets".to_owned()),
            ..TopicSpec::default()
        };
        let broken = core::TopicSpec::try_from(&spec).expect_err("two rules");
        assert_eq!(
            broken,
            [
                Violation::of(&rules::PARTITIONS_IN_RANGE),
                Violation::of(&rules::TOPIC_NAME_NOT_INTERNAL)
            ]
        );
    }

    #[test]
    fn what_compaction_spares_is_shown_where_there_is_compaction() {
        let effective = |spec: serde_json::Value| {
            let spec: TopicSpec = serde_json::from_value(spec).expect("valid");
            let spec = core::TopicSpec::try_from(&spec).expect("valid");
            let config = spec.effective(&TopicDefaults::default()).expect("valid");
            serde_json::to_value(EffectiveTopic::from(&config)).expect("JSON")
        };
        let plain = effective(serde_json::json!({}));
        assert_eq!(plain["cleanup"], "Delete");
        assert_eq!(plain.get("compaction"), None);
        let compacted = effective(serde_json::json!({
            "cleanup": "Compact",
            "compaction": { "minLag": "5m" },
        }));
        assert_eq!(compacted["cleanup"], "Compact");
        assert_eq!(compacted["retention"], serde_json::json!({}));
        assert_eq!(
            compacted["compaction"],
            serde_json::json!({ "minLag": "5m", "tombstoneRetention": "24h" })
        );
    }

    #[test]
    fn a_default_session_timeout_is_one_that_coordinators_keep() {
        for (timeout, holds) in [
            ("2999ms", false),
            ("3s", true),
            ("30m", true),
            ("31m", false),
        ] {
            let spec: BrokerClusterSpec = serde_json::from_value(serde_json::json!({
                "brokers": 3,
                "storage": { "size": "1Gi" },
                "defaults": { "group": { "sessionTimeout": timeout } },
            }))
            .expect("readable");
            assert_eq!(spec.topic_defaults().is_ok(), holds, "{timeout}");
        }
    }

    #[test]
    fn a_clusters_defaults_reach_topics_that_do_not_say() {
        let spec: BrokerClusterSpec = serde_json::from_value(serde_json::json!({
            "brokers": 3,
            "storage": { "size": "1Gi" },
            "defaults": {
                "topic": { "retention": { "time": "48h" }, "partitions": 6 },
                "group": { "offsetsPartitions": 10 },
            },
        }))
        .expect("valid");
        let defaults = spec.topic_defaults().expect("valid");
        assert_eq!(defaults.offsets_partitions, 10);
        let config = core::TopicSpec::default()
            .effective(&defaults)
            .expect("valid");
        let effective = EffectiveTopic::from(&config);
        assert_eq!((effective.partitions, effective.replicas), (6, 3));
        assert_eq!(
            effective.retention.time.map(String::from),
            Some("48h".to_owned())
        );
    }
}
