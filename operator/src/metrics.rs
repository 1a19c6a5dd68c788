//! What `/metrics` shows.

mod conditions;
mod groups;
mod losses;

use std::sync::{Arc, atomic::AtomicI64};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::Gauge,
    },
    registry::Registry,
};

use crate::engines::Engines;
pub(crate) use conditions::GroupConditions;
use groups::GroupNumbers;
pub(crate) use losses::GroupLosses;

/// What was written, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct WriteLabels {
    pub(crate) kind: &'static str,
    pub(crate) reason: &'static str,
}

/// What was looked at, and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReconcileLabels {
    pub(crate) kind: &'static str,
    pub(crate) result: &'static str,
}

/// The operator's counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    pub(crate) writes: Family<WriteLabels, Counter>,
    pub(crate) reconciles: Family<ReconcileLabels, Counter>,
    pub(crate) active: Gauge<i64, AtomicI64>,
    pub(crate) group_losses: GroupLosses,
    pub(crate) group_conditions: GroupConditions,
}

impl Metrics {
    /// Registers everything, the engines' own counters included.
    pub(crate) fn registry(&self, engines: Arc<Engines>) -> Registry {
        let mut registry = Registry::with_prefix("taffrail_operator");
        registry.register(
            "api_writes",
            "Writes to the API server by kind and reason, the metadata of clusters left out",
            self.writes.clone(),
        );
        registry.register(
            "reconciles",
            "Looks at resources by kind and result",
            self.reconciles.clone(),
        );
        registry.register(
            "active",
            "1 if this operator holds the Lease",
            self.active.clone(),
        );
        registry.register_collector(Box::new(EngineCounters(engines.clone())));
        registry.register_collector(Box::new(self.group_conditions.clone()));
        registry.register_collector(Box::new(GroupNumbers {
            engines,
            losses: self.group_losses.clone(),
        }));
        registry
    }

    pub(crate) fn reconciled(&self, kind: &'static str, ok: bool) {
        let result = if ok { "ok" } else { "error" };
        self.reconciles
            .get_or_create(&ReconcileLabels { kind, result })
            .inc();
    }
}

#[derive(Debug)]
struct EngineCounters(Arc<Engines>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MetadataLabels {
    cluster: String,
    kind: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabels {
    cluster: String,
}

impl Collector for EngineCounters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.encode_writes(&mut encoder)?;
        self.encode_losses(&mut encoder)
    }
}

impl EngineCounters {
    fn encode_writes(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "metadata_writes",
            "Writes of a cluster's metadata to the API server by kind and reason, since its controller started",
            None,
            prometheus_client::metrics::MetricType::Counter,
        )?;
        for (key, handle) in self.0.handles() {
            for write in handle.writes() {
                let labels = MetadataLabels {
                    cluster: key.to_string(),
                    kind: write.kind,
                    reason: write.reason,
                };
                ConstCounter::new(write.count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn encode_losses(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "lossy_elections",
            "Elections of a cluster that may have lost records, since its controller started",
            None,
            prometheus_client::metrics::MetricType::Counter,
        )?;
        for (key, handle) in self.0.handles() {
            let view = handle.view();
            let found = view.losses.last().map_or(0, |loss| loss.number.1);
            let labels = ClusterLabels {
                cluster: key.to_string(),
            };
            ConstCounter::new(found).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prometheus_client::encoding::text::encode;

    use super::*;

    /// Names of metrics in a text, the suffix of counters cut off.
    fn names(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let ours = words.filter(|word| word.starts_with("taffrail_operator_"));
        ours.map(|name| name.trim_end_matches("_total")).collect()
    }

    #[test]
    fn the_metrics_that_are_shown_are_those_in_the_docs() {
        let mut shown = String::new();
        let metrics = Metrics::default();
        // Of what never happened nothing is shown.
        metrics.reconciled("Topic", true);
        let (kind, reason) = ("Topic", "status");
        (metrics.writes)
            .get_or_create(&WriteLabels { kind, reason })
            .inc();
        let registry = metrics.registry(Arc::new(Engines::default()));
        encode(&mut shown, &registry).expect("it has room");
        let types = shown.lines().filter(|line| line.starts_with("# TYPE"));
        let types: Vec<&str> = types.collect();
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATIONS.md");
        let docs = std::fs::read_to_string(docs).expect("readable");
        assert_eq!(names(&types.join("\n")), names(&docs));
    }
}
