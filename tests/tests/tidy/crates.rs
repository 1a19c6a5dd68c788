//! Which crate may use which, and what every crate has in common.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, camino::Utf8Path};
use taffrail_xtask::workspace_root;

use crate::tree::assert_none;

/// What decides must not reach out.
const CORE_MAY_USE: [&str; 2] = ["bytes", "thiserror"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .current_dir(workspace_root())
        .no_deps()
        .exec()
        .expect("cargo metadata")
}

/// The table of docs/ARCHITECTURE.md, section "The crates": a crate's folder, and those that it may use.
fn architecture() -> BTreeMap<String, BTreeSet<String>> {
    let document = workspace_root().join("docs/ARCHITECTURE.md");
    let text = fs::read_to_string(document).expect("the document is readable");
    let (_, section) = text
        .split_once("\n## The crates\n")
        .expect("the section of the crates");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| {
        let cells = line.strip_prefix("| `")?.strip_suffix(" |")?;
        let (folder, rest) = cells.split_once('`')?;
        let (_, uses) = rest.rsplit_once(" | ")?;
        let uses = uses.split(", ").filter(|uses| *uses != "nothing of ours");
        Some((folder.to_owned(), uses.map(str::to_owned).collect()))
    });
    rows.collect()
}

/// The folder of a crate of ours.
fn folder(path: &Utf8Path) -> String {
    let root = workspace_root();
    let inside = path.as_std_path().strip_prefix(&root);
    inside.expect("it lies in the tree").display().to_string()
}

fn normal_dependencies(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal)
        .map(|dependency| dependency.name.as_str())
}

#[test]
fn crates_use_each_other_as_the_table_of_the_architecture_says() {
    let mut table = architecture();
    let mut findings = Vec::new();
    for package in &metadata().packages {
        let crate_folder = folder(package.manifest_path.parent().expect("a file has a folder"));
        let Some(allowed) = table.remove(&crate_folder) else {
            findings.push(format!("{crate_folder} is not in the table"));
            continue;
        };
        let used = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal)
            .filter_map(|dependency| dependency.path.as_deref().map(folder))
            .collect::<BTreeSet<_>>();
        if used != allowed {
            findings.push(format!(
                "{crate_folder} uses {used:?}, the table says {allowed:?}"
            ));
        }
    }
    let gone = table.keys();
    findings.extend(gone.map(|folder| format!("{folder} is in the table and not there")));
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
