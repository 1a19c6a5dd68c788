//! Operator and broker as processes around a real API server: what the operator's pods would run, without pods.

mod broker;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    http,
    kube_api::{self, KubeApi},
    manifest, ports,
    process::Process,
    programs, wait,
};

pub use broker::Broker;

/// Where everything is.
pub const NAMESPACE: &str = "default";
/// Operators as their Lease names them.
const FIRST: &str = "operator-0";
const SECOND: &str = "operator-1";

/// An API server with our chart's resources, and an operator that runs as its service account.
#[derive(Debug)]
pub struct Operated {
    operator: Process,
    kubeconfig: PathBuf,
    ports: Ports,
    /// Of the operator beside the first, if there is one.
    second_ports: Ports,
    api: KubeApi,
}

/// Where an operator listens.
#[derive(Debug, Clone, Copy)]
struct Ports {
    controller: SocketAddr,
    http: SocketAddr,
}

impl Ports {
    fn free() -> Self {
        Self {
            controller: ports::free(),
            http: ports::free(),
        }
    }
}

/// An operator, its cluster `main` of one broker, and that broker.
///
/// # Panics
/// As [`Operated::start`] and [`Operated::start_broker`].
pub fn start() -> (Operated, Broker) {
    let operated = Operated::start();
    operated
        .api()
        .apply(manifest::CLUSTER, &[])
        .expect_success();
    let broker = operated.start_broker("main");
    (operated, broker)
}

impl Operated {
    /// Installs the chart and starts the operator, with no more rights than the chart gives it.
    ///
    /// # Panics
    /// If the chart cannot be installed.
    pub fn start() -> Self {
        Self::start_with(KubeApi::start(), &[])
    }

    /// The same with more arguments for `helm install`, in an API server that may have been prepared for it.
    ///
    /// # Panics
    /// If the chart cannot be installed.
    pub fn start_with(api: KubeApi, values: &[&str]) -> Self {
        let chart = kube_api::chart();
        let install = ["install", "taffrail", &chart, "--namespace", NAMESPACE];
        api.helm(&[&install, values].concat()).expect_success();
        api.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--all",
            "crd",
            "--timeout=30s",
        ])
        .expect_success();
        let kubeconfig = service_account(&api, "taffrail-operator");
        let ports = Ports::free();
        let operator = start_operator(&api, &kubeconfig, ports, FIRST);
        Self {
            operator,
            kubeconfig,
            ports,
            second_ports: Ports::free(),
            api,
        }
    }

    /// What the operator's metrics say.
    pub fn metrics(&self) -> String {
        http::request(self.ports.http, "GET", "/metrics", "").body
    }

    /// Asks the operator to log by `directive` from now on.
    pub fn set_log_level(&self, directive: &str) -> http::Response {
        http::request(self.ports.http, "PUT", "/log-level", directive)
    }

    /// The operator stands still, as on a node that hangs.
    pub fn stop_operator(&self) {
        self.operator.stand_still();
    }

    /// It goes on as if nothing had been.
    pub fn continue_operator(&self) {
        self.operator.go_on();
    }

    /// Starts another operator beside the first, on ports of its own. It configures brokers as the first does: that is where they go on dialling.
    pub fn start_second_operator(&self) -> Process {
        let address = self.ports.controller;
        start_operator_at(
            &self.api,
            &self.kubeconfig,
            self.second_ports,
            address,
            SECOND,
        )
    }

    /// Where the first operator and the second one listen for brokers, whether they run or not.
    pub fn addresses(&self) -> [SocketAddr; 2] {
        [self.ports.controller, self.second_ports.controller]
    }

    /// The first operator's process.
    pub fn operator(&mut self) -> &mut Process {
        &mut self.operator
    }

    /// The API server.
    pub fn api(&self) -> &KubeApi {
        &self.api
    }

    /// The API server, to do something to it.
    pub fn api_mut(&mut self) -> &mut KubeApi {
        &mut self.api
    }

    /// What the operator logged, over all its runs.
    pub fn operator_said(&self) -> String {
        self.operator.said()
    }

    /// `helm upgrade` with these values. An operator that is started from now on runs with them.
    ///
    /// # Panics
    /// If Helm refuses.
    pub fn upgrade(&self, values: &[&str]) {
        let chart = kube_api::chart();
        let upgrade = ["upgrade", "taffrail", &chart, "--namespace", NAMESPACE];
        self.api.helm(&[&upgrade, values].concat()).expect_success();
    }

    /// kill -9 of the operator.
    pub fn kill_operator(&mut self) {
        self.operator.kill();
    }

    /// Starts it again.
    pub fn restart_operator(&mut self) {
        self.operator = start_operator(&self.api, &self.kubeconfig, self.ports, FIRST);
    }

    /// Starts another one in its place, which has to wait for the end of the Lease of the first.
    pub fn replace_operator(&mut self) {
        self.operator = start_operator(&self.api, &self.kubeconfig, self.ports, SECOND);
    }

    /// A file with the brokers' configuration as the operator wrote it, once it has.
    ///
    /// # Panics
    /// If the operator does not.
    pub fn write_broker_config(&self, cluster: &str) -> PathBuf {
        let toml = broker::config(&self.api, cluster);
        self.api.dir().write(&format!("{cluster}.toml"), &toml)
    }

    /// Starts the broker `<cluster>-0`, once the operator has written its configuration.
    ///
    /// # Panics
    /// If the operator does not.
    pub fn start_broker(&self, cluster: &str) -> Broker {
        Broker::start(&self.api, cluster)
    }

    /// Applies the manifest of the cluster `main` and waits until the operator has applied all that it consists of: the StatefulSet comes last.
    ///
    /// # Panics
    /// If the operator does not.
    pub fn apply_cluster(&self, manifest: &str) {
        self.api.apply(manifest, &[]).expect_success();
        wait::until("the StatefulSet", wait::PATIENCE, || {
            let found = self.api.kubectl(&["get", "statefulset", "main"]);
            (found.code == Some(0)).then_some(())
        });
    }

    /// Applies a manifest and waits until the resource is Ready.
    ///
    /// # Panics
    /// If it does not become so.
    #[track_caller]
    pub fn apply_and_wait(&self, manifest: &str, resource: &str) {
        self.api.apply(manifest, &[]).expect_success();
        self.wait_until_ready(resource);
    }

    /// Waits until the resource, as `topic/flights`, is Ready.
    ///
    /// # Panics
    /// If it does not become so; then with what the operator said.
    #[track_caller]
    pub fn wait_until_ready(&self, resource: &str) {
        let answer =
            self.api
                .kubectl(&["wait", "--for=condition=Ready", resource, "--timeout=60s"]);
        assert_eq!(
            answer.code,
            Some(0),
            "{}\n{}\n{}",
            answer.stderr,
            self.api
                .kubectl(&["get", resource, "--output", "yaml"])
                .stdout,
            self.operator_said()
        );
    }
}

