//! Members of consumer groups as processes, what befell them, and whether what they did is what was promised.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{process::Process, programs, wait};

/// A member that is lost is given up so long after. With less, coordinators fall silent where fifty processes share two processors.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// The clock that all processes of this machine share, in microseconds.
pub fn now_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1_000
}

/// What a group's members promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// They commit after they worked on a batch.
    AtLeastOnce,
    /// They commit before they are handed a batch.
    AtMostOnce,
}

/// Members that come and go.
#[derive(Debug)]
pub struct Team {
    brokers: String,
    topic: String,
    group: String,
    promise: Promise,
    folder: PathBuf,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    process: Process,
    /// Since then it does nothing more.
    ended_us: Option<u64>,
    /// When it stood still.
    pauses: Vec<u64>,
    is_still: bool,
}

/// A batch that a member had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Work {
    member: usize,
    partition: u32,
    first: u64,
    next: u64,
    begun_us: u64,
    /// `None`: it never came to the end.
    ended_us: Option<u64>,
    /// From here on the member did nothing for it, for however long, or ever.
    left_us: u64,
}

impl Team {
    /// Nobody yet. What members say is kept in `folder`.
    pub fn new(
        brokers: &str,
        topic: &str,
        (group, promise): (&str, Promise),
        folder: &Path,
    ) -> Self {
        Self {
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            group: group.to_owned(),
            promise,
            folder: folder.to_owned(),
            members: Vec::new(),
        }
    }

    /// Another member.
    pub fn hire(&mut self) {
        let number = self.members.len();
        let log = self.folder.join(format!("{}-{number}.log", self.group));
        let mut command = Command::new(programs::path("group-member"));
        command.args([&self.brokers, &self.topic, &self.group]);
        command.arg(format!("{:?}", self.promise));
        self.members.push(Member {
            process: Process::start(&mut command, &log),
            ended_us: None,
            pauses: Vec::new(),
            is_still: false,
        });
    }

    /// Those that are there and do not stand still.
    pub fn at_work(&self) -> Vec<usize> {
        let all = self.members.iter().enumerate();
        let at_work = all.filter(|(_, member)| member.ended_us.is_none() && !member.is_still);
        at_work.map(|(number, _)| number).collect()
    }

    /// kill -9 in the middle of whatever it does.
    pub fn kill(&mut self, number: usize) {
        let member = &mut self.members[number];
        member.process.kill();
        member.ended_us = Some(now_us());
    }

    /// SIGTERM: it leaves.
    ///
    /// # Panics
    /// If it does not end well.
    pub fn dismiss(&mut self, number: usize) {
        let member = &mut self.members[number];
        let ended = member.process.terminate(wait::PATIENCE);
        assert!(ended.success(), "{}", member.process.said());
        member.ended_us = Some(now_us());
    }

    /// It stands still, connections and all.
    pub fn stand_still(&mut self, number: usize) {
        let member = &mut self.members[number];
        member.process.stand_still();
        member.pauses.push(now_us());
        member.is_still = true;
    }

    /// All that stand still go on as if nothing had been.
    pub fn go_on(&mut self) {
        for member in &mut self.members {
            if std::mem::take(&mut member.is_still) {
                member.process.go_on();
            }
        }
    }

    /// Ends all members, and checks what all that ever were did up to `ends`: one at a time worked on a partition, and nothing was left out or nothing came twice, as
    /// was promised.
    ///
    /// # Panics
    /// If it was not so, or a member ended by itself.
    pub fn check(mut self, ends: &BTreeMap<u32, u64>) {
        self.go_on();
        for number in self.at_work() {
            let member = &mut self.members[number];
            let ended = member.process.ended();
            assert!(ended.is_none(), "{ended:?}: {}", member.process.said());
            self.kill(number);
        }
        let history = self.history();
        check_one_at_a_time(&history);
        let records: u64 = history.iter().map(|work| work.next - work.first).sum();
        let total: u64 = ends.values().sum();
        match self.promise {
            Promise::AtLeastOnce => check_nothing_left_out(&history, ends),
            Promise::AtMostOnce => {
                check_nothing_twice(&history);
                assert!(2 * records > total, "{records} of {total} were handed out");
            }
        }
        eprintln!(
            "{}: {} members were handed {records} records of {total}",
            self.group,
            self.members.len()
        );
    }

    /// In the order in which work began.
    fn history(&self) -> Vec<Work> {
        let all = self.members.iter().enumerate();
        let mut history: Vec<Work> = all.flat_map(|(number, m)| m.works(number)).collect();
        history.sort_by_key(|work| work.begun_us);
        history
    }
}

