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

/// Topics as the newest metadata says, and the patterns of members.
#[derive(Debug, Default)]
pub(super) struct Topics {
    /// By id: the name, and for each partition the rack of its leader.
    topics: BTreeMap<TopicId, (Arc<str>, Topic)>,
    patterns: HashMap<String, Regex>,
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
        let is_changed = shape(&self.topics) != shape(&topics);
        self.topics = topics;
        is_changed
    }

    /// Patterns that somebody subscribes to. One that does not compile matches nothing: it was checked when its member joined.
    pub(super) fn learn(&mut self, subscription: &Subscription) {
        for pattern in &subscription.patterns {
            if !self.patterns.contains_key(pattern)
                && let Ok(regex) = compile(pattern)
            {
                self.patterns.insert(pattern.clone(), regex);
            }
        }
    }

    /// Forgets patterns that nobody uses.
    pub(super) fn keep_patterns(&mut self, used: &BTreeSet<&str>) {
        self.patterns
            .retain(|pattern, _| used.contains(pattern.as_str()));
    }

    /// How many there are with those of another member.
    pub(super) fn patterns_with(&self, subscription: &Subscription) -> usize {
        let mut new = subscription.patterns.iter();
        self.patterns.len()
            + new
                .by_ref()
                .filter(|p| !self.patterns.contains_key(*p))
                .count()
    }

    pub(super) fn name(&self, id: TopicId) -> Option<&str> {
        self.topics.get(&id).map(|(name, _)| &**name)
    }

    /// Has the topic such a partition?
    pub(super) fn has(&self, partition: TopicPartition) -> bool {
        let topic = self.topics.get(&partition.topic);
        topic.is_some_and(|(_, topic)| (partition.partition.0 as usize) < topic.racks.len())
    }
}

impl Catalog for Topics {
    fn matching(&self, subscription: &Subscription) -> BTreeSet<TopicId> {
        let patterns: Vec<&Regex> = subscription
            .patterns
            .iter()
            .filter_map(|pattern| self.patterns.get(pattern))
            .collect();
        let is_read = |name: &str| {
            subscription.topics.contains(name) || patterns.iter().any(|p| p.is_match(name))
        };
        let topics = self.topics.iter();
        topics
            .filter(|(_, (name, _))| is_read(name))
            .map(|(id, _)| *id)
            .collect()
    }

    fn topic(&self, id: TopicId) -> Option<Topic> {
        self.topics.get(&id).map(|(_, topic)| topic.clone())
    }
}
