//! Manifests: the same YAML as on Kubernetes, refused with the same words.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_yaml::Value;
use taffrail_core::{ErrorCode, TopicDefaults, TopicSpec, rules};
use taffrail_crds::{
    BrokerCluster, BrokerClusterSpec, ConsumerGroup, GROUP, Topic, VERSION,
    manifest::{self as crds, Manifest, ManifestError},
};

use crate::failure::{Failure, Outcome};

/// What manifests hold, in their order.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    /// Topics as clients name them.
    pub(crate) topics: Vec<NamedTopic>,
    /// What BrokerCluster resources say, at most one here.
    pub(crate) cluster: Option<Cluster>,
    /// What is Kubernetes' business: resources of other API groups, such as `Deployment (apps/v1)`, and ConsumerGroups.
    pub(crate) skipped: Vec<String>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamedTopic {
    /// The name that clients use.
    pub(crate) name: String,
    /// What the user wants.
    pub(crate) spec: TopicSpec,
}

/// What an embedded cluster takes from a BrokerCluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cluster {
    /// The resource's name.
    pub(crate) name: String,
    /// For topics that do not say.
    pub(crate) defaults: TopicDefaults,
    /// Fields that are set and not taken, each with the flag that is instead of it.
    pub(crate) left_out: Vec<(&'static str, &'static str)>,
}

/// Reads files, the `.yaml`, `.yml` and `.json` files of directories in the order of their names, and standard input for `-`.
///
/// # Errors
/// The first file, document or field that cannot be used.
pub(crate) fn read(paths: &[PathBuf]) -> Outcome<Manifests> {
    let mut all = Manifests::default();
    for path in paths {
        if path == Path::new("-") {
            let text = io::read_to_string(io::stdin())
                .map_err(|error| Failure::input(format!("standard input: {error}")))?;
            all.add(parse("standard input", &text)?)?;
        } else {
            for file in files_of(path)? {
                let text = fs::read_to_string(&file)
                    .map_err(|error| Failure::file("read", &file, &error))?;
                all.add(parse(&file.display().to_string(), &text)?)?;
            }
        }
    }
    Ok(all)
}

/// Reads one text of one or more YAML documents.
///
/// # Errors
/// The first document or field that cannot be used.
pub(crate) fn parse(name: &str, text: &str) -> Outcome<Manifests> {
    let mut all = Manifests::default();
    for (index, document) in documents(text).into_iter().enumerate() {
        let place = format!("{name}, document {}", index + 1);
        match parse_one(&document) {
            Ok(manifests) => {
                for manifest in manifests {
                    all.add_one(&place, manifest)?;
                }
            }
            Err(ManifestError::Kind {
                kind, api_version, ..
            }) if is_foreign(&api_version) => {
                all.skipped.push(format!("{kind} ({api_version})"));
            }
            Err(error) => return Err(refused(&place, &error)),
        }
    }
    Ok(all)
}

/// A status in a file is a report that somebody kept. Nobody applies it, Kubernetes does not either.
fn parse_one(document: &str) -> Result<Vec<Manifest>, ManifestError> {
    let yaml = |source| ManifestError::Yaml {
        document: 1,
        source,
    };
    let mut value: Value = serde_yaml::from_str(document).map_err(yaml)?;
    if let Some(fields) = value.as_mapping_mut() {
        fields.remove("status");
    }
    crds::parse(&serde_yaml::to_string(&value).map_err(yaml)?)
}

impl Manifests {
    fn add(&mut self, other: Self) -> Outcome {
        self.topics.extend(other.topics);
        self.skipped.extend(other.skipped);
        other.cluster.map_or(Ok(()), |cluster| self.set(cluster))
    }

    fn add_one(&mut self, place: &str, manifest: Manifest) -> Outcome {
        match manifest {
            Manifest::Topic(topic) => self.topics.push(named(place, &topic)?),
            Manifest::BrokerCluster(cluster) => self.set(defaults_of(place, &cluster)?)?,
            // Policies of groups are the operator's to hand out. Without one members say everything themselves.
            Manifest::ConsumerGroup(group) => {
                check_group(place, &group)?;
                let kind = format!("ConsumerGroup ({GROUP}/{VERSION})");
                self.skipped.push(kind);
            }
        }
        Ok(())
    }

