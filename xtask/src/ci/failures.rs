//! The tests that failed, each with why, as a test binary's output tells: for the end of CI's output, which is what people read first.

const LINES_MAX: usize = 6;
const COLUMNS_MAX: usize = 300;

/// Reads a test binary's output line by line.
#[derive(Debug, Default)]
pub(super) struct Failures {
    found: Vec<String>,
    /// How many lines of the panic's message may still follow.
    wanted: usize,
    in_block: bool,
}

impl Failures {
    /// A block per failed test: `---- NAME stdout ----`, then what it printed, its panic among that. The first panic is why it failed.
    pub(super) fn read(&mut self, line: &str) {
        let named = line.strip_prefix("---- ");
        if let Some(name) = named.and_then(|line| line.strip_suffix(" stdout ----")) {
            self.found.push(name.to_owned());
            (self.in_block, self.wanted) = (true, 0);
        } else if self.in_block && line.starts_with("thread '") && line.contains("panicked at ") {
            (self.in_block, self.wanted) = (false, LINES_MAX);
        } else if self.wanted > 0 {
            let ends = line.is_empty() || line.starts_with("note: ") || line == "stack backtrace:";
            self.wanted = if ends { 0 } else { self.wanted - 1 };
            if let Some(failure) = self.found.last_mut().filter(|_| !ends) {
                failure.push_str("\n    ");
                failure.extend(line.chars().take(COLUMNS_MAX));
            }
        }
    }

    /// Name and message of each.
    pub(super) fn into_vec(self) -> Vec<String> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failed_test_is_told_with_its_first_panic() {
        let output = "
test wait::it_comes ... FAILED

failures:

---- wait::it_comes stdout ----

thread 'wait::it_comes' (7) panicked at tests/src/wait.rs:22:9:
assertion `left == right` failed
  left: 1
 right: 2
note: run with `RUST_BACKTRACE=1`
--- get pods
thread 'other' panicked at a.rs:1:1:
later

---- silent stdout ----

failures:
    wait::it_comes
";
        let mut failures = Failures::default();
        output.lines().for_each(|line| failures.read(line));
        let why =
            "wait::it_comes\n    assertion `left == right` failed\n      left: 1\n     right: 2";
        assert_eq!(failures.into_vec(), [why, "silent"]);
    }
}
