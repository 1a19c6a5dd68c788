//! A controller that says what a test wants it to say, over the real protocol.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use taffrail_api::v1::{
    self, BrokerMessage, ControllerMessage, MetadataUpdate, broker_message, controller_message,
    controller_server::{Controller, ControllerServer},
};
use taffrail_core::{TopicConfig, TopicDefaults, TopicId, TopicSpec};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, async_trait};

/// The cluster of all tests but those about foreign ones.
pub(crate) const CLUSTER: &str = "11111111-1111-4111-8111-111111111111";

/// Stops when dropped.
#[derive(Debug)]
pub(crate) struct FakeController {
    pub(crate) addr: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    cluster_id: String,
    epoch: u64,
    sequence: u64,
    refusal: Option<v1::Error>,
    registrations: Vec<v1::Register>,
    brokers: BTreeMap<u32, v1::BrokerRecord>,
    topics: HashMap<TopicId, Topic>,
    sessions: Vec<mpsc::Sender<Result<ControllerMessage, Status>>>,
    /// By broker and partition.
    reports: BTreeMap<(u32, Bytes, u32), v1::PartitionReport>,
    /// By group, the newest.
    groups: BTreeMap<String, v1::GroupReport>,
    heartbeats: u64,
    doubts: HashMap<u32, Vec<v1::PeerDoubt>>,
    deletes_done: Vec<v1::DeleteDone>,
    /// Brokers that said that they are about to stop.
    stopping: Vec<u32>,
    /// They hear nothing of it before somebody says so.
    is_slow_to_hand_over: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) config: TopicConfig,
    pub(crate) generation: u64,
    /// Leader of each partition.
    pub(crate) partitions: Vec<u32>,
    /// Of each partition; empty: the leader alone.
    pub(crate) replicas: Vec<u32>,
    /// The same.
    pub(crate) isr: Vec<u32>,
    pub(crate) leader_epoch: i32,
    pub(crate) partition_epoch: u64,
}

impl Topic {
    /// One partition for each broker number given.
    pub(crate) fn new(name: &str, partitions: &[u32]) -> Self {
        Self {
            name: name.to_owned(),
            config: TopicSpec::default()
                .effective(&TopicDefaults::default())
                .expect("defaults"),
            generation: 1,
            partitions: partitions.to_vec(),
            replicas: Vec::new(),
            isr: Vec::new(),
            leader_epoch: 1,
            partition_epoch: 1,
        }
    }
}

impl FakeController {
    pub(crate) async fn start() -> Self {
        Self::of_cluster(CLUSTER, 1).await
    }

