//! What a leader knows of one follower.

use crate::{
    ids::{BrokerNumber, Incarnation, Offset},
    replica::isr::{IsrChange, ShrinkReason},
};

/// One follower, in one epoch.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what the map says and what the leader saw change one by one"
)]
pub(super) struct Progress {
    pub(super) broker: BrokerNumber,
    /// By the persisted map.
    pub(super) in_sync: bool,
    /// A replica that a reassignment takes away does not join.
    pub(super) may_join: bool,
    /// By the controller, which adds nobody to the in-sync set that it cannot hear.
    pub(super) is_heard: bool,
    /// When it last reported or time passed, it was behind for longer than is allowed.
    pub(super) is_late: bool,
    /// The run of it that counts.
    pub(super) incarnation: Option<Incarnation>,
    /// The run that the controller spoke of last.
    registered: Option<Incarnation>,
    /// Of all runs that the controller spoke of.
    generation_max: u64,
    /// Reported last without divergence, and by which run. It counts while that one does: also again, if the controller's store went back and named a
    /// former run meanwhile. An idle follower has no reason to repeat it.
    reported: Option<(Incarnation, Offset)>,
    /// Reported by any run in this epoch.
    pub(super) highest_reported: Offset,
    /// It is a member and has less than it once had, or than what is committed.
    pub(super) has_lost: bool,
    /// That this run of a member has caught up was reported.
    pub(super) is_confirmed: bool,
    /// The last change that was asked for it, and when first.
    pub(super) asked: Option<(IsrChange, u64)>,
    lag: Option<Lag>,
}

/// A follower that does not have the whole log.
///
/// It had everything that was there at `caught_up_ms`. Once it has everything before `mark`, it had all that was there at `mark_ms`.
#[derive(Debug, Clone, Copy)]
struct Lag {
    caught_up_ms: u64,
    mark: Offset,
    mark_ms: u64,
}

impl Progress {
    /// Nothing is known of it: it is given time from now on.
    pub(super) fn new(broker: BrokerNumber, log_end: Offset, now_ms: u64) -> Self {
        Self {
            broker,
            in_sync: false,
            may_join: true,
            is_heard: true,
            is_late: false,
            incarnation: None,
            registered: None,
            generation_max: 0,
            reported: None,
            highest_reported: Offset::ZERO,
            has_lost: false,
            is_confirmed: false,
            asked: None,
            lag: Some(Lag {
                caught_up_ms: now_ms,
                mark: log_end,
                mark_ms: now_ms,
            }),
        }
    }

    /// Will it have in a moment what is appended now, for all that is known?
    pub(super) fn keeps_up(&self) -> bool {
        self.is_heard && !self.is_late
    }

    /// What counts for the high watermark: nothing of a run that the controller has not registered. Such a run may be a copy of the volume from before
    /// a cut, and has not been told yet that this leader was deposed.
    pub(super) fn counted_end(&self) -> Offset {
        self.registered_run()
            .map_or(Offset::ZERO, |_| self.durable_end())
    }

    /// What its run is known to have durably.
    pub(super) fn durable_end(&self) -> Offset {
        self.reported().unwrap_or(Offset::ZERO)
    }

    /// What this run of it has durably, if it has said so.
    pub(super) fn reported(&self) -> Option<Offset> {
        let (run, end) = self.reported?;
        (self.incarnation == Some(run)).then_some(end)
    }

    /// Has it reported, and at least up to `floor`?
    pub(super) fn has_reported(&self, floor: Offset) -> bool {
        self.reported().is_some_and(|end| end >= floor)
    }

    /// How it leaves.
    pub(super) const fn shrink(&self, reason: ShrinkReason) -> IsrChange {
        let broker = self.broker;
        IsrChange::Shrink { broker, reason }
    }

    /// Has `change` not been asked for a moment ago?
    pub(super) fn may_be_asked(&self, change: IsrChange, now_ms: u64, retry_ms: u64) -> bool {
        let is_due = |at_ms| now_ms.saturating_sub(at_ms) >= retry_ms;
        self.asked
            .is_none_or(|(asked, at_ms)| asked != change || is_due(at_ms))
    }

    /// A run of it asks, perhaps before the controller spoke of it. False: it is over, or it is a copy of the volume that is not registered.
    pub(super) fn admit(&mut self, incarnation: Incarnation) -> bool {
        let is_newer =
            |known: Incarnation| incarnation.generation > known.generation.max(self.generation_max);
        if self.incarnation.is_none_or(is_newer) {
            self.begin(incarnation);
        }
        self.incarnation == Some(incarnation)
    }

    /// The controller says which run it is: that of an older copy of the volume, if one came back.
    pub(super) fn registered(&mut self, incarnation: Incarnation) {
        if self.registered == Some(incarnation) {
            // Said before. Meanwhile a run may have asked that is yet to register.
            return;
        }
        self.registered = Some(incarnation);
        self.generation_max = self.generation_max.max(incarnation.generation);
        if self.incarnation != Some(incarnation) {
            self.begin(incarnation);
        }
    }

    /// Its run, unless that has not registered yet: the controller would not take it, and be asked again and again.
    pub(super) fn registered_run(&self) -> Option<Incarnation> {
        self.incarnation.filter(|run| self.registered == Some(*run))
    }

