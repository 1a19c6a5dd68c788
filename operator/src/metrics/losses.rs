//! Losses of consumer groups, kept for longer than they last: a member that goes on behind a loss may do so before anybody looks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use taffrail_api::v1;
use taffrail_controller::GroupsView;
use tokio::time::Instant;

use crate::engines::ClusterKey;

/// A loss is shown for so long after it was last seen, as a status shows it.
const SHOWN: Duration = Duration::from_hours(1);

/// Where records were lost.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) cluster: ClusterKey,
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) partition: u32,
}

/// How many records the last loss of each partition was, and when it was last seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupLosses(Arc<Mutex<BTreeMap<Place, (i64, Instant)>>>);

impl GroupLosses {
    /// Notes what a picture of a cluster's groups shows.
    pub(crate) fn note(&self, cluster: &ClusterKey, groups: &GroupsView) {
        let now = Instant::now();
        let mut seen = self.lock();
        for group in groups.values().filter(|group| group.is_reported) {
            for partition in &group.partitions {
                if let Some(records) = lost(partition) {
                    let place = Place {
                        cluster: cluster.clone(),
                        group: group.group.clone(),
                        topic: partition.topic.clone(),
                        partition: partition.partition,
                    };
                    seen.insert(place, (records, now));
                }
            }
        }
        seen.retain(|_, (_, at)| at.elapsed() < SHOWN);
    }

    /// Those of the last hour.
    pub(super) fn recent(&self) -> Vec<(Place, i64)> {
        let seen = self.lock();
        let recent = seen.iter().filter(|(_, (_, at))| at.elapsed() < SHOWN);
        recent
            .map(|(place, (records, _))| (place.clone(), *records))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, (i64, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost(partition: &v1::GroupPartitionStatus) -> Option<i64> {
    let (from, to) = partition.lost_from_offset.zip(partition.lost_to_offset)?;
    Some(to.saturating_sub(from)).filter(|records| *records > 0)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn groups(committed_offset: i64, lost_to_offset: Option<i64>) -> GroupsView {
        let partition = v1::GroupPartitionStatus {
            topic: "orders".to_owned(),
            partition: 7,
            committed_offset,
            lost_from_offset: lost_to_offset.map(|_| committed_offset),
            lost_to_offset,
            ..v1::GroupPartitionStatus::default()
        };
        let group = v1::GroupStatus {
            group: "billing".to_owned(),
            is_reported: true,
            partitions: vec![partition],
            ..v1::GroupStatus::default()
        };
        [("billing".to_owned(), group)].into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_that_a_group_went_on_behind_at_once_is_shown_for_an_hour() {
        let cluster = ClusterKey {
            namespace: "streams".to_owned(),
            name: "main".to_owned(),
        };
        let losses = GroupLosses::default();
        let minute = Duration::from_mins(1);
        let most = Duration::from_mins(58);
        losses.note(&cluster, &groups(100, Some(250)));
        advance(minute).await;
        let records = || losses.recent().first().map(|(_, records)| *records);
        losses.note(&cluster, &groups(260, None));
        assert_eq!(records(), Some(150));
        advance(most).await;
        assert_eq!(records(), Some(150));
        advance(minute).await;
        assert_eq!(records(), None);
        // One that lasts is shown for as long as it does.
        losses.note(&cluster, &groups(300, Some(301)));
        advance(most).await;
        losses.note(&cluster, &groups(300, Some(302)));
        advance(minute).await;
        assert_eq!(records(), Some(2));
    }
}
