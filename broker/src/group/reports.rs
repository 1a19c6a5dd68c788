//! What the coordinators here say of their groups, for the controller: of each group the newest, in the order in which they came.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prost::Message as _;
use taffrail_api::v1;
use taffrail_core::{LeaderEpoch, TopicPartition};

/// Reports in one heartbeat, but for one that is larger by itself. Some 25,000 offsets; the rest waits for the next heartbeat.
const BYTES_MAX: usize = 1 << 20;

/// Kept for as long as its coordinator runs here.
#[derive(Debug, Default)]
pub(crate) struct GroupReports {
    board: Mutex<Board>,
}

/// Invariant: `newest` has exactly the versions that coordinators have, one for each group.
#[derive(Debug, Default)]
struct Board {
    /// Of the newest report.
    version: u64,
    newest: BTreeMap<u64, Arc<v1::GroupReport>>,
    coordinators: BTreeMap<TopicPartition, OfCoordinator>,
}

#[derive(Debug)]
struct OfCoordinator {
    epoch: LeaderEpoch,
    versions: HashMap<String, u64>,
}

/// How much of it a session with the controller was told.
#[derive(Debug, Default)]
pub(crate) struct GroupsTold {
    version: u64,
}

impl GroupReports {
    /// Takes the place of what was said of these groups before. A coordinator says nothing any more once there is one of a later epoch.
    pub(super) fn publish(
        &self,
        coordinator: TopicPartition,
        epoch: LeaderEpoch,
        reports: Vec<v1::GroupReport>,
    ) {
        let mut board = self.lock();
        let known = board.coordinators.get(&coordinator).map(|of| of.epoch);
        if known.is_some_and(|known| known > epoch) {
            return;
        }
        if known.is_some_and(|known| known < epoch) {
            board.drop_all(coordinator);
        }
        for report in reports {
            board.publish(coordinator, epoch, report);
        }
    }

    /// Nobody asks about this group any more.
    pub(super) fn retract(&self, coordinator: TopicPartition, group: &str) {
        let mut board = self.lock();
        let of = board.coordinators.get_mut(&coordinator);
        if let Some(version) = of.and_then(|of| of.versions.remove(group)) {
            board.newest.remove(&version);
        }
    }

    /// The coordinator does not run here any more: another one knows better.
    pub(super) fn end(&self, coordinator: TopicPartition, epoch: LeaderEpoch) {
        let mut board = self.lock();
        let of = board.coordinators.get(&coordinator);
        if of.is_some_and(|of| of.epoch == epoch) {
            board.drop_all(coordinator);
        }
    }

    /// Those that are newer than what was told, as many as fit: the others come first the next time.
    pub(crate) fn changes(&self, told: &mut GroupsTold) -> Vec<v1::GroupReport> {
        let board = self.lock();
        let mut bytes = 0;
        let mut changed = Vec::new();
        for (version, report) in board.newest.range(told.version + 1..) {
            bytes += report.encoded_len();
            if bytes > BYTES_MAX && !changed.is_empty() {
                break;
            }
            told.version = *version;
            changed.push(v1::GroupReport::clone(report));
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn publish(
        &mut self,
        coordinator: TopicPartition,
        epoch: LeaderEpoch,
        report: v1::GroupReport,
    ) {
        let of = self.coordinators.entry(coordinator);
        let of = of.or_insert_with(|| OfCoordinator {
            epoch,
            versions: HashMap::new(),
        });
        let before = of.versions.get(&report.group).copied();
        let known = before.and_then(|before| self.newest.get(&before));
        if known.is_some_and(|known| **known == report) {
            return;
        }
        self.version += 1;
        of.versions.insert(report.group.clone(), self.version);
        if let Some(before) = before {
            self.newest.remove(&before);
        }
        self.newest.insert(self.version, Arc::new(report));
    }

    fn drop_all(&mut self, coordinator: TopicPartition) {
        let of = self.coordinators.remove(&coordinator);
        for version in of.into_iter().flat_map(|of| of.versions.into_values()) {
            self.newest.remove(&version);
        }
    }
}

#[cfg(test)]
mod tests {
    use taffrail_core::{PartitionIndex, TopicId};

    use super::*;

    const EPOCH: LeaderEpoch = LeaderEpoch(3);

    fn coordinator(partition: u32) -> TopicPartition {
        TopicPartition {
            topic: TopicId::from_bytes([1; 16]),
            partition: PartitionIndex(partition),
        }
    }

    fn report(group: &str, epoch: u64) -> v1::GroupReport {
        v1::GroupReport {
            group: group.to_owned(),
            epoch,
            ..v1::GroupReport::default()
        }
    }

    fn told(reports: &GroupReports, told: &mut GroupsTold) -> Vec<(String, u64)> {
        let changes = reports.changes(told).into_iter();
        changes.map(|report| (report.group, report.epoch)).collect()
    }

    #[test]
    fn a_session_hears_what_changed_and_a_new_one_hears_everything() {
        let reports = GroupReports::default();
        reports.publish(coordinator(0), EPOCH, vec![report("a", 1), report("b", 1)]);
        let mut session = GroupsTold::default();
        assert_eq!(told(&reports, &mut session).len(), 2);
        assert_eq!(told(&reports, &mut session), []);
        reports.publish(coordinator(0), EPOCH, vec![report("a", 1), report("b", 2)]);
        let only_b = [("b".to_owned(), 2)];
        assert_eq!(told(&reports, &mut session), only_b, "a said nothing new");
        let mut next = GroupsTold::default();
        let all = [("a".to_owned(), 1), ("b".to_owned(), 2)];
        assert_eq!(told(&reports, &mut next), all);
    }

    #[test]
    fn what_does_not_fit_comes_with_the_next_heartbeats() {
        let offset = v1::GroupReportOffset {
            topic_id: vec![7; 16].into(),
            partition: 1 << 20,
            offset: i64::MAX,
            committed_at_ms: i64::MAX,
        };
        let large = |group: &str| v1::GroupReport {
            offsets: vec![offset.clone(); BYTES_MAX / offset.encoded_len() + 1],
            ..report(group, 1)
        };
        let reports = GroupReports::default();
        let all = vec![report("a", 1), large("b"), report("c", 1), report("d", 1)];
        reports.publish(coordinator(0), EPOCH, all);
        let mut session = GroupsTold::default();
        let mut rounds = Vec::new();
        for _ in 0..4 {
            let round = told(&reports, &mut session).into_iter();
            rounds.push(round.map(|(group, _)| group).collect::<String>());
        }
        assert_eq!(rounds, ["a", "b", "cd", ""]);
    }

    #[test]
    fn a_coordinator_that_ended_is_not_heard_and_a_later_one_is() {
        let reports = GroupReports::default();
        let later = LeaderEpoch(4);
        reports.publish(coordinator(0), EPOCH, vec![report("a", 1), report("b", 1)]);
        reports.publish(coordinator(1), EPOCH, vec![report("c", 1)]);
        reports.publish(coordinator(0), later, vec![report("a", 2)]);
        reports.publish(coordinator(0), EPOCH, vec![report("b", 9)]);
        reports.end(coordinator(0), EPOCH);
        let all = [("c".to_owned(), 1), ("a".to_owned(), 2)];
        assert_eq!(told(&reports, &mut GroupsTold::default()), all);
        reports.end(coordinator(0), later);
        reports.retract(coordinator(1), "c");
        assert_eq!(told(&reports, &mut GroupsTold::default()), []);
    }
}
