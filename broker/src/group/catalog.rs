//! Topics and patterns, as groups see them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use regex::Regex;
use taffrail_api::pattern::compile;
use taffrail_core::{
    TopicId, TopicPartition,
    group::{Catalog, Subscription, Topic},
    internal::is_internal,
};

use crate::cluster::known::Known;

/// Topics as the newest metadata says, and the patterns of members and of policies.
#[derive(Debug, Default)]
pub(super) struct Topics {
    /// By id: the name, and for each partition the rack of its leader.
    by_id: BTreeMap<TopicId, (Arc<str>, Topic)>,
    patterns: HashMap<String, Regex>,
    /// Those that policies name, counted apart: members of groups without one must not have to do without.
    declared: HashMap<String, Regex>,
}

impl Topics {
    /// True: groups may be affected.
    pub(super) fn update(&mut self, known: &Known) -> bool {
        let view = &known.view;
        let rack = |broker| view.brokers.get(&broker).map(|b| b.rack.clone());
        let mut topics = BTreeMap::new();
        for (id, topic) in view.topics.iter().filter(|(_, t)| !is_internal(&t.name)) {
            let leaders = view.partitions_of(*id).map(|(_, a)| a.leader);
            let racks = leaders.map(|leader| leader.and_then(rack).filter(|r| !r.is_empty()));
            let racks = racks.map(|rack| rack.into_iter().collect()).collect();
            topics.insert(*id, (Arc::clone(&topic.name), Topic { racks }));
        }
        let shape = |topics: &BTreeMap<TopicId, (Arc<str>, Topic)>| -> Vec<(TopicId, usize)> {
            topics
                .iter()
                .map(|(id, (_, t))| (*id, t.racks.len()))
                .collect()
        };
        // A leader that changes moves no partition from one member to another.
        let is_changed = shape(&self.by_id) != shape(&topics);
        self.by_id = topics;
        is_changed
    }

    /// Patterns that somebody subscribes to. One that does not compile matches nothing: it was checked when its member joined.
    pub(super) fn learn(&mut self, subscription: &Subscription) {
        learn(&mut self.patterns, subscription);
    }

    /// Patterns that a policy names.
    pub(super) fn learn_declared(&mut self, subscription: &Subscription) {
        learn(&mut self.declared, subscription);
    }

    /// Forgets patterns that no member uses, and those that no policy names.
    pub(super) fn keep_patterns(&mut self, used: &BTreeSet<&str>, declared: &BTreeSet<&str>) {
        self.patterns.retain(|p, _| used.contains(p.as_str()));
        self.declared.retain(|p, _| declared.contains(p.as_str()));
    }

    /// Would there be more patterns of members than `max` with those of another one? One that brings none finds room.
    pub(super) fn is_too_much(&self, subscription: &Subscription, max: usize) -> bool {
        let patterns = subscription.patterns.iter();
        let new = patterns.filter(|p| !self.patterns.contains_key(*p)).count();
        new > 0 && self.patterns.len() + new > max
    }

    pub(super) fn name(&self, id: TopicId) -> Option<&str> {
        self.by_id.get(&id).map(|(name, _)| &**name)
    }

    /// Has the topic such a partition?
    pub(super) fn has(&self, partition: TopicPartition) -> bool {
        let topic = self.by_id.get(&partition.topic);
        topic.is_some_and(|(_, topic)| (partition.partition.0 as usize) < topic.racks.len())
    }
}

impl Catalog for Topics {
    fn matching(&self, subscription: &Subscription) -> BTreeSet<TopicId> {
        let patterns: Vec<&Regex> = subscription
            .patterns
            .iter()
            .filter_map(|pattern| {
                let of_members = self.patterns.get(pattern);
                of_members.or_else(|| self.declared.get(pattern))
            })
            .collect();
        let is_read = |name: &str| {
            subscription.topics.contains(name) || patterns.iter().any(|p| p.is_match(name))
        };
        let topics = self.by_id.iter();
        topics
            .filter(|(_, (name, _))| is_read(name))
            .map(|(id, _)| *id)
            .collect()
    }

    fn topic(&self, id: TopicId) -> Option<Topic> {
        self.by_id.get(&id).map(|(_, topic)| topic.clone())
    }
}

fn learn(patterns: &mut HashMap<String, Regex>, subscription: &Subscription) {
    for pattern in &subscription.patterns {
        if !patterns.contains_key(pattern)
            && let Ok(regex) = compile(pattern)
        {
            patterns.insert(pattern.clone(), regex);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns<const N: usize>(patterns: [&str; N]) -> Subscription {
        Subscription {
            patterns: patterns.map(str::to_owned).into(),
            ..Subscription::default()
        }
    }

    #[test]
    fn patterns_of_policies_take_no_room_from_members_and_a_member_without_new_ones_needs_none() {
        let mut topics = Topics::default();
        topics.learn_declared(&patterns(["a.*", "b.*", "c.*"]));
        assert!(!topics.is_too_much(&patterns(["a.*", "d.*"]), 2));
        assert!(topics.is_too_much(&patterns(["d.*", "e.*", "f.*"]), 2));
        topics.learn(&patterns(["a.*", "d.*", "e.*"]));
        for none_new in [patterns([]), patterns(["d.*"])] {
            assert!(!topics.is_too_much(&none_new, 2));
        }
        assert!(topics.is_too_much(&patterns(["f.*"]), 3));
        topics.keep_patterns(&["a.*"].into(), &[].into());
        assert!(!topics.is_too_much(&patterns(["f.*"]), 2));
        assert!(topics.declared.is_empty());
    }
}
