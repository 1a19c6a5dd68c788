//! One of the brokers: a process, a volume, addresses that stay.

use std::{net::SocketAddr, path::PathBuf};

use crate::{network::Network, process::Process, programs, small_disk};

/// A broker that may be dead.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) process: Process,
    /// The test ended it.
    pub(super) is_ended: bool,
    /// The test has stopped it, and it has not gone on.
    pub(super) is_still: bool,
    settings: Settings,
}

/// What stays the same from run to run.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) name: String,
    /// In the network.
    pub(super) index: usize,
    /// Of its volume and of its log.
    pub(super) folder: PathBuf,
    pub(super) client: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) replication: SocketAddr,
    /// Where other brokers dial it.
    pub(super) advertised: SocketAddr,
    pub(super) controllers: Vec<SocketAddr>,
    /// The file of its settings.
    pub(super) config: PathBuf,
    /// Its volume is a disk of its own, of this size.
    pub(super) disk_mebibytes: Option<u32>,
    /// With a copy of this on it when it starts, and no room besides.
    pub(super) disk_copied: Option<PathBuf>,
}

impl Broker {
    pub(super) fn start(settings: Settings, network: &Network) -> Self {
        Self {
            process: settings.start(network),
            is_ended: false,
            is_still: false,
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

    pub(super) fn http(&self) -> SocketAddr {
        self.settings.http
    }

    pub(super) fn title(&self) -> &str {
        &self.settings.name
    }

    pub(super) fn volume(&self) -> PathBuf {
        let volume = self.settings.volume();
        match self.settings.disk_mebibytes {
            Some(_) => small_disk::inside(self.id(), &volume),
            None => volume,
        }
    }

    pub(super) fn restart_on_a_full_disk(&mut self, mebibytes: u32, network: &Network) {
        self.settings.disk_copied = Some(self.volume());
        self.settings.disk_mebibytes = Some(mebibytes);
        self.restart(network);
    }

    /// Another process of the same name, at other addresses, with its volume in this folder.
    pub(super) fn start_double(&self, folder: PathBuf, network: &Network) -> Self {
        let index = self.settings.index;
        let replication = network.free_address(index);
        let settings = Settings {
            folder,
            client: network.free_address(index),
            http: network.free_address(index),
            replication,
            advertised: replication,
            disk_mebibytes: None,
            disk_copied: None,
            ..self.settings.clone()
        };
        Self::start(settings, network)
    }

    pub(super) fn restart(&mut self, network: &Network) {
        assert!(self.process.has_ended(), "{} runs", self.settings.name);
        self.process = self.settings.start(network);
        self.is_ended = false;
        self.is_still = false;
    }
}

impl Settings {
    fn volume(&self) -> PathBuf {
        let place = if self.disk_copied.is_some() {
            "full"
        } else {
            ""
        };
        self.folder.join(place).join(&self.name)
    }

    fn start(&self, network: &Network) -> Process {
        let program = programs::path("taffrail-broker");
        let mut command = match self.disk_mebibytes {
            Some(mebibytes) => match &self.disk_copied {
                Some(from) => small_disk::full_command(&program, &self.volume(), mebibytes, from),
                None => small_disk::command(&program, &self.volume(), mebibytes),
            },
            None => network.command(self.index, &program),
        };
        command
            .args(["--name", &self.name])
            .arg("--config")
            .arg(&self.config)
            .arg("--data-dir")
            .arg(self.volume());
        for (option, address) in [
            ("--client-listen", self.client),
            ("--http-listen", self.http),
            ("--replication-listen", self.replication),
            ("--replication-advertised", self.advertised),
        ] {
            command.arg(option).arg(address.to_string());
        }
        for controller in &self.controllers {
            command.arg("--controller").arg(controller.to_string());
        }
        let log = self.folder.join(format!("{}.log", self.name));
        Process::start(&mut command, &log)
    }
}
