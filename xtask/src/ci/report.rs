//! What CI says while it runs and at its end.

use std::{
    ops::AddAssign,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;

/// How many tests went which way, and why.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
    pub(super) failures: Vec<String>,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
    }
}

impl Counts {
    /// From the line that a test binary ends with: `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let facts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
        let number = |what: &str| {
            facts
                .split("; ")
                .find_map(|fact| fact.trim().strip_suffix(what)?.trim().parse().ok())
        };
        Some(Self {
            passed: number("passed")?,
            failed: number("failed")?,
            skipped: number("ignored")?,
            failures: Vec::new(),
        })
    }
}

/// Numbers the steps, times them, and adds up.
pub(super) struct Report {
    steps: usize,
    step: usize,
    started: Instant,
    total: Counts,
    failures: Vec<String>,
}

impl Report {
    pub(super) fn new(steps: usize) -> Self {
        Self {
            steps,
            step: 0,
            started: Instant::now(),
            total: Counts::default(),
            failures: Vec::new(),
        }
    }

    /// A step that holds or does not: it counts as one.
    pub(super) fn check<T>(&mut self, name: &str, body: impl FnOnce() -> Result<T>) -> Option<T> {
        let result = self.timed(name, body);
        match result {
            Ok(value) => {
                self.total.passed += 1;
                Some(value)
            }
            Err(error) => {
                self.failed(name, &error);
                None
            }
        }
    }

    /// A step that runs tests: they are counted.
    pub(super) fn tests(&mut self, name: &str, body: impl FnOnce() -> Result<Counts>) {
        let mut counts = Counts::default();
        let result = self.timed(name, || {
            counts = body()?;
            anyhow::ensure!(counts.failed == 0, "{} failed", counts.failed);
            Ok(())
        });
        let failed = counts.failed > 0;
        self.total += counts;
        match result {
            Err(error) if failed => self.failures.push(format!("{name}: {error:#}")),
            Err(error) => self.failed(name, &error),
            Ok(()) => {}
        }
    }

    /// Says what failed and prints the counts, alone on the last line.
    pub(super) fn close(self) -> ExitCode {
        for failure in self.failures.iter().chain(&self.total.failures) {
            println!("failed: {failure}");
        }
        println!("all steps took {}", seconds(self.started.elapsed()));
        let Counts {
            passed,
            failed,
            skipped,
            ..
        } = self.total;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if self.failures.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn timed<T>(&mut self, name: &str, body: impl FnOnce() -> Result<T>) -> Result<T> {
        self.step += 1;
        println!(
            "[{}/{}] {name} (at {})",
            self.step,
            self.steps,
            seconds(self.started.elapsed())
        );
        let begun = Instant::now();
        let result = body();
        let verdict = if result.is_ok() { "done" } else { "failed" };
        println!(
            "[{}/{}] {name}: {verdict} in {}",
            self.step,
            self.steps,
            seconds(begun.elapsed())
        );
        result
    }

    fn failed(&mut self, name: &str, error: &anyhow::Error) {
        println!("error: {name}: {error:#}");
        self.total.failed += 1;
        self.failures.push(format!("{name}: {error:#}"));
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_test_binary_is_counted() {
        let line = "test result: FAILED. 12 passed; 2 failed; 3 ignored; 0 measured; 0 filtered out; finished in 1.02s";
        let counts = Counts {
            passed: 12,
            failed: 2,
            skipped: 3,
            failures: Vec::new(),
        };
        assert_eq!(Counts::parse(line), Some(counts));
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in ["", "test a ... ok", "test result: ok", "running 3 tests"] {
            assert_eq!(Counts::parse(line), None, "{line}");
        }
    }
}
