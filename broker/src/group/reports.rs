//! What the coordinators here say of their groups, for the controller: of each group the newest.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use prost::Message as _;
use taffrail_api::{convert::epoch_to_wire, v1};
use taffrail_core::{LeaderEpoch, TopicPartition};

/// Reports in one heartbeat, but for one that is larger by itself. Some 25,000 offsets; the rest waits for the next heartbeat.
const BYTES_MAX: usize = 1 << 20;

/// Kept for as long as its coordinator runs here.
#[derive(Debug, Default)]
pub(crate) struct GroupReports {
    board: Mutex<Board>,
}

/// Invariant: `queue` has each of `queued` once.
#[derive(Debug, Default)]
struct Board {
    coordinators: BTreeMap<TopicPartition, OfCoordinator>,
    /// Groups of which the session with the controller has something to hear. One that changes again keeps its place, so that all have their turn.
    queue: VecDeque<Key>,
    queued: HashSet<Key>,
}

/// A group, by its coordinator. `None`: that the coordinator has told all groups, which comes after them.
type Key = (TopicPartition, Option<String>);

#[derive(Debug)]
struct OfCoordinator {
    epoch: LeaderEpoch,
    reports: HashMap<String, v1::GroupReport>,
    has_told_all: bool,
}

/// What one heartbeat says of groups.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct GroupChanges {
    pub(crate) groups: Vec<v1::GroupReport>,
    pub(crate) told_all: Vec<v1::ToldAll>,
}

