//! All test binaries of the workspace: built once, with one set of features, then run one after the other.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    failures::Failures,
    needs::{Need, Needs},
    report::Counts,
};
use crate::workspace_root;

/// Nothing here takes a quarter of it; a hang must not take CI's whole time.
const DEADLINE: Duration = Duration::from_mins(30);

/// Where random tests begin. CI tries the same histories every time, so that a red run is of the change it runs for; `cargo test` tries others.
const HISTORIES: &str = "PROPTEST_RNG_SEED";

fn histories() -> OsString {
    std::env::var_os(HISTORIES).unwrap_or_else(|| "1".into())
}

/// The test binaries of taffrail-tests whose tests are ignored unless something is there.
const NEEDING: [(&str, Need); 4] = [
    ("disk_full", Need::MountNamespace),
    ("thin_client", Need::Python),
    ("kubernetes", Need::ApiServer),
    ("node", Need::Node),
];

/// What `cargo build --workspace --all-targets` made that is a test.
pub(super) struct Suite {
    binaries: Vec<TestBinary>,
}

struct TestBinary {
    package_dir: PathBuf,
    target: String,
    executable: PathBuf,
}

impl Suite {
    /// Builds everything, the programs that tests start included.
    pub(super) fn build() -> Result<Self> {
        let mut cargo = Command::new("cargo")
            .current_dir(workspace_root())
            .args(["build", "--workspace", "--all-targets"])
            .arg("--message-format=json-render-diagnostics")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start cargo build")?;
        let messages = cargo.stdout.take().context("cargo's output is not piped")?;
        let mut binaries = Vec::new();
        for line in BufReader::new(messages).lines() {
            let message: Value = serde_json::from_str(&line?).context("cargo's message")?;
            binaries.extend(TestBinary::from_message(&message));
        }
        let status = cargo.wait()?;
        if !status.success() {
            bail!("cargo build ended with {status}");
        }
        binaries.sort_by(|a, b| (&a.package_dir, &a.target).cmp(&(&b.package_dir, &b.target)));
        Ok(Self { binaries })
    }

    /// Runs the binaries that need nothing but the tree.
    pub(super) fn run_plain(&self) -> Counts {
        let mut total = Counts::default();
        for binary in self.binaries.iter().filter(|b| b.need().is_none()) {
            total += binary.run(&[], Vec::new());
        }
        total
    }

    /// Runs the binaries that need more, or says why they are skipped.
    pub(super) fn run_needing(&self, needs: &Needs) -> Result<Counts> {
        let mut total = Counts::default();
        for (name, need) in NEEDING {
            let Some(binary) = self.binaries.iter().find(|b| b.need() == Some(need)) else {
                bail!("taffrail-tests has no test binary {name}");
            };
            match needs.environment(need) {
                Ok(environment) => {
                    let mut arguments = vec!["--include-ignored"];
                    for (module, why) in needs.left_out(need) {
                        println!("skipped: {name}: {module} {why}");
                        total.skipped += binary.count(module)?;
                        arguments.extend(["--skip", module]);
                    }
                    total += binary.run(&arguments, environment);
                }
                Err(why) => {
                    println!("skipped: {name}: {why}");
                    total.skipped += binary.count("")?;
                }
            }
        }
        Ok(total)
    }
}

impl TestBinary {
    fn from_message(message: &Value) -> Option<Self> {
        let of_test =
            message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
        let target = &message["target"];
        let is_bench = target["kind"].as_array()?.iter().any(|k| k == "bench");
        if !of_test || is_bench {
            return None;
        }
        Some(Self {
            package_dir: Path::new(message["manifest_path"].as_str()?)
                .parent()?
                .to_owned(),
            target: target["name"].as_str()?.to_owned(),
            executable: message["executable"].as_str()?.into(),
        })
    }

    fn need(&self) -> Option<Need> {
        if !self.package_dir.ends_with("tests") {
            return None;
        }
        NEEDING
            .iter()
            .find(|(name, _)| *name == self.target)
            .map(|(_, need)| *need)
    }

    /// A binary that does not end as it should counts as one failed test.
    fn run(&self, arguments: &[&str], environment: Vec<(&'static str, PathBuf)>) -> Counts {
        println!("     running {}", self.target);
        match self.try_run(arguments, environment) {
            Ok(counts) => counts,
            Err(error) => {
                println!("error: {}: {error:#}", self.target);
                Counts {
                    failed: 1,
                    failures: vec![format!("{}: {error:#}", self.target)],
                    ..Counts::default()
                }
            }
        }
    }

    fn try_run(
        &self,
        arguments: &[&str],
        environment: Vec<(&'static str, PathBuf)>,
    ) -> Result<Counts> {
        let mut child = Command::new(&self.executable)
            .current_dir(&self.package_dir)
            .env("CARGO_MANIFEST_DIR", &self.package_dir)
            .env(HISTORIES, histories())
            .envs(environment)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("the output is not piped")?;
        let reader = thread::spawn(move || print_and_count(BufReader::new(output)));
        let status = wait(&mut child)?;
        let counts = reader
            .join()
            .expect("the reader does not panic")
            .context("it ended without a result")?;
        if !status.success() && counts.failed == 0 {
            bail!("it ended with {status}");
        }
        Ok(counts)
    }

    /// How many tests have this in their names.
    fn count(&self, filter: &str) -> Result<u64> {
        let list = crate::shell::output(
            Command::new(&self.executable)
                .current_dir(&self.package_dir)
                .args(["--list", "--format", "terse", filter]),
        )?;
        Ok(list.lines().filter(|l| l.ends_with(": test")).count() as u64)
    }
}

fn print_and_count(output: impl std::io::BufRead) -> Option<Counts> {
    let mut counts = None;
    let mut failures = Failures::default();
    for line in output.lines().map_while(Result::ok) {
        counts = Counts::parse(&line).or(counts);
        failures.read(&line);
        println!("{line}");
    }
    counts.map(|counts| Counts {
        failures: failures.into_vec(),
        ..counts
    })
}

fn wait(child: &mut Child) -> Result<std::process::ExitStatus> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!(
                "it did not end within {} s and was killed",
                DEADLINE.as_secs()
            );
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Runs the examples in the documentation.
pub(super) fn doc_tests() -> Result<Counts> {
    let mut cargo = Command::new("cargo")
        .current_dir(workspace_root())
        .args(["test", "--workspace", "--doc"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test --doc")?;
    let output = cargo.stdout.take().context("cargo's output is not piped")?;
    let mut total = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        if let Some(counts) = Counts::parse(&line) {
            total += counts;
        }
        if line.starts_with("test ") {
            println!("{line}");
        }
    }
    let status = cargo.wait()?;
    if !status.success() && total.failed == 0 {
        bail!("cargo test --doc ended with {status}");
    }
    Ok(total)
}
