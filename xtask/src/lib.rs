//! Everything CI does, callable by hand, and what the test harness shares with it.
//!
//! ```text
//! ci    every check, in order, with a count at the end      (.ci/run calls this)
//! crds  writes the generated YAML
//! sim   seeds of the simulation
//! kube  a real Kubernetes on this machine: tools, PKI, network namespaces, control plane, nodes
//! ```
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a build tool talks to its terminal")]

pub mod cache;
pub mod ci;
pub mod crds;
pub mod kube;
pub mod shell;
pub mod sim;

use std::path::PathBuf;

/// The root of the working tree.
pub fn workspace_root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .expect("xtask/ lies in the workspace")
        .to_owned()
}
