//! What is refused before anybody is asked: the code, the words, the exit code.

use std::process::{Command, Output};

fn taffrail(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_taffrail"))
        .args(args)
        .env("TAFFRAIL_SERVER", "127.0.0.1:1")
        .output()
        .expect("the binary starts")
}

fn applied(manifest: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("topic.yaml");
    std::fs::write(&file, manifest).expect("writable");
    let output = taffrail(&["apply", "-f", file.to_str().expect("a text path")]);
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn an_unknown_field_of_a_manifest_is_refused_as_kubectl_does() {
    let (code, message) = applied(
        "apiVersion: taffrail.dev/v1alpha1\nkind: Topic\nmetadata: { name: t }\nspec: { foo: 1 }\n",
    );
    assert_eq!(code, Some(3), "{message}");
    assert!(
        message.contains("strict decoding error: unknown field \"spec.foo\""),
        "{message}"
    );
}

#[test]
fn a_wrong_unit_of_a_manifest_says_how_to_write_it() {
    let (code, message) = applied(
        "apiVersion: taffrail.dev/v1alpha1\nkind: Topic\nmetadata: { name: t }\nspec: { segment: { bytes: 1GB } }\n",
    );
    assert_eq!(code, Some(3), "{message}");
    assert!(
        message.contains("spec.segment.bytes") && message.contains("512Mi"),
        "{message}"
    );
}

#[test]
fn a_manifest_that_is_not_there_is_not_found() {
    let output = taffrail(&["apply", "-f", "no-such-file.yaml"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-file.yaml"));
}

#[test]
fn a_cluster_that_is_not_there_is_unavailable_and_says_how_to_start_one() {
    let output = taffrail(&["get", "topics"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{message}");
    assert!(
        message.contains("127.0.0.1:1") && message.contains("taffrail dev"),
        "{message}"
    );
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    assert_eq!(taffrail(&["get", "nonsense"]).status.code(), Some(2));
    assert_eq!(taffrail(&["delete"]).status.code(), Some(2));
    let output = taffrail(&["produce", "t", "--format", "lines", "--key-field", "k", "-"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn completions_are_printed_for_a_shell() {
    let output = taffrail(&["completions", "bash"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("_taffrail"));
}

#[test]
fn what_cannot_be_of_a_group_is_refused_before_anybody_is_asked() {
    let wrong: &[(&[&str], &str)] = &[
        (&["groups", "describe", "__audit"], "internal"),
        (&["groups", "reset", "billing", "--to", "-1200"], "-1h"),
        (&["groups", "reset", "billing"], "--to"),
        (
            &[
                "groups",
                "reset",
                "billing",
                "--to",
                "5",
                "--partition",
                "0",
            ],
            "--topic",
        ),
        (&["consume", "flights", "--instance-id", "a"], "--group"),
        (&["consume"], "<TOPIC>"),
        (
            &[
                "consume",
                "flights",
                "--group",
                "billing",
                "--partition",
                "0",
            ],
            "--partition",
        ),
    ];
    for (args, part) in wrong {
        let output = taffrail(args);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        assert!(message.contains(part), "{args:?}: {message}");
    }
}
