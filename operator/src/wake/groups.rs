//! Which groups look different.

use std::{collections::BTreeSet, sync::Arc};

use taffrail_api::v1;
use taffrail_controller::GroupsView;

/// What is new in a picture of the groups.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct GroupNews {
    /// Groups that came, went, or of which a person has to know something.
    pub(super) turned: BTreeSet<String>,
    /// Groups whose members or offsets moved.
    pub(super) numbers: BTreeSet<String>,
}

pub(super) fn news(before: &Arc<GroupsView>, now: &Arc<GroupsView>) -> GroupNews {
    let mut news = GroupNews::default();
    if Arc::ptr_eq(before, now) {
        return news;
    }
    for name in before.keys().chain(now.keys()) {
        match (before.get(name), now.get(name)) {
            (Some(before), Some(now)) if differ_in_time_only(before, now) => {}
            (Some(before), Some(now)) if differ_in_numbers_only(before, now) => {
                news.numbers.insert(name.clone());
            }
            _ => {
                news.turned.insert(name.clone());
            }
        }
    }
    news
}

/// That nothing was committed for longer matters only to a group that has something to read, and whose lag grows then.
fn differ_in_time_only(before: &v1::GroupStatus, now: &v1::GroupStatus) -> bool {
    let at_the_same_time = v1::GroupStatus {
        progress_ms: before.progress_ms,
        ..now.clone()
    };
    at_the_same_time == *before
}

fn differ_in_numbers_only(before: &v1::GroupStatus, now: &v1::GroupStatus) -> bool {
    let lost = |group: &v1::GroupStatus| -> BTreeSet<_> {
        let lost = group
            .partitions
            .iter()
            .filter(|p| p.lost_to_offset.is_some());
        lost.map(|p| (p.topic.clone(), p.partition, p.lost_to_offset))
            .collect()
    };
    let essence = |group: &v1::GroupStatus| {
        (
            group.is_reported,
            group.coordinator,
            group.coordinator_name.clone(),
            lost(group),
        )
    };
    essence(before) == essence(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(change: impl FnOnce(&mut v1::GroupStatus)) -> v1::GroupStatus {
        let mut group = v1::GroupStatus {
            coordinator: Some(1),
            members: 2,
            is_reported: true,
            partitions: vec![v1::GroupPartitionStatus {
                topic: "orders".to_owned(),
                ..v1::GroupPartitionStatus::default()
            }],
            ..v1::GroupStatus::default()
        };
        change(&mut group);
        group
    }

    fn view(groups: &[(&str, v1::GroupStatus)]) -> Arc<GroupsView> {
        let named = groups
            .iter()
            .map(|(name, group)| ((*name).to_owned(), group.clone()));
        Arc::new(named.collect())
    }

    #[test]
    fn members_and_offsets_wait_and_coordinators_and_losses_do_not() {
        let same = group(|_| {});
        let before = view(
            &["idle", "busy", "joined", "moved", "lost", "gone"].map(|name| (name, same.clone())),
        );
        let now = view(&[
            ("idle", group(|g| g.progress_ms = Some(5))),
            ("busy", group(|g| g.partitions[0].lag_records = 5)),
            ("joined", group(|g| g.members = 3)),
            ("moved", group(|g| g.coordinator = None)),
            ("lost", group(|g| g.partitions[0].lost_to_offset = Some(9))),
            ("new", same),
        ]);
        let found = news(&before, &now);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(found.numbers, names(&["busy", "joined"]));
        assert_eq!(found.turned, names(&["gone", "lost", "moved", "new"]));
        assert_eq!(news(&now, &now), GroupNews::default());
    }
}
