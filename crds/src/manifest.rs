//! YAML files -> resources, and back. Unknown fields and wrong units are refused with the path of the field.

use serde::{Deserialize as _, Serialize, de::DeserializeOwned};
use serde_yaml::Value;
use taffrail_core::rules::Violation;
use thiserror::Error;

use crate::{BrokerCluster, ConsumerGroup, GROUP, Topic, VERSION};

/// What a user may write in a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Manifest {
    /// A topic.
    Topic(Box<Topic>),
    /// A cluster.
    BrokerCluster(Box<BrokerCluster>),
    /// Policy of a consumer group.
    ConsumerGroup(Box<ConsumerGroup>),
}

/// A topic read from a file: the name that clients use, and what core decides on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTopic {
    /// The name that clients use.
    pub name: String,
    /// What the user wants.
    pub spec: taffrail_core::TopicSpec,
}

/// Why a file cannot be used. `document` counts from 1.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// No YAML.
    #[error("document {document}: {source}")]
    Yaml {
        /// Which document of the file.
        document: usize,
        /// Line, column and what is wrong there.
        source: serde_yaml::Error,
    },
    /// A field is unknown, missing, or holds what it may not.
    #[error("document {document} ({kind}): {path}: {source}")]
    Field {
        /// Which document of the file.
        document: usize,
        /// The document's kind.
        kind: String,
        /// The field.
        path: String,
        /// What is wrong with it.
        source: serde_yaml::Error,
    },
    /// A kind that this program does not know.
    #[error(
        "document {document}: cannot use kind {kind:?} of apiVersion {api_version:?}; expected Topic, ConsumerGroup or BrokerCluster of taffrail.dev/v1alpha1"
    )]
    Kind {
        /// Which document of the file.
        document: usize,
        /// As written.
        kind: String,
        /// As written.
        api_version: String,
    },
    /// A field beside `spec` that resources do not have.
    #[error(
        "document {document} ({kind}): unknown field {field:?}; expected apiVersion, kind, metadata, spec"
    )]
    UnknownRootField {
        /// Which document of the file.
        document: usize,
        /// The document's kind.
        kind: String,
        /// As written.
        field: String,
    },
    /// `metadata.name` is missing.
    #[error("document {document} ({kind}): metadata.name is missing")]
    NoName {
        /// Which document of the file.
        document: usize,
        /// The document's kind.
        kind: String,
    },
    /// A resource cannot be written as YAML.
    #[error("cannot write YAML: {0}")]
    Write(#[source] serde_yaml::Error),
}

/// Every resource of a file with one or more YAML documents. Empty documents are skipped.
///
/// # Errors
/// The first document that is none of these, with the field that is wrong.
pub fn parse(text: &str) -> Result<Vec<Manifest>, ManifestError> {
    let mut out = Vec::new();
    for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let document_number = index + 1;
        let value = Value::deserialize(document).map_err(|source| ManifestError::Yaml {
            document: document_number,
            source,
        })?;
        if !value.is_null() {
            out.push(parse_one(value, document_number)?);
        }
    }
    Ok(out)
}

/// One document as YAML.
///
/// # Errors
/// If the value has no form in YAML.
pub fn to_yaml<T: Serialize>(value: &T) -> Result<String, ManifestError> {
    serde_yaml::to_string(value).map_err(ManifestError::Write)
}

impl NamedTopic {
    /// The topic as a cluster in its own namespace has it.
    ///
    /// # Errors
    /// Every rule that the topic breaks.
    pub fn from_topic(topic: &Topic) -> Result<Self, Vec<Violation>> {
        let name = topic.client_name(None);
        let named = taffrail_core::rules::check_topic_name(&name);
        match taffrail_core::TopicSpec::try_from(&topic.spec) {
            Ok(spec) if named.is_empty() => Ok(Self { name, spec }),
            Ok(_) => Err(named),
            Err(violations) => Err(violations),
        }
    }
}

