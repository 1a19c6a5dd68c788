//! What goes wrong again and again is logged when it begins or changes, and then now and then, with how often it happened.

use std::sync::{Mutex, PoisonError};

/// The log is read by people and paid for by the byte; and who looks at the last minute of it still finds what goes on.
const INTERVAL_MS: u64 = 30_000;

/// One kind of thing that may happen often.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Mutex<Option<Said>>);

#[derive(Debug)]
struct Said {
    what: String,
    at_ms: u64,
    since: u64,
}

impl Repeats {
    /// It happened, and `what` is what a person would read. `None`: that was said a moment ago. Else how often it happened since it was said last.
    pub(crate) fn happened(&self, now_ms: u64, what: &str) -> Option<u64> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut since = 0;
        if let Some(said) = slot.as_mut().filter(|said| said.what == what) {
            if now_ms.saturating_sub(said.at_ms) < INTERVAL_MS {
                said.since += 1;
                return None;
            }
            since = said.since;
        }
        *slot = Some(Said {
            what: what.to_owned(),
            at_ms: now_ms,
            since: 0,
        });
        Some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_once_then_every_half_minute_with_a_count_and_at_once_when_it_changes() {
        let repeats = Repeats::default();
        assert_eq!(repeats.happened(1_000, "disk full"), Some(0));
        for now_ms in (1_300..31_000).step_by(300) {
            assert_eq!(repeats.happened(now_ms, "disk full"), None, "at {now_ms}");
        }
        assert_eq!(repeats.happened(31_000, "disk full"), Some(99));
        assert_eq!(repeats.happened(31_300, "disk full"), None);
        assert_eq!(repeats.happened(31_600, "disk gone"), Some(0));
        assert_eq!(repeats.happened(31_900, "disk full"), Some(0));
    }
}
