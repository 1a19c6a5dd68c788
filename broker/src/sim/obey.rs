//! The session with the controller, and obeying its updates: what `cluster/session.rs` and `cluster/apply.rs` do.

use std::sync::Arc;

use taffrail_api::{
    WireError, convert,
    v1::{self, broker_message::Message, controller_message},
};
use taffrail_core::{BrokerNumber, ClusterId, ErrorCode, PartitionEpoch, TopicPartition};
use taffrail_log::{LogError, PartitionIdentity, delete_dir, set_aside_dir};

use super::{
    Output, SimBroker,
    start::{partition_dir, quarantine_dir},
};
use crate::{
    cluster::{
        apply::{log_config, missing},
        create::make_log,
        known::Known,
        reports::Reported,
        session::{heartbeat, registration},
        view::{Topic, topic_id_bytes},
    },
    partition::{Fault, Partition, append::Removal, standing::Standing},
};

/// A session with a controller.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Once it was answered.
    pub(super) registered: Option<Registered>,
}

#[derive(Debug, Default)]
pub(super) struct Registered {
    reported: Reported,
    heartbeat_interval_ms: u64,
    beats_at_ms: u64,
}

impl SimBroker {
    pub(super) fn controller_opened(&mut self) {
        self.session = Some(Session::default());
        let known = Arc::clone(&self.known.borrow());
        let endpoint = v1::Endpoint {
            host: self.broker.config.name.clone(),
            port: 1,
        };
        let register = v1::Register {
            client_endpoint: Some(endpoint.clone()),
            replication_endpoint: Some(endpoint),
            process_id: 1,
            ..registration(&self.broker, &self.durable.identity, &known)
        };
        self.tell_controller(Message::Register(register));
    }

    pub(super) fn controller_says(&mut self, message: v1::ControllerMessage) {
        let Some(session) = &mut self.session else {
            return;
        };
        let is_registered = session.registered.is_some();
        let done = match message.message {
            Some(controller_message::Message::Registered(registered)) if !is_registered => {
                self.registered(&registered)
            }
            Some(controller_message::Message::Update(update)) if is_registered => {
                self.obey(&update)
            }
            Some(controller_message::Message::HandedOver(_)) => {
                self.outputs.push(Output::HandedOver);
                Ok(())
            }
            Some(controller_message::Message::Refused(refused)) => {
                let error: WireError = refused.error.unwrap_or_default().into();
                if !is_registered && !error.retriable {
                    self.outputs.push(Output::Fatal(error.clone()));
                }
                Err(error)
            }
            Some(controller_message::Message::NotActive(_)) => Err(WireError::new(
                ErrorCode::NotActive,
                "the controller is a standby",
            )),
            _ if is_registered => Ok(()),
            _ => Err(WireError::invalid("an answer that is none")),
        };
        if done.is_err() {
            self.session = None;
            self.outputs.push(Output::HangUpController);
        }
    }

    fn registered(&mut self, registered: &v1::Registered) -> Result<(), WireError> {
        let cluster: ClusterId = registered
            .cluster_id
            .parse()
            .map_err(|e| WireError::invalid(format!("the controller's cluster id: {e}")))?;
        if let Some(ours) = self.durable.identity.cluster.filter(|c| *c != cluster) {
            let error = WireError::new(
                ErrorCode::ForeignCluster,
                format!("the volume belongs to cluster {ours}"),
            );
            self.outputs.push(Output::Fatal(error.clone()));
            return Err(error);
        }
        self.durable.identity.take_in(cluster);
        let number = BrokerNumber(registered.broker_number);
        self.broker.membership.set_number(number);
        self.broker.disk.confirm_again();
        self.session = Some(Session {
            registered: Some(Registered {
                reported: Reported::default(),
                heartbeat_interval_ms: u64::from(registered.heartbeat_interval_ms),
                beats_at_ms: 0,
            }),
        });
        self.beat(false);
        Ok(())
    }

    /// A heartbeat, if it is due or there is something to say `now`.
    pub(super) fn beat(&mut self, now: bool) {
        let now_ms = self.now_ms();
        let session = self.session.as_mut().and_then(|s| s.registered.as_mut());
        let Some(session) = session.filter(|s| now || s.beats_at_ms <= now_ms) else {
            return;
        };
        if !now {
            session.beats_at_ms = now_ms + session.heartbeat_interval_ms;
        }
        let heartbeat = heartbeat(&self.broker, &mut session.reported);
        self.tell_controller(Message::Heartbeat(heartbeat));
    }

    /// What leaders here want of the controller.
    pub(super) fn ask_controller(&mut self) {
        let is_registered = self
            .session
            .as_ref()
            .is_some_and(|s| s.registered.is_some());
        if is_registered && let Some(requests) = self.broker.asks.take().into_wire() {
            self.tell_controller(Message::IsrRequests(requests));
        }
    }

    pub(super) fn stopping(&mut self) {
        let is_registered = self
            .session
            .as_ref()
            .is_some_and(|s| s.registered.is_some());
        if is_registered {
            self.tell_controller(Message::Stopping(v1::Stopping {}));
        } else {
            self.outputs.push(Output::HandedOver);
        }
    }

    fn tell_controller(&mut self, message: Message) {
        let message = v1::BrokerMessage {
            message: Some(message),
        };
        self.outputs.push(Output::ToController(Box::new(message)));
    }

