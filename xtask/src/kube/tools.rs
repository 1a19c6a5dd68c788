//! The upstream programs that a cluster on this machine is made of: those of KUBEBUILDER_ASSETS, otherwise built from pinned Go modules into the cache, once,
//! otherwise (kubectl, Helm) those on PATH.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};

use super::image;
use crate::{cache, shell, workspace_root};

const KUBERNETES: &str = "v1.36.3";
const CONTAINERD: &str = "v2.4.2";
const RUNC: &str = "v1.5.2";
/// What every pod's sandbox runs.
pub const PAUSE_IMAGE: &str = "localhost/pause:1";

/// The folder of built programs, and what there is beside it.
#[derive(Debug, Clone)]
pub struct Tools {
    dir: PathBuf,
    assets: Option<PathBuf>,
}

impl Tools {
    /// The folder for the modules as they are in the tree, whether built or not.
    ///
    /// # Errors
    /// If the modules' files cannot be read.
    pub fn locate() -> Result<Self> {
        let modules = modules();
        let files = [
            "kubernetes/go.mod",
            "kubernetes/go.sum",
            "kubernetes/main.go",
            "tools/go.mod",
            "tools/go.sum",
            "tools/helm/main.go",
            "tools/coredns/main.go",
            "pause/pause.c",
        ]
        .map(|file| modules.join(file));
        let versions = [KUBERNETES, CONTAINERD, RUNC].join(" ");
        let dir = cache::keyed("kube", &files, &versions)?;
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        Ok(Self { dir, assets })
    }

    /// Where the programs are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `etcd`, `kube-apiserver`, `kubectl` ...
    pub fn kubernetes(&self, name: &str) -> Command {
        if let Some(asset) = self.asset(name) {
            return Command::new(asset);
        }
        // One binary for all of them.
        let built = self.dir.join("kubernetes");
        if !built.is_file() {
            return Command::new(name);
        }
        let mut kubernetes = Command::new(built);
        kubernetes.arg(name);
        kubernetes
    }

    /// Helm.
    pub fn helm(&self) -> Command {
        let built = self.dir.join("helm");
        if built.is_file() {
            Command::new(built)
        } else {
            Command::new("helm")
        }
    }

    /// Can a kube-apiserver be started and a chart be rendered?
    pub fn has_api_server(&self) -> bool {
        let servers = ["etcd", "kube-apiserver"];
        servers.iter().all(|name| self.has_kubernetes(name)) && self.has_clients()
    }

    /// Is there what makes pods of StatefulSets, and collects garbage? KUBEBUILDER_ASSETS may be without.
    pub fn has_controllers(&self) -> bool {
        self.has_kubernetes("kube-controller-manager")
    }

    /// Are there kubectl and Helm?
    pub fn has_clients(&self) -> bool {
        let kubectl = self.has_kubernetes("kubectl") || shell::find("kubectl").is_some();
        kubectl && (self.has(&["helm"]) || shell::find("helm").is_some())
    }

    /// Can a node be started?
    pub fn has_node(&self) -> bool {
        self.has_api_server()
            && self.has(&[
                "kubernetes",
                "containerd",
                "containerd-shim-runc-v2",
                "ctr",
                "runc",
                "coredns",
            ])
            && self.pause_archive().is_file()
    }

    /// The image that every pod's sandbox runs, as an OCI archive.
    pub fn pause_archive(&self) -> PathBuf {
        self.dir.join("pause.tar")
    }