/// A kubeconfig with a token of this service account.
fn service_account(api: &KubeApi, name: &str) -> PathBuf {
    let token = api
        .kubectl(&["create", "token", name, "--namespace", NAMESPACE])
        .expect_success();
    let authority = api.dir().path().join("pki/ca.crt");
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: k\n\
         clusters: [{{name: k, cluster: {{server: {}, certificate-authority: {}}}}}]\n\
         users: [{{name: operator, user: {{token: {}}}}}]\n\
         contexts: [{{name: k, context: {{cluster: k, user: operator, namespace: {NAMESPACE}}}}}]\n",
        api.server(),
        authority.display(),
        token.trim(),
    );
    api.dir().write("operator.kubeconfig", &config)
}

fn start_operator(api: &KubeApi, kubeconfig: &Path, ports: Ports, identity: &str) -> Process {
    start_operator_at(api, kubeconfig, ports, ports.controller, identity)
}

/// Starts what the chart's Deployment starts, with the arguments that it gives, but for those that say where in a pod things are. `address`: where
/// it tells brokers to dial.
fn start_operator_at(
    api: &KubeApi,
    kubeconfig: &Path,
    ports: Ports,
    address: SocketAddr,
    identity: &str,
) -> Process {
    let ours = [
        format!("--controller-listen={}", ports.controller),
        format!("--controller-address={address}"),
        format!("--http-listen={}", ports.http),
        "--log-format=text".to_owned(),
    ];
    let flag = |argument: &str| argument.split('=').next().map(str::to_owned);
    let deployment = api.get(&["deployment", "taffrail-operator", "--namespace", NAMESPACE]);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let theirs = container["args"].as_array().expect("it has arguments");
    let theirs = theirs
        .iter()
        .map(|argument| argument.as_str().expect("text"));
    let kept = theirs.filter(|theirs| ours.iter().all(|ours| flag(ours) != flag(theirs)));
    Process::start(
        Command::new(programs::path("taffrail-operator"))
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAMESPACE", NAMESPACE)
            .env("POD_NAME", identity)
            .args(kept)
            .args(&ours),
        &api.dir().path().join(format!("{identity}.log")),
    )
}
