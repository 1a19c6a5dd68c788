//! A folder of a test's own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// Set to anything: the files of tests that passed are kept too.
const KEEP: &str = "TAFFRAIL_KEEP";
/// Of each log, where a test failed.
const LOG_LINES: usize = 20;

/// Removed at the end, unless the test failed: then its files, logs among them, stay and their place is printed.
#[derive(Debug)]
pub struct Scratch {
    dir: Option<TempDir>,
}

impl Scratch {
    /// An empty folder, named after the test.
    pub fn new(name: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix(&format!("taffrail-{name}-"))
            .tempdir()
            .expect("a temporary folder can be made");
        Self { dir: Some(dir) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.as_ref().expect("kept until dropped").path()
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).expect("the folder can be written");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take()
            && (std::thread::panicking() || std::env::var_os(KEEP).is_some())
        {
            let folder = dir.keep();
            if std::thread::panicking() {
                print_logs(&folder);
            }
            eprintln!("the test's files are kept in {}", folder.display());
        }
    }
}

/// How the processes' logs end. Where a test failed there may be nobody who can look at its files.
fn print_logs(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut logs: Vec<_> = entries.map(|entry| entry.path()).collect();
    logs.retain(|path| path.extension().is_some_and(|e| e == "log"));
    logs.sort();
    for log in logs {
        let bytes = fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        eprintln!("the end of {}:\n{}", log.display(), last.join("\n"));
    }
}
