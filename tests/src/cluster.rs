//! A controller or operator and three brokers, each a process, and what can befall them.

mod broker;
pub mod compacted;
mod control;
mod metadata;
mod replicas;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, ExitStatus},
};

use taffrail_client::{Client, ClientConfig};

use crate::{
    http, manifest,
    network::{End, Network},
    operated::Operated,
    process::Process,
    programs::{self, Answer},
    scratch::Scratch,
    wait,
};

use broker::{Broker, Settings};
use control::Control;
pub use metadata::Metadata;

/// How many brokers there are, unless there is a spare one; their index is the number in their name.
pub const BROKERS: usize = 3;

/// The BrokerCluster's name under an operator: pods of it would be called as brokers are here.
const RESOURCE: &str = "broker";

/// What brokers are told without an operator, in the folder of all of them.
const SETTINGS_FILE: &str = "brokers.toml";

/// The processes, killed at the latest when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    control: Control,
    brokers: Vec<Broker>,
    network: Network,
    scratch: Scratch,
}

/// What a cluster is made of.
struct Shape {
    count: usize,
    network: Network,
    last_disk: Option<u32>,
    settings: &'static str,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            count: BROKERS,
            network: Network::absent(),
            last_disk: None,
            settings: "",
        }
    }
}

impl Cluster {
    /// Starts all of it, and waits until every broker has registered.
    ///
    /// # Panics
    /// If one does not.
    pub async fn start(name: &str) -> Self {
        Self::start_over(name, Shape::default()).await
    }

    /// The same with these settings of every broker, as in its file.
    ///
    /// # Panics
    /// If a broker does not register.
    pub async fn start_with(name: &str, settings: &'static str) -> Self {
        let shape = Shape {
            settings,
            ..Shape::default()
        };
        Self::start_over(name, shape).await
    }

    /// The same with one broker more than topics have replicas.
    ///
    /// # Panics
    /// If a broker does not register.
    pub async fn start_with_a_spare(name: &str) -> Self {
        let shape = Shape {
            count: BROKERS + 1,
            ..Shape::default()
        };
        Self::start_over(name, shape).await
    }

    /// The same where the last broker's disk has this size. What is on it does not survive the process.
    ///
    /// # Panics
    /// If a broker does not register.
    pub async fn start_with_a_small_disk(name: &str, mebibytes: u32) -> Self {
        let shape = Shape {
            last_disk: Some(mebibytes),
            ..Shape::default()
        };
        Self::start_over(name, shape).await
    }

    /// The same over a network that can be cut, between brokers and to the controller.
    ///
    /// # Panics
    /// If a broker does not register.
    pub async fn start_with_network(name: &str) -> Self {
        let shape = Shape {
            network: Network::present(),
            ..Shape::default()
        };
        Self::start_over(name, shape).await
    }

    /// As [`Self::start_with_network`] where no namespace can be made. A broker that is dead then looks silent rather than gone to the others.
    ///
    /// # Panics
    /// If a broker does not register.
    pub async fn start_with_proxies(name: &str) -> Self {
        let shape = Shape {
            network: Network::of_proxies(),
            ..Shape::default()
        };
        Self::start_over(name, shape).await
    }

    /// So many brokers, and an operator around a real API server, where nothing runs the pods.
    ///
    /// # Panics
    /// If a broker does not register.
    pub async fn start_operated(name: &str, brokers: usize) -> Self {
        let operated = Operated::start();
        let manifest = manifest::cluster(RESOURCE, brokers);
        operated.api().apply(&manifest, &[]).expect_success();
        let shape = Shape {
            count: brokers,
            ..Shape::default()
        };
        let control = Control::Operated(Box::new(operated));
        Self::start_under(control, Scratch::new(name), shape).await
    }

    async fn start_over(name: &str, shape: Shape) -> Self {
        let scratch = Scratch::new(name);
        let control = Control::over_files(scratch.path(), shape.count, &shape.network);
        Self::start_under(control, scratch, shape).await
    }

