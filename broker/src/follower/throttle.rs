//! How fast replicas may catch up that are not in sync: they must not take what producers and consumers need.

/// A token bucket that may go into debt: an answer is as large as it is, and what is too much is waited for afterwards.
///
/// Invariant: there is never more in it than a second's worth.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// 0: no limit.
    bytes_per_s: u64,
    /// Thousandths of a byte, so that nothing is lost when it is filled each millisecond.
    tokens: i128,
    filled_at_ms: u64,
}

impl Throttle {
    /// Full at first. A rate of 0 is none.
    pub(crate) fn new(bytes_per_s: u64, now_ms: u64) -> Self {
        Self {
            bytes_per_s,
            tokens: i128::from(bytes_per_s) * 1_000,
            filled_at_ms: now_ms,
        }
    }

    /// May something be asked for now? Otherwise from the time in the error on.
    pub(crate) fn check(&mut self, now_ms: u64) -> Result<(), u64> {
        self.fill(now_ms);
        if self.bytes_per_s == 0 || self.tokens >= 0 {
            return Ok(());
        }
        let wait_ms = self
            .tokens
            .unsigned_abs()
            .div_ceil(u128::from(self.bytes_per_s));
        Err(now_ms.saturating_add(u64::try_from(wait_ms).unwrap_or(u64::MAX)))
    }

    /// So much came.
    pub(crate) fn take(&mut self, bytes: usize, now_ms: u64) {
        self.fill(now_ms);
        self.tokens -= bytes as i128 * 1_000;
    }

    fn fill(&mut self, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.filled_at_ms);
        self.filled_at_ms = self.filled_at_ms.max(now_ms);
        let rate = i128::from(self.bytes_per_s);
        self.tokens = (self.tokens + rate * i128::from(elapsed_ms)).min(rate * 1_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_may_come_at_once_and_then_the_rate_holds() {
        let mut throttle = Throttle::new(1_000, 0);
        throttle.take(1_000, 0);
        assert_eq!(throttle.check(0), Ok(()), "nothing is owed yet");
        throttle.take(3_000, 0);
        assert_eq!(throttle.check(500), Err(3_000));
        assert_eq!(throttle.check(2_999), Err(3_000));
        assert_eq!(throttle.check(3_000), Ok(()));
    }

    #[test]
    fn over_a_minute_no_more_comes_than_the_rate_and_one_answer() {
        let (mut throttle, mut came) = (Throttle::new(1_500, 0), 0);
        for now_ms in 0..60_000 {
            if throttle.check(now_ms).is_ok() {
                throttle.take(7, now_ms);
                came += 7;
            }
        }
        assert!((91_400..=91_507).contains(&came), "{came}");
    }

    #[test]
    fn a_small_rate_is_exact_and_rest_is_not_saved_up() {
        let mut throttle = Throttle::new(3, 0);
        throttle.take(4, 0);
        for now_ms in 1..334 {
            assert!(throttle.check(now_ms).is_err(), "{now_ms}");
        }
        assert_eq!(throttle.check(334), Ok(()));
        throttle.take(4, 1_000_000);
        assert!(
            throttle.check(1_000_000).is_err(),
            "a second's worth is kept, not more"
        );
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut throttle = Throttle::new(0, 0);
        throttle.take(usize::MAX >> 1, 0);
        assert_eq!(throttle.check(0), Ok(()));
    }
}
