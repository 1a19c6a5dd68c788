//! From what members hold to what they are to hold.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    assignor::{Reader, Topic, assign},
    member::Held,
    membership::{Catalog, Group},
};
use crate::{
    ids::{GroupEpoch, TopicId, TopicPartition},
    replica::{Mutant, is_broken},
};

impl Group {
    /// Topics or their partitions may have changed.
    pub fn catalog_changed(&mut self, catalog: &impl Catalog) {
        self.rebalance(catalog);
    }

    /// Decides anew who is to hold what.
    pub(super) fn rebalance(&mut self, catalog: &impl Catalog) {
        let policy = &self.policy.subscription;
        let allowed = (!policy.is_empty()).then(|| catalog.matching(policy));
        for member in self.members.values_mut() {
            let named = &member.profile.subscription;
            member.topics = match &allowed {
                None => catalog.matching(named),
                Some(allowed) if named.is_empty() => allowed.clone(),
                Some(allowed) => &catalog.matching(named) & allowed,
            };
        }
        let read: BTreeSet<TopicId> = self
            .members
            .values()
            .flat_map(|m| m.topics.clone())
            .collect();
        let topics: BTreeMap<TopicId, Topic> = read
            .into_iter()
            .filter_map(|id| Some((id, catalog.topic(id)?)))
            .collect();
        for member in self.members.values_mut() {
            member.topics.retain(|id| topics.contains_key(id));
        }
        let members = self.members.values();
        let readers: Vec<Reader> = members.map(|m| m.reader(&self.policy)).collect();
        let targets = assign(self.policy.strategy, &readers, &topics);
        for (member, target) in self.members.values_mut().zip(targets) {
            member.target = target;
        }
        self.reconcile();
    }

    /// One step: takes from members what they are not to hold, and gives them what nobody holds. What is taken is free once its member has said
    /// that it gave it up.
    pub(super) fn reconcile(&mut self) {
        let next = GroupEpoch(self.epoch.0 + 1);
        let mut holders: BTreeSet<TopicPartition> = self
            .members
            .values()
            .flat_map(|m| m.held.keys().copied())
            .collect();
        for member in self.members.values_mut() {
            let mut is_new = false;
            for (partition, held) in &mut member.held {
                if held.revoked.is_none() && !member.target.contains(partition) {
                    held.revoked = Some(next);
                    is_new = true;
                }
            }
            if is_broken(Mutant::PartitionGivenBeforeRevoked) {
                member.held.retain(|partition, held| {
                    let stays = held.revoked.is_none();
                    if !stays {
                        holders.remove(partition);
                    }
                    stays
                });
            }
            for partition in &member.target {
                if holders.insert(*partition) {
                    let held = Held {
                        since: next,
                        revoked: None,
                    };
                    member.held.insert(*partition, held);
                    is_new = true;
                }
            }
            // A member without partitions is told so, once.
            if is_new || member.epoch == GroupEpoch(0) {
                member.epoch = next;
                self.epoch = next;
                self.is_changed = true;
            }
        }
        self.assert_invariants();
    }

    /// A partition is held by at most one member; no assignment is newer than the group's.
    ///
    /// # Panics
    /// If that does not hold.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check_invariants() {
            panic!("{broken}: {self:?}");
        }
    }

    pub(super) fn check_invariants(&self) -> Result<(), &'static str> {
        let mut owned = BTreeSet::new();
        for member in self.members.values() {
            if member.epoch > self.epoch {
                return Err("an assignment is newer than the group's");
            }
            for (partition, held) in &member.held {
                if !owned.insert(partition) {
                    return Err("a partition has two owners");
                }
                if held.since.max(held.revoked.unwrap_or_default()) > member.epoch {
                    return Err("a member holds what it was never told of");
                }
            }
        }
        Ok(())
    }
}
