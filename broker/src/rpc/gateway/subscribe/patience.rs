//! How long a subscription goes on asking brokers that have no room for it.

use std::time::{Duration, Instant};

use taffrail_api::WireError;
use taffrail_core::ErrorCode;

/// A subscriber that gets nothing of a partition for this long is told why. Leaders that move are waited for without end: they come back by
/// themselves.
const EXHAUSTED_MAX: Duration = Duration::from_secs(30);

/// Since when rounds of fetches were refused for want of room, one after the other.
#[derive(Debug, Default)]
pub(super) struct Patience {
    exhausted_since: Option<Instant>,
}

impl Patience {
    /// Notes a round that ended at `now`, and the first refusal for want of room in it.
    ///
    /// # Errors
    /// The refusal, if it has lasted for too long.
    pub(super) fn bear(
        &mut self,
        refusal: Option<WireError>,
        now: Instant,
    ) -> Result<(), WireError> {
        let Some(refusal) = refusal else {
            self.exhausted_since = None;
            return Ok(());
        };
        let since = *self.exhausted_since.get_or_insert(now);
        if now.saturating_duration_since(since) < EXHAUSTED_MAX {
            Ok(())
        } else {
            Err(refusal)
        }
    }
}

/// Is it a refusal that patience is about?
pub(super) fn is_exhausted(error: &WireError) -> bool {
    error.code == ErrorCode::ResourceExhausted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> WireError {
        WireError::new(ErrorCode::ResourceExhausted, "no room")
    }

    #[test]
    fn a_refusal_that_lasts_is_told_and_one_that_passes_is_forgotten() {
        let mut patience = Patience::default();
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(patience.bear(Some(refusal()), at(0)), Ok(()));
        assert_eq!(patience.bear(Some(refusal()), at(29)), Ok(()));
        assert_eq!(patience.bear(None, at(29)), Ok(()));
        assert_eq!(patience.bear(Some(refusal()), at(31)), Ok(()));
        assert_eq!(patience.bear(Some(refusal()), at(60)), Ok(()));
        assert_eq!(patience.bear(Some(refusal()), at(61)), Err(refusal()));
    }
}
