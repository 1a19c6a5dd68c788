//! How far a group is behind, and when retention will delete what it has not read. Estimates, from what a log looked like over time.
//!
//! ```text
//!   offset
//!     │                                          ╱ end: producers' rate goes on
//!     │                              ·──────────╱·   now
//!     │          appended ──▶  ·────·      ╱
//!     │                    ·╱        ╱ ◀── committed: the group's rate goes on
//!     │        ·──────────·     ╱  ╱ ◀── appended, a retention time later: what is below is deleted
//!     │   · start            ✕  ◀── the loss deadline
//!     └───────────────────────────────────────────── time
//! ```
//!
//! Whole segments are deleted, once their newest record is too old or the others alone are large enough: never before the deadline that is told here.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::ids::Offset;

/// Rates are taken over this time, or as much of it as was seen.
const RATE_WINDOW_MS: u64 = 10 * 60_000;
/// What was seen for a shorter time says nothing of rates: commits come in steps.
const RATE_WINDOW_MS_MIN: u64 = 60_000;
/// A lag that grew by less than what is produced in this time did not grow: members commit every 5 s, and commits are heard of some seconds later.
const STEP_MS: u64 = 15_000;
/// What is further away is no deadline: rates do not stay as they are for so long.
pub const HORIZON_MS: u64 = 30 * 24 * 3_600_000;

/// An offset that grows, over time: the end of a log, or what a group has committed.
///
/// Invariant: points are in order of time and of offsets. An offset that stayed for a while has two: when it came and when it was last seen.
#[derive(Debug, Clone)]
pub struct History {
    points: VecDeque<Point>,
    points_max: usize,
    is_log: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    at_ms: u64,
    offset: u64,
}

impl History {
    /// The end of a log: enough points to tell when records were appended.
    pub const fn of_log() -> Self {
        Self::of(64, true)
    }

    /// What a group has committed: enough to tell how fast it reads. There are many of these.
    pub const fn of_commits() -> Self {
        Self::of(8, false)
    }

    const fn of(points_max: usize, is_log: bool) -> Self {
        Self {
            points: VecDeque::new(),
            points_max,
            is_log,
        }
    }

    /// It is `offset` now. A log that ends lower than it did has a new leader, and is as it was up to there; a group that went back was reset, and
    /// begins anew. So does everything if time went back.
    pub fn see(&mut self, offset: Offset, now_ms: u64) {
        let point = Point {
            at_ms: now_ms,
            offset: offset.0,
        };
        let last = self.points.back().copied();
        let is_reset = !self.is_log && last.is_some_and(|last| last.offset > offset.0);
        if is_reset || last.is_some_and(|last| last.at_ms > now_ms) {
            self.points.clear();
        }
        while (self.points.back()).is_some_and(|last| last.offset > offset.0) {
            self.points.pop_back();
        }
        let [.., before, last] = self.points.make_contiguous() else {
            self.points.push_back(point);
            return;
        };
        if before.offset == last.offset && last.offset == offset.0 {
            last.at_ms = now_ms;
            return;
        }
        self.points.push_back(point);
        if self.points.len() > self.points_max {
            self.thin();
        }
    }

    /// The point goes without which the others tell most nearly the same.
    fn thin(&mut self) {
        let points = self.points.make_contiguous().windows(3).enumerate();
        let errors = points.filter_map(|(at, around)| {
            let [before, point, after] = around else {
                return None;
            };
            let share = (point.at_ms - before.at_ms) as f64 / (after.at_ms - before.at_ms) as f64;
            let without = before.offset as f64 + share * (after.offset - before.offset) as f64;
            Some((at + 1, (point.offset as f64 - without).abs()))
        });
        if let Some((at, _)) = errors.min_by(|a, b| a.1.total_cmp(&b.1)) {
            self.points.remove(at);
        }
    }

    /// When it was last seen to grow.
    pub fn grew_at_ms(&self) -> Option<u64> {
        let mut pairs = self.points.iter().zip(self.points.iter().skip(1)).rev();
        let (_, after) = pairs.find(|(before, after)| before.offset < after.offset)?;
        Some(after.at_ms)
    }

    /// How long it was seen, up to the time over which rates are taken.
    fn window_ms(&self, now_ms: u64) -> u64 {
        let first_ms = self.points.front().map_or(now_ms, |first| first.at_ms);
        now_ms.saturating_sub(first_ms).min(RATE_WINDOW_MS)
    }