fn parse_one(value: Value, document: usize) -> Result<Manifest, ManifestError> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, api_version) = (text("kind").to_owned(), text("apiVersion").to_owned());
    let ours = api_version == format!("{GROUP}/{VERSION}");
    match kind.as_str() {
        "Topic" if ours => {
            let topic: Topic = resource(value, document, kind)?;
            Ok(Manifest::Topic(Box::new(topic)))
        }
        "BrokerCluster" if ours => {
            let cluster: BrokerCluster = resource(value, document, kind)?;
            Ok(Manifest::BrokerCluster(Box::new(cluster)))
        }
        "ConsumerGroup" if ours => {
            let group: ConsumerGroup = resource(value, document, kind)?;
            Ok(Manifest::ConsumerGroup(Box::new(group)))
        }
        _ => Err(ManifestError::Kind {
            document,
            kind,
            api_version,
        }),
    }
}

fn resource<K>(value: Value, document: usize, kind: String) -> Result<K, ManifestError>
where
    K: kube::Resource + DeserializeOwned,
{
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    let fields = value.as_mapping().into_iter().flat_map(|m| m.keys());
    if let Some(field) = fields
        .filter_map(Value::as_str)
        .find(|f| !known.contains(f))
    {
        let field = field.to_owned();
        return Err(ManifestError::UnknownRootField {
            document,
            kind,
            field,
        });
    }
    let resource: K =
        serde_path_to_error::deserialize(value).map_err(|error| ManifestError::Field {
            document,
            kind: kind.clone(),
            path: error.path().to_string(),
            source: error.into_inner(),
        })?;
    if resource
        .meta()
        .name
        .as_deref()
        .unwrap_or_default()
        .is_empty()
    {
        return Err(ManifestError::NoName { document, kind });
    }
    Ok(resource)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn flights(spec: &str) -> String {
        format!(
            "apiVersion: taffrail.dev/v1alpha1\nkind: Topic\nmetadata: {{ name: flights }}\nspec: {spec}\n"
        )
    }

    #[test]
    fn a_file_may_hold_several_documents() {
        let text = format!(
            "---\n{}---\n# nothing\n---\n{}",
            flights("{}"),
            flights("{ partitions: 3 }")
        );
        assert_eq!(parse(&text).expect("valid").len(), 2);
    }

    #[test]
    fn a_topic_manifest_becomes_what_core_decides_on() {
        let text =
            flights("{ partitions: 3, retention: { time: 720h }, segment: { bytes: 64Mi } }");
        let manifests = parse(&text).expect("valid");
        let Manifest::Topic(topic) = &manifests[0] else {
            panic!("a topic");
        };
        let named = NamedTopic::from_topic(topic).expect("valid");
        assert_eq!(named.name, "flights");
        assert_eq!(named.spec.retention, Some(Duration::from_hours(720)));
        assert_eq!(named.spec.segment_bytes, Some(64 << 20));
    }

    #[test]
    fn an_unknown_field_is_refused_by_its_path() {
        let error = parse(&flights("{ retention: { tim: 1h } }"))
            .expect_err("typo")
            .to_string();
        assert!(
            error.contains("spec.retention") && error.contains("unknown field `tim`"),
            "{error}"
        );
        let text = flights("{}").replace("spec", "spce");
        let error = parse(&text).expect_err("typo").to_string();
        assert!(error.contains("\"spce\""), "{error}");
    }

    #[test]
    fn a_wrong_unit_is_refused_with_how_to_write_it() {
        let error = parse(&flights("{ retention: { time: 7d } }"))
            .expect_err("days")
            .to_string();
        assert!(
            error.contains("spec.retention.time") && error.contains("such as 168h"),
            "{error}"
        );
    }

    #[test]
    fn a_foreign_kind_is_refused_by_its_name() {
        let text = flights("{}").replace("Topic", "Deployment");
        let error = parse(&text).expect_err("foreign").to_string();
        assert!(error.contains("\"Deployment\""), "{error}");
    }
}
