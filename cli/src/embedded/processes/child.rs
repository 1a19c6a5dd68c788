//! One run of a broker process.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{self, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Addresses, BROKER, Common, cannot};
use crate::failure::{Exit, Failure, Outcome};

/// How one broker is started, each time.
pub(super) struct Launch {
    pub(super) name: String,
    pub(super) log: PathBuf,
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Launch {
    /// # Errors
    /// This program does not know where it is.
    pub(super) fn new(common: &Common<'_>, name: &str, addresses: Addresses) -> Outcome<Self> {
        let program = env::current_exe().map_err(|error| cannot("find this program", &error))?;
        let mut arguments: Vec<OsString> = vec!["--stop-with-stdin".into()];
        let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        option("--data-dir", common.data_dir.join(name).into());
        option("--name", name.into());
        option("--client-listen", addresses.client.to_string().into());
        option("--http-listen", addresses.http.to_string().into());
        option(
            "--replication-listen",
            addresses.replication.to_string().into(),
        );
        option("--controller", common.controller.to_string().into());
        option("--log-level", common.log.level.clone().into());
        option("--log-format", common.log.format_name().into());
        if let Some(file) = common.broker_config {
            option("--config", file.into());
        }
        Ok(Self {
            name: name.to_owned(),
            log: common.data_dir.join(format!("{name}.log")),
            program,
            arguments,
        })
    }

    /// # Errors
    /// The system refuses.
    pub(super) fn start(&self) -> Outcome<Child> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| Failure::file("write", &self.log, &error))?;
        let mut command = Command::new(&self.program);
        for (name, _) in env::vars_os() {
            // What is meant for one broker is not meant for each of several.
            if name.to_string_lossy().starts_with("TAFFRAIL_BROKER_") {
                command.env_remove(name);
            }
        }
        let child = command
            .arg0(BROKER)
            .args(&self.arguments)
            // Of its own, so that Ctrl-C ends them when and as this process wants it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| cannot(&format!("start {}", self.program.display()), &error))?;
        Ok(Child(child))
    }

    /// With the last line of its log, which says why.
    pub(super) fn failed_to_start(&self, status: ExitStatus) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let why = log.lines().next_back().unwrap_or("it said nothing");
        Failure::new(
            Exit::Failed,
            "BROKER_ENDED",
            format!("{} ended at its start ({status}): {why}", self.name),
        )
        .hint(format!("see {}", self.log.display()))
    }
}

/// A process that may have ended.
pub(super) struct Child(process::Child);

impl Child {
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        self.0
            .try_wait()
            .map_err(|error| cannot("wait for a broker process", &error))
    }

    /// SIGTERM, also for one that somebody made stand still.
    pub(super) fn ask_to_end(&self) {
        for signal in [Signal::TERM, Signal::CONT] {
            // An error means that it ended by itself.
            let _ = kill_process(Pid::from_child(&self.0), signal);
        }
    }

    /// kill -9.
    pub(super) fn kill(&mut self) {
        // Errors mean that it ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
