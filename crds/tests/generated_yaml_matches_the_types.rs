//! The YAML in crds/yaml and in the chart is what the types in crds/src say.

use std::{collections::BTreeSet, fs, path::PathBuf};

use taffrail_crds::generate::yaml_files;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn compare(dir: &str) {
    let dir = root().join(dir);
    let files = yaml_files().expect("every definition is YAML");
    for (name, expected) in &files {
        let path = dir.join(name);
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == *expected,
            "{} is out of date; run: cargo xtask crds",
            path.display()
        );
    }
    let names: BTreeSet<_> = files.into_iter().map(|(name, _)| name).collect();
    for entry in fs::read_dir(&dir).expect("the directory is there") {
        let name = entry
            .expect("readable")
            .file_name()
            .into_string()
            .expect("UTF-8");
        assert!(
            names.contains(&name),
            "{name} in {} belongs to no type; delete it",
            dir.display()
        );
    }
}

#[test]
fn in_crds_yaml() {
    compare("crds/yaml");
}

#[test]
fn in_the_chart() {
    compare("charts/taffrail/files/crds");
}
