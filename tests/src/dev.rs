//! `taffrail dev` as a person runs it: a process, a data folder, an address.

use std::{
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use crate::{
    ports,
    process::Process,
    programs::{self, Answer},
    scratch::Scratch,
    wait,
};

/// An embedded cluster in a process of its own. It can be killed and started again on the same data and address.
#[derive(Debug)]
pub struct Dev {
    process: Process,
    data_dir: PathBuf,
    address: SocketAddr,
    scratch: Scratch,
}

impl Dev {
    /// Starts one over an empty folder.
    pub fn start(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let data_dir = scratch.path().join("data");
        let address = ports::free();
        let process = spawn(&scratch, &data_dir, address);
        let mut dev = Self {
            process,
            data_dir,
            address,
            scratch,
        };
        dev.wait_until_it_serves();
        dev
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its data is.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A folder of the test's own, beside the data.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Its pid.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it logged, over all its runs.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.terminate(wait::PATIENCE)
    }

    /// Only SIGTERM.
    pub fn ask_to_end(&self) {
        self.process.ask_to_end();
    }

    /// Starts it again on the same data and address.
    pub fn restart(&mut self) {
        self.restart_without_waiting();
        self.wait_until_it_serves();
    }

    /// Starts it again and expects it to end by itself.
    pub fn restart_in_vain(&mut self) -> ExitStatus {
        self.restart_without_waiting();
        self.process.wait(wait::PATIENCE)
    }

    /// The command line tool, told where this cluster is.
    pub fn taffrail(&self, args: &[&str]) -> Answer {
        programs::answer(self.command().args(args))
    }

    /// The same, to be started by the test.
    pub fn command(&self) -> Command {
        let mut taffrail = Command::new(programs::path("taffrail"));
        taffrail.env("TAFFRAIL_SERVER", self.address.to_string());
        taffrail
    }

    /// Applies this manifest and waits until it is ready.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        self.try_apply(manifest).expect_success()
    }

    /// Applies this manifest.
    pub fn try_apply(&self, manifest: &str) -> Answer {
        let file = self.scratch.write("applied.yaml", manifest);
        let file = file.to_string_lossy();
        self.taffrail(&["apply", "-f", &file])
    }

    fn restart_without_waiting(&mut self) {
        assert!(self.process.has_ended(), "it still runs");
        self.process = spawn(&self.scratch, &self.data_dir, self.address);
    }

    fn wait_until_it_serves(&mut self) {
        let process = &mut self.process;
        let address = self.address;
        wait::until("the cluster's start", wait::PATIENCE, || {
            assert!(!process.has_ended(), "it ended:\n{}", process.said());
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
        });
    }
}

fn spawn(scratch: &Scratch, data_dir: &Path, address: SocketAddr) -> Process {
    let mut taffrail = Command::new(programs::path("taffrail"));
    taffrail
        .arg("dev")
        .arg("--data-dir")
        .arg(data_dir)
        .arg("--listen")
        .arg(address.to_string());
    Process::start(&mut taffrail, &scratch.path().join("dev.log"))
}
