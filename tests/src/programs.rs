//! The binaries under test: those that cargo put beside the tests.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// The path of a built binary.
///
/// # Panics
/// If it is not built.
pub fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own path");
    let profile = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("a test lies in target/<profile>/deps");
    let path = profile.join(name);
    assert!(
        path.is_file(),
        "{} is not built; run the tests by `cargo xtask ci`, or first `cargo build --workspace`",
        path.display()
    );
    path
}

/// What a command line tool said, and how it ended.
#[derive(Debug)]
pub struct Answer {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
}

impl Answer {
    /// Standard output, of a command that must succeed.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "it failed:\n{}\n{}",
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// Standard error, of a command that must fail.
    ///
    /// # Panics
    /// If it succeeded.
    #[track_caller]
    pub fn expect_failure(self) -> String {
        assert_ne!(self.code, Some(0), "it succeeded:\n{}", self.stdout);
        self.stderr
    }
}

/// Runs `command` to its end.
///
/// # Panics
/// If it cannot be started.
pub fn answer(command: &mut Command) -> Answer {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    output.into()
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }
}
