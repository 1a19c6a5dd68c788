//! Which crate may use which, and what every crate has in common.

use std::fs;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use taffrail_xtask::workspace_root;

use crate::tree::assert_none;

/// The edges of docs/ARCHITECTURE.md, section 2. What the crates' tests use is not restricted.
const EDGES: [(&str, &[&str]); 14] = [
    ("taffrail-core", &[]),
    ("taffrail-record", &["core"]),
    ("taffrail-api", &["core"]),
    ("taffrail-log", &["core", "record"]),
    ("taffrail-client", &["api", "core", "record"]),
    ("taffrail-controller", &["core", "api", "record"]),
    (
        "taffrail-broker",
        &["log", "record", "api", "core", "client"],
    ),
    ("taffrail-crds", &["core"]),
    ("taffrail-operator", &["crds", "controller", "core", "api"]),
    (
        "taffrail",
        &[
            "core",
            "record",
            "log",
            "api",
            "client",
            "controller",
            "broker",
            "crds",
        ],
    ),
    (
        "taffrail-tests",
        &[
            "core",
            "record",
            "log",
            "api",
            "client",
            "controller",
            "crds",
            "xtask",
        ],
    ),
    ("taffrail-model", &[]),
    (
        "taffrail-sim",
        &["core", "record", "log", "api", "controller", "broker"],
    ),
    ("taffrail-xtask", &[]),
];

/// What decides must not reach out.
const CORE_MAY_USE: [&str; 2] = ["bytes", "thiserror"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .current_dir(workspace_root())
        .no_deps()
        .exec()
        .expect("cargo metadata")
}

fn normal_dependencies(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal)
        .map(|dependency| dependency.name.as_str())
}

#[test]
fn crates_use_each_other_only_as_the_architecture_says() {
    let mut findings = Vec::new();
    for package in &metadata().packages {
        let Some((_, allowed)) = EDGES
            .iter()
            .find(|(name, _)| *name == package.name.as_str())
        else {
            findings.push(format!("{} is not in the table of edges", package.name));
            continue;
        };
        for used in normal_dependencies(package).filter_map(|name| name.strip_prefix("taffrail-")) {
            if !allowed.contains(&used) {
                findings.push(format!("{} must not use taffrail-{used}", package.name));
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn core_decides_without_io_clock_or_async() {
    let metadata = metadata();
    let core = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "taffrail-core")
        .expect("taffrail-core is a member");
    let findings: Vec<String> = normal_dependencies(core)
        .filter(|name| !CORE_MAY_USE.contains(name))
        .map(|name| format!("taffrail-core must not use {name}"))
        .collect();
    assert_none(&findings);
}

#[test]
fn kubernetes_is_known_to_the_control_plane_only() {
    let knows = ["taffrail-crds", "taffrail-operator", "taffrail-tests"];
    let mut findings = Vec::new();
    for package in &metadata().packages {
        let uses = normal_dependencies(package).any(|name| matches!(name, "kube" | "k8s-openapi"));
        if uses && !knows.contains(&package.name.as_str()) {
            findings.push(format!("{} must not use kube", package.name));
        }
    }
    assert_none(&findings);
}

#[test]
fn every_crate_inherits_the_lint_table() {
    let mut findings = Vec::new();
    for package in &metadata().packages {
        let manifest =
            fs::read_to_string(&package.manifest_path).expect("the manifest is readable");
        if !manifest.contains("[lints]\nworkspace = true") {
            findings.push(format!(
                "{} lacks [lints] workspace = true",
                package.manifest_path
            ));
        }
    }
    assert_none(&findings);
}

/// From the workspace's table, or the crate itself with other features for its tests.
fn from_here(line: &str) -> bool {
    line.contains("workspace = true") || line.contains("path = \".\"")
}

#[test]
fn versions_of_dependencies_stand_in_one_place() {
    let mut findings = Vec::new();
    for package in &metadata().packages {
        let manifest =
            fs::read_to_string(&package.manifest_path).expect("the manifest is readable");
        let mut in_dependencies = false;
        for (index, line) in manifest.lines().enumerate() {
            if let Some(section) = line.strip_prefix('[') {
                in_dependencies = section.trim_end_matches(']').ends_with("dependencies");
            } else if in_dependencies && line.contains('=') && !from_here(line) {
                findings.push(format!("{}:{}: {line}", package.manifest_path, index + 1));
            }
        }
    }
    assert_none(&findings);
}
