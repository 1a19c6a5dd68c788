//! Who decides for the brokers.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    network::{End, Network},
    operated::Operated,
    process::Process,
    programs,
};

/// A controller over files, or an operator with its controller over a real API server.
#[derive(Debug)]
pub(super) enum Control {
    Files(Files),
    Operated(Box<Operated>),
}

#[derive(Debug)]
pub(super) struct Files {
    process: Process,
    folder: PathBuf,
    address: SocketAddr,
    brokers: usize,
}

impl Control {
    /// Starts a controller that wants so many brokers.
    pub(super) fn over_files(folder: &Path, brokers: usize, network: &Network) -> Self {
        let (folder, address) = (folder.to_owned(), network.free_address(End::Controller));
        Self::Files(Files {
            process: start_controller(&folder, address, brokers, network),
            folder,
            address,
            brokers,
        })
    }

    /// Where brokers dial.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Files(files) => vec![files.address],
            Self::Operated(operated) => operated.addresses().to_vec(),
        }
    }

    /// What brokers run with beside their flags.
    pub(super) fn broker_config(&self) -> Option<PathBuf> {
        match self {
            Self::Files(_) => None,
            Self::Operated(operated) => Some(operated.write_broker_config(super::RESOURCE)),
        }
    }

    pub(super) fn kill(&mut self) {
        match self {
            Self::Files(files) => files.process.kill(),
            Self::Operated(operated) => operated.kill_operator(),
        }
    }

    pub(super) fn restart(&mut self, network: &Network) {
        match self {
            Self::Files(files) => {
                let (folder, address) = (&files.folder, files.address);
                files.process = start_controller(folder, address, files.brokers, network);
            }
            Self::Operated(operated) => operated.restart_operator(),
        }
    }

    pub(super) fn process(&mut self) -> &mut Process {
        match self {
            Self::Files(files) => &mut files.process,
            Self::Operated(operated) => operated.operator(),
        }
    }
}

fn start_controller(
    folder: &Path,
    address: SocketAddr,
    brokers: usize,
    network: &Network,
) -> Process {
    let program = programs::path("controller");
    Process::start(
        network
            .command(End::Controller, &program)
            .arg(folder.join("controller"))
            .arg(address.to_string())
            .arg(brokers.to_string()),
        &folder.join("controller.log"),
    )
}
