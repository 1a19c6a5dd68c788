//! What `--help` says is documentation: it changes on purpose or not at all.
//!
//! After a change on purpose: `UPDATE_GOLDEN=1 cargo test -p taffrail --test help`.

use std::{fs, path::Path, process::Command};

const COMMANDS: &[&[&str]] = &[
    &[],
    &["demo"],
    &["dev"],
    &["apply"],
    &["get"],
    &["describe"],
    &["delete"],
    &["move"],
    &["plan"],
    &["plan", "topic"],
    &["plan", "group"],
    &["produce"],
    &["consume"],
    &["groups"],
    &["groups", "list"],
    &["groups", "describe"],
    &["groups", "lag"],
    &["groups", "reset"],
    &["groups", "delete"],
    &["bench"],
    &["bench", "produce"],
    &["bench", "consume"],
    &["bench", "latency"],
    &["bench", "commit"],
    &["bench", "rebalance"],
    &["log"],
    &["log", "dump"],
    &["log", "verify"],
    &["log", "repair"],
    &["completions"],
];

#[test]
fn help_is_what_it_was() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut changed = Vec::new();
    for command in COMMANDS {
        let name = format!("help {}", command.join(" "))
            .trim()
            .replace(' ', "-");
        let file = folder.join(format!("{name}.txt"));
        let help = help_of(command);
        if update {
            fs::write(&file, &help).expect("the golden file is writable");
        } else if fs::read_to_string(&file).unwrap_or_default() != help {
            changed.push(format!("--- {name}\n{help}"));
        }
    }
    assert!(
        changed.is_empty(),
        "help texts changed; if that is right, run: UPDATE_GOLDEN=1 cargo test -p taffrail --test help\n{}",
        changed.join("\n")
    );
}

fn help_of(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_taffrail"))
        .args(command)
        .arg("--help")
        .env_remove("TAFFRAIL_SERVER")
        .env("COLUMNS", "100")
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{command:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}
