//! `taffrail dev` as a person runs it: a process, a data folder, an address.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use crate::{
    ports,
    process::Process,
    programs::{self, Answer},
    scratch::Scratch,
    small_disk, wait,
};

/// What it says once clients can connect.
const SERVES: &str = "listening on ";

/// An embedded cluster in a process of its own. It can be killed and started again on the same data and address.
#[derive(Debug)]
pub struct Dev {
    process: Process,
    data_dir: PathBuf,
    addresses: Addresses,
    disk: Disk,
    scratch: Scratch,
}

#[derive(Debug, Clone, Copy)]
struct Addresses {
    client: SocketAddr,
    http: SocketAddr,
}

/// Where the data lies.
#[derive(Debug, Clone, Copy)]
enum Disk {
    /// In the test's folder.
    Ours,
    /// In a file system of this size, in memory, that only the process sees and that ends with it.
    Small { mebibytes: u32 },
}

impl Dev {
    /// Starts one over an empty folder.
    pub fn start(name: &str) -> Self {
        Self::start_on(name, Disk::Ours)
    }

    /// Starts one whose disk has this size. Its data does not survive the process.
    pub fn start_on_a_small_disk(name: &str, mebibytes: u32) -> Self {
        Self::start_on(name, Disk::Small { mebibytes })
    }

    fn start_on(name: &str, disk: Disk) -> Self {
        let scratch = Scratch::new(name);
        let data_dir = scratch.path().join("data");
        let addresses = Addresses {
            client: ports::free(),
            http: ports::free(),
        };
        let process = spawn(&scratch, &data_dir, addresses, disk);
        let mut dev = Self {
            process,
            data_dir,
            addresses,
            disk,
            scratch,
        };
        dev.wait_until_it_serves(0);
        dev
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.addresses.client
    }

    /// Where metrics and probes are served.
    pub fn http(&self) -> SocketAddr {
        self.addresses.http
    }

    /// Where its data is.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The data folder as the process sees it, also where it is on a small disk of its own.
    pub fn data_dir_inside(&self) -> PathBuf {
        small_disk::inside(self.id(), &self.data_dir)
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
        let before = self.times_it_served();
        self.restart_without_waiting();
        self.wait_until_it_serves(before);
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
        taffrail.env("TAFFRAIL_SERVER", self.address().to_string());
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
        self.process = spawn(&self.scratch, &self.data_dir, self.addresses, self.disk);
    }

    fn wait_until_it_serves(&mut self, times_before: usize) {
        wait::until("the cluster's start", wait::PATIENCE, || {
            let ended = self.process.has_ended();
            assert!(!ended, "it ended:\n{}", self.process.said());
            (self.times_it_served() > times_before).then_some(())
        });
    }

    /// The log goes on from run to run.
    fn times_it_served(&self) -> usize {
        self.process.said().matches(SERVES).count()
    }
}

fn spawn(scratch: &Scratch, data_dir: &Path, addresses: Addresses, disk: Disk) -> Process {
    let mut command = match disk {
        Disk::Ours => Command::new(programs::path("taffrail")),
        Disk::Small { mebibytes } => {
            small_disk::command(&programs::path("taffrail"), data_dir, mebibytes)
        }
    };
    command
        .arg("dev")
        .arg("--data-dir")
        .arg(data_dir)
        .arg("--listen")
        .arg(addresses.client.to_string())
        .arg("--http-listen")
        .arg(addresses.http.to_string());
    Process::start(&mut command, &scratch.path().join("dev.log"))
}
