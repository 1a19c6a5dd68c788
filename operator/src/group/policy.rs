//! A resource -> what is handed to the brokers, or everything that is wrong with it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::ResourceExt as _;
use taffrail_api::pattern;
use taffrail_core::{
    group::GroupPolicy,
    rules::{check_group_name, check_subscription},
};
use taffrail_crds::{
    ConsumerGroup, Topic, TopicStatus,
    consumer_group::{EffectiveGroup, GroupTopic},
};

use crate::{
    context::Context,
    engines::{ClusterKey, Engines},
    resolve::cluster_key_of,
    stores::Stores,
    watch::Unreadable,
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
    context.checks.check(group, name)?;
    let names = Names {
        group,
        cluster,
        topics: &context.topics,
        unreadable: &context.unreadable,
        engines: &context.engines,
    };
    let effective = group.spec.effective(|topic| names.of(topic));
    check_resolved(&effective)?;
    Ok(effective)
}

/// Brokers would leave the policy out, and say so in their logs alone.
fn check_resolved(effective: &EffectiveGroup) -> Result<(), Vec<String>> {
    let subscription = GroupPolicy::from(effective).subscription;
    check_subscription(&subscription).map_err(|error| vec![format!("spec.topics: {error}")])
}

/// What was found of each group, by uid: to compile patterns takes long, and every group is looked at whenever any is another.
#[derive(Debug, Default)]
pub(crate) struct Checks(Mutex<HashMap<String, Checked>>);

#[derive(Debug)]
struct Checked {
    generation: Option<i64>,
    name: String,
    found: Result<(), Vec<String>>,
}

impl Checks {
    fn check(&self, group: &ConsumerGroup, name: &str) -> Result<(), Vec<String>> {
        let uid = group.uid().unwrap_or_default();
        let generation = group.metadata.generation;
        let known = |known: &&Checked| known.generation == generation && known.name == name;
        if let Some(known) = self.lock().get(&uid).filter(known) {
            return known.found.clone();
        }
        let found = check(group, name);
        let checked = Checked {
            generation,
            name: name.to_owned(),
            found: found.clone(),
        };
        self.lock().insert(uid, checked);
        found
    }

