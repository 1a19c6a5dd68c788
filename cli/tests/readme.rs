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
    let (_, section) = readme
        .split_once("\n## What it guarantees\n")
        .expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut rows = 0;
    for line in section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(2)
    {
        let tests = tests_of(line);
        assert!(!tests.is_empty(), "it names no test: {line}");
        for (name, file) in tests {
            assert!(
                read(file).contains(&format!("fn {name}(")),
                "{name} is not in {file}"
            );
        }
        rows += 1;
    }
    assert!(rows > 10, "there are guarantees");
}

/// The tests of a row of guarantees, each with its file: names, `in`, a link, and so on.
fn tests_of(row: &str) -> Vec<(&str, &str)> {
    let cell = row.rsplit_once(" | ").map_or("", |(_, cell)| cell);
    let mut parts = cell.split(" in [");
    let mut names = parts.next().unwrap_or_default();
    let mut tests = Vec::new();
    for part in parts {
        let file = part.split(']').next().unwrap_or_default();
        let spans = names.split('`').skip(1).step_by(2);
        tests.extend(spans.map(|name| (name, file)));
        names = part;
    }
    tests
}