    fn begin(&mut self, incarnation: Incarnation) {
        self.incarnation = Some(incarnation);
        self.is_confirmed = false;
    }

    /// Its log is a beginning of the leader's and durable up to `end`. False: it had more before.
    pub(super) fn report(&mut self, end: Offset, log_end: Offset, now_ms: u64) -> bool {
        if self.reported().is_none_or(|reported| reported < end) {
            self.reported = self.incarnation.map(|run| (run, end));
        }
        let has_all = self.durable_end() >= self.highest_reported;
        self.highest_reported = self.highest_reported.max(end);
        self.measure_lag(log_end, now_ms);
        has_all
    }

    fn measure_lag(&mut self, log_end: Offset, now_ms: u64) {
        let end = self.durable_end();
        if end >= log_end {
            self.lag = None;
            return;
        }
        let Some(lag) = &mut self.lag else { return };
        if end >= lag.mark {
            *lag = Lag {
                caught_up_ms: lag.mark_ms,
                mark: log_end,
                mark_ms: now_ms,
            };
        }
    }

    /// The leader appended. Whoever had everything begins to lag now.
    pub(super) fn log_grew(&mut self, before: Offset, end: Offset, now_ms: u64) {
        if self.lag.is_none() && before < end {
            self.lag = Some(Lag {
                caught_up_ms: now_ms,
                mark: end,
                mark_ms: now_ms,
            });
        }
    }

    /// How long ago it had everything.
    pub(super) fn lag_ms(&self, now_ms: u64) -> u64 {
        self.lag
            .map_or(0, |lag| now_ms.saturating_sub(lag.caught_up_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn run(generation: u64, random: u64) -> Incarnation {
        Incarnation { generation, random }
    }

    fn progress() -> Progress {
        Progress::new(BrokerNumber(2), Offset(0), 0)
    }

    #[test]
    fn only_the_newest_run_counts_and_of_copies_the_registered_one() {
        let mut follower = progress();
        assert!(follower.admit(run(3, 30)));
        assert!(!follower.admit(run(2, 20)), "a late fetch of a former run");
        assert!(!follower.admit(run(3, 31)), "a copy of the volume");
        follower.registered(run(3, 31));
        assert!(follower.admit(run(3, 31)));
        assert!(!follower.admit(run(3, 30)), "the copy is the other one now");
        assert!(
            follower.admit(run(4, 40)),
            "a run that has not registered yet"
        );
        follower.registered(run(3, 31));
        assert!(follower.admit(run(4, 40)), "that is no news");
    }

    #[test]
    fn an_older_copy_of_the_volume_counts_once_it_is_registered() {
        let mut follower = progress();
        follower.registered(run(4, 40));
        assert!(!follower.admit(run(2, 21)), "it has not registered");
        follower.registered(run(2, 21));
        assert!(follower.admit(run(2, 21)));
        assert!(!follower.admit(run(4, 40)), "the run before is over");
        follower.registered(run(3, 31));
        assert!(follower.admit(run(3, 31)), "its next start");
    }

    #[test]
    fn a_new_run_has_nothing_until_it_reports() {
        let mut follower = progress();
        follower.admit(run(1, 1));
        assert!(follower.report(Offset(5), Offset(9), 0));
        follower.admit(run(2, 2));
        assert_eq!(follower.durable_end(), Offset::ZERO);
        assert!(!follower.report(Offset(4), Offset(9), 0), "it had 5");
        assert!(follower.report(Offset(6), Offset(9), 0));
    }

    #[test]
    fn a_late_fetch_of_the_same_run_changes_nothing() {
        let mut follower = progress();
        follower.admit(run(1, 1));
        assert!(follower.report(Offset(5), Offset(9), 0));
        assert!(follower.report(Offset(3), Offset(9), 0));
        assert_eq!(follower.durable_end(), Offset(5));
    }

    #[test]
    fn lag_is_the_time_since_it_last_had_everything() {
        let mut follower = progress();
        follower.admit(run(1, 1));
        follower.report(Offset(10), Offset(10), 100);
        assert_eq!(follower.lag_ms(9_000), 0, "an idle partition does not lag");
        follower.log_grew(Offset(10), Offset(20), 9_000);
        follower.log_grew(Offset(20), Offset(30), 9_400);
        assert_eq!(follower.lag_ms(9_500), 500);
        follower.report(Offset(20), Offset(30), 9_500);
        assert_eq!(follower.lag_ms(9_600), 600, "what was there at 9000");
        follower.report(Offset(30), Offset(90), 9_700);
        assert_eq!(follower.lag_ms(9_700), 200, "what was there at 9500");
    }

    #[test]
    fn a_follower_under_steady_load_that_is_one_round_behind_never_lags_long() {
        let mut follower = progress();
        follower.admit(run(1, 1));
        follower.report(Offset(0), Offset(0), 0);
        for round in 1..100 {
            follower.log_grew(Offset(round - 1), Offset(round), round * 10);
            follower.report(Offset(round - 1), Offset(round), round * 10 + 5);
            assert!(follower.lag_ms(round * 10 + 5) <= 20);
        }
    }
}
