//! A resource as the API server has it: read, or what is known of it and where reading stopped.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// Lets a list or watch go on over a resource that cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Guarded<K>(pub(crate) Result<K, Invalid>);

/// A resource that cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Invalid {
    pub(crate) metadata: ObjectMeta,
    pub(crate) status: Value,
    /// The path of the field, and what is wrong with it.
    pub(crate) reason: String,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let reason = match serde_path_to_error::deserialize(&value) {
            Ok(object) => return Ok(Self(Ok(object))),
            Err(error) => format!("{}: {}", error.path(), error.inner()),
        };
        let metadata = serde_json::from_value(value["metadata"].take());
        Ok(Self(Err(Invalid {
            metadata: metadata.map_err(serde::de::Error::custom)?,
            status: value["status"].take(),
            reason,
        })))
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(kind)
    }

    fn group(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::group(kind)
    }

    fn version(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::version(kind)
    }

    fn plural(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0
            .as_ref()
            .map_or_else(|invalid| &invalid.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0
            .as_mut()
            .map_or_else(|invalid| &mut invalid.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use taffrail_crds::Topic;

    use super::*;

    #[test]
    fn what_cannot_be_read_says_where_and_keeps_its_status() {
        let value = json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "Topic",
            "metadata": { "name": "flights", "generation": 3 },
            "spec": { "retention": { "time": 7 } },
            "status": { "topicName": "flights" },
        });
        let guarded: Guarded<Topic> = serde_json::from_value(value).expect("the metadata is read");
        let invalid = guarded.0.expect_err("a number is no duration");
        assert_eq!(invalid.metadata.generation, Some(3));
        assert_eq!(invalid.status["topicName"], "flights");
        assert!(
            invalid.reason.starts_with("spec.retention.time: "),
            "{}",
            invalid.reason
        );
    }
}