    fn set(&mut self, cluster: Cluster) -> Outcome {
        if let Some(first) = &self.cluster {
            return Err(Failure::of(
                ErrorCode::InvalidSpec,
                format!(
                    "there are two BrokerClusters, {:?} and {:?}",
                    first.name, cluster.name
                ),
            )
            .hint("one process is one cluster: leave one out"));
        }
        self.cluster = Some(cluster);
        Ok(())
    }
}

fn named(place: &str, topic: &Topic) -> Outcome<NamedTopic> {
    let cluster = topic.spec.cluster_ref.as_ref();
    let name = topic.client_name(cluster.and_then(|c| c.namespace.as_deref()));
    let spec = TopicSpec::try_from(&topic.spec);
    let mut violations = spec.as_ref().err().cloned().unwrap_or_default();
    if topic.spec.topic_name.is_none() {
        violations.extend(rules::check_topic_name(&name));
    }
    match spec {
        Ok(spec) if violations.is_empty() => Ok(NamedTopic { name, spec }),
        _ => Err(invalid(place, "Topic", &name, &violations)),
    }
}

fn defaults_of(place: &str, cluster: &BrokerCluster) -> Outcome<Cluster> {
    let name = cluster.metadata.name.clone().unwrap_or_default();
    let defaults = cluster.spec.topic_defaults();
    let defaults = defaults.map_err(|broken| invalid(place, "BrokerCluster", &name, &broken))?;
    if let Err(settings) = cluster.spec.check_broker_config() {
        let say = |setting| format!("spec.brokerConfig: {setting}");
        let broken: Vec<_> = settings.iter().map(say).collect();
        return Err(invalid(place, "BrokerCluster", &name, &broken));
    }
    Ok(Cluster {
        name,
        defaults,
        left_out: left_out(&cluster.spec),
    })
}

fn left_out(spec: &BrokerClusterSpec) -> Vec<(&'static str, &'static str)> {
    let client = spec.listeners.as_ref().and_then(|l| l.client.as_ref());
    let group = spec.defaults.as_ref().and_then(|d| d.group.as_ref());
    let has_port = client.is_some_and(|client| client.port.is_some());
    let fields = [
        (has_port, ("spec.listeners.client.port", "--listen IP:PORT")),
        (
            !spec.broker_config.is_empty(),
            ("spec.brokerConfig", "--broker-config FILE"),
        ),
        (
            group.is_some_and(|group| group.session_timeout.is_some()),
            (
                "spec.defaults.group.sessionTimeout",
                "--broker-config FILE with groups.session_timeout_ms",
            ),
        ),
    ];
    let set = fields.into_iter().filter(|(is_set, _)| *is_set);
    set.map(|(_, field)| field).collect()
}

fn check_group(place: &str, group: &ConsumerGroup) -> Outcome {
    let name = group.client_name(None);
    let broken = group.spec.violations();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(invalid(place, "ConsumerGroup", &name, &broken))
    }
}

fn invalid(place: &str, kind: &str, name: &str, violations: &[impl ToString]) -> Failure {
    let broken: Vec<String> = violations.iter().map(ToString::to_string).collect();
    Failure::of(
        ErrorCode::InvalidSpec,
        format!("{place}: {kind} {name:?} is invalid: {}", broken.join("; ")),
    )
}

