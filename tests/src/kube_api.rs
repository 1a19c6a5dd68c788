//! A real API server without nodes: etcd and kube-apiserver on 127.0.0.1, with throw-away keys.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use taffrail_xtask::{
    kube::{pki::Pki, tools::Tools},
    workspace_root,
};

use crate::{
    ports,
    process::Process,
    programs::{self, Answer},
    scratch::Scratch,
    wait,
};

/// A running API server. Objects are real, pods do not run.
#[derive(Debug)]
pub struct KubeApi {
    tools: Tools,
    kubeconfig: PathBuf,
    server: String,
    // In the order in which they are to end.
    _controllers: Option<Process>,
    _api_server: Process,
    _etcd: Process,
    dir: Scratch,
}

impl KubeApi {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start() -> Self {
        let tools = Tools::locate().expect("the cache can be made");
        let dir = Scratch::new("kube-api");
        let [client, peer, api] = [ports::free(), ports::free(), ports::free()];
        let etcd = start_etcd(&tools, dir.path(), &client.to_string(), &peer.to_string());
        let pki = Pki::create(&dir.path().join("pki"), &["127.0.0.1", "10.96.0.1"])
            .expect("openssl makes keys");
        let server = format!("https://{api}");
        let kubeconfig = dir.path().join("kubeconfig");
        pki.write_kubeconfig(&kubeconfig, &server)
            .expect("the folder can be written");
        let api_server = Process::start(
            tools
                .kubernetes("kube-apiserver")
                .args(pki.api_server_flags())
                .arg(format!("--etcd-servers=http://{client}"))
                .arg(format!("--secure-port={}", api.port()))
                .arg("--bind-address=127.0.0.1")
                .arg("--service-account-issuer=https://kubernetes.default.svc")
                .arg("--authorization-mode=Node,RBAC")
                .arg("--service-cluster-ip-range=10.96.0.0/24"),
            &dir.path().join("apiserver.log"),
        );
        let ready = || {
            let mut kubectl = tools.kubernetes("kubectl");
            kubectl
                .arg("--kubeconfig")
                .arg(&kubeconfig)
                .args(["get", "--raw", "/readyz"]);
            (programs::answer(&mut kubectl).code == Some(0)).then_some(())
        };
        wait::until("the API server's readiness", wait::PATIENCE, ready);
        let controllers = tools
            .has_controllers()
            .then(|| start_controllers(&tools, dir.path(), &kubeconfig, &pki));
        Self {
            tools,
            kubeconfig,
            server,
            _controllers: controllers,
            _api_server: api_server,
            _etcd: etcd,
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

    fn kubectl_command(&self) -> Command {
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

fn start_etcd(tools: &Tools, dir: &Path, client: &str, peer: &str) -> Process {
    Process::start(
        tools
            .kubernetes("etcd")
            .arg("--unsafe-no-fsync")
            .arg(format!("--data-dir={}", dir.join("etcd").display()))
            .arg(format!("--listen-client-urls=http://{client}"))
            .arg(format!("--advertise-client-urls=http://{client}"))
            .arg(format!("--listen-peer-urls=http://{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
            .arg(format!("--initial-cluster=default=http://{peer}")),
        &dir.join("etcd.log"),
    )
}

/// They make garbage collection, StatefulSets' pods and the end of namespaces real.
fn start_controllers(tools: &Tools, dir: &Path, kubeconfig: &Path, pki: &Pki) -> Process {
    Process::start(
        tools
            .kubernetes("kube-controller-manager")
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!(
                "--service-account-private-key-file={}",
                pki.file("sa.key").display()
            ))
            .arg(format!("--root-ca-file={}", pki.file("ca.crt").display()))
            .arg("--use-service-account-credentials=true")
            .arg("--leader-elect=false")
            .arg("--secure-port=0"),
        &dir.join("controllers.log"),
    )
}
