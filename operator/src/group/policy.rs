//! A resource -> what is handed to the brokers, or everything that is wrong with it.

use kube::ResourceExt as _;
use taffrail_api::pattern;
use taffrail_core::rules::check_group_name;
use taffrail_crds::{ConsumerGroup, Topic, consumer_group::EffectiveGroup};

use crate::{
    context::Context,
    engines::{ClusterKey, Engines},
    resolve::cluster_key_of,
    stores::Stores,
};

/// The policy of a group that is called `name` in `cluster`.
///
/// # Errors
/// Each thing that is wrong, with what to do.
pub(super) fn of(
    group: &ConsumerGroup,
    cluster: &ClusterKey,
    name: &str,
    context: &Context,
) -> Result<EffectiveGroup, Vec<String>> {
    let namespace = group.namespace().unwrap_or_default();
    let named = |topic: &str| {
        topic_name(
            topic,
            &namespace,
            cluster,
            &context.topics,
            &context.engines,
        )
        .unwrap_or_else(|| topic.to_owned())
    };
    check(group, name)?;
    Ok(group.spec.effective(named))
}

/// Also what the API server cannot know: whether the name that follows from the resource's own is one, and whether patterns can be compiled.
pub(super) fn check(group: &ConsumerGroup, name: &str) -> Result<(), Vec<String>> {
    let mut broken = group.spec.violations();
    // A name that the resource spells out was checked with the spec.
    if group.spec.group_name.is_none() {
        broken.extend(check_group_name(name));
    }
    let mut wrong: Vec<_> = broken.iter().map(ToString::to_string).collect();
    let items = group.spec.topics.iter().flatten();
    for pattern in items.filter_map(|item| item.pattern.as_deref()) {
        if let Err(error) = pattern::compile(pattern) {
            wrong.push(format!(
                "spec.topics: pattern {pattern:?} is no regular expression that can be used: {error}"
            ));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// The name that clients use of the Topic that is called so in this namespace, if it is of the same cluster.
fn topic_name(
    topic: &str,
    namespace: &str,
    cluster: &ClusterKey,
    topics: &Stores<Topic>,
    engines: &Engines,
) -> Option<String> {
    let topic = topics.get(namespace, topic)?;
    let is_of_cluster = cluster_key_of(&*topic, engines).as_ref() == Ok(cluster);
    is_of_cluster.then(|| topic.client_name(Some(&cluster.namespace)))
}

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector, watcher::Event};
    use serde_json::{Value, json};

    use super::*;

    fn group(spec: &Value) -> ConsumerGroup {
        let value = json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "ConsumerGroup",
            "metadata": { "name": "billing", "namespace": "shop" },
            "spec": spec,
        });
        serde_json::from_value(value).expect("valid")
    }

    #[test]
    fn a_pattern_that_brokers_could_not_compile_is_refused_with_what_is_wrong() {
        let wrong = check(
            &group(&json!({ "topics": [{ "pattern": "orders(" }, { "pattern": "a.*" }] })),
            "shop.billing",
        );
        assert_eq!(
            wrong.expect_err("refused"),
            [
                "spec.topics: pattern \"orders(\" is no regular expression that can be used: unclosed group"
            ]
        );
    }

    #[test]
    fn a_name_that_follows_from_a_long_namespace_is_checked_too() {
        let wrong = check(&group(&json!({})), &"x".repeat(250)).expect_err("too long");
        assert!(wrong[0].contains("1 to 249"), "{wrong:?}");
        // One that the resource spells out breaks its rule once.
        let odd = check(&group(&json!({ "groupName": "a/b" })), "a/b").expect_err("odd");
        assert_eq!(odd.len(), 1, "{odd:?}");
    }

    fn topics(cluster: &str) -> Stores<Topic> {
        let topic: Topic = serde_json::from_value(json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "Topic",
            "metadata": { "name": "orders", "namespace": "shop" },
            "spec": { "clusterRef": { "name": cluster, "namespace": "streams" } },
        }))
        .expect("valid");
        let (store, mut writer) = reflector::store();
        writer.apply_watcher_event(&Event::Apply(topic));
        Stores {
            stores: vec![store],
        }
    }

    #[test]
    fn a_topic_of_the_groups_namespace_is_meant_where_there_is_one_in_its_cluster() {
        let key = ClusterKey {
            namespace: "streams".to_owned(),
            name: "main".to_owned(),
        };
        let engines = Engines::default();
        let named = |topic: &str, cluster: &str| {
            topic_name(topic, "shop", &key, &topics(cluster), &engines)
        };
        assert_eq!(named("orders", "main"), Some("shop.orders".to_owned()));
        assert_eq!(named("orders", "other"), None);
        assert_eq!(named("payments", "main"), None);
    }
}
