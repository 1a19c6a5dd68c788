//! The image that the node runs in tests: the programs that were built for the other tests, and the libraries they are linked with. No second build.
//! The Dockerfile builds the one that people use.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use taffrail_xtask::{
    kube::image::{self, Plan},
    shell,
};

use crate::{programs, scratch::Scratch};

/// Name and tag, as the chart and the examples name it.
pub const NAME: &str = concat!("docker.io/library/taffrail:", env!("CARGO_PKG_VERSION"));

const PROGRAMS: [&str; 3] = ["taffrail", "taffrail-broker", "taffrail-operator"];

/// Writes the image as an OCI archive into `scratch`.
///
/// # Panics
/// If a program is not built, or buildah fails.
pub fn build(scratch: &Scratch) -> PathBuf {
    let mut files = Vec::new();
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        let built = programs::path(program);
        libraries.extend(libraries_of(&built));
        let stripped = scratch.path().join(program);
        shell::run(Command::new("strip").arg("-o").arg(&stripped).arg(&built))
            .expect("strip works");
        files.push((stripped, format!("/usr/bin/{program}")));
    }
    for library in libraries {
        files.push((PathBuf::from(&library), library));
    }
    let archive = scratch.path().join("taffrail.tar");
    image::build(&Plan {
        archive: archive.clone(),
        name: NAME.to_owned(),
        entrypoint: Some("/usr/bin/taffrail".to_owned()),
        files,
    })
    .expect("buildah works");
    archive
}

/// The paths that the dynamic linker finds, itself included.
fn libraries_of(program: &Path) -> Vec<String> {
    let list = shell::output(Command::new("ldd").arg(program)).expect("ldd works");
    list.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(str::to_owned)
        .collect()
}
