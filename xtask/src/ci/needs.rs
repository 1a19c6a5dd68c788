//! What some tests need beside Rust: found, installed, or the reason why not.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    cache,
    kube::{cluster::FOREIGN_CLUSTER, tools::Tools},
    shell, workspace_root,
};

/// Program that shows a package is there, and the Debian package that brings it.
const PACKAGES: [(&str, &str); 10] = [
    ("cc", "gcc"),
    ("openssl", "openssl"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("sysctl", "procps"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("socat", "socat"),
    ("pkg-config", "pkg-config"),
    ("buildah", "buildah"),
];

/// Packages without a program: a file that shows they are there.
const FILES: [(&str, &str); 2] = [
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/include/seccomp.h", "libseccomp-dev"),
];

/// Modules of the API server's tests that need Kubernetes' own controllers too: they make pods, and bind claims to volumes.
const OF_CONTROLLERS: [&str; 2] = ["controllers::", "volumes::"];
/// And one that has Prometheus' own tool evaluate the alerts.
const OF_PROMTOOL: &str = "alerts::";

/// What a test binary needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A mount namespace, for a small file system of its own.
    MountNamespace,
    /// Python with stock grpcio.
    Python,
    /// etcd and kube-apiserver.
    ApiServer,
    /// A cluster that runs pods.
    Node,
}

/// What is there. A reason where it is not.
pub(super) struct Needs {
    python: Result<PathBuf, String>,
    api_server: Result<(), String>,
    controllers: Result<(), String>,
    promtool: Result<PathBuf, String>,
    node: Result<(), String>,
}

/// Installs the Debian packages that are missing, where that is possible.
pub(super) fn install_packages() -> Result<()> {
    let mut missing: Vec<&str> = missing_for_a_node().collect();
    // Debian's python3 comes without what makes virtual environments.
    if !shell::succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !shell::is_root() || shell::find("apt-get").is_none() {
        println!(
            "not installed, for that takes root and apt-get: {}",
            missing.join(" ")
        );
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    shell::run(Command::new("apt-get").args(["update", "--quiet", "--quiet"]))?;
    shell::run(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args([
                "install",
                "--yes",
                "--quiet",
                "--quiet",
                "--no-install-recommends",
            ])
            .args(missing),
    )
}

impl Needs {
    /// Looks for everything once.
    pub(super) fn find(tools: Option<&Tools>) -> Self {
        Self {
            python: python().map_err(|error| format!("{error:#}")),
            api_server: api_server(tools),
            controllers: controllers(tools),
            promtool: promtool().map_err(|error| format!("{error:#}")),
            node: node(tools),
        }
    }

    /// What to tell the test binary, or why it cannot run.
    pub(super) fn environment(&self, need: Need) -> Result<Vec<(&'static str, PathBuf)>, String> {
        match need {
            Need::MountNamespace => {
                let unshare = ["--user", "--map-root-user", "--mount", "true"];
                if shell::succeeds(Command::new("unshare").args(unshare)) {
                    Ok(Vec::new())
                } else {
                    Err("this machine allows no mount namespaces".to_owned())
                }
            }
            Need::Python => Ok(vec![("TAFFRAIL_PYTHON", self.python.clone()?)]),
            Need::ApiServer => {
                self.api_server.clone()?;
                let promtool = self.promtool.iter();
                Ok(promtool.map(|path| ("PROMTOOL", path.clone())).collect())
            }
            Need::Node => self.node.clone().map(|()| Vec::new()),
        }
    }

    /// The modules of a test binary that need still more, if that is not there, and why.
    pub(super) fn left_out(&self, need: Need) -> Vec<(&'static str, &str)> {
        if need != Need::ApiServer {
            return Vec::new();
        }
        let controllers = self.controllers.as_ref().err().into_iter();
        let of_controllers =
            controllers.flat_map(|why| OF_CONTROLLERS.map(|module| (module, why.as_str())));
        let promtool = self.promtool.as_ref().err().into_iter();
        of_controllers
            .chain(promtool.map(|why| (OF_PROMTOOL, why.as_str())))
            .collect()
    }
}

/// Prometheus' tool for rules: on the path, or out of Debian's package, of which nothing is installed. It would start a server.
fn promtool() -> Result<PathBuf> {
    if let Some(path) = shell::find("promtool") {
        return Ok(path);
    }
    shell::find("apt-get").context("there is neither promtool nor apt-get")?;
    let dir = cache::keyed("promtool", &[], "")?;
    let tool = dir.join("promtool");
    if tool.exists() {
        return Ok(tool);
    }
    // Beside it until it is whole: a run may be ended at any time, and another one do the same.
    let making = dir.join(format!("making-{}", std::process::id()));
    fs::create_dir_all(&making)?;
    shell::run(
        Command::new("apt-get")
            .args(["download", "--quiet", "--quiet", "prometheus"])
            .current_dir(&making),
    )?;
    let entries = fs::read_dir(&making)?.flatten().map(|entry| entry.path());
    let mut packages = entries.filter(|path| path.extension().is_some_and(|e| e == "deb"));
    let package = packages.next().context("apt-get downloaded nothing")?;
    let mut extract = Command::new("dpkg-deb");
    shell::run(extract.arg("--extract").arg(&package).arg(&making))?;
    fs::rename(making.join("usr/bin/promtool"), &tool).context("it is not in the package")?;
    fs::remove_dir_all(making)?;
    Ok(tool)
}

/// An interpreter with the packages of the thin client's test.
fn python() -> Result<PathBuf> {
    let requirements = workspace_root().join("tests/thin_client/requirements.txt");
    shell::find("python3").context("there is no python3")?;
    let version = shell::output(Command::new("python3").arg("--version"))?;
    let dir = cache::keyed(
        "python",
        std::slice::from_ref(&requirements),
        version.trim(),
    )?;
    let python = dir.join("bin/python");
    let complete = dir.join("complete");
    if complete.exists() {
        return Ok(python);
    }
    shell::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&dir),
    )?;
    shell::run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(&requirements),
    )?;
    fs::write(complete, "")?;
    Ok(python)
}

