//! Container images without a daemon and without a base: buildah puts files into an empty one.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::shell;

/// What an image consists of.
#[derive(Debug)]
pub struct Plan {
    /// The OCI archive to write.
    pub archive: PathBuf,
    /// Name and tag.
    pub name: String,
    /// The program that runs if the pod names none.
    pub entrypoint: Option<String>,
    /// Files and where they go.
    pub files: Vec<(PathBuf, String)>,
}

/// Writes the archive. The image's user is nobody, without a shell to be anybody else.
///
/// # Errors
/// If buildah fails.
pub fn build(plan: &Plan) -> Result<()> {
    let container = shell::output(buildah().args(["from", "scratch"]))?;
    let container = container.trim();
    let built = fill_and_commit(plan, container);
    shell::output(buildah().args(["rm", container]))?;
    built
}

fn fill_and_commit(plan: &Plan, container: &str) -> Result<()> {
    for (file, target) in &plan.files {
        shell::output(
            buildah()
                .args(["copy", "--chmod", "755", container])
                .arg(file)
                .arg(target),
        )?;
    }
    let mut config = buildah();
    config.args(["config", "--user", "65532:65532"]);
    if let Some(entrypoint) = &plan.entrypoint {
        config.args(["--entrypoint", &format!("[\"{entrypoint}\"]")]);
    }
    shell::output(config.arg(container))?;
    let target = format!("oci-archive:{}:{}", plan.archive.display(), plan.name);
    shell::output(buildah().args(["commit", "--quiet", container, &target])).map(|_| ())
}

/// Without overlay mounts and namespaces of its own, which are not to be had everywhere.
fn buildah() -> Command {
    let mut buildah = Command::new("buildah");
    buildah
        .env("STORAGE_DRIVER", "vfs")
        .env("BUILDAH_ISOLATION", "chroot");
    buildah
}
