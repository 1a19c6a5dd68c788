//! What is declared of consumer groups, as the controller told it last.

use std::{collections::BTreeMap, sync::Arc};

use taffrail_api::{WireError, v1};
use taffrail_core::group::GroupPolicy;

use super::limits::{check_name, check_session_timeout, subscription};

/// By group. Immutable once published; equal ones are the same one as long as nothing is told about groups.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Policies {
    /// All there were when that was said last, by a controller before perhaps. False: there may be others that nobody spoke of yet.
    are_known: bool,
    by_group: Arc<BTreeMap<String, Arc<Declared>>>,
}

/// Of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) policy: GroupPolicy,
    /// The group is to be forgotten as soon as it has no members. Not remembered: the resource may have been made anew since, so it counts only if the
    /// controller of this session says so, or those that knew of it before.
    pub(crate) forget: bool,
}

impl Policies {
    /// These after `update`. What is not understood of it is left out, and what was known of that group holds on: topics and leaders must not wait for it.
    pub(crate) fn after(&self, update: &v1::MetadataUpdate) -> Self {
        let says_nothing = update.groups.is_empty() && update.removed_groups.is_empty();
        if says_nothing && !update.full && !update.all_groups {
            return self.clone();
        }
        let before = &self.by_group;
        let mut next = if update.all_groups {
            BTreeMap::new()
        } else {
            BTreeMap::clone(before)
        };
        if update.full {
            // A controller that does not know yet what is declared, and which may be another one.
            for declared in next.values_mut().filter(|declared| declared.forget) {
                Arc::make_mut(declared).forget = false;
            }
        }
        for group in &update.removed_groups {
            next.remove(group);
        }
        for record in &update.groups {
            let known = before.get(&record.group);
            if let Some(known) = known.filter(|known| known.record(&record.group) == *record) {
                // Its patterns were looked at before.
                next.insert(record.group.clone(), Arc::clone(known));
                continue;
            }
            let declared = match Declared::try_from(record) {
                Ok(declared) => Arc::new(declared),
                Err(error) => {
                    tracing::warn!(group = record.group, %error, "a consumer group's policy is not understood: what was known of it holds");
                    let Some(known) = known else { continue };
                    Arc::new(Declared {
                        policy: known.policy.clone(),
                        forget: record.forget,
                    })
                }
            };
            next.insert(record.group.clone(), declared);
        }
        let by_group = if next == **before {
            Arc::clone(before)
        } else {
            Arc::new(next)
        };
        Self {
            are_known: self.are_known || update.all_groups,
            by_group,
        }
    }

    /// All of them, to be remembered.
    pub(crate) fn records(&self) -> Vec<v1::GroupPolicyRecord> {
        let record = |(group, declared): (&String, &Arc<Declared>)| v1::GroupPolicyRecord {
            forget: false,
            ..declared.record(group)
        };
        self.by_group.iter().map(record).collect()
    }

    /// Did anybody ever say what is declared, if anything is?
    pub(crate) const fn are_known(&self) -> bool {
        self.are_known
    }

    /// Has nothing been told in between?
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.by_group, &other.by_group) && self.are_known == other.are_known
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Arc<Declared>)> {
        self.by_group.iter()
    }
}

impl Declared {
    fn record(&self, group: &str) -> v1::GroupPolicyRecord {
        v1::GroupPolicyRecord {
            group: group.to_owned(),
            policy: Some((&self.policy).into()),
            forget: self.forget,
        }
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

    /// The groups that are to be forgotten.
    fn forgets(policies: &Policies) -> Vec<&str> {
        let to_forget = policies.iter().filter(|(_, declared)| declared.forget);
        to_forget.map(|(group, _)| group.as_str()).collect()
    }

    #[test]
    fn what_is_to_be_forgotten_is_not_remembered_beyond_the_session_that_said_so() {
        let forget = v1::GroupPolicyRecord {
            forget: true,
            ..record("a", 5_000)
        };
        let known = Policies::default().after(&update(vec![forget.clone()]));
        let later = known.after(&update(vec![record("b", 5_000)]));
        assert_eq!(forgets(&later), ["a"], "the same session says more");
        let session = |all_groups, groups| v1::MetadataUpdate {
            full: true,
            all_groups,
            ..update(groups)
        };
        let next = later.after(&session(false, vec![]));
        assert_eq!(forgets(&next), [] as [&str; 0]);
        assert_eq!(named(&next), named(&later), "the policy stays");
        let next = later.after(&session(true, vec![forget]));
        assert_eq!(forgets(&next), ["a"], "as long as somebody says so");
        let read = Policies::default().after(&session(true, later.records()));
        assert_eq!(forgets(&read), [] as [&str; 0]);
        assert_eq!(named(&read), named(&later));
    }

    #[test]
    fn whether_a_policy_is_understood_or_not_its_group_is_to_be_forgotten() {
        let known = Policies::default().after(&update(vec![record("a", 5_000)]));
        let odd = |forget| v1::GroupPolicyRecord {
            forget,
            ..record("a", 1)
        };
        let next = known.after(&update(vec![odd(true)]));
        assert_eq!(forgets(&next), ["a"]);
        assert_eq!(named(&next), named(&known));
        let anew = next.after(&update(vec![odd(false)]));
        assert_eq!(forgets(&anew), [] as [&str; 0]);
    }

    #[test]
    fn that_nothing_is_declared_is_known_once_somebody_said_so() {
        let nobody = Policies::default().after(&update(vec![record("a", 5_000)]));
        assert!(!nobody.are_known());
        let all = v1::MetadataUpdate {
            all_groups: true,
            ..v1::MetadataUpdate::default()
        };
        let known = Policies::default().after(&all);
        assert!(known.are_known());
        assert!(!known.is(&Policies::default()));
        let next = v1::MetadataUpdate {
            full: true,
            ..v1::MetadataUpdate::default()
        };
        assert!(known.after(&next).are_known());
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
        let again = known.after(&again);
        assert!(Arc::ptr_eq(&again.by_group, &known.by_group));
    }

    #[test]
    fn what_is_said_again_of_a_group_is_not_looked_at_again() {
        let known = Policies::default().after(&update(vec![record("a", 5_000)]));
        let said = [known.records(), vec![record("b", 9_000)]].concat();
        let next = known.after(&v1::MetadataUpdate {
            all_groups: true,
            ..update(said)
        });
        assert!(Arc::ptr_eq(&next.by_group["a"], &known.by_group["a"]));
        assert_eq!(named(&next)[1].1, Some(9_000));
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