/// The document's error in the words of `kubectl apply`, where it has some.
fn refused(place: &str, error: &ManifestError) -> Failure {
    let (message, hint) = match error {
        ManifestError::Yaml { source, .. } => (format!("not YAML: {source}"), None),
        ManifestError::Field {
            kind, path, source, ..
        } => {
            let problem = source.to_string();
            if problem.starts_with("unknown field") {
                // What the decoder says has the fields that there are.
                (unknown_field(kind, path), Some(problem))
            } else {
                let problem = without_path(&problem, path);
                (format!("{kind} is invalid: {path}: {problem}"), None)
            }
        }
        ManifestError::UnknownRootField { kind, field, .. } => (unknown_field(kind, field), None),
        ManifestError::Kind {
            kind, api_version, ..
        } => (
            format!("no kind {kind:?} in {api_version:?} here"),
            Some("write Topic, ConsumerGroup or BrokerCluster of taffrail.dev/v1alpha1".to_owned()),
        ),
        ManifestError::NoName { kind, .. } => (format!("{kind}: metadata.name is missing"), None),
        ManifestError::Write(source) => (source.to_string(), None),
    };
    let failure = Failure::of(ErrorCode::InvalidSpec, format!("{place}: {message}"));
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn unknown_field(kind: &str, path: &str) -> String {
    format!("{kind}: strict decoding error: unknown field {path:?}")
}

/// serde_yaml says where a value is too; once is enough.
fn without_path<'a>(problem: &'a str, path: &str) -> &'a str {
    let rest = problem.strip_prefix(path);
    rest.and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(problem)
}

fn is_foreign(api_version: &str) -> bool {
    !api_version.is_empty() && api_version.split('/').next() != Some("taffrail.dev")
}

/// The documents of a text. Each begins with as many empty lines as there are before it, so that errors have the line of the file.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for (number, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") || line.starts_with("---\t") {
            documents.push("\n".repeat(number));
            if let Some(document) = documents.last_mut() {
                document.push_str(&line[3..]);
                document.push('\n');
            }
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents.retain(|document| {
        let content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        document.lines().any(content)
    });
    documents
}