    async fn start_under(control: Control, scratch: Scratch, shape: Shape) -> Self {
        let Shape {
            count,
            network,
            last_disk,
            settings,
        } = shape;
        let config = control
            .broker_config()
            .unwrap_or_else(|| scratch.write(SETTINGS_FILE, settings));
        let mut controllers = Vec::new();
        for address in control.addresses() {
            controllers.push(network.gate(End::Controller, address).await);
        }
        let mut brokers = Vec::new();
        for index in 0..count {
            let replication = network.free_address(index);
            let settings = Settings {
                name: Broker::name(index),
                index,
                folder: scratch.path().to_owned(),
                client: network.free_address(index),
                http: network.free_address(index),
                replication,
                advertised: network.gate(index, replication).await,
                controllers: controllers.clone(),
                config: config.clone(),
                disk_mebibytes: last_disk.filter(|_| index == count - 1),
                disk_copied: None,
            };
            brokers.push(Broker::start(settings, &network));
        }
        let cluster = Self {
            control,
            brokers,
            network,
            scratch,
        };
        cluster.tell_network();
        for index in 0..count {
            cluster.until_online(index).await;
        }
        cluster
    }

    /// The network between brokers and to the controller.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Every broker's address for clients, with commas between.
    pub fn addresses(&self) -> String {
        let addresses = self.brokers.iter().map(|b| b.client().to_string());
        addresses.collect::<Vec<_>>().join(",")
    }

    /// A client that knows every broker's address.
    ///
    /// # Panics
    /// If none of them answers.
    pub async fn client(&self) -> Client {
        let bootstrap = self.brokers.iter().map(|b| b.client().to_string());
        Client::connect(ClientConfig {
            bootstrap: bootstrap.collect(),
            ..ClientConfig::default()
        })
        .await
        .expect("the cluster serves")
    }

    /// Where clients reach this broker.
    pub fn address(&self, index: usize) -> SocketAddr {
        self.brokers[index].client()
    }

