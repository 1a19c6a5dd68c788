//! What is declared of consumer groups: handed on to the brokers, which keep it. Not persisted here: whoever declares it says all of it again.

use std::collections::BTreeMap;

use taffrail_api::v1::{self, controller_message::Message};

use super::{Machine, Step};
use crate::groups::WantedGroup;

/// What was said so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeclaredGroups {
    /// `None`: nothing yet, and what brokers remember holds.
    declared: Option<BTreeMap<String, WantedGroup>>,
}

impl DeclaredGroups {
    /// Was everything said?
    pub(crate) const fn are_known(&self) -> bool {
        self.declared.is_some()
    }

    /// All of them, for a broker.
    pub(crate) fn records(&self) -> Vec<v1::GroupPolicyRecord> {
        let declared = self.declared.iter().flatten();
        declared
            .map(|(name, wanted)| record(name, wanted))
            .collect()
    }

    /// What brokers have to be told that know what was said so far.
    fn replace(&mut self, declared: BTreeMap<String, WantedGroup>) -> Option<v1::MetadataUpdate> {
        let Some(before) = self.declared.replace(declared) else {
            return Some(v1::MetadataUpdate {
                groups: self.records(),
                all_groups: true,
                ..v1::MetadataUpdate::default()
            });
        };
        let after = self.declared.iter().flatten();
        let changed = after.filter(|(name, wanted)| before.get(*name) != Some(wanted));
        let groups: Vec<_> = changed.map(|(name, wanted)| record(name, wanted)).collect();
        let is_gone = |name: &&String| {
            let declared = self.declared.as_ref();
            declared.is_some_and(|declared| !declared.contains_key(*name))
        };
        let removed_groups: Vec<_> = before.keys().filter(is_gone).cloned().collect();
        let is_news = !groups.is_empty() || !removed_groups.is_empty();
        is_news.then(|| v1::MetadataUpdate {
            groups,
            removed_groups,
            ..v1::MetadataUpdate::default()
        })
    }
}

impl Machine {
    /// Tells what changed to all brokers that are registered; the others are told when they are.
    pub(super) fn groups_declared(&mut self, declared: BTreeMap<String, WantedGroup>) {
        let update = self.live.groups.replace(declared);
        let Some((mut update, cluster)) = update.zip(self.cluster.as_ref()) else {
            return;
        };
        if self.step != Step::Active {
            return;
        }
        update.cluster_id = cluster.root.value.cluster_id.to_string();
        update.stamp = Some(self.next_stamp());
        let sessions = self.live.brokers.values();
        for id in sessions.filter_map(|b| b.session).collect::<Vec<_>>() {
            self.send(id, Message::Update(update.clone()));
        }
    }
}

fn record(name: &str, wanted: &WantedGroup) -> v1::GroupPolicyRecord {
    v1::GroupPolicyRecord {
        group: name.to_owned(),
        policy: Some((&wanted.policy).into()),
        forget: wanted.forget,
    }
}