    /// By how much it has grown since.
    fn growth(&self, since_ms: u64) -> f64 {
        let last = self.points.back().map_or(0.0, |last| last.offset as f64);
        last - offset_at(&self.points, since_ms)
    }
}

/// A partition's log, as its leader says.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogState {
    /// The first record there is.
    pub start: Offset,
    /// The high watermark.
    pub end: Offset,
    /// All of it.
    pub bytes: u64,
    /// When the first record was appended, milliseconds since the epoch.
    pub oldest_ms: Option<u64>,
}

/// When records are deleted. `None`: not for that reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// So long after they were appended.
    pub time_ms: Option<u64>,
    /// When those after them take so many bytes.
    pub bytes: Option<u64>,
}

/// How a group fares with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Not read.
    pub records: u64,
    /// The age of the first one that was not read.
    pub ms: u64,
    /// When the first record will be deleted that was not read by then, milliseconds since the epoch.
    pub loses_data_at_ms: Option<u64>,
    /// Records from the committed offset up to before this one were deleted before they were read.
    pub lost_to: Option<Offset>,
}

/// What is known of a group and a partition. All times are of one clock, milliseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// The next record that the group will read.
    pub committed: Offset,
    /// How that moved.
    pub commits: &'a History,
    /// The log now.
    pub log: LogState,
    /// How its end moved.
    pub ends: &'a History,
    /// When it deletes.
    pub retention: Retention,
}

/// How far a group is behind.
///
/// ```
/// use taffrail_core::{Offset, group::{History, LogState, Retention, Sight, lag}};
/// let (mut ends, mut commits) = (History::of_log(), History::of_commits());
/// for second in 0..=60 {
///     ends.see(Offset(second * 10), second * 1_000);
///     commits.see(Offset(200), second * 1_000);
/// }
/// let sight = Sight {
///     committed: Offset(200),
///     commits: &commits,
///     log: LogState { end: Offset(600), oldest_ms: Some(0), ..LogState::default() },
///     ends: &ends,
///     retention: Retention { time_ms: Some(3_600_000), bytes: None },
/// };
/// let lag = lag(&sight, 60_000);
/// assert_eq!((lag.records, lag.ms), (400, 40_000));
/// assert_eq!(lag.loses_data_at_ms, Some(20_000 + 3_600_000), "an hour after record 200 was appended");
/// ```
pub fn lag(sight: &Sight<'_>, now_ms: u64) -> Lag {
    let Sight { committed, log, .. } = *sight;
    let appended = appended(&log, sight.ends, now_ms);
    let next = committed.max(log.start);
    let records = log.end.0.saturating_sub(next.0);
    let ms = match records {
        0 => 0,
        _ => now_ms.saturating_sub(time_of(&appended, next.0)),
    };
    let first = Course::new(sight, next, now_ms).and_then(|course| {
        let by_time = (sight.retention.time_ms).and_then(|ms| course.by_time(&appended, ms));
        let by_bytes = (sight.retention.bytes).and_then(|bytes| course.by_bytes(&log, bytes));
        [by_time, by_bytes].into_iter().flatten().min()
    });
    Lag {
        records,
        ms,
        loses_data_at_ms: first.filter(|at| *at <= now_ms.saturating_add(HORIZON_MS)),
        lost_to: (committed < log.start).then_some(log.start),
    }
}

/// When what is in the log was appended, from its first record up to now.
fn appended(log: &LogState, ends: &History, now_ms: u64) -> VecDeque<Point> {
    let first = Point {
        at_ms: log.oldest_ms.unwrap_or(now_ms).min(now_ms),
        offset: log.start.0,
    };
    let last = Point {
        at_ms: now_ms,
        offset: log.end.0.max(log.start.0),
    };
    let is_between = |point: &&Point| {
        (first.offset..=last.offset).contains(&point.offset)
            && (first.at_ms..=now_ms).contains(&point.at_ms)
    };
    let known = ends.points.iter().filter(is_between).copied();
    [first].into_iter().chain(known).chain([last]).collect()
}

