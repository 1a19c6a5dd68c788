//! Programs that outlive the command that started them: known by a pid file, ended by pid.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Starts `command` in a process group of its own, its output in `<home>/log/<name>.log`, its pid in `<home>/pid/<name>`.
///
/// # Errors
/// If it cannot be started.
pub fn start(home: &Path, name: &str, command: &mut Command) -> Result<()> {
    fs::create_dir_all(home.join("log"))?;
    fs::create_dir_all(home.join("pid"))?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(home.join("log").join(format!("{name}.log")))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    fs::write(home.join("pid").join(name), child.id().to_string())?;
    Ok(())
}

/// Asks the program to end, waits, and ends it. Not running is fine.
///
/// # Errors
/// If the pid file cannot be read or removed.
pub fn stop(home: &Path, name: &str, patience: Duration) -> Result<()> {
    let file = home.join("pid").join(name);
    if !file.exists() {
        return Ok(());
    }
    let raw: i32 = fs::read_to_string(&file)?.trim().parse()?;
    let pid = Pid::from_raw(raw).with_context(|| format!("{} holds no pid", file.display()))?;
    if patience > Duration::ZERO && kill_process(pid, Signal::TERM).is_ok() {
        let deadline = Instant::now() + patience;
        while is_running(pid) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
        }
    }
    if is_running(pid) {
        // Gone in between is fine.
        let _ = kill_process(pid, Signal::KILL);
    }
    fs::remove_file(&file)?;
    Ok(())
}

/// Tries until it holds.
///
/// # Errors
/// If it does not hold before the deadline; `what` says what was waited for.
pub fn wait_for(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() > deadline {
            bail!("{what} did not happen within {} s", patience.as_secs());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// A zombie has ended: whoever started it has not looked yet.
fn is_running(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    match stat {
        Ok(stat) => !stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => test_kill_process(pid).is_ok(),
    }
}