    fn obey(&mut self, update: &v1::MetadataUpdate) -> Result<(), WireError> {
        let known = Arc::clone(&self.known.borrow());
        let stamp = known.check_stamp(update)?;
        let me = self.broker.membership.number().ok_or_else(|| {
            WireError::new(
                ErrorCode::Internal,
                "an update came before the registration",
            )
        })?;
        let mut next = known.after(update, me)?;
        let cluster = next.cluster()?;
        self.durable.known = next.clone();
        self.rebuilds.told();
        self.take_up(&next);
        self.outputs.push(Output::Obeyed);
        self.delete(update, &mut next)?;
        self.follow(&next);
        self.known.send_replace(Arc::new(next.clone()));
        self.broker.membership.set_applied(stamp);
        self.broker.membership.set_registered();
        self.create_missing(&next, cluster);
        self.broker.report_now.notify_one();
        Ok(())
    }

    /// What could not be made for want of room is tried again.
    pub(super) fn serve_again(&mut self) {
        let known = Arc::clone(&self.known.borrow());
        if let Ok(cluster) = known.cluster() {
            self.take_up(&known);
            self.create_missing(&known, cluster);
        }
    }

    fn take_up(&mut self, known: &Known) {
        let Some(me) = self.broker.membership.number() else {
            return;
        };
        self.set_unusable_aside(me, known);
        self.tell(me, known);
        self.broker.disk.registered(known.runs());
    }

    /// As `cluster/create.rs` does it, but for all at once.
    fn create_missing(&mut self, known: &Known, cluster: ClusterId) {
        let Some(me) = self.broker.membership.number() else {
            return;
        };
        for (id, topic) in missing(&self.broker, me, known) {
            self.create(id, cluster, &topic);
        }
        self.tell(me, known);
    }

    fn tell(&mut self, me: BrokerNumber, known: &Known) {
        let assigns = self.told.tell(&self.broker, me, known);
        if !assigns.is_empty() {
            let broker = Arc::clone(&self.broker);
            Self::obeyed(&mut self.disk, broker.disk.assign(assigns));
        }
    }

    fn create(&mut self, id: TopicPartition, cluster: ClusterId, topic: &Topic) {
        let identity = PartitionIdentity {
            cluster,
            topic: id.topic,
            partition: id.partition,
            topic_name: topic.name.to_string(),
        };
        let disk = &self.broker.environment.disk;
        let config = log_config(Some(&topic.config));
        let made = make_log(disk, &partition_dir(id), &identity, &config);
        let (name, metrics) = (
            Arc::clone(&topic.name),
            self.broker.metrics.topic(&topic.name),
        );
        match made {
            Ok(log) => {
                self.durable.roster.insert(id, Arc::clone(&name));
                let partition = Arc::new(Partition::new(id, name, log.reader(), metrics));
                let durability = topic.config.durability;
                self.broker.disk.adopt(&partition, log, durability);
                self.broker.partitions.insert(partition);
            }
            Err(LogError::DiskFull { .. }) => self.broker.space.report_full(),
            Err(error) => {
                let broken = Partition::broken(id, name, Fault::of(&error), metrics);
                self.broker.partitions.insert(Arc::new(broken));
            }
        }
    }

    fn delete(&mut self, update: &v1::MetadataUpdate, known: &mut Known) -> Result<(), WireError> {
        let mut done = Vec::new();
        for order in &update.deletes {
            let id = convert::topic_partition(&order.topic_id, order.partition)?;
            if !known.allows_delete(id, PartitionEpoch(order.partition_epoch)) {
                continue;
            }
            self.delete_replica(id)?;
            known.deleted(id);
            done.push(v1::DeleteDone {
                topic_id: topic_id_bytes(id.topic),
                partition: id.partition.0,
                partition_epoch: order.partition_epoch,
            });
        }
        if done.is_empty() {
            return Ok(());
        }
        self.durable.known = known.clone();
        for done in done {
            self.tell_controller(Message::DeleteDone(done));
        }
        self.outputs.push(Output::Note("replica deleted"));
        Ok(())
    }

    /// As `cluster/rebuild.rs` does it.
    fn set_unusable_aside(&mut self, me: BrokerNumber, known: &Known) {
        for (partition, _) in self.rebuilds.due(&self.broker, me, known) {
            let id = partition.id;
            self.rebuilds.begins(id);
            self.told.forget(id);
            let places = (1_u32..).map(|n| quarantine_dir(id, n));
            let disk = Arc::clone(&self.broker.environment.disk);
            let mut free = places.filter(|place| disk.list(place).is_err());
            let place = free.next().expect("numbers do not end");
            let moved = self
                .remove(id, Removal::SetAside(place.clone()))
                .and_then(|()| set_aside_dir(&*disk, &partition_dir(id), &place));
            if moved.is_ok() {
                self.broker.partitions.remove(id);
                self.outputs.push(Output::Note("replica begins anew"));
            }
        }
    }

    fn remove(&mut self, id: TopicPartition, how: Removal) -> Result<(), LogError> {
        let broker = Arc::clone(&self.broker);
        let mut removed = Box::pin(broker.disk.remove(id, how));
        if let Some(done) = Self::obeyed(&mut self.disk, removed.as_mut()) {
            return done;
        }
        for job in self.disk.take_planned() {
            self.plan(job);
        }
        Self::obeyed(&mut self.disk, removed.as_mut()).unwrap_or(Ok(()))
    }

    fn delete_replica(&mut self, id: TopicPartition) -> Result<(), WireError> {
        self.told.forget(id);
        if let Some(partition) = self.broker.partitions.remove(id) {
            partition.set_standing(Standing::stray());
        }
        let failed = |e: LogError| WireError::new(e.code(), e.to_string());
        self.remove(id, Removal::Delete).map_err(failed)?;
        delete_dir(&*self.broker.environment.disk, &partition_dir(id)).map_err(failed)?;
        self.durable.roster.remove(&id);
        Ok(())
    }
}
