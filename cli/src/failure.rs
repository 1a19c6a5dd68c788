//! How a command ends badly: a stable code, a message, what to do, and the exit code.

use std::{fmt, io, process::ExitCode};

use taffrail_core::ErrorCode;

/// What every fallible function here returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Exit codes. They are API: documented in docs/OPERATIONS.md, never renumbered. 0 is success, 2 is clap's for a wrong command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Anything that has no code of its own.
    Failed = 1,
    /// The command line contradicts itself.
    Usage = 2,
    /// A manifest, record or request was refused: change it.
    Invalid = 3,
    /// There is no such topic, partition, offset or file.
    NotFound = 4,
    /// Nobody answered, or not in time: the same command may work later.
    Unavailable = 5,
    /// What is there already stands in the way.
    Conflict = 6,
    /// `log verify` found damage.
    Damaged = 7,
    /// A signal came before the command was done, or a second one before it had stopped; as shells have it for SIGINT.
    Interrupted = 130,
}

/// A command's failure, as the user sees it.
#[derive(Debug)]
pub(crate) struct Failure {
    code: &'static str,
    message: String,
    hint: Option<String>,
    exit: Exit,
    /// The reader of our output is gone: not an error of anybody.
    quiet: bool,
}

impl Failure {
    /// A failure with a code of the command line's own.
    pub(crate) fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            exit,
            quiet: false,
        }
    }

    /// Arguments that clap cannot check.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "USAGE", message)
    }

    /// Input data that cannot be read as what it should be.
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new(Exit::Invalid, "INVALID_INPUT", message)
    }

    /// A failure with one of the codes of taffrail.v1.
    pub(crate) fn of(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(exit_for(code), code.name(), message)
    }

    /// An operation on a file that failed.
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::NotFound {
            Exit::NotFound
        } else {
            Exit::Failed
        };
        Self::new(
            exit,
            "IO",
            format!("cannot {what} {}: {error}", path.display()),
        )
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts a fact before the message.
    #[must_use]
    pub(crate) fn note(mut self, fact: impl AsRef<str>) -> Self {
        self.message = format!("{}: {}", fact.as_ref(), self.message);
        self
    }

    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// What is wrong, without code and hint.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The exit code as `main` returns it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.quiet {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(self.exit as u8)
        }
    }

    /// Should `main` say nothing?
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

/// Of writing to standard output. `taffrail consume ... | head` closes it early, and that is fine.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let mut failure = Self::new(Exit::Failed, "IO", format!("cannot write output: {error}"));
        failure.quiet = error.kind() == io::ErrorKind::BrokenPipe;
        failure
    }
}

fn exit_for(code: ErrorCode) -> Exit {
    use ErrorCode as E;
    match code {
        E::InvalidRequest
        | E::InvalidSpec
        | E::CorruptBatch
        | E::BatchTooLarge
        | E::RecordTooLarge
        | E::UnsupportedCompression => Exit::Invalid,
        E::UnknownTopic | E::UnknownPartition | E::UnknownGroup | E::OffsetOutOfRange => {
            Exit::NotFound
        }
        E::ManagedByKubernetes
        | E::NameConflict
        | E::RetainedDataExists
        | E::InternalTopic
        | E::ForeignCluster
        | E::UnsupportedVersion
        | E::GroupNotEmpty
        | E::AddressInUse
        | E::DataInUse => Exit::Conflict,
        code if code.is_retriable() => Exit::Unavailable,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_code_message_and_what_to_do() {
        let failure =
            Failure::of(ErrorCode::UnknownTopic, "there is no topic \"x\"").hint("apply it first");
        assert_eq!(
            failure.to_string(),
            "error[UNKNOWN_TOPIC]: there is no topic \"x\"\n  apply it first"
        );
        assert_eq!(failure.exit, Exit::NotFound);
    }

    #[test]
    fn a_closed_pipe_is_nobodys_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(failure.is_quiet());
        assert_eq!(failure.exit_code(), ExitCode::SUCCESS);
    }

    /// The cells of docs/OPERATIONS.md, section "Exit codes of the command line": exit and codes.
    fn documented() -> Vec<(u8, Vec<String>)> {
        let text = include_str!("../../docs/OPERATIONS.md");
        let (_, section) = text
            .split_once("\n## Exit codes of the command line\n")
            .expect("the section");
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let exit = cells.next()?.parse().ok()?;
            let codes = cells.nth(1)?.split('`').skip(1).step_by(2);
            Some((exit, codes.map(str::to_owned).collect()))
        });
        rows.collect()
    }

    #[test]
    fn the_table_of_exit_codes_has_each_code_of_the_cluster_where_it_belongs() {
        let table = documented();
        for code in ErrorCode::ALL {
            let rows = table.iter().filter(|(_, codes)| {
                let mut codes = codes.iter();
                codes.any(|documented| documented == code.name())
            });
            let exits: Vec<u8> = rows.map(|(exit, _)| *exit).collect();
            assert_eq!(exits, [exit_for(*code) as u8], "{}", code.name());
        }
    }

    #[test]
    fn the_table_of_exit_codes_is_whole() {
        let exits: Vec<u8> = documented().iter().map(|(exit, _)| *exit).collect();
        let ours = [
            Exit::Failed,
            Exit::Usage,
            Exit::Invalid,
            Exit::NotFound,
            Exit::Unavailable,
            Exit::Conflict,
            Exit::Damaged,
            Exit::Interrupted,
        ];
        let ours = ours.map(|exit| exit as u8);
        assert_eq!(exits, [&[0], &ours[..]].concat());
    }

    #[test]
    fn retriable_codes_exit_with_unavailable() {
        assert_eq!(exit_for(ErrorCode::DiskFull), Exit::Unavailable);
        assert_eq!(exit_for(ErrorCode::Internal), Exit::Failed);
        assert_eq!(exit_for(ErrorCode::ManagedByKubernetes), Exit::Conflict);
    }
}
