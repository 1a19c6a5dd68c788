//! A broker that keeps no data: it registers, leads what it is told to lead, and confirms deletes.

use std::collections::BTreeMap;

use taffrail_api::v1::{
    self, BrokerMessage, ControllerMessage, MetadataUpdate, broker_message,
    controller_client::ControllerClient, controller_message::Message,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::DEADLINE;

/// A volume: what survives its processes.
#[derive(Debug, Clone)]
pub(crate) struct Volume {
    pub(crate) uuid: [u8; 16],
    pub(crate) name: String,
    /// Empty: none.
    pub(crate) rack: String,
    pub(crate) cluster_id: String,
    pub(crate) generation: u64,
    pub(crate) number: Option<u32>,
    pub(crate) stamp: Option<v1::ControllerStamp>,
    pub(crate) stored: BTreeMap<(Vec<u8>, u32), v1::StoredPartition>,
    /// What it says of groups with each heartbeat.
    pub(crate) groups: Vec<v1::GroupReport>,
}

impl Volume {
    pub(crate) fn new(id: u8) -> Self {
        Self {
            uuid: [id; 16],
            name: format!("main-{id}"),
            rack: String::new(),
            cluster_id: String::new(),
            generation: 0,
            number: None,
            stamp: None,
            stored: BTreeMap::new(),
            groups: Vec::new(),
        }
    }

    /// What its next process registers with.
    pub(crate) fn register(&self) -> v1::Register {
        v1::Register {
            cluster_id: self.cluster_id.clone(),
            broker_uuid: self.uuid.to_vec().into(),
            candidates: vec![self.incarnation()],
            name: self.name.clone(),
            rack: self.rack.clone(),
            client_endpoint: Some(v1::Endpoint {
                host: "127.0.0.1".to_owned(),
                port: 9640,
            }),
            versions: Some(v1::VersionRange { min: 1, max: 1 }),
            software_version: "0.1.0".to_owned(),
            process_id: 7,
            highest_stamp: self.stamp,
            stored: self.stored.values().cloned().collect(),
            broker_number: self.number,
            ..v1::Register::default()
        }
    }

    fn incarnation(&self) -> v1::Incarnation {
        v1::Incarnation {
            generation: self.generation,
            random: self.generation ^ u64::from(self.uuid[0]),
        }
    }
}

/// What a running broker was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) registered: Option<v1::Registered>,
    pub(crate) updates: Vec<MetadataUpdate>,
    /// The session is over; `last` came just before.
    pub(crate) is_ended: bool,
    pub(crate) last: Option<ControllerMessage>,
}

/// A running broker.
pub(crate) struct FakeBroker {
    pub(crate) seen: watch::Receiver<Seen>,
    task: JoinHandle<Volume>,
    stop: mpsc::Sender<()>,
}

impl FakeBroker {
    /// The next process on `volume`.
    pub(crate) fn start(address: &str, mut volume: Volume) -> Self {
        volume.generation += 1;
        Self::resume(address, volume)
    }

    /// The same process, with a new session.
    pub(crate) fn resume(address: &str, volume: Volume) -> Self {
        let (seen, seen_by) = watch::channel(Seen::default());
        let (stop, stopped) = mpsc::channel(1);
        let task = tokio::spawn(run(format!("http://{address}"), volume, seen, stopped));
        Self {
            seen: seen_by,
            task,
            stop,
        }
    }

    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Seen) -> bool) -> Seen {
        let seen = timeout(DEADLINE, self.seen.wait_for(holds)).await;
        let seen = seen.unwrap_or_else(|_| panic!("never: {what}"));
        seen.expect("the broker runs").clone()
    }

    pub(crate) async fn registered(&mut self) -> v1::Registered {
        let seen = self
            .until("registered", |seen| seen.registered.is_some())
            .await;
        seen.registered.expect("just seen")
    }

    /// How the session was ended by the controller.
    pub(crate) async fn ended(&mut self) -> Option<Message> {
        let seen = self.until("the session ended", |seen| seen.is_ended).await;
        seen.last.and_then(|last| last.message)
    }

    /// The message that ended the session, or `None` once it is registered.
    pub(crate) async fn ended_or_registered(&mut self) -> Option<Message> {
        let either = |seen: &Seen| seen.is_ended || seen.registered.is_some();
        let seen = self.until("ended or registered", either).await;
        seen.last.and_then(|last| last.message)
    }

    /// Ends the process; its volume stays.
    pub(crate) async fn stop(self) -> Volume {
        drop(self.stop);
        self.task.await.expect("no panic")
    }
}