    /// Forgets all but these.
    pub(super) fn keep(&self, uids: &BTreeSet<String>) {
        self.lock().retain(|uid, _| uids.contains(uid));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Checked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Also what the API server cannot know: whether the name that follows from the resource's own is one, and whether patterns can be compiled.
fn check(group: &ConsumerGroup, name: &str) -> Result<(), Vec<String>> {
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

/// The names that clients use of the topics that a group names.
struct Names<'a> {
    group: &'a ConsumerGroup,
    cluster: &'a ClusterKey,
    topics: &'a Stores<Topic>,
    unreadable: &'a Unreadable,
    engines: &'a Engines,
}

impl Names<'_> {
    /// That of the Topic of the group's namespace, if it is of the same cluster; where there is none, the one that is written.
    ///
    /// Under the bare name clients may know the topic of somebody else: a group does not turn to that because its Topic goes, or cannot be read.
    fn of(&self, topic: &str) -> String {
        let name = self.of_resource(topic).or_else(|| self.last(topic));
        name.unwrap_or_else(|| topic.to_owned())
    }

    fn of_resource(&self, topic: &str) -> Option<String> {
        let namespace = self.group.namespace().unwrap_or_default();
        if let Some(topic) = self.topics.get(&namespace, topic) {
            let is_of_cluster = cluster_key_of(&*topic, self.engines).as_ref() == Ok(self.cluster);
            return is_of_cluster.then(|| topic.client_name(Some(&self.cluster.namespace)));
        }
        let invalid = self.unreadable.get::<Topic>(&namespace, topic)?;
        let status: TopicStatus = serde_json::from_value(invalid.status).ok()?;
        let is_of_cluster = status.cluster == Some(self.cluster.to_string());
        status.topic_name.filter(|_| is_of_cluster)
    }

    /// The name with the group's namespace, if that is what was handed to the brokers last.
    fn last(&self, topic: &str) -> Option<String> {
        let namespace = self.group.namespace()?;
        let name = format!("{namespace}.{topic}");
        let status = self.group.status.as_ref()?;
        let is_same = status.cluster == Some(self.cluster.to_string());
        let names = |items: &[GroupTopic]| {
            let mut items = items.iter().filter_map(|item| item.name.as_ref());
            items.any(|item| *item == name)
        };
        let was_read = is_same && names(&status.effective.as_ref()?.topics);
        // A group that writes both means two topics.
        let is_written = self.group.spec.topics.as_deref().is_some_and(names);
        (was_read && !is_written && namespace != self.cluster.namespace).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector, watcher::Event};
    use serde_json::{Value, json};

    use super::*;
    use crate::watch::Guarded;

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
    fn a_spec_is_checked_once_until_it_is_another() {
        let checks = Checks::default();
        let pattern = |generation: i64, pattern: &str| {
            let mut group = group(&json!({ "topics": [{ "pattern": pattern }] }));
            group.metadata.uid = Some("a".to_owned());
            group.metadata.generation = Some(generation);
            checks.check(&group, "shop.billing").is_ok()
        };
        assert!(pattern(1, "orders"));
        // The API server counts each spec: this one would be refused if it was looked at.
        assert!(pattern(1, "orders("));
        assert!(!pattern(2, "orders("));
        assert!(!pattern(2, "orders"));
        checks.keep(&BTreeSet::new());
        assert!(pattern(2, "orders"));
    }

    #[test]
    fn a_name_that_follows_from_a_long_namespace_is_checked_too() {
        let wrong = check(&group(&json!({})), &"x".repeat(250)).expect_err("too long");
        assert!(wrong[0].contains("1 to 249"), "{wrong:?}");
        // One that the resource spells out breaks its rule once.
        let odd = check(&group(&json!({ "groupName": "a/b" })), "a/b").expect_err("odd");
        assert_eq!(odd.len(), 1, "{odd:?}");
    }

    #[test]
    fn what_brokers_would_not_take_is_refused_although_the_spec_breaks_no_rule() {
        let group = group(&json!({ "topics": [{ "name": "orders" }] }));
        let named = |name: &str| check_resolved(&group.spec.effective(|_| name.to_owned()));
        assert_eq!(named("shop.orders"), Ok(()));
        let wrong = named(&format!("{}.orders", "x".repeat(249))).expect_err("too long");
        assert!(
            wrong[0].starts_with("spec.topics: topic \"xxx"),
            "{wrong:?}"
        );
    }

    fn key() -> ClusterKey {
        ClusterKey {
            namespace: "streams".to_owned(),
            name: "main".to_owned(),
        }
    }

    fn topic(cluster: &str) -> Value {
        json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "Topic",
            "metadata": { "name": "orders", "namespace": "shop" },
            "spec": { "clusterRef": { "name": cluster, "namespace": "streams" } },
        })
    }

    fn stores(topics: &[Value]) -> Stores<Topic> {
        let (store, mut writer) = reflector::store();
        for topic in topics {
            let topic = serde_json::from_value(topic.clone()).expect("valid");
            writer.apply_watcher_event(&Event::Apply(topic));
        }
        Stores {
            stores: vec![store],
        }
    }

    /// What a group reads that names the topics `orders` and `payments`.
    fn read(group: &ConsumerGroup, topics: &[Value], unreadable: &Unreadable) -> Vec<String> {
        let names = Names {
            group,
            cluster: &key(),
            topics: &stores(topics),
            unreadable,
            engines: &Engines::default(),
        };
        ["orders", "payments"].map(|topic| names.of(topic)).into()
    }

    #[test]
    fn a_topic_of_the_groups_namespace_is_meant_where_there_is_one_in_its_cluster() {
        let group = group(&json!({}));
        let read = |cluster: &str| read(&group, &[topic(cluster)], &Unreadable::default());
        assert_eq!(read("main"), ["shop.orders", "payments"]);
        assert_eq!(read("other"), ["orders", "payments"]);
    }

    #[test]
    fn a_topic_that_cannot_be_read_keeps_its_name() {
        let unreadable_in = |cluster: &str| {
            let mut bad = topic("main");
            bad["spec"]["minInSync"] = json!(-1);
            bad["status"] = json!({ "cluster": cluster, "topicName": "their-orders" });
            let unreadable = Unreadable::default();
            let guarded: Guarded<Topic> = serde_json::from_value(bad).expect("metadata");
            assert!(unreadable.sort(guarded).is_none());
            unreadable
        };
        let group = group(&json!({}));
        let read = |cluster: &str| read(&group, &[], &unreadable_in(cluster));
        assert_eq!(read("streams/main"), ["their-orders", "payments"]);
        assert_eq!(read("streams/other"), ["orders", "payments"]);
    }

    #[test]
    fn a_group_whose_topic_goes_does_not_turn_to_another_of_the_bare_name() {
        let after = |namespace: &str, cluster: &str, spec: &[&str]| {
            let items = |names: &[&str]| -> Vec<_> {
                names.iter().map(|name| json!({ "name": name })).collect()
            };
            let mut group = group(&json!({ "topics": items(spec) }));
            group.metadata.namespace = Some(namespace.to_owned());
            let last = ["shop.orders", "streams.orders", "payments"];
            let status = json!({
                "cluster": cluster, "groupName": "shop.billing",
                "effective": { "mode": "Partitioned", "objectives": {}, "topics": items(&last) },
            });
            group.status = serde_json::from_value(status).expect("valid");
            read(&group, &[], &Unreadable::default())
        };
        let spec = ["orders", "payments"];
        let kept = ["shop.orders", "payments"];
        assert_eq!(after("shop", "streams/main", &spec), kept);
        assert_eq!(after("shop", "streams/other", &spec), spec);
        assert_eq!(after("streams", "streams/main", &spec), spec);
        let both = ["orders", "shop.orders"];
        assert_eq!(after("shop", "streams/main", &both), spec);
    }
}
