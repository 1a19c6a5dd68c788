//! A real API server without nodes: etcd and kube-apiserver on 127.0.0.1, with throw-away keys.

mod servers;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use taffrail_xtask::{kube::tools::Tools, workspace_root};

use crate::{
    programs::{self, Answer},
    scratch::Scratch,
};

use servers::Servers;

/// A running API server. Objects are real, pods do not run.
#[derive(Debug)]
pub struct KubeApi {
    tools: Tools,
    kubeconfig: PathBuf,
    server: String,
    servers: Servers,
    dir: Scratch,
}

/// What etcd held at some time.
#[derive(Debug)]
pub struct Backup {
    folder: PathBuf,
}

impl KubeApi {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start() -> Self {
        let tools = Tools::locate().expect("the cache can be made");
        let dir = Scratch::new("kube-api");
        let servers = Servers::start(tools.clone(), dir.path().to_owned());
        Self {
            tools,
            kubeconfig: servers.kubeconfig(),
            server: servers.url(),
            servers,
            dir,
        }
    }

    /// The administrator's way in.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Its address.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// kill -9 of the API server. What it keeps in etcd stays.
    pub fn kill(&mut self) {
        self.servers.kill_api_server();
    }

    /// Starts the API server again and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn restart(&mut self) {
        self.servers.restart_api_server();
    }

    /// Keeps a copy of everything that is stored now.
    ///
    /// # Panics
    /// If it cannot be copied.
    pub fn back_up(&self) -> Backup {
        let folder = self.dir.path().join("backup");
        self.servers.back_up(&folder);
        Backup { folder }
    }

    /// Sets everything that is stored back to a copy, and starts all servers again.
    ///
    /// # Panics
    /// If the API server does not become ready.
    pub fn restore(&mut self, backup: &Backup) {
        self.servers.restore(&backup.folder);
    }

    /// A folder of its own, for what else a test writes.
    pub fn dir(&self) -> &Scratch {
        &self.dir
    }

    /// kubectl with these arguments.
    pub fn kubectl(&self, args: &[&str]) -> Answer {
        programs::answer(self.kubectl_command().args(args))
    }

    /// What `kubectl get --output json` shows of these.
    ///
    /// # Panics
    /// If there is no such object.
    #[track_caller]
    pub fn get(&self, what: &[&str]) -> Value {
        let json = self
            .kubectl(&[&["get", "--output", "json"], what].concat())
            .expect_success();
        serde_json::from_str(&json).expect("kubectl writes JSON")
    }

    /// `kubectl apply -f -` of this text, with more arguments.
    ///
    /// # Panics
    /// If kubectl cannot be started.
    pub fn apply(&self, manifest: &str, args: &[&str]) -> Answer {
        self.feed("apply", manifest, args)
    }

    /// What the API server answers to objects that are questions, such as SubjectAccessReviews.
    ///
    /// # Panics
    /// If it refuses one.
    #[track_caller]
    pub fn ask(&self, questions: &[Value]) -> Vec<Value> {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": questions });
        let answers = self.feed("create", &list.to_string(), &["--output", "json"]);
        let json = answers.expect_success();
        let one_after_the_other = serde_json::Deserializer::from_str(&json).into_iter();
        let answers = one_after_the_other.map(|answer| answer.expect("kubectl writes JSON"));
        answers.collect()
    }

    /// `kubectl <command> -f -` of this text.
    fn feed(&self, command: &str, manifest: &str, args: &[&str]) -> Answer {
        let mut child = self
            .kubectl_command()
            .args([command, "-f", "-"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(manifest.as_bytes()).expect("kubectl reads");
        drop(input);
        child.wait_with_output().expect("kubectl ends").into()
    }

    /// Helm with these arguments.
    pub fn helm(&self, args: &[&str]) -> Answer {
        programs::answer(
            self.tools
                .helm()
                .env("KUBECONFIG", &self.kubeconfig)
                .env("HELM_CACHE_HOME", self.dir.path().join("helm"))
                .env("KUBECACHEDIR", self.dir.path().join("kubectl"))
                .args(args),
        )
    }

    /// kubectl, to be started by the test.
    pub fn kubectl_command(&self) -> Command {
        let mut kubectl = self.tools.kubernetes("kubectl");
        kubectl
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.dir.path().join("kubectl"));
        kubectl
    }
}

/// Helm, where no API server is needed.
pub fn helm(args: &[&str]) -> Answer {
    let tools = Tools::locate().expect("the cache can be made");
    programs::answer(tools.helm().args(args))
}

/// Where our chart is.
pub fn chart() -> String {
    workspace_root()
        .join("charts/taffrail")
        .to_string_lossy()
        .into_owned()
}
