//! The YAML of a cluster, a Topic and a ConsumerGroup.

/// A cluster of one broker, `main`.
pub const CLUSTER: &str = "apiVersion: taffrail.dev/v1alpha1
kind: BrokerCluster
metadata: {name: main}
spec:
  brokers: 1
  storage: {size: 1Gi}
";

/// A cluster of this name and so many brokers.
pub fn cluster(name: &str, brokers: usize) -> String {
    CLUSTER
        .replace("name: main", &format!("name: {name}"))
        .replace("brokers: 1", &format!("brokers: {brokers}"))
}

/// A manifest of the topic `name` with these fields of its spec, such as `partitions: 3`.
pub fn topic(name: &str, spec: &[&str]) -> String {
    resource("Topic", name, spec)
}

/// A manifest of the consumer group `name` with these fields of its spec, such as `deletionPolicy: Delete`.
pub fn group(name: &str, spec: &[&str]) -> String {
    resource("ConsumerGroup", name, spec)
}

fn resource(kind: &str, name: &str, spec: &[&str]) -> String {
    let mut text = format!(
        "apiVersion: taffrail.dev/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n"
    );
    for field in spec {
        text.push_str("  ");
        text.push_str(field);
        text.push('\n');
    }
    if spec.is_empty() {
        text.truncate(text.len() - 1);
        text.push_str(" {}\n");
    }
    text
}