    pub(crate) async fn of_cluster(cluster_id: &str, epoch: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State {
            cluster_id: cluster_id.to_owned(),
            epoch,
            ..State::default()
        }));
        let service = ControllerServer::new(Service(Arc::clone(&state)));
        let server = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .expect("serves");
        });
        Self {
            addr,
            state,
            server,
        }
    }

    /// Refuses every registration from now on.
    pub(crate) fn refuse(&self, error: v1::Error) {
        self.state().refusal = Some(error);
    }

    /// Creates or changes a topic, and tells every broker.
    pub(crate) fn put(&self, id: TopicId, topic: Topic) {
        self.state().topics.insert(id, topic);
        self.tell(Vec::new());
    }

    /// Tells every broker what is here, changed.
    pub(crate) fn say(&self, change: impl FnOnce(&mut MetadataUpdate)) {
        let mut state = self.state();
        let mut update = state.next_update();
        change(&mut update);
        state.send(&update);
    }

    /// The topic is no longer in the map.
    pub(crate) fn forget(&self, id: TopicId) {
        self.state().topics.remove(&id);
        self.tell(Vec::new());
    }

    /// Orders the deletion of a replica.
    pub(crate) fn order_delete(&self, id: TopicId, partition: u32, partition_epoch: u64) {
        self.tell(vec![v1::DeleteOrder {
            topic_id: bytes_of(id),
            partition,
            partition_epoch,
        }]);
    }

    /// A broker that is none of the real ones.
    pub(crate) fn add_broker(&self, broker: v1::BrokerRecord) {
        self.state().brokers.insert(broker.number, broker);
        self.tell(Vec::new());
    }

    /// What the newest heartbeat of a broker says that it cannot hear.
    pub(crate) fn doubts(&self, broker: u32) -> Vec<v1::PeerDoubt> {
        self.state()
            .doubts
            .get(&broker)
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn registrations(&self) -> Vec<v1::Register> {
        self.state().registrations.clone()
    }

    /// The leader's newest report, or that of another replica if none leads.
    pub(crate) fn report(&self, id: TopicId, partition: u32) -> Option<v1::PartitionReport> {
        let (state, topic) = (self.state(), bytes_of(id));
        let reports = state.reports.iter();
        let of = reports.filter(|((_, t, p), _)| (t, *p) == (&topic, partition));
        of.map(|(_, report)| report)
            .max_by_key(|report| (report.leading, report.leader_epoch))
            .cloned()
    }

    /// A broker's newest report.
    pub(crate) fn report_of(
        &self,
        broker: u32,
        id: TopicId,
        partition: u32,
    ) -> Option<v1::PartitionReport> {
        let key = (broker, bytes_of(id), partition);
        self.state().reports.get(&key).cloned()
    }

    /// The newest report of a group.
    pub(crate) fn group(&self, name: &str) -> Option<v1::GroupReport> {
        self.state().groups.get(name).cloned()
    }

    /// Forgets what was reported of groups.
    pub(crate) fn forget_reports(&self) {
        self.state().groups.clear();
    }

    /// Brokers have to register again.
    pub(crate) fn end_sessions(&self) {
        self.state().sessions.clear();
    }

    pub(crate) fn heartbeats(&self) -> u64 {
        self.state().heartbeats
    }

    pub(crate) fn deletes_done(&self) -> Vec<v1::DeleteDone> {
        self.state().deletes_done.clone()
    }

    /// Brokers that said that they are about to stop.
    pub(crate) fn stopping(&self) -> Vec<u32> {
        self.state().stopping.clone()
    }

    /// From now on it finds no other leaders by itself.
    pub(crate) fn be_slow_to_hand_over(&self) {
        self.state().is_slow_to_hand_over = true;
    }

    /// Tells every broker that others lead what it led.
    pub(crate) fn hand_over(&self) {
        self.state().hand_over();
    }

    fn tell(&self, deletes: Vec<v1::DeleteOrder>) {
        let mut state = self.state();
        let update = MetadataUpdate {
            deletes,
            ..state.next_update()
        };
        state.send(&update);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }
}

impl Drop for FakeController {
    fn drop(&mut self) {
        self.server.abort();
        self.state().sessions.clear();
    }
}

impl State {
    fn next_update(&mut self) -> MetadataUpdate {
        self.sequence += 1;
        let mut update = MetadataUpdate {
            stamp: Some(self.stamp()),
            full: true,
            cluster_id: self.cluster_id.clone(),
            brokers: self.brokers.values().cloned().collect(),
            ..MetadataUpdate::default()
        };
        for (id, topic) in &self.topics {
            update.topics.push(v1::TopicRecord {
                topic_id: bytes_of(*id),
                name: topic.name.clone(),
                config: Some((&topic.config).into()),
                generation: topic.generation,
            });
            let or_alone = |of: &[u32], leader| match of {
                [] => vec![leader],
                of => of.to_vec(),
            };
            for (partition, broker) in topic.partitions.iter().enumerate() {
                update.partitions.push(v1::PartitionRecord {
                    topic_id: bytes_of(*id),
                    partition: partition as u32,
                    assignment: Some(v1::Assignment {
                        replicas: or_alone(&topic.replicas, *broker),
                        isr: or_alone(&topic.isr, *broker),
                        leader: Some(*broker),
                        leader_incarnation: self.brokers.get(broker).and_then(|b| b.incarnation),
                        leader_epoch: topic.leader_epoch,
                        partition_epoch: topic.partition_epoch,
                        ..v1::Assignment::default()
                    }),
                });
            }
        }
        update
    }