    /// Builds what is missing.
    ///
    /// # Errors
    /// If a build fails. That Go is not there at all is no error.
    pub fn build(&self) -> Result<()> {
        if shell::find("go").is_none() {
            return Ok(());
        }
        let modules = modules();
        let can_run_nodes = cfg!(target_os = "linux") && shell::is_root();
        if self.has_api_server() && !can_run_nodes {
            return Ok(());
        }
        let version = format!(
            "-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES} \
             -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
        );
        self.build_package(&modules.join("kubernetes"), ".", "kubernetes", &version)?;
        self.build_package(&modules.join("tools"), "./helm", "helm", "-s -w")?;
        if !can_run_nodes {
            return Ok(());
        }
        self.build_package(&modules.join("tools"), "./coredns", "coredns", "-s -w")?;
        for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
            let package = format!("github.com/containerd/containerd/v2/cmd/{program}@{CONTAINERD}");
            self.install_package(&package, program, &[])?;
        }
        if Path::new("/usr/include/seccomp.h").exists() {
            // Without the tag every pod with a seccomp profile fails to start.
            let package = format!("github.com/opencontainers/runc@{RUNC}");
            self.install_package(&package, "runc", &["-tags", "seccomp"])?;
        }
        self.build_pause()
    }

    fn build_package(
        &self,
        module: &Path,
        package: &str,
        program: &str,
        ldflags: &str,
    ) -> Result<()> {
        self.unless_built(program, |unfinished| {
            shell::run(
                go().current_dir(module)
                    .args([
                        "build",
                        "-trimpath",
                        "-buildvcs=false",
                        "-ldflags",
                        ldflags,
                        "-o",
                    ])
                    .arg(unfinished)
                    .arg(package),
            )
        })
    }

    fn install_package(&self, package: &str, program: &str, flags: &[&str]) -> Result<()> {
        self.unless_built(program, |unfinished| {
            let bin = unfinished.parent().context("a file has a folder")?;
            shell::run(
                go().env("GOBIN", bin)
                    .current_dir(bin)
                    .args(["install", "-trimpath", "-ldflags", "-s -w"])
                    .args(flags)
                    .arg(package),
            )
        })
    }

    fn build_pause(&self) -> Result<()> {
        if shell::find("cc").is_none() || shell::find("buildah").is_none() {
            return Ok(());
        }
        self.unless_built("pause", |unfinished| {
            shell::run(
                Command::new("cc")
                    .args(["-static", "-O2", "-o"])
                    .arg(unfinished)
                    .arg(modules().join("pause/pause.c")),
            )
        })?;
        self.unless_built("pause.tar", |unfinished| {
            image::build(&image::Plan {
                archive: unfinished.to_owned(),
                name: PAUSE_IMAGE.to_owned(),
                entrypoint: Some("/pause".to_owned()),
                files: vec![(self.dir.join("pause"), "/pause".into())],
            })
        })
    }

    /// Builds beside, then renames: what is there is whole.
    fn unless_built(&self, program: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let finished = self.dir.join(program);
        if finished.exists() {
            return Ok(());
        }
        let unfinished = self.dir.join(format!("building-{}", std::process::id()));
        fs::create_dir_all(&unfinished)?;
        let file = unfinished.join(program);
        build(&file).with_context(|| format!("{program} does not build"))?;
        fs::rename(&file, &finished)?;
        fs::remove_dir_all(&unfinished)?;
        Ok(())
    }

    fn has_kubernetes(&self, name: &str) -> bool {
        self.asset(name).is_some() || self.has(&["kubernetes"])
    }

    fn asset(&self, name: &str) -> Option<PathBuf> {
        let asset = self.assets.as_ref()?.join(name);
        asset.is_file().then_some(asset)
    }

    fn has(&self, programs: &[&str]) -> bool {
        programs.iter().all(|p| self.dir.join(p).is_file())
    }
}

/// A build that goes on while something else happens.
pub struct Building(JoinHandle<Result<Tools>>);

impl Building {
    /// Waits for its end.
    ///
    /// # Errors
    /// If a program does not build.
    pub fn wait(self) -> Result<Tools> {
        self.0.join().expect("building does not panic")
    }
}

/// Starts to build what is missing; without Go there is nothing to do.
pub fn build_in_background() -> Building {
    Building(thread::spawn(|| {
        let tools = Tools::locate()?;
        tools.build()?;
        Ok(tools)
    }))
}

fn modules() -> PathBuf {
    workspace_root().join("tests/kube")
}

/// Go at a lower priority: cargo, which people wait for, goes first.
fn go() -> Command {
    let mut go = if shell::find("nice").is_some() {
        let mut nice = Command::new("nice");
        nice.args(["-n", "5", "go"]);
        nice
    } else {
        Command::new("go")
    };
    go.env("GOFLAGS", "");
    go
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(dir: &Path) -> Tools {
        Tools {
            dir: dir.join("built"),
            assets: Some(dir.join("assets")),
        }
    }

    fn put(dir: &Path, program: &str) {
        let file = dir.join(program);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, "").expect("written");
    }

    #[test]
    fn assets_go_before_what_was_built_and_that_before_the_path() {
        let dir = tempfile::tempdir().expect("a folder");
        let tools = tools(dir.path());
        let program = |name| tools.kubernetes(name).get_program().to_owned();
        assert_eq!(program("etcd"), "etcd");
        put(dir.path(), "built/kubernetes");
        assert_eq!(program("etcd"), dir.path().join("built/kubernetes"));
        put(dir.path(), "assets/etcd");
        assert_eq!(program("etcd"), dir.path().join("assets/etcd"));
        assert_eq!(program("kubectl"), dir.path().join("built/kubernetes"));
    }

    #[test]
    fn assets_make_an_api_server_without_anything_built_but_no_node() {
        let dir = tempfile::tempdir().expect("a folder");
        let tools = tools(dir.path());
        for program in ["etcd", "kube-apiserver", "kubectl"] {
            assert!(!tools.has_api_server(), "without {program}");
            put(dir.path(), &format!("assets/{program}"));
        }
        put(dir.path(), "built/helm");
        assert!(tools.has_api_server());
        assert!(!tools.has_controllers());
        assert!(!tools.has_node());
    }
}
