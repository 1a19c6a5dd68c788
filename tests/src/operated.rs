//! Operator and broker as processes around a real API server: what the operator's pods would run, without pods.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use taffrail_xtask::workspace_root;

use crate::{
    kube_api::KubeApi,
    manifest, ports,
    process::Process,
    programs::{self, Answer},
    wait,
};

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
    controller: SocketAddr,
    api: KubeApi,
}

/// A broker beside it, configured by what the operator wrote into the ConfigMap.
#[derive(Debug)]
pub struct Broker {
    process: Process,
    config: PathBuf,
    log: PathBuf,
    name: String,
    address: SocketAddr,
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
        let api = KubeApi::start();
        let chart = workspace_root().join("charts/taffrail");
        api.helm(&[
            "install",
            "taffrail",
            &chart.to_string_lossy(),
            "--namespace",
            NAMESPACE,
        ])
        .expect_success();
        api.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--all",
            "crd",
            "--timeout=30s",
        ])
        .expect_success();
        let kubeconfig = service_account(&api, "taffrail-operator");
        let controller = ports::free();
        let operator = start_operator(&api, &kubeconfig, controller, FIRST);
        Self {
            operator,
            kubeconfig,
            controller,
            api,
        }
    }

    /// The API server.
    pub fn api(&self) -> &KubeApi {
        &self.api
    }

    /// What the operator logged, over all its runs.
    pub fn operator_said(&self) -> String {
        self.operator.said()
    }

    /// kill -9 of the operator.
    pub fn kill_operator(&mut self) {
        self.operator.kill();
    }

    /// Starts it again.
    pub fn restart_operator(&mut self) {
        self.operator = start_operator(&self.api, &self.kubeconfig, self.controller, FIRST);
    }

    /// Starts another one in its place, which has to wait for the end of the Lease of the first.
    pub fn replace_operator(&mut self) {
        self.operator = start_operator(&self.api, &self.kubeconfig, self.controller, SECOND);
    }

    /// Starts the broker `<cluster>-0`, once the operator has written its configuration.
    ///
    /// # Panics
    /// If the operator does not.
    pub fn start_broker(&self, cluster: &str) -> Broker {
        let config_map = format!("configmap/{cluster}-brokers");
        let toml = wait::until("the brokers' configuration", wait::PATIENCE, || {
            let read = [
                "get",
                &config_map,
                "--output",
                r"jsonpath={.data.broker\.toml}",
            ];
            let answer = self.api.kubectl(&read);
            (answer.code == Some(0)).then_some(answer.stdout)
        });
        let dir = self.api.dir();
        let name = format!("{cluster}-0");
        let address = ports::free();
        let data_dir = dir.path().join(&name);
        let settings = [
            ("data_dir", data_dir.display().to_string()),
            ("client_listen", address.to_string()),
            ("http_listen", ports::free().to_string()),
        ];
        let config = dir.write(&format!("{name}.toml"), &with_settings(&toml, &settings));
        let log = dir.path().join(format!("{name}.log"));
        Broker {
            process: spawn_broker(&config, &name, &log),
            config,
            log,
            name,
            address,
        }
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

impl Broker {
    /// The command line tool, told where this broker is.
    pub fn taffrail(&self, args: &[&str]) -> Answer {
        programs::answer(
            Command::new(programs::path("taffrail"))
                .env("TAFFRAIL_SERVER", self.address.to_string())
                .args(args),
        )
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it logged, over all its runs.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// kill -9, and starts again on the same data and address.
    pub fn kill_and_restart(&mut self) {
        self.process.kill();
        self.process = spawn_broker(&self.config, &self.name, &self.log);
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

fn start_operator(
    api: &KubeApi,
    kubeconfig: &Path,
    controller: SocketAddr,
    identity: &str,
) -> Process {
    Process::start(
        Command::new(programs::path("taffrail-operator"))
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAMESPACE", NAMESPACE)
            .env("POD_NAME", identity)
            .arg(format!("--controller-listen={controller}"))
            .arg(format!("--controller-address={controller}"))
            .arg(format!("--http-listen={}", ports::free()))
            .arg("--log-format=text"),
        &api.dir().path().join("operator.log"),
    )
}

fn spawn_broker(config: &Path, name: &str, log: &Path) -> Process {
    Process::start(
        Command::new(programs::path("taffrail-broker"))
            .env("TAFFRAIL_BROKER_NAME", name)
            .arg("--config")
            .arg(config),
        log,
    )
}

/// The same TOML with other values for these keys: those that say where in a pod things are.
fn with_settings(toml: &str, settings: &[(&str, String)]) -> String {
    let mut lines: Vec<String> = settings
        .iter()
        .map(|(key, value)| format!("{key} = {value:?}"))
        .collect();
    let replaced = |line: &str| {
        settings.iter().any(|(key, _)| {
            line.split('=')
                .next()
                .is_some_and(|found| found.trim() == *key)
        })
    };
    lines.extend(
        toml.lines()
            .filter(|line| !replaced(line))
            .map(str::to_owned),
    );
    lines.join("\n") + "\n"
}
