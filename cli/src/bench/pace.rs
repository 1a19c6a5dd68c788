//! When each record should be sent. Latency is counted from there, so that a stall is paid for by every record it delays.

use std::time::{Duration, Instant};

use rustix::thread::set_current_timer_slack;

/// A schedule of evenly spaced records, kept by a thread of its own: the runtime's timers have a resolution of a millisecond.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    started: Instant,
    interval: Duration,
}

impl Pace {
    /// `rate` records a second from now on, waited for on the calling thread.
    pub(super) fn new(rate: f64) -> Self {
        // Linux wakes sleepers up to 50 us late to save power. If that cannot be changed, those are measured too.
        let _ = set_current_timer_slack(std::num::NonZeroU64::new(1_000));
        Self {
            started: Instant::now(),
            interval: Duration::from_secs_f64(1.0 / rate),
        }
    }

    /// When record `index` is to be sent.
    pub(super) fn intended(&self, index: u64) -> Instant {
        self.started + Duration::from_nanos((self.interval.as_nanos() as f64 * index as f64) as u64)
    }

    /// Blocks until record `index` is due, not at all if that is past. Answers when it was due.
    pub(super) fn wait(&self, index: u64) -> Instant {
        let due = self.intended(index);
        let early = due.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            std::thread::sleep(early);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_due_at_even_intervals_from_the_start() {
        let pace = Pace::new(1000.0);
        let gap = pace.intended(1_000_000) - pace.intended(0);
        assert_eq!(gap.as_secs(), 1000);
    }

    #[test]
    fn a_record_that_is_late_is_sent_at_once_and_keeps_its_due_time() {
        let pace = Pace::new(1e9);
        assert_eq!(pace.wait(1), pace.intended(1));
    }
}