/// When `offset` was appended: between two points evenly.
fn time_of(points: &VecDeque<Point>, offset: u64) -> u64 {
    let after = points.partition_point(|point| point.offset <= offset);
    match (after.checked_sub(1).map(|at| points[at]), points.get(after)) {
        (Some(before), Some(after)) => {
            let share = (offset - before.offset) as f64 / (after.offset - before.offset) as f64;
            before.at_ms + (share * (after.at_ms - before.at_ms) as f64) as u64
        }
        (Some(only), None) | (None, Some(&only)) => only.at_ms,
        (None, None) => 0,
    }
}

/// Up to where there was something at that time.
fn offset_at(points: &VecDeque<Point>, at_ms: u64) -> f64 {
    let after = points.partition_point(|point| point.at_ms <= at_ms);
    match (after.checked_sub(1).map(|at| points[at]), points.get(after)) {
        (Some(before), Some(after)) => {
            let share = (at_ms - before.at_ms) as f64 / (after.at_ms - before.at_ms) as f64;
            before.offset as f64 + share * (after.offset - before.offset) as f64
        }
        (Some(only), None) | (None, Some(&only)) => only.offset as f64,
        (None, None) => 0.0,
    }
}

/// Where reading and producing go from now on. Rates are records in a millisecond.
struct Course {
    now_ms: u64,
    next: f64,
    end: f64,
    reading: f64,
    producing: f64,
}

impl Course {
    /// `None`: it was not seen for long enough.
    fn new(sight: &Sight<'_>, next: Offset, now_ms: u64) -> Option<Self> {
        let window_ms = (sight.commits.window_ms(now_ms)).min(sight.ends.window_ms(now_ms));
        if window_ms < RATE_WINDOW_MS_MIN {
            return None;
        }
        let rate = |history: &History| history.growth(now_ms - window_ms) / window_ms as f64;
        let (reading, producing) = (rate(sight.commits), rate(sight.ends));
        // What it falls behind within the window is more than a step of its commits, or none.
        let keeps_up = (producing - reading) * window_ms as f64 <= producing * STEP_MS as f64;
        Some(Self {
            now_ms,
            next: next.0 as f64,
            end: sight.log.end.0 as f64,
            reading: if keeps_up {
                reading.max(producing)
            } else {
                reading
            },
            producing,
        })
    }

    fn next_at(&self, at_ms: f64) -> f64 {
        self.next + self.reading * (at_ms - self.now_ms as f64)
    }

    /// When what is deleted overtakes what is read, if it does so on a straight way between two moments, or after the first for ever.
    fn overtaken(&self, from: (f64, f64), to: Option<(f64, f64)>) -> Option<u64> {
        let ahead = self.next_at(from.0) - from.1;
        if ahead < 0.0 {
            return Some(from.0 as u64);
        }
        let gained = match to {
            Some(to) if to.0 > from.0 => (to.1 - from.1) / (to.0 - from.0) - self.reading,
            Some(to) => return (self.next_at(to.0) < to.1).then_some(to.0 as u64),
            None => self.producing - self.reading,
        };
        let at_ms = from.0 + ahead / gained;
        let is_within = gained > 0.0 && to.is_none_or(|to| at_ms < to.0);
        is_within.then_some(at_ms as u64)
    }

    /// Everything is deleted a retention time after it was appended.
    fn by_time(&self, appended: &VecDeque<Point>, retention_ms: u64) -> Option<u64> {
        let gone_ms = self.now_ms.saturating_sub(retention_ms);
        let mut from = (
            self.now_ms.max(retention_ms) as f64,
            offset_at(appended, gone_ms),
        );
        for point in appended.iter().filter(|point| point.at_ms > gone_ms) {
            let gone_ms = point.at_ms.saturating_add(retention_ms);
            let to = (gone_ms as f64, point.offset as f64);
            if let Some(at_ms) = self.overtaken(from, Some(to)) {
                return Some(at_ms);
            }
            from = to;
        }
        self.overtaken(from, None)
    }

    /// As many of the newest records stay as the bytes are enough for.
    fn by_bytes(&self, log: &LogState, bytes: u64) -> Option<u64> {
        let records = log.end.0.saturating_sub(log.start.0);
        if records == 0 || log.bytes == 0 {
            return None;
        }
        let kept = bytes as f64 * records as f64 / log.bytes as f64;
        self.overtaken((self.now_ms as f64, self.end - kept), None)
    }
}
