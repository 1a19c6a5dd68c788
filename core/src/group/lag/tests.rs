//! Hours are short here: a log of an hour's retention, a record a second.

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;

const AN_HOUR: Retention = Retention {
    time_ms: Some(HOUR),
    bytes: None,
};

/// What was seen every ten seconds from `from_s` to `to_s`.
fn seen(from_s: u64, to_s: u64, offset: impl Fn(u64) -> u64) -> History {
    seen_by(History::of_log(), from_s, to_s, offset)
}

fn seen_by(mut history: History, from_s: u64, to_s: u64, offset: impl Fn(u64) -> u64) -> History {
    for s in (from_s..=to_s).filter(|s| s % 10 == 0) {
        history.see(Offset(offset(s)), s * SECOND);
    }
    history
}

fn log(start: u64, end: u64, oldest_s: u64) -> LogState {
    LogState {
        start: Offset(start),
        end: Offset(end),
        bytes: (end - start) * 100,
        oldest_ms: Some(oldest_s * SECOND),
    }
}

/// At second 6,000: records of the last hour are there, a record a second, and the group has read up to `committed`, by the history `commits`.
fn at_6000(committed: u64, commits: &History, retention: Retention) -> Lag {
    let ends = seen(5_000, 6_000, |s| s);
    let log = log(2_400, 6_000, 2_400);
    look(committed, commits, log, &ends, retention, 6_000)
}

fn look(
    committed: u64,
    commits: &History,
    log: LogState,
    ends: &History,
    retention: Retention,
    now_s: u64,
) -> Lag {
    let sight = Sight {
        committed: Offset(committed),
        commits,
        log,
        ends,
        retention,
    };
    lag(&sight, now_s * SECOND)
}

fn about(ms: Option<u64>, s: u64) -> bool {
    ms.is_some_and(|ms| ms.abs_diff(s * SECOND) <= 2 * SECOND)
}

#[test]
fn who_has_read_everything_loses_nothing() {
    let commits = seen(5_000, 6_000, |s| s);
    assert_eq!(at_6000(6_000, &commits, AN_HOUR), Lag::default());
}

#[test]
fn the_age_of_the_first_unread_record_comes_from_the_log_s_history() {
    let commits = seen(5_000, 6_000, |s| s - 300);
    let lag = at_6000(5_700, &commits, AN_HOUR);
    assert_eq!(lag.records, 300);
    assert!(about(Some(lag.ms), 300), "{lag:?}");
    assert_eq!(lag.loses_data_at_ms, None, "it keeps up");
}

#[test]
fn before_the_history_records_are_spread_evenly_from_the_oldest_one_on() {
    let lag = at_6000(3_700, &History::of_commits(), AN_HOUR);
    assert!(about(Some(lag.ms), 2_300), "{lag:?}");
}

#[test]
fn who_stopped_loses_data_when_the_first_unread_record_is_too_old() {
    let commits = seen(5_000, 6_000, |_| 5_700);
    let lag = at_6000(5_700, &commits, AN_HOUR);
    assert!(about(lag.loses_data_at_ms, 5_700 + 3_600), "{lag:?}");
}

#[test]
fn who_reads_at_half_the_rate_loses_data_when_deletion_overtakes_it() {
    let commits = seen(5_000, 6_000, |s| 2_500 + (s - 5_000) / 2);
    let lag = at_6000(3_000, &commits, AN_HOUR);
    // 3,000 + (t - 6,000) / 2 = t - 3,600.
    assert!(about(lag.loses_data_at_ms, 7_200), "{lag:?}");
}

#[test]
fn who_catches_up_in_time_loses_nothing() {
    let commits = seen(5_000, 6_000, |s| 2_500 + 2 * (s - 5_000));
    assert_eq!(at_6000(4_500, &commits, AN_HOUR).loses_data_at_ms, None);
}

#[test]
fn producers_that_wrote_faster_in_the_past_bring_the_deadline_nearer() {
    // Nine tenths of the log were written within ten seconds; the group reads five records a second and deletion passes over the heap in ten seconds.
    let ends = seen(
        5_000,
        6_000,
        |s| if s < 5_010 { 0 } else { 9_000 + s - 5_010 },
    );
    let commits = seen(5_000, 6_000, |s| (s - 5_000) / 2);
    let state = log(0, 9_990, 5_000);
    let lag = look(500, &commits, state, &ends, AN_HOUR, 6_000);
    assert!(
        lag.loses_data_at_ms
            .is_some_and(|ms| (8_600..8_610).contains(&(ms / SECOND))),
        "{lag:?}"
    );
}

#[test]
fn a_log_of_limited_size_deletes_as_fast_as_it_is_written() {
    let commits = seen(5_000, 6_000, |_| 4_000);
    // As large as it is now, and a thousand records more.
    let retention = Retention {
        time_ms: None,
        bytes: Some(460_000),
    };
    let lag = at_6000(4_000, &commits, retention);
    assert!(about(lag.loses_data_at_ms, 6_000 + 2_600), "{lag:?}");
    let small = Retention {
        time_ms: Some(HOUR),
        bytes: Some(100_000),
    };
    let lag = at_6000(4_000, &commits, small);
    assert_eq!(lag.loses_data_at_ms, Some(6_000 * SECOND), "any time now");
}

#[test]
fn what_was_deleted_unread_is_lost() {
    let lag = at_6000(2_000, &History::of_commits(), AN_HOUR);
    assert_eq!(lag.lost_to, Some(Offset(2_400)));
    assert_eq!(lag.records, 3_600, "of those that are there");
    let read = at_6000(2_400, &History::of_commits(), AN_HOUR);
    assert_eq!(read.lost_to, None);
}

