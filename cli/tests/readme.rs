//! The README shows code that compiles and tests that exist.

use std::{fs, path::PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines of the fenced blocks of `language`.
fn code(text: &str, language: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == format!("```{language}");
        } else if inside {
            lines.push(line.trim().to_owned());
        }
    }
    lines
}

#[test]
fn its_rust_is_that_of_the_clients_examples() {
    let examples = read("client/examples/produce.rs") + &read("client/examples/consume.rs");
    let mut rest: &str = &examples;
    let lines = code(&read("README.md"), "rust");
    assert!(lines.len() > 10, "there are snippets");
    for line in lines {
        let at = rest.find(&line);
        let at =
            at.unwrap_or_else(|| panic!("not, or not in this order, in client/examples: {line}"));
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn every_guarantee_names_a_test_that_is_there() {
    let readme = read("README.md");
    let rows: Vec<(&str, &str)> = readme
        .lines()
        .filter_map(|line| {
            let (_, cell) = line.strip_prefix("| ")?.split_once(" | `")?;
            let (name, rest) = cell.split_once("` in [")?;
            Some((name, rest.split_once(']')?.0))
        })
        .collect();
    assert!(rows.len() > 10, "there are guarantees");
    for (name, file) in rows {
        assert!(
            read(file).contains(&format!("fn {name}(")),
            "{name} is not in {file}"
        );
    }
}

#[test]
fn its_commands_are_commands() {
    let commands = [
        "demo", "dev", "get", "consume", "produce", "describe", "groups",
    ];
    for line in code(&read("README.md"), "sh") {
        if let Some(command) = line.strip_prefix("taffrail ") {
            let first = command.split(' ').next().unwrap_or_default();
            assert!(commands.contains(&first), "{line}");
        }
    }
}