impl Member {
    fn works(&self, number: usize) -> Vec<Work> {
        let over_us = self.ended_us.expect("it is over");
        let said = self.process.said();
        // The last line may be cut short.
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        let mut works: Vec<Work> = Vec::new();
        for line in whole.lines() {
            let (what, numbers) = line.split_once(' ').unwrap_or((line, ""));
            let numbers = numbers.split(' ').map(str::parse::<u64>);
            let numbers: Vec<u64> = numbers.filter_map(Result::ok).collect();
            match (what, &numbers[..]) {
                ("begin", &[begun_us, partition, first, next]) => works.push(Work {
                    member: number,
                    partition: u32::try_from(partition).expect("a partition"),
                    first,
                    next,
                    begun_us,
                    ended_us: None,
                    left_us: over_us,
                }),
                ("end", &[ended_us]) => {
                    let last = works.last_mut().expect("it began");
                    (last.ended_us, last.left_us) = (Some(ended_us), ended_us);
                }
                ("left", &[left_us]) => {
                    let unfinished = works.last_mut().filter(|work| work.ended_us.is_none());
                    if let Some(work) = unfinished {
                        work.left_us = left_us;
                    }
                }
                _ => panic!("member {number} said {line:?}"),
            }
        }
        for work in &mut works {
            let within = |at: &&u64| (work.begun_us..work.left_us).contains(*at);
            if let Some(paused_us) = self.pauses.iter().find(within) {
                work.left_us = *paused_us;
            }
        }
        works
    }
}

fn check_one_at_a_time(history: &[Work]) {
    let mut last: BTreeMap<u32, Work> = BTreeMap::new();
    for work in history {
        if let Some(before) = last.get(&work.partition) {
            let is_alone = before.member == work.member || before.left_us <= work.begun_us;
            assert!(is_alone, "two work on a partition: {before:?} and {work:?}");
        }
        let longest = last.entry(work.partition).or_insert(*work);
        if work.left_us >= longest.left_us {
            *longest = *work;
        }
    }
}

fn check_nothing_left_out(history: &[Work], ends: &BTreeMap<u32, u64>) {
    let mut processed: BTreeMap<u32, u64> = ends.keys().map(|p| (*p, 0)).collect();
    let mut ended: Vec<&Work> = history.iter().filter(|w| w.ended_us.is_some()).collect();
    ended.sort_by_key(|work| work.ended_us);
    let mut ended = ended.into_iter().peekable();
    for work in history {
        while let Some(done) = ended.next_if(|done| done.ended_us <= Some(work.begun_us)) {
            let end = processed.entry(done.partition).or_default();
            *end = done.next.max(*end);
        }
        let done = processed.get(&work.partition).copied().unwrap_or(0);
        assert!(work.first <= done, "{done} was processed before {work:?}");
    }
    for done in ended {
        let end = processed.entry(done.partition).or_default();
        *end = done.next.max(*end);
    }
    assert_eq!(processed, *ends, "processed, and written");
}

fn check_nothing_twice(history: &[Work]) {
    let mut reached: BTreeMap<u32, Work> = BTreeMap::new();
    for work in history {
        if let Some(before) = reached.insert(work.partition, *work) {
            let is_new = before.next <= work.first;
            assert!(is_new, "handed out twice: {before:?} and {work:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work on partition 0.
    fn work(member: usize, offsets: (u64, u64), begun_us: u64, ended_us: u64) -> Work {
        Work {
            member,
            partition: 0,
            first: offsets.0,
            next: offsets.1,
            begun_us,
            ended_us: Some(ended_us),
            left_us: ended_us,
        }
    }

    fn fails(check: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(check).is_err()
    }

    #[test]
    fn a_history_that_breaks_a_promise_is_seen() {
        let ends = BTreeMap::from([(0, 30)]);
        let good = [
            work(1, (0, 10), 100, 110),
            work(1, (10, 20), 111, 120),
            work(2, (10, 30), 125, 140),
        ];
        check_one_at_a_time(&good);
        check_nothing_left_out(&good, &ends);
        let beside = [good[0], good[1], work(2, (20, 30), 115, 130)];
        assert!(fails(|| check_one_at_a_time(&beside)));
        let gap = [good[0], work(2, (20, 30), 125, 140)];
        check_one_at_a_time(&gap);
        assert!(fails(|| check_nothing_left_out(&gap, &ends)));
        let unfinished = [good[0], good[1]];
        assert!(fails(|| check_nothing_left_out(&unfinished, &ends)));
        check_nothing_twice(&gap);
        assert!(fails(|| check_nothing_twice(&good)), "10 to 20 came twice");
    }
}
