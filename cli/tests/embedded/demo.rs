//! `taffrail demo` from its start to its end, and what a signal does at each.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::{
    fs::{Mode, OFlags},
    process::Signal,
};

use crate::dev::{Ended, START_DEADLINE, free_address, lines_of, run, signal, until};

/// A process that is ended when dropped.
struct Process(Child);

impl Process {
    fn start(arguments: &[&str], data: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_taffrail"))
            .args(arguments)
            .arg("--data-dir")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("the binary starts"))
    }

    /// Its exit code, once it has ended.
    fn code(&mut self) -> Option<i32> {
        until("the end", || self.0.try_wait().expect("a child")).code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn demo_once(data: &Path) -> Ended {
    run(
        Command::new(env!("CARGO_BIN_EXE_taffrail"))
            .args(["demo", "--once", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data),
        b"",
    )
}

#[test]
fn it_says_what_it_did_and_can_be_repeated() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    // Flights since 24 January: of the file, and after the second time of all that was written.
    for replayed in ["7,396", "34,400"] {
        let ended = demo_once(&data);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        for part in [
            "Consumed   27,004 flights",
            "\"delays\" read 27,004 flights and found: OO 67.0 min late, HA 54.4 min late, EV 24.2 min late",
            "\"arrivals\" had read 10,000 by then, was 17,004 behind, read 17,004 more: ATL 1396, ORD 1269, BOS 1245",
            &format!("read {replayed} flights again; \"delays\" is 0 behind"),
            &format!("taffrail dev --data-dir {}\n", data.display()),
            "taffrail consume flights",
        ] {
            assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
        }
    }
}

#[test]
fn it_serves_on_until_it_is_interrupted() {
    let dir = tempfile::tempdir().expect("a directory");
    let address = free_address();
    let mut demo = Process::start(&["demo", "--listen", &address], dir.path());
    let lines = lines_of(&mut demo.0);
    let next = || lines.recv_timeout(START_DEADLINE).expect("another line");
    while !next().contains("It serves on") {}
    let consumed = run(
        Command::new(env!("CARGO_BIN_EXE_taffrail"))
            .args(["consume", "flights", "--output", "raw", "-s", &address]),
        b"",
    );
    assert_eq!(consumed.code, Some(0), "{}", consumed.stderr);
    assert_eq!(consumed.stdout.lines().count(), crate::FLIGHTS);
    signal(&demo.0, Signal::INT);
    while !next().contains("Stopped.") {}
    assert_eq!(demo.code(), Some(0));
}

#[test]
fn a_signal_ends_a_start_that_takes_long() {
    for (arguments, code) in [
        (&["dev"][..], 0),
        (&["demo"], 0),
        // Whoever waits for it has to know that it was not done.
        (&["demo", "--once"], 130),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let volume = dir.path().join("broker-0");
        fs::create_dir(&volume).expect("writable");
        // Who reads it waits for as long as somebody could write.
        let identity = volume.join("identity");
        let made = Command::new("mkfifo").arg(&identity).status();
        assert!(made.expect("there is mkfifo").success());
        let listen = ["--listen", "127.0.0.1:0"];
        let mut process = Process::start(&[arguments, &listen].concat(), dir.path());
        let _writer = until("the start", || {
            rustix::fs::open(&identity, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok()
        });
        signal(&process.0, Signal::INT);
        assert_eq!(process.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn data_of_several_brokers_is_refused_with_the_command_that_serves_it() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("broker-2")).expect("writable");
    let ended = demo_once(dir.path());
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let command = format!(
        "taffrail dev --brokers 3 --data-dir {};",
        dir.path().display()
    );
    assert!(ended.stderr.contains(&command), "{}", ended.stderr);
}
