//! Conditions of ConsumerGroups, as they were looked at last: an alert can go by them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use taffrail_crds::ConsumerGroup;

/// By uid.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupConditions(Arc<Mutex<BTreeMap<String, Told>>>);

/// What the status of one resource says.
#[derive(Debug)]
struct Told {
    namespace: String,
    name: String,
    conditions: Vec<Condition>,
}

impl GroupConditions {
    /// Notes what was found of a resource.
    pub(crate) fn note(&self, group: &ConsumerGroup, conditions: &[Condition]) {
        let told = Told {
            namespace: group.namespace().unwrap_or_default(),
            name: group.name_any(),
            conditions: conditions.to_vec(),
        };
        self.lock().insert(group.uid().unwrap_or_default(), told);
    }

    /// Forgets all but these.
    pub(crate) fn keep(&self, uids: &BTreeSet<String>) {
        self.lock().retain(|uid, _| uids.contains(uid));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for GroupConditions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "1 if the condition of a ConsumerGroup is True, 0 if it is not, with its reason";
        let gauge = MetricType::Gauge;
        let mut family = encoder.encode_descriptor("group_condition", help, None, gauge)?;
        for told in self.lock().values() {
            for condition in &told.conditions {
                let labels = [
                    ("namespace", &*told.namespace),
                    ("name", &*told.name),
                    ("type", &*condition.type_),
                    ("reason", &*condition.reason),
                ];
                let is_true = i64::from(condition.status == "True");
                ConstGauge::new(is_true).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_shown_as_long_as_the_resource_is_there() {
        let group: ConsumerGroup = serde_json::from_value(json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "ConsumerGroup",
            "metadata": { "name": "billing", "namespace": "shop", "uid": "u" },
            "spec": {},
            "status": { "conditions": [
                { "type": "Accepted", "status": "True", "reason": "Valid", "message": "",
                  "lastTransitionTime": "2026-01-01T00:00:00Z" },
                { "type": "Consuming", "status": "False", "reason": "Stuck", "message": "",
                  "lastTransitionTime": "2026-01-01T00:00:00Z" },
            ] },
        }))
        .expect("valid");
        let conditions = GroupConditions::default();
        let mut registry = Registry::with_prefix("taffrail_operator");
        registry.register_collector(Box::new(conditions.clone()));
        let shown = || {
            let mut text = String::new();
            encode(&mut text, &registry).expect("it has room");
            text
        };
        let status = group.status.clone().expect("given");
        conditions.note(&group, &status.conditions);
        let of = r#"taffrail_operator_group_condition{namespace="shop",name="billing""#;
        for sample in [
            format!("{of},type=\"Accepted\",reason=\"Valid\"}} 1\n"),
            format!("{of},type=\"Consuming\",reason=\"Stuck\"}} 0\n"),
        ] {
            assert!(shown().contains(&sample), "{sample} is not in\n{}", shown());
        }
        conditions.keep(&["u".to_owned()].into());
        assert!(shown().contains(of));
        conditions.keep(&BTreeSet::new());
        assert!(!shown().contains(of));
    }
}