fn api_server(tools: Option<&Tools>) -> Result<(), String> {
    match tools {
        Some(tools) if tools.has_api_server() => Ok(()),
        _ => Err("etcd, kube-apiserver, kubectl or helm is missing: they take a Go toolchain to build; or set KUBEBUILDER_ASSETS, with kubectl and helm on PATH".to_owned()),
    }
}

fn controllers(tools: Option<&Tools>) -> Result<(), String> {
    match tools {
        Some(tools) if tools.has_controllers() => Ok(()),
        _ => Err("KUBEBUILDER_ASSETS is without kube-controller-manager".to_owned()),
    }
}

fn node(tools: Option<&Tools>) -> Result<(), String> {
    if std::env::var_os(FOREIGN_CLUSTER).is_some() {
        let clients = tools.is_some_and(Tools::has_clients);
        return if clients {
            Ok(())
        } else {
            Err("kubectl and helm are neither built nor on PATH".to_owned())
        };
    }
    api_server(tools)?;
    if !shell::is_root() {
        return Err(format!(
            "a node takes root; or set {FOREIGN_CLUSTER} to the kubeconfig of a cluster for tests"
        ));
    }
    if !tools.is_some_and(Tools::has_node) {
        return Err("containerd, runc or the pause image could not be built".to_owned());
    }
    if let Some(package) = missing_for_a_node().next() {
        return Err(format!("package {package} is missing"));
    }
    let probe = format!("taffrail-probe-{}", std::process::id());
    if !shell::succeeds(Command::new("ip").args(["netns", "add", &probe])) {
        return Err("this machine allows no network namespaces".to_owned());
    }
    shell::run(Command::new("ip").args(["netns", "del", &probe])).map_err(|e| format!("{e:#}"))
}

fn missing_for_a_node() -> impl Iterator<Item = &'static str> {
    PACKAGES
        .iter()
        .filter(|(program, _)| shell::find(program).is_none())
        .chain(FILES.iter().filter(|(file, _)| !Path::new(file).exists()))
        .map(|(_, package)| *package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_without_kubernetes_controllers_is_what_says_that_it_needs_them() {
        let folder = workspace_root().join("tests/tests/kubernetes");
        let files = fs::read_dir(folder).expect("the tests are there");
        let paths = files.map(|file| file.expect("it can be read").path());
        let needing = paths.filter(|path| {
            let source = fs::read_to_string(path).unwrap_or_default();
            source.contains("#[ignore = \"needs etcd, kube-apiserver and kube-controller-manager")
        });
        let module = |path: PathBuf| Some(format!("{}::", path.file_stem()?.to_str()?));
        let mut modules: Vec<String> = needing.filter_map(module).collect();
        modules.sort();
        assert_eq!(modules, OF_CONTROLLERS);
    }
}
