//! A real Kubernetes on this machine: a control plane and nodes, each in a network namespace of its own, so that no traffic leaves the machine and nothing
//! of the host is touched. Takes root, except for `build` and for what only needs an API server.

pub mod cluster;
pub mod daemon;
pub mod image;
pub mod network;
mod node;
pub mod pki;
pub mod tools;

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use clap::Subcommand;

use self::{cluster::Cluster, tools::Tools};

/// What `cargo xtask kube` can do.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Builds Kubernetes, Helm, containerd, runc and CoreDNS into the cache: the first time takes minutes.
    Build,
    /// Starts a control plane and nodes, and prints the kubeconfig's path.
    Up {
        /// How many nodes.
        #[arg(default_value_t = 1)]
        nodes: u8,
    },
    /// kubectl, against the cluster of `up` or that of KUBECONFIG.
    Ctl {
        /// kubectl's arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Helm, against the cluster of `up` or that of KUBECONFIG.
    Helm {
        /// Helm's arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Imports an OCI archive into every node.
    Load {
        /// The archive.
        archive: PathBuf,
    },
    /// Ends all of it and leaves nothing behind.
    Down,
}

/// Carries out one task.
///
/// # Errors
/// If a program is missing or fails.
pub fn run(task: Task) -> Result<ExitCode> {
    let tools = Tools::locate()?;
    match task {
        Task::Build => tools.build()?,
        Task::Up { nodes } => {
            tools.build()?;
            let cluster = Cluster::up(tools, nodes)?;
            println!("the cluster is up; look at it with `cargo xtask kube ctl get pods -A`");
            println!("its logs are in {}", cluster.logs().display());
        }
        Task::Ctl { args } => return pass_on(Cluster::current(tools)?.kubectl().args(args)),
        Task::Helm { args } => return pass_on(Cluster::current(tools)?.helm().args(args)),
        Task::Load { archive } => Cluster::current(tools)?.load(&archive)?,
        Task::Down => Cluster::current(tools)?.down()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs with this terminal and gives the exit code on.
fn pass_on(command: &mut Command) -> Result<ExitCode> {
    let status = command.status().context("cannot start it")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