fn files_of(path: &Path) -> Outcome<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error: &io::Error| Failure::file("read", path, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| failed(&error))? {
        let file = entry.map_err(|error| failed(&error))?.path();
        let extension = file
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        if matches!(extension, "yaml" | "yml" | "json") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "apiVersion: taffrail.dev/v1alpha1\nkind: Topic\nmetadata: { name: flights }\n";

    fn failure(text: &str) -> String {
        match parse("topic.yaml", text) {
            Ok(manifests) => format!("no failure but {manifests:?}"),
            Err(failure) => failure.to_string(),
        }
    }

    #[test]
    fn the_examples_are_valid() {
        let cluster = include_str!("../../examples/brokercluster.yaml");
        let topic = include_str!("../../examples/topic.yaml");
        let all = parse("examples", &format!("{cluster}---\n{topic}")).expect("valid");
        assert_eq!(all.cluster.expect("a cluster").defaults.brokers_wanted, 1);
        assert_eq!(all.topics[0].name, "flights");
        assert_eq!(all.topics[0].spec.partitions, Some(3));
    }

    #[test]
    fn an_unknown_field_is_refused_as_kubectl_does() {
        for (spec, field) in [
            ("spec: { foo: 1 }", "spec.foo"),
            ("spec: { retention: { tim: 1h } }", "spec.retention.tim"),
            ("sepc: {}", "sepc"),
        ] {
            let message = failure(&format!("{HEAD}{spec}\n"));
            let expected = format!("strict decoding error: unknown field {field:?}");
            assert!(message.contains(&expected), "{message}");
            assert!(message.starts_with("error[INVALID_SPEC]"), "{message}");
        }
    }

    #[test]
    fn a_wrong_unit_says_how_to_write_it() {
        let message = failure(&format!("{HEAD}spec: {{ retention: {{ time: 7d }} }}\n"));
        assert!(
            message.contains("spec.retention.time: ") && message.contains("such as 168h"),
            "{message}"
        );
        assert_eq!(
            message.matches("spec.retention.time").count(),
            1,
            "{message}"
        );
    }

    #[test]
    fn a_broken_rule_has_the_message_of_the_resources_validation() {
        let message = failure(&format!("{HEAD}spec: {{ replicas: 1, minInSync: 2 }}\n"));
        assert!(
            message.contains(rules::MIN_IN_SYNC_WITHIN_REPLICAS.message),
            "{message}"
        );
    }

    #[test]
    fn a_setting_that_brokers_do_not_have_is_named() {
        let head =
            "apiVersion: taffrail.dev/v1alpha1\nkind: BrokerCluster\nmetadata: { name: main }\n";
        let spec = "spec: { brokers: 1, storage: { size: 1Gi }, brokerConfig: { data_dir: 1 } }\n";
        let message = failure(&format!("{head}{spec}"));
        assert!(
            message.contains("spec.brokerConfig: data_dir is not"),
            "{message}"
        );
    }

    #[test]
    fn what_of_a_cluster_is_not_taken_is_named_with_the_flag_for_it() {
        let head =
            "apiVersion: taffrail.dev/v1alpha1\nkind: BrokerCluster\nmetadata: { name: main }\n";
        let left_out = |fields: &str| {
            let spec = format!("spec: {{ brokers: 1, storage: {{ size: 1Gi }}{fields} }}\n");
            let all = parse("cluster.yaml", &format!("{head}{spec}")).expect("valid");
            all.cluster.expect("a cluster").left_out
        };
        assert_eq!(left_out(""), []);
        assert_eq!(left_out(", listeners: { client: {} }"), []);
        assert_eq!(
            left_out(", listeners: { client: { port: 9000 } }"),
            [("spec.listeners.client.port", "--listen IP:PORT")]
        );
        assert_eq!(
            left_out(", brokerConfig: { disk.scrub_interval_ms: 0 }"),
            [("spec.brokerConfig", "--broker-config FILE")]
        );
        assert_eq!(
            left_out(", defaults: { group: { offsetsPartitions: 4 } }"),
            [],
            "taken"
        );
        let [(field, flag)] = left_out(", defaults: { group: { sessionTimeout: 20s } }")[..] else {
            panic!("one field is left out");
        };
        assert_eq!(field, "spec.defaults.group.sessionTimeout");
        assert!(flag.starts_with("--broker-config FILE"), "{flag}");
    }

    #[test]
    fn what_belongs_to_kubernetes_alone_is_left_to_it() {
        let text = format!("apiVersion: apps/v1\nkind: Deployment\n---\n{HEAD}spec: {{}}\n");
        let all = parse("app.yaml", &text).expect("valid");
        assert_eq!(all.skipped, ["Deployment (apps/v1)"]);
        assert_eq!(all.topics.len(), 1);
    }

    #[test]
    fn a_consumer_group_is_checked_and_left_to_kubernetes() {
        let group = include_str!("../../examples/consumergroup.yaml");
        let all = parse("group.yaml", group).expect("valid");
        assert_eq!(all.skipped, ["ConsumerGroup (taffrail.dev/v1alpha1)"]);
        let shared = group.replace("spec:\n", "spec:\n  mode: Shared\n");
        let message = failure(&shared);
        assert!(
            message.contains(rules::GROUP_MODE_KNOWN.message),
            "{message}"
        );
    }

    #[test]
    fn a_kind_that_we_do_not_have_is_refused() {
        let message = failure("apiVersion: taffrail.dev/v1alpha1\nkind: Topik\n");
        assert!(message.contains("no kind \"Topik\""), "{message}");
        let message = failure("kind: Topic\n");
        assert!(message.contains("taffrail.dev/v1alpha1"), "{message}");
    }

    #[test]
    fn broken_yaml_names_the_line_of_the_file() {
        let message = failure(&format!("{HEAD}spec: {{}}\n---\n{HEAD}spec: [\n"));
        assert!(
            message.contains("document 2") && message.contains("line 10"),
            "{message}"
        );
    }

    #[test]
    fn two_clusters_are_one_too_many() {
        let cluster = include_str!("../../examples/brokercluster.yaml");
        let message = failure(&format!("{cluster}---\n{cluster}"));
        assert!(message.contains("two BrokerClusters"), "{message}");
    }

    #[test]
    fn a_topic_of_another_namespace_than_its_clusters_carries_it() {
        let text = "apiVersion: taffrail.dev/v1alpha1\nkind: Topic\n\
            metadata: { name: orders, namespace: shop }\n\
            spec: { clusterRef: { name: main, namespace: streams } }\n";
        let all = parse("topic.yaml", text).expect("valid");
        assert_eq!(all.topics[0].name, "shop.orders");
    }
}
