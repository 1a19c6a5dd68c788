//! A broker as a process, configured by the operator.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    kube_api::KubeApi,
    ports,
    process::Process,
    programs::{self, Answer},
    wait,
};

/// A broker beside it, configured by what the operator wrote into the ConfigMap.
#[derive(Debug)]
pub struct Broker {
    process: Process,
    config: PathBuf,
    log: PathBuf,
    name: String,
    address: SocketAddr,
}

impl Broker {
    /// Starts the broker `<cluster>-0`, once the operator has written its configuration.
    ///
    /// # Panics
    /// If the operator does not.
    pub(super) fn start(api: &KubeApi, cluster: &str) -> Self {
        let toml = config(api, cluster);
        let dir = api.dir();
        let name = format!("{cluster}-0");
        let address = ports::free();
        let data_dir = dir.path().join(&name);
        let settings = [
            ("data_dir", data_dir.display().to_string()),
            ("client_listen", address.to_string()),
            ("replication_listen", ports::free().to_string()),
            ("http_listen", ports::free().to_string()),
        ];
        let config = dir.write(&format!("{name}.toml"), &with_settings(&toml, &settings));
        let log = dir.path().join(format!("{name}.log"));
        Self {
            process: spawn_broker(&config, &name, &log),
            config,
            log,
            name,
            address,
        }
    }

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

/// The brokers' TOML, once the operator has written it.
pub(super) fn config(api: &KubeApi, cluster: &str) -> String {
    let config_map = format!("configmap/{cluster}-brokers");
    let path = r"jsonpath={.data.broker\.toml}";
    wait::until("the brokers' configuration", wait::PATIENCE, || {
        let answer = api.kubectl(&["get", &config_map, "--output", path]);
        (answer.code == Some(0)).then_some(answer.stdout)
    })
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