#[test]
fn a_log_that_keeps_everything_has_no_deadline() {
    let commits = seen(5_000, 6_000, |_| 2_400);
    let lag = at_6000(2_400, &commits, Retention::default());
    assert_eq!(lag.loses_data_at_ms, None);
}

#[test]
fn a_deadline_beyond_the_horizon_is_none() {
    let long = Retention {
        time_ms: Some(HORIZON_MS + 2 * HOUR),
        bytes: None,
    };
    let commits = seen(5_000, 6_000, |_| 5_700);
    assert_eq!(at_6000(5_700, &commits, long).loses_data_at_ms, None);
}

#[test]
fn after_a_reset_backwards_there_is_no_deadline_until_the_group_was_seen_for_a_while() {
    let mut commits = seen_by(History::of_commits(), 5_000, 5_900, |s| s);
    commits.see(Offset(2_400), 5_950 * SECOND);
    assert_eq!(at_6000(2_400, &commits, AN_HOUR).loses_data_at_ms, None);
    let mut commits = seen_by(History::of_commits(), 5_000, 5_900, |s| s);
    commits.see(Offset(2_400), 5_940 * SECOND);
    commits.see(Offset(2_400), 6_000 * SECOND);
    let lag = at_6000(2_400, &commits, AN_HOUR);
    assert!(
        about(lag.loses_data_at_ms, 6_000),
        "it stands still: {lag:?}"
    );
}

#[test]
fn commits_in_steps_keep_up_from_the_first_minute_on() {
    for from in [5_000, 5_900, 5_940] {
        let steps = |s: u64| (s - 7) / 5 * 5;
        let mut commits = History::of_commits();
        for s in from..=6_000 {
            commits.see(Offset(steps(s)), s * SECOND);
        }
        let lag = at_6000(steps(6_000), &commits, AN_HOUR);
        assert_eq!(lag.loses_data_at_ms, None, "seen from {from} on");
    }
}

#[test]
fn a_new_leader_that_ends_lower_keeps_the_log_s_history() {
    let mut ends = seen(5_000, 6_000, |s| s);
    ends.see(Offset(5_990), 6_005 * SECOND);
    let commits = seen(5_000, 6_000, |_| 5_700);
    let state = log(2_400, 5_990, 2_400);
    let lag = look(5_700, &commits, state, &ends, AN_HOUR, 6_005);
    assert!(about(lag.loses_data_at_ms, 5_700 + 3_600), "{lag:?}");
}

#[test]
fn a_retention_without_end_is_no_deadline() {
    let for_ever = Retention {
        time_ms: Some(u64::MAX),
        bytes: None,
    };
    let commits = seen(5_000, 6_000, |s| s - 2_000);
    assert_eq!(at_6000(4_000, &commits, for_ever).loses_data_at_ms, None);
}

#[test]
fn a_day_of_history_takes_no_more_room_than_an_hour() {
    let history = seen(0, 86_400, |s| s);
    assert!(history.points.len() <= 64);
    assert_eq!(history.points[0].offset, 0, "the oldest is kept");
    let then = offset_at(&history.points, 85_000 * SECOND);
    assert!((then - 85_000.0).abs() < 1.0);
}

/// Runs the future second by second: the same rates go on. When the first unread record is deleted, if that is within three hours.
fn simulated(
    appended: &[u64],
    committed: u64,
    reading: f64,
    producing: f64,
    now_s: u64,
) -> Option<u64> {
    let mut times = appended.to_vec();
    let mut owed = 0.0;
    let mut next = committed as f64;
    for s in now_s..now_s + 3 * 3_600 {
        let unread = (next as usize).min(times.len());
        // The next one would be the first to be written later.
        if times.get(unread).is_some_and(|at| at + 3_600 <= s) {
            return Some(s);
        }
        owed += producing;
        times.extend(std::iter::repeat_n(s, owed as usize));
        owed -= f64::from(owed as u32);
        next = (next + reading).min(times.len() as f64);
    }
    None
}

proptest! {
    #[test]
    fn the_deadline_is_when_the_first_unread_record_would_be_deleted(
        producing in 1_u64..20,
        reading in 0_u64..40,
        behind_s in 0_u64..3_000,
        step_s in prop::sample::select(vec![1_u64, 10]),
    ) {
        // A steady producer for an hour and more, and a group that read steadily for the last ten minutes.
        let now_s = 7_200;
        let ends = seen(0, now_s, |s| s * producing);
        let committed = ((now_s - behind_s) * producing).max(reading * 600);
        // Every five seconds, or at every look.
        let commits = seen(now_s - 600, now_s, |s| committed - reading * ((now_s - s) / step_s * step_s));
        let start = 3_600 * producing;
        prop_assume!(committed >= start && committed <= now_s * producing);
        let state = log(start, now_s * producing, 3_600);
        let lag = look(committed, &commits, state, &ends, AN_HOUR, now_s);
        let appended: Vec<u64> = (0..now_s).flat_map(|s| std::iter::repeat_n(s, producing as usize)).collect();
        let expected = simulated(&appended, committed, reading as f64, producing as f64, now_s);
        let told = lag.loses_data_at_ms.map(|ms| ms / SECOND).filter(|s| *s < now_s + 3 * 3_600 - 30);
        match (told, expected) {
            (Some(told), Some(expected)) => prop_assert!(told.abs_diff(expected) <= 30, "{told} is not {expected}"),
            (None, None) => {}
            // At the edge of the simulated time.
            (None, Some(at)) => prop_assert!(at + 60 > now_s + 3 * 3_600, "{at} was not told"),
            (Some(told), None) => prop_assert!(false, "nothing is lost at {told}"),
        }
    }
}