    /// Makes a topic with these fields of its spec, and waits until it is ready.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn create(&self, topic: &str, spec: &[&str]) {
        let manifest = manifest::topic(topic, spec);
        if let Control::Operated(operated) = &self.control {
            return operated.apply_and_wait(&manifest, &format!("topic/{topic}"));
        }
        let file = self.scratch.write(&format!("{topic}.yaml"), &manifest);
        self.taffrail(&["apply", "-f", &file.to_string_lossy()])
            .expect_success();
    }

    /// The command line tool, told where the first broker is that can answer.
    ///
    /// # Panics
    /// If none can.
    pub fn taffrail(&self, args: &[&str]) -> Answer {
        let mut brokers = self.brokers.iter();
        let asked = brokers.find(|broker| !broker.is_ended && !broker.is_still);
        let asked = asked.expect("a broker runs").client();
        programs::answer(
            Command::new(programs::path("taffrail"))
                .env("TAFFRAIL_SERVER", asked.to_string())
                .args(args),
        )
    }

    /// What the controller knows.
    pub fn metadata(&self) -> Metadata {
        let addresses = self.control.addresses();
        Metadata::of([0, 1].map(|index| addresses.get(index).copied()))
    }

    /// Waits until the run of this broker that lives now has registered.
    ///
    /// # Panics
    /// If it does not.
    pub async fn until_online(&self, index: usize) {
        let (name, pid) = (Broker::name(index), self.brokers[index].id());
        wait::until_async(
            &format!("registration of {name}"),
            wait::PATIENCE,
            || async {
                let brokers = self.metadata().brokers().await?;
                let mut found = brokers.iter().filter(|b| b.name == name);
                found
                    .any(|b| b.process_id == pid && b.state == "ONLINE")
                    .then_some(())
            },
        )
        .await;
    }

    /// kill -9.
    pub fn kill(&mut self, index: usize) {
        self.brokers[index].is_ended = true;
        self.brokers[index].process.kill();
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self, index: usize) -> ExitStatus {
        self.brokers[index].is_ended = true;
        self.brokers[index].process.terminate(wait::PATIENCE)
    }

    /// SIGTERM to all at the same time, and how each ended.
    ///
    /// # Panics
    /// If one does not end.
    pub fn stop_all(&mut self) -> Vec<ExitStatus> {
        for broker in &mut self.brokers {
            broker.is_ended = true;
            broker.process.ask_to_end();
        }
        let brokers = self.brokers.iter_mut();
        brokers
            .map(|broker| broker.process.wait(wait::PATIENCE))
            .collect()
    }

    /// Starts it again on the volume that is there, at the same addresses.
    ///
    /// # Panics
    /// If it still runs.
    pub fn restart(&mut self, index: usize) {
        self.brokers[index].restart(&self.network);
        self.tell_network();
    }

    /// Starts it again on a copy of its volume, on a disk of this size that is full. What is on it does not survive the process.
    ///
    /// # Panics
    /// If it still runs.
    pub fn restart_on_a_full_disk(&mut self, index: usize, mebibytes: u32) {
        self.brokers[index].restart_on_a_full_disk(mebibytes, &self.network);
        self.tell_network();
    }

    /// Starts another process as this broker, at other addresses, on a volume that was put into this folder under the broker's name. Gives its index.
    pub fn start_double(&mut self, index: usize, folder: PathBuf) -> usize {
        let double = self.brokers[index].start_double(folder, &self.network);
        self.brokers.push(double);
        self.tell_network();
        self.brokers.len() - 1
    }

    /// It stands still, connections and all.
    pub fn stand_still(&mut self, index: usize) {
        self.brokers[index].is_still = true;
        self.brokers[index].process.stand_still();
    }

    /// It goes on as if nothing had been.
    pub fn go_on(&mut self, index: usize) {
        self.brokers[index].process.go_on();
        self.brokers[index].is_still = false;
    }

    /// kill -9 of the controller, or of the operator that it is in.
    pub fn kill_controller(&mut self) {
        self.control.kill();
    }

    /// The controller stands still, connections and all.
    pub fn controller_stands_still(&mut self) {
        self.control.process().stand_still();
    }

    /// Starts the controller again.
    pub fn restart_controller(&mut self) {
        self.control.restart(&self.network);
    }

    /// The operator and its API server.
    ///
    /// # Panics
    /// If a controller over files decides.
    pub fn operated(&mut self) -> &mut Operated {
        match &mut self.control {
            Control::Operated(operated) => operated,
            Control::Files(_) => panic!("start the cluster with an operator"),
        }
    }

    /// What a broker's metrics say.
    pub fn metrics(&self, index: usize) -> String {
        http::request(self.brokers[index].http(), "GET", "/metrics", "").body
    }

    /// A broker's volume, as the broker sees it.
    pub fn volume(&self, index: usize) -> PathBuf {
        self.brokers[index].volume()
    }

    /// A place for a copy of a volume.
    pub fn aside(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Checks that no process has ended by itself. The controller has to be running.
    ///
    /// # Panics
    /// If one has.
    pub fn check_alive(&mut self) {
        let mut processes: Vec<_> = self
            .brokers
            .iter_mut()
            .filter(|broker| !broker.is_ended)
            .map(|broker| &mut broker.process)
            .collect();
        processes.push(self.control.process());
        let ended: Vec<_> = processes.into_iter().map(Process::ended).collect();
        let running = ended.iter().all(Option::is_none);
        assert!(running, "brokers and controller ended like this: {ended:?}");
    }

    /// What a broker logged, over all its runs.
    pub fn said(&self, index: usize) -> String {
        self.brokers[index].process.said()
    }

    /// Connections are told apart by the process that opened them.
    fn tell_network(&self) {
        let pids = self.brokers.iter().map(Broker::id).collect();
        self.network.set_pids(pids);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for broker in &mut self.brokers {
                if let Some(status) = broker.process.ended() {
                    eprintln!("{} has ended: {status}", broker.title());
                }
            }
        }
    }
}