/// A session with the controller. There is one at a time.
#[derive(Debug, Default)]
pub(crate) struct GroupsTold {
    has_begun: bool,
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
        for report in reports {
            board.publish(coordinator, epoch, report);
        }
    }

    /// What was published are all groups that the coordinator found when it began.
    pub(super) fn told_all(&self, coordinator: TopicPartition, epoch: LeaderEpoch) {
        let mut board = self.lock();
        if let Some(of) = board.of(coordinator, epoch) {
            of.has_told_all = true;
            board.enqueue((coordinator, None));
        }
    }

    /// Nobody asks about this group any more.
    pub(super) fn retract(&self, coordinator: TopicPartition, group: &str) {
        if let Some(of) = self.lock().coordinators.get_mut(&coordinator) {
            of.reports.remove(group);
        }
    }

    /// The coordinator does not run here any more: another one knows better.
    pub(super) fn end(&self, coordinator: TopicPartition, epoch: LeaderEpoch) {
        let mut board = self.lock();
        let of = board.coordinators.get(&coordinator);
        if of.is_some_and(|of| of.epoch == epoch) {
            board.remove(coordinator);
        }
    }

    /// Those that changed since they were told, as many as fit: the others come first the next time. A session that begins hears of all.
    pub(crate) fn changes(&self, told: &mut GroupsTold) -> GroupChanges {
        let mut board = self.lock();
        if !told.has_begun {
            told.has_begun = true;
            board.queue_all();
        }
        let mut bytes = 0;
        let mut changes = GroupChanges::default();
        while let Some(key) = board.queue.pop_front() {
            if let Some(report) = board.report(&key) {
                bytes += report.encoded_len();
                if bytes > BYTES_MAX && !changes.groups.is_empty() {
                    board.queue.push_front(key);
                    break;
                }
                changes.groups.push(report.clone());
            }
            changes.told_all.extend(board.all_told(&key));
            board.queued.remove(&key);
        }
        changes
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
        let Some(of) = self.of(coordinator, epoch) else {
            return;
        };
        if of.reports.get(&report.group) != Some(&report) {
            let key = (coordinator, Some(report.group.clone()));
            of.reports.insert(report.group.clone(), report);
            self.enqueue(key);
        }
    }

    /// What the coordinator of that epoch says; of one before it nothing counts. `None`: there is a later one.
    fn of(
        &mut self,
        coordinator: TopicPartition,
        epoch: LeaderEpoch,
    ) -> Option<&mut OfCoordinator> {
        let known = self.coordinators.get(&coordinator);
        if known.is_some_and(|of| of.epoch < epoch) {
            self.remove(coordinator);
        }
        let of = self.coordinators.entry(coordinator);
        let of = of.or_insert_with(|| OfCoordinator {
            epoch,
            reports: HashMap::new(),
            has_told_all: false,
        });
        (of.epoch == epoch).then_some(of)
    }

    fn remove(&mut self, coordinator: TopicPartition) {
        self.coordinators.remove(&coordinator);
        // The next one's groups come before it has told all.
        let all = (coordinator, None);
        if self.queued.remove(&all) {
            self.queue.retain(|key| *key != all);
        }
    }

    fn enqueue(&mut self, key: Key) {
        if self.queued.insert(key.clone()) {
            self.queue.push_back(key);
        }
    }

    /// In this order, whatever a session before had yet to hear.
    fn queue_all(&mut self) {
        self.queue.clear();
        self.queued.clear();
        let coordinators = self.coordinators.iter();
        let keys = coordinators.flat_map(|(id, of)| {
            let groups = of.reports.keys().map(|group| (*id, Some(group.clone())));
            groups.chain(of.has_told_all.then_some((*id, None)))
        });
        for key in keys.collect::<Vec<_>>() {
            self.enqueue(key);
        }
    }

    /// `None`: it was taken back since.
    fn report(&self, (coordinator, group): &Key) -> Option<&v1::GroupReport> {
        let of = self.coordinators.get(coordinator)?;
        of.reports.get(group.as_ref()?)
    }

    fn all_told(&self, (coordinator, group): &Key) -> Option<v1::ToldAll> {
        let of = self.coordinators.get(coordinator)?;
        let is_all = group.is_none() && of.has_told_all;
        is_all.then(|| v1::ToldAll {
            partition: coordinator.partition.0,
            coordinator_epoch: epoch_to_wire(of.epoch),
        })
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
        let changes = reports.changes(told).groups.into_iter();
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
        let mut next = told(&reports, &mut GroupsTold::default());
        next.sort();
        assert_eq!(next, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
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
        let mut session = GroupsTold::default();
        assert_eq!(told(&reports, &mut session), []);
        let all = vec![report("a", 1), large("b"), report("c", 1), report("d", 1)];
        reports.publish(coordinator(0), EPOCH, all);
        let mut rounds = Vec::new();
        for epoch in 2..6 {
            let round = told(&reports, &mut session).into_iter();
            rounds.push(round.map(|(group, _)| group).collect::<String>());
            // One that goes on changing does not come before those that wait.
            let busy = vec![report("a", epoch)];
            reports.publish(coordinator(0), EPOCH, busy);
        }
        assert_eq!(rounds, ["a", "b", "cda", "a"]);
    }

    /// How many groups a heartbeat has, and of which coordinators they are all, in which epoch.
    fn round(reports: &GroupReports, told: &mut GroupsTold) -> (usize, Vec<(u32, i32)>) {
        let changes = reports.changes(told);
        let all = changes.told_all.iter();
        let all = all.map(|all| (all.partition, all.coordinator_epoch));
        (changes.groups.len(), all.collect())
    }

    #[test]
    fn that_all_is_told_comes_with_the_last_of_it_once_in_a_session() {
        let large = v1::GroupReport {
            member_partitions: vec![1; BYTES_MAX],
            ..report("b", 1)
        };
        let reports = GroupReports::default();
        let mut session = GroupsTold::default();
        assert_eq!(round(&reports, &mut session), (0, vec![]));
        reports.publish(coordinator(0), EPOCH, vec![report("a", 1), large]);
        reports.told_all(coordinator(0), EPOCH);
        reports.told_all(coordinator(1), EPOCH);
        assert_eq!(round(&reports, &mut session), (1, vec![]));
        assert_eq!(round(&reports, &mut session), (1, vec![(0, 3), (1, 3)]));
        assert_eq!(round(&reports, &mut session), (0, vec![]));
        // Whatever was left of one session, the next one hears all groups first.
        let mut next = GroupsTold::default();
        reports.changes(&mut next);
        let mut last = GroupsTold::default();
        let (first, all) = round(&reports, &mut last);
        assert_eq!((first, all), (1, vec![]));
        assert_eq!(round(&reports, &mut last), (1, vec![(0, 3), (1, 3)]));
    }

    #[test]
    fn of_a_coordinator_that_others_followed_nothing_is_all() {
        let reports = GroupReports::default();
        let mut session = GroupsTold::default();
        let later = LeaderEpoch(4);
        reports.told_all(coordinator(0), EPOCH);
        reports.publish(coordinator(0), later, vec![report("a", 1)]);
        reports.told_all(coordinator(0), EPOCH);
        assert_eq!(round(&reports, &mut session), (1, vec![]));
        reports.told_all(coordinator(0), later);
        assert_eq!(round(&reports, &mut session), (0, vec![(0, 4)]));
        reports.told_all(coordinator(1), EPOCH);
        reports.end(coordinator(1), EPOCH);
        assert_eq!(round(&reports, &mut session), (0, vec![]));
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
        let mut all = told(&reports, &mut GroupsTold::default());
        all.sort();
        assert_eq!(all, [("a".to_owned(), 2), ("c".to_owned(), 1)]);
        reports.end(coordinator(0), later);
        reports.retract(coordinator(1), "c");
        assert_eq!(told(&reports, &mut GroupsTold::default()), []);
    }
}
