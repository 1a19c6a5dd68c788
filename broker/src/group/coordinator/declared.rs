//! What is declared of the groups here.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use taffrail_core::group::GroupPolicy;
use taffrail_record::partitioner::partition_for_key;

use super::Coordinator;
use crate::{cluster::known::Known, group::policies::Declared};

/// Patterns of all policies of one coordinator's groups, each compiled once.
const PATTERNS_MAX: usize = 1_000;

impl Coordinator {
    /// Takes over what the newest metadata declares of groups here.
    pub(super) fn declare(&mut self, known: &Known) {
        let policies = &known.view.groups;
        if policies.is(&self.policies) {
            return;
        }
        self.policies = policies.clone();
        let id = self.partition.id;
        let partitions = known.view.partitions_of(id.topic).count() as u32;
        let is_here = |group: &str| {
            partitions > 0 && partition_for_key(group.as_bytes(), partitions) == id.partition
        };
        let here = policies.iter().filter(|(group, _)| is_here(group));
        let here: BTreeMap<_, _> = here.map(|(g, d)| (g.clone(), Arc::clone(d))).collect();
        let here = within_limits(here, &self.declared);
        let before = mem::replace(&mut self.declared, here);
        let groups = before.keys().chain(self.declared.keys());
        let changed = groups.filter(|group| before.get(*group) != self.declared.get(*group));
        for group in changed.cloned().collect::<Vec<_>>() {
            self.declared_changed(&group);
        }
    }

    fn declared_changed(&mut self, group: &str) {
        let (policy, now) = (self.policy(group), self.now());
        self.topics.learn_declared(&policy.subscription);
        let Some(hosted) = self.groups.get_mut(group) else {
            self.reporting.say_absent(group);
            return;
        };
        tracing::info!(%group, "the group's policy is another one");
        hosted.group.set_policy(policy, &self.topics, now);
        hosted.is_news = true;
        if let Some(shortest_ms) = hosted.group.session_timeout_ms_min() {
            self.session_timeout_ms = self.session_timeout_ms.min(shortest_ms);
        }
        self.touched.insert(group.to_owned());
    }

    /// That of a group of which nothing is declared leaves everything to its members.
    pub(super) fn policy(&self, group: &str) -> GroupPolicy {
        let declared = self.declared.get(group);
        declared.map_or_else(GroupPolicy::default, |declared| declared.policy.clone())
    }

    /// Forgets groups whose resource is gone, once nobody is in them.
    pub(super) fn forget_declared(&mut self) {
        if !self.is_sure || self.closed.is_some() {
            return;
        }
        let declared = self.declared.iter().filter(|(_, declared)| declared.forget);
        let is_over = |group: &&String| {
            let hosted = self.groups.get(*group);
            hosted.is_some_and(|hosted| hosted.group.members().len() == 0)
        };
        let over = declared.map(|(group, _)| group).filter(is_over).cloned();
        for group in over.collect::<Vec<_>>() {
            if let Some(hosted) = self.remove(&group) {
                tracing::info!(%group, "the group's resource is gone and nobody is in it: it is forgotten");
                self.entries.extend(hosted.forget(&group));
            }
        }
    }
}

/// Policies with more patterns than there is room for say nothing; those that hold already come first.
fn within_limits(
    mut here: BTreeMap<String, Arc<Declared>>,
    before: &BTreeMap<String, Arc<Declared>>,
) -> BTreeMap<String, Arc<Declared>> {
    let mut order: Vec<_> = here.iter_mut().collect();
    order.sort_by_key(|(group, declared)| before.get(*group) != Some(declared));
    let mut patterns = BTreeSet::new();
    for (group, declared) in order {
        let named = &declared.policy.subscription.patterns;
        if patterns.len() + named.difference(&patterns).count() <= PATTERNS_MAX {
            patterns.extend(named.iter().cloned());
            continue;
        }
        tracing::warn!(%group, "policies of this coordinator's groups name {PATTERNS_MAX} patterns, as many as they may: this one is ignored; use fewer");
        *declared = Arc::new(Declared {
            policy: GroupPolicy::default(),
            forget: declared.forget,
        });
    }
    here
}