    fn stamp(&self) -> v1::ControllerStamp {
        v1::ControllerStamp {
            controller_epoch: self.epoch,
            sequence: self.sequence,
        }
    }

    fn send(&mut self, update: &MetadataUpdate) {
        let message = ControllerMessage {
            message: Some(controller_message::Message::Update(update.clone())),
        };
        self.sessions
            .retain(|s| s.try_send(Ok(message.clone())).is_ok());
    }

    fn hand_over(&self) {
        for session in &self.sessions {
            let done = v1::HandedOver { kept: 0 };
            let message = Some(controller_message::Message::HandedOver(done));
            // One that is over has nobody to hear it.
            let _ = session.try_send(Ok(ControllerMessage { message }));
        }
    }

    fn register(&mut self, register: &v1::Register) -> (u32, v1::Registered) {
        let known = self
            .brokers
            .values()
            .find(|b| b.uuid == register.broker_uuid);
        let number = known.map_or(self.brokers.len() as u32 + 1, |b| b.number);
        let incarnation = register.candidates.last().copied();
        self.brokers.insert(
            number,
            v1::BrokerRecord {
                number,
                uuid: register.broker_uuid.clone(),
                incarnation,
                name: register.name.clone(),
                client: register.client_endpoint.clone(),
                replication: register.replication_endpoint.clone(),
                alive: true,
                ..v1::BrokerRecord::default()
            },
        );
        self.registrations.push(register.clone());
        let registered = v1::Registered {
            cluster_id: self.cluster_id.clone(),
            broker_number: number,
            incarnation,
            version: 1,
            heartbeat_interval_ms: 50,
            stamp: Some(self.stamp()),
        };
        (number, registered)
    }

    fn hear(&mut self, from: u32, message: BrokerMessage) {
        match message.message {
            Some(broker_message::Message::Heartbeat(heartbeat)) => {
                self.heartbeats += 1;
                self.doubts.insert(from, heartbeat.doubts);
                let groups = heartbeat.groups.into_iter();
                self.groups.extend(groups.map(|g| (g.group.clone(), g)));
                for report in heartbeat.partitions {
                    let key = (from, report.topic_id.clone(), report.partition);
                    self.reports.insert(key, report);
                }
            }
            Some(broker_message::Message::DeleteDone(done)) => self.deletes_done.push(done),
            Some(broker_message::Message::Stopping(_)) => {
                self.stopping.push(from);
                if !self.is_slow_to_hand_over {
                    self.hand_over();
                }
            }
            _ => {}
        }
    }
}

#[derive(Debug)]
struct Service(Arc<Mutex<State>>);

#[async_trait]
impl Controller for Service {
    type SessionStream = ReceiverStream<Result<ControllerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<BrokerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut incoming = request.into_inner();
        let first = incoming.message().await?.and_then(|m| m.message);
        let Some(broker_message::Message::Register(register)) = first else {
            return Err(Status::invalid_argument("register first"));
        };
        let (sender, receiver) = mpsc::channel(64);
        let say = |message| {
            let message = Some(message);
            assert!(
                sender.try_send(Ok(ControllerMessage { message })).is_ok(),
                "room"
            );
        };
        let from = {
            let mut state = self.0.lock().expect("not poisoned");
            if let Some(error) = state.refusal.clone() {
                let refused = v1::Refused { error: Some(error) };
                say(controller_message::Message::Refused(refused));
                return Ok(Response::new(ReceiverStream::new(receiver)));
            }
            let (number, registered) = state.register(&register);
            say(controller_message::Message::Registered(registered));
            state.sessions.push(sender);
            let update = state.next_update();
            state.send(&update);
            number
        };
        let state = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                state.lock().expect("not poisoned").hear(from, message);
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

pub(crate) fn bytes_of(id: TopicId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}
