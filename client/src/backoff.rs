//! Pauses between retries: doubled each time, capped, and jittered so that clients do not come back in step.

use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

impl Backoff {
    /// The pause after `attempts` failures (1: the first), between half and all of the doubled value.
    pub(crate) fn pause(self, attempts: u32) -> Duration {
        self.pause_at(attempts, rand::random())
    }

    fn pause_at(self, attempts: u32, random: f64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(30);
        let full = self.min.saturating_mul(1 << doublings).min(self.max);
        full.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        min: Duration::from_millis(20),
        max: Duration::from_secs(2),
    };

    #[test]
    fn pauses_double_up_to_the_cap() {
        let pauses =
            [1, 2, 3, 7, 8, 1_000].map(|attempts| BACKOFF.pause_at(attempts, 1.0).as_millis());
        assert_eq!(pauses, [20, 40, 80, 1_280, 2_000, 2_000]);
    }

    #[test]
    fn jitter_takes_off_up_to_half() {
        assert_eq!(BACKOFF.pause_at(2, 0.0), Duration::from_millis(20));
        assert_eq!(BACKOFF.pause_at(2, 0.5), Duration::from_millis(30));
        for _ in 0..100 {
            let pause = BACKOFF.pause(1);
            assert!((Duration::from_millis(10)..=Duration::from_millis(20)).contains(&pause));
        }
    }
}
