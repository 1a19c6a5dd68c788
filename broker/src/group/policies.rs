//! What is declared of consumer groups, as the controller told it last.

use std::{collections::BTreeMap, sync::Arc};

use taffrail_api::{WireError, v1};
use taffrail_core::group::GroupPolicy;

use super::limits::{check_name, check_session_timeout, subscription};

/// By group. Immutable once published; equal ones are the same one as long as nothing is told about groups.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Policies {
    by_group: Arc<BTreeMap<String, Arc<Declared>>>,
}

/// Of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) policy: GroupPolicy,
    /// The group is to be forgotten as soon as it has no members.
    pub(crate) forget: bool,
}

impl Policies {
    /// These after `update`. What is not understood of it is left out, and what was known of that group holds on: topics and leaders must not wait for it.
    pub(crate) fn after(&self, update: &v1::MetadataUpdate) -> Self {
        if !update.all_groups && update.groups.is_empty() && update.removed_groups.is_empty() {
            return self.clone();
        }
        let before = &self.by_group;
        let mut next = if update.all_groups {
            BTreeMap::new()
        } else {
            BTreeMap::clone(before)
        };
        for group in &update.removed_groups {
            next.remove(group);
        }
        for record in &update.groups {
            let known = before.get(&record.group);
            let declared = match Declared::try_from(record) {
                Ok(declared) => Arc::new(declared),
                Err(error) => {
                    tracing::warn!(group = record.group, %error, "a consumer group's policy is not understood: what was known of it holds");
                    let Some(known) = known else { continue };
                    Arc::clone(known)
                }
            };
            next.insert(record.group.clone(), declared);
        }
        if next == **before {
            return self.clone();
        }
        Self {
            by_group: Arc::new(next),
        }
    }

    /// All of them.
    pub(crate) fn records(&self) -> Vec<v1::GroupPolicyRecord> {
        let record = |(group, declared): (&String, &Arc<Declared>)| v1::GroupPolicyRecord {
            group: group.clone(),
            policy: Some((&declared.policy).into()),
            forget: declared.forget,
        };
        self.by_group.iter().map(record).collect()
    }

    /// Has nothing been told in between?
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.by_group, &other.by_group)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Arc<Declared>)> {
        self.by_group.iter()
    }
}

impl TryFrom<&v1::GroupPolicyRecord> for Declared {
    type Error = WireError;

    fn try_from(record: &v1::GroupPolicyRecord) -> Result<Self, WireError> {
        check_name(&record.group)?;
        let policy = record.policy.clone().unwrap_or_default();
        subscription(policy.topics.clone(), policy.patterns.clone())?;
        if let Some(ms) = policy.session_timeout_ms {
            check_session_timeout(ms.into())?;
        }
        Ok(Self {
            policy: policy.try_into()?,
            forget: record.forget,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(group: &str, timeout_ms: u32) -> v1::GroupPolicyRecord {
        v1::GroupPolicyRecord {
            group: group.to_owned(),
            policy: Some(v1::GroupPolicy {
                session_timeout_ms: Some(timeout_ms),
                ..v1::GroupPolicy::default()
            }),
            forget: false,
        }
    }

    fn update(groups: Vec<v1::GroupPolicyRecord>) -> v1::MetadataUpdate {
        v1::MetadataUpdate {
            groups,
            ..v1::MetadataUpdate::default()
        }
    }

    fn named(policies: &Policies) -> Vec<(String, Option<u64>)> {
        let timeout = |(name, declared): (&String, &Arc<Declared>)| {
            (name.clone(), declared.policy.session_timeout_ms)
        };
        policies.iter().map(timeout).collect()
    }

    #[test]
    fn policies_are_replaced_one_by_one_or_all_at_once() {
        let before =
            Policies::default().after(&update(vec![record("a", 5_000), record("b", 5_000)]));
        let changed = before.after(&update(vec![record("b", 6_000)]));
        let expected = [("a".to_owned(), Some(5_000)), ("b".to_owned(), Some(6_000))];
        assert_eq!(named(&changed), expected);
        let removed = changed.after(&v1::MetadataUpdate {
            removed_groups: vec!["a".to_owned()],
            ..v1::MetadataUpdate::default()
        });
        assert_eq!(named(&removed), expected[1..]);
        let all = changed.after(&v1::MetadataUpdate {
            all_groups: true,
            ..update(vec![record("c", 7_000)])
        });
        assert_eq!(named(&all), [("c".to_owned(), Some(7_000))]);
    }

    #[test]
    fn an_update_that_says_nothing_of_groups_leaves_them_the_same_ones() {
        let known = Policies::default().after(&update(vec![record("a", 5_000)]));
        let full = v1::MetadataUpdate {
            full: true,
            ..v1::MetadataUpdate::default()
        };
        assert!(known.after(&full).is(&known));
        let again = v1::MetadataUpdate {
            all_groups: true,
            ..update(known.records())
        };
        assert!(known.after(&again).is(&known));
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_left_out_and_the_others_are_taken() {
        let known = Policies::default().after(&update(vec![record("a", 5_000)]));
        let odd = v1::GroupPolicyRecord {
            policy: Some(v1::GroupPolicy {
                patterns: vec!["orders(".to_owned()],
                ..v1::GroupPolicy::default()
            }),
            ..record("d", 5_000)
        };
        let unknown = v1::GroupPolicyRecord {
            policy: Some(v1::GroupPolicy {
                strategy: 99,
                ..v1::GroupPolicy::default()
            }),
            ..record("e", 5_000)
        };
        let next = known.after(&v1::MetadataUpdate {
            all_groups: true,
            ..update(vec![
                record("a", 1),
                record("b/c", 5_000),
                odd,
                unknown,
                record("f", 9_000),
            ])
        });
        let expected = [("a".to_owned(), Some(5_000)), ("f".to_owned(), Some(9_000))];
        assert_eq!(named(&next), expected);
    }
}
