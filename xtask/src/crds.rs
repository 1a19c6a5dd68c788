//! Writes what is generated from the Rust types of the custom resources. A test of taffrail-crds compares.

use std::process::Command;

use anyhow::Result;

use crate::{shell, workspace_root};

/// Writes crds/yaml and the chart's copies.
///
/// # Errors
/// If the generator does not build or a file cannot be written.
pub fn run() -> Result<()> {
    shell::run(Command::new("cargo").current_dir(workspace_root()).args([
        "run",
        "--quiet",
        "--package",
        "taffrail-crds",
        "--example",
        "write_crds",
    ]))
}
