//! The leader's clock, which a follower repeats: by that the leader knows until when it was followed (`partition/hearing.rs`).

/// Of a leader that speaks often, clocks are repeated no more often than this, but for those that go with positions. A leader with nothing to say speaks less
/// often, and is answered at once.
const INTERVAL_MS: u64 = 100;

/// What was read of the leader's clock, and what was repeated of it.
#[derive(Debug, Default)]
pub(super) struct Echo {
    /// The newest, by the leader's clock in milliseconds. 0: none.
    read: u64,
    /// The newest that the leader was told. By its clock as well.
    said: u64,
    /// When that was, by the clock of this broker.
    said_at_ms: u64,
}

impl Echo {
    /// The leader said its clock.
    pub(super) fn read(&mut self, clock_ms: u64) {
        self.read = self.read.max(clock_ms);
    }

    /// When it is to be repeated at the latest. `None`: it was.
    pub(super) fn due_at(&self) -> Option<u64> {
        (self.read > self.said).then_some(self.said_at_ms + INTERVAL_MS)
    }

    /// What goes with the next message.
    pub(super) fn say(&mut self, now_ms: u64) -> u64 {
        if self.read > self.said {
            self.said = self.read;
            self.said_at_ms = now_ms;
        }
        self.said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_repeated_once_and_the_next_one_at_once_if_it_comes_late_enough() {
        let mut echo = Echo::default();
        assert_eq!((echo.due_at(), echo.say(1_000)), (None, 0));
        echo.read(7);
        assert!(echo.due_at().is_some_and(|at| at <= 1_000));
        assert_eq!((echo.say(1_000), echo.due_at()), (7, None));
        // Whatever else is said does not put off the next one.
        assert_eq!(echo.say(1_490), 7);
        echo.read(507);
        assert!(echo.due_at().is_some_and(|at| at <= 1_500));
        assert_eq!((echo.say(1_500), echo.due_at()), (507, None));
    }

    #[test]
    fn of_many_clocks_the_newest_is_repeated_after_a_while() {
        let mut echo = Echo::default();
        echo.read(7);
        echo.say(1_000);
        for clock_ms in [8, 9, 8] {
            echo.read(clock_ms);
            assert_eq!(echo.due_at(), Some(1_000 + INTERVAL_MS));
        }
        assert_eq!(echo.say(1_000 + INTERVAL_MS), 9);
    }
}
