//! Which events say something else than the one before them: most say only that the operator has written numbers.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use kube::{ResourceExt as _, runtime::watcher::Event};

use super::{Watched, name_of};

/// What each resource of a watch said last, as a hash.
#[derive(Debug, Default)]
pub(super) struct News(HashMap<String, u64>);

impl News {
    /// Does the store say something else after this event?
    pub(super) fn is_in<K: Watched>(&mut self, event: &Event<K>) -> bool {
        match event {
            Event::Apply(object) => {
                let said = hash(object);
                self.0.insert(name_of(object), said) != Some(said)
            }
            Event::Delete(object) => {
                self.0.remove(&name_of(object));
                true
            }
            Event::Init => {
                self.0.clear();
                false
            }
            Event::InitApply(object) => {
                self.0.insert(name_of(object), hash(object));
                false
            }
            Event::InitDone => true,
        }
    }
}

/// Of what decides anything. The API server counts what the spec says.
fn hash<K: Watched>(object: &K) -> u64 {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    meta.generation.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    object.finalizers().hash(&mut hasher);
    object.annotations().hash(&mut hasher);
    object.accepted_as().to_string().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use taffrail_crds::ConsumerGroup;

    use super::*;

    fn group(change: &Value) -> ConsumerGroup {
        let mut group = json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "ConsumerGroup",
            "metadata": { "name": "billing", "namespace": "shop", "uid": "a", "generation": 1 },
            "spec": {},
            "status": { "cluster": "shop/main", "groupName": "billing", "members": 2 },
        });
        for (part, fields) in change.as_object().expect("parts") {
            let fields = fields.as_object().expect("fields").clone();
            group[part].as_object_mut().expect("fields").extend(fields);
        }
        serde_json::from_value(group).expect("valid")
    }

    #[test]
    fn numbers_and_conditions_are_no_news_and_what_is_declared_is() {
        let before = group(&json!({}));
        let condition = json!({
            "type": "Ready", "status": "True", "reason": "Coordinated", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let effective = json!({ "mode": "Partitioned", "objectives": {} });
        for (change, is_news) in [
            (json!({}), false),
            (json!({ "metadata": { "resourceVersion": "7" } }), false),
            (
                json!({ "status": { "members": 3, "conditions": [condition] } }),
                false,
            ),
            (json!({ "metadata": { "generation": 2 } }), true),
            (json!({ "metadata": { "uid": "b" } }), true),
            (
                json!({ "metadata": { "annotations": { "taffrail.dev/paused": "true" } } }),
                true,
            ),
            (
                json!({ "metadata": { "finalizers": ["taffrail.dev/offsets"] } }),
                true,
            ),
            (
                json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }),
                true,
            ),
            (json!({ "status": { "effective": effective } }), true),
            (json!({ "status": { "groupName": "other" } }), true),
        ] {
            let mut news = News::default();
            assert!(news.is_in(&Event::Apply(before.clone())), "the first one");
            let after = Event::Apply(group(&change));
            assert_eq!(news.is_in(&after), is_news, "{change}");
        }
    }

    #[test]
    fn a_list_is_news_when_it_is_complete_and_what_goes_is_too() {
        let mut news = News::default();
        let group = group(&json!({}));
        assert!(!news.is_in::<ConsumerGroup>(&Event::Init));
        assert!(!news.is_in(&Event::InitApply(group.clone())));
        assert!(news.is_in::<ConsumerGroup>(&Event::InitDone));
        assert!(!news.is_in(&Event::Apply(group.clone())));
        assert!(news.is_in(&Event::Delete(group.clone())));
        assert!(news.is_in(&Event::Apply(group)), "it is back");
    }
}
