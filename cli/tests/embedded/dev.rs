//! A `taffrail dev` process with a data directory of its own, ended when dropped.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// A start takes well under a second; machines under load are slow.
pub(crate) const START_DEADLINE: Duration = Duration::from_mins(1);

/// How a process ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) struct Dev {
    dir: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
    address: String,
}

impl Dev {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut dev = Self {
            dir: tempfile::tempdir().expect("a directory"),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            child: None,
            address: String::new(),
        };
        dev.start_again();
        dev
    }

    /// Starts on the same data, and returns when it is ready.
    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
        command.args(["dev", "--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(self.data()).args(&self.arguments);
        if !self
            .arguments
            .iter()
            .any(|argument| argument == "--log-level")
        {
            command.args(["--log-level", "warn"]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let received = lines_of(&mut child);
        let line = received.recv_timeout(START_DEADLINE);
        let address = line
            .as_ref()
            .ok()
            .and_then(|line| line.strip_prefix("listening on "));
        let Some(address) = address else {
            child.kill().expect("it can be killed");
            let output = child.wait_with_output().expect("it ended");
            panic!(
                "not ready: {line:?} {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        self.address = address.into();
        self.child = Some(child);
    }

    /// The pid of the process that was started.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Other arguments for the next start.
    pub(crate) fn set_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Writes a file and gives its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("writable");
        path.to_str().expect("a text path").to_owned()
    }

    /// A command against this cluster.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, b"")
    }

    /// The standard output of a command that succeeds.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        self.ok_with(arguments, b"")
    }

    pub(crate) fn ok_with(&self, arguments: &[&str], input: &[u8]) -> String {
        let ended = self.run_with(arguments, input);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        ended.stdout
    }

    fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ended {
        run(
            Command::new(env!("CARGO_BIN_EXE_taffrail"))
                .args(arguments)
                .env("TAFFRAIL_SERVER", format!("http://{}", self.address)),
            input,
        )
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(&mut self) -> Ended {
        let child = self.child.take().expect("it runs");
        signal(&child, Signal::TERM);
        let output = child.wait_with_output().expect("it ended");
        Ended {
            code: output.status.code(),
            stdout: String::new(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it ended before, which some test did not expect and said so.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The lines of a child's standard output as they come, and an error after the last one.
pub(crate) fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let (lines, received) = mpsc::channel();
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    received
}

/// Sends a signal to a child that runs.
pub(crate) fn signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(Pid::from_child(child), signal).expect("it runs");
}

/// kill -9.
pub(crate) fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, Signal::KILL).expect("it runs");
}

/// Is there such a process, dead and unburied ones aside?
pub(crate) fn lives(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    status.is_ok_and(|text| !text.contains(") Z "))
}

/// Asks until there is an answer.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that does not read its input closes the pipe.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("it ended");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// An address that is free just now.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

/// The answer to a GET, head and body.
pub(crate) fn http_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}