async fn run(
    address: String,
    mut volume: Volume,
    seen: watch::Sender<Seen>,
    mut stopped: mpsc::Receiver<()>,
) -> Volume {
    let mut client = ControllerClient::connect(address).await.expect("reachable");
    let (up, requests) = mpsc::channel(64);
    let register = broker_message::Message::Register(volume.register());
    up.send(message(register)).await.expect("open");
    let session = client.session(ReceiverStream::new(requests)).await;
    let mut down = session.expect("a session").into_inner();
    let mut last = None;
    loop {
        let next = tokio::select! {
            next = down.message() => next,
            _ = stopped.recv() => return volume,
        };
        let Ok(Some(next)) = next else { break };
        match next.message.clone() {
            Some(Message::Registered(registered)) => {
                volume.cluster_id.clone_from(&registered.cluster_id);
                volume.number = Some(registered.broker_number);
                seen.send_modify(|seen| seen.registered = Some(registered));
            }
            Some(Message::Update(update)) => {
                for answer in volume.obey(&update) {
                    // An error means that the session ended.
                    let _ = up.send(message(answer)).await;
                }
                seen.send_modify(|seen| seen.updates.push(update));
            }
            _ => {}
        }
        last = Some(next);
    }
    seen.send_modify(|seen| (seen.is_ended, seen.last) = (true, last));
    let _ = stopped.recv().await;
    volume
}

impl Volume {
    /// Stores what it is told and answers with a heartbeat and confirmations.
    fn obey(&mut self, update: &MetadataUpdate) -> Vec<broker_message::Message> {
        assert!(
            key(self.stamp.as_ref()) < key(update.stamp.as_ref()),
            "stamps grow: {:?}, then {:?}",
            self.stamp,
            update.stamp
        );
        self.stamp = update.stamp;
        let mut answers = Vec::new();
        let mut reports = Vec::new();
        for record in &update.partitions {
            let assignment = record.assignment.clone().expect("every record has one");
            if !assignment
                .replicas
                .contains(&self.number.expect("registered"))
            {
                continue;
            }
            reports.push(v1::PartitionReport {
                topic_id: record.topic_id.clone(),
                partition: record.partition,
                leader_epoch: assignment.leader_epoch,
                bytes: 100,
                leading: assignment.leader == self.number
                    && assignment.leader_incarnation == Some(self.incarnation()),
                ..v1::PartitionReport::default()
            });
            let stored = v1::StoredPartition {
                topic_id: record.topic_id.clone(),
                partition: record.partition,
                topic_name: "stored".to_owned(),
                last_epoch: assignment.leader_epoch,
                assignment: Some(assignment),
                ..v1::StoredPartition::default()
            };
            self.stored
                .insert((record.topic_id.to_vec(), record.partition), stored);
        }
        for order in &update.deletes {
            self.stored
                .remove(&(order.topic_id.to_vec(), order.partition));
            answers.push(broker_message::Message::DeleteDone(v1::DeleteDone {
                topic_id: order.topic_id.clone(),
                partition: order.partition,
                partition_epoch: order.partition_epoch,
            }));
        }
        answers.push(broker_message::Message::Heartbeat(v1::Heartbeat {
            incarnation: Some(self.incarnation()),
            applied: self.stamp,
            disk_total_bytes: 1 << 40,
            disk_free_bytes: 1 << 39,
            partitions: reports,
            disk_full: false,
            doubts: Vec::new(),
            groups: self.groups.clone(),
            ..v1::Heartbeat::default()
        }));
        answers
    }
}

fn key(stamp: Option<&v1::ControllerStamp>) -> (u64, u64) {
    stamp.map_or((0, 0), |s| (s.controller_epoch, s.sequence))
}

fn message(message: broker_message::Message) -> BrokerMessage {
    BrokerMessage {
        message: Some(message),
    }
}
