//! Every check that CI runs, in order. A failed check does not hide the ones after it, except that nothing is tested that does not build.

mod failures;
mod needs;
mod report;
mod suite;

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::{kube::tools, shell, workspace_root};

use needs::Needs;
use report::Report;
use suite::Suite;

/// Runs all checks. Its last line counts them: `N passed, N failed, N skipped`.
///
/// # Errors
/// None for a failed check: those are counted and make the exit code.
pub fn run() -> Result<ExitCode> {
    let mut report = Report::new(9);
    report.check("packages", needs::install_packages);
    let building = tools::build_in_background();

    report.check("format", || cargo(&["fmt", "--all", "--check"]));
    report.check("lints", || {
        cargo(&[
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])
    });
    report.check("documentation", document);
    report.tests("examples in the documentation", suite::doc_tests);
    let suite = report.check("build", Suite::build);
    if let Some(suite) = &suite {
        report.tests("tests of code and processes", || Ok(suite.run_plain()));
    }
    let tools = report.check("Kubernetes tools", || building.wait());
    if let Some(suite) = &suite {
        let needs = Needs::find(tools.as_ref());
        report.tests("tests that need Python or Kubernetes", || {
            suite.run_needing(&needs)
        });
    }
    Ok(report.close())
}

fn document() -> Result<()> {
    shell::run(
        Command::new("cargo")
            .current_dir(workspace_root())
            .env("RUSTDOCFLAGS", "-D warnings")
            .args(["doc", "--workspace", "--no-deps", "--quiet"]),
    )
}

fn cargo(args: &[&str]) -> Result<()> {
    shell::run(
        Command::new("cargo")
            .current_dir(workspace_root())
            .args(args),
    )
}
