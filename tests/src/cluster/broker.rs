//! One of the brokers: a process, a volume, addresses that stay.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{ports, process::Process, programs};

/// A broker that may be dead.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) process: Process,
    settings: Settings,
}

#[derive(Debug)]
struct Settings {
    name: String,
    volume: PathBuf,
    log: PathBuf,
    client: SocketAddr,
    http: SocketAddr,
    replication: SocketAddr,
    /// Where other brokers dial it.
    advertised: SocketAddr,
    controller: SocketAddr,
}

impl Broker {
    pub(super) fn start(
        folder: &Path,
        index: usize,
        controller: SocketAddr,
        (replication, advertised): (SocketAddr, SocketAddr),
    ) -> Self {
        let name = Self::name(index);
        let settings = Settings {
            volume: folder.join(&name),
            log: folder.join(format!("{name}.log")),
            name,
            client: ports::free(),
            http: ports::free(),
            replication,
            advertised,
            controller,
        };
        Self {
            process: settings.start(),
            settings,
        }
    }

    pub(super) fn name(index: usize) -> String {
        format!("broker-{index}")
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn client(&self) -> SocketAddr {
        self.settings.client
    }

    pub(super) fn volume(&self) -> &Path {
        &self.settings.volume
    }

    pub(super) fn restart(&mut self) {
        assert!(self.process.has_ended(), "{} runs", self.settings.name);
        self.process = self.settings.start();
    }
}

impl Settings {
    fn start(&self) -> Process {
        let mut command = Command::new(programs::path("taffrail-broker"));
        command
            .args(["--name", &self.name])
            .arg("--data-dir")
            .arg(&self.volume);
        for (option, address) in [
            ("--client-listen", self.client),
            ("--http-listen", self.http),
            ("--replication-listen", self.replication),
            ("--replication-advertised", self.advertised),
            ("--controller", self.controller),
        ] {
            command.arg(option).arg(address.to_string());
        }
        Process::start(&mut command, &self.log)
    }
}
