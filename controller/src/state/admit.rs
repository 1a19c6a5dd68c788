//! Answering a registration that holds, and telling what it made known.

use taffrail_api::v1::{MetadataUpdate, Registered, controller_message::Message};

use super::{Machine, Note, SessionId, elections::Losses, register::Admitted, update};
use crate::view::Loss;

/// Losses that a view shows: of as many partitions as a broker may lead.
const LOSSES_MAX: usize = 4_096;

impl Machine {
    /// Answers a registration, with everything there is to know.
    pub(super) fn admit(&mut self, id: SessionId, admitted: Admitted) {
        let number = admitted.number;
        let Some(session) = self.live.sessions.get(&id) else {
            return;
        };
        let name = session.registration.name.clone();
        if let Some(fenced) = self.live.register(number, id, self.now_ms) {
            self.fence(fenced, admitted.incarnation);
        }
        if let Some(broker) = self.live.brokers.get_mut(&number) {
            broker.is_older_volume = admitted.is_older_volume;
        }
        self.note(Note::Registered {
            broker: number,
            name,
            incarnation: admitted.incarnation.to_string(),
        });
        let (incarnation, version) = (admitted.incarnation, admitted.version);
        self.tell_found(admitted);
        let Some(cluster) = &self.cluster else { return };
        let cluster_id = cluster.root.value.cluster_id.to_string();
        let full = update::full(cluster, &self.live, number);
        let registered = Registered {
            cluster_id,
            broker_number: number.0,
            incarnation: Some(incarnation.into()),
            version,
            heartbeat_interval_ms: self.settings.heartbeat_interval_ms,
            stamp: Some(self.stamp().into()),
        };
        self.send(id, Message::Registered(registered));
        let stamp = Some(self.next_stamp());
        self.send(id, Message::Update(MetadataUpdate { stamp, ..full }));
        // The others learn that it is alive; it hears so once more.
        self.publish(None, &[number]);
        self.has_chores = true;
        self.is_stale = true;
    }

    fn tell_found(&mut self, admitted: Admitted) {
        let found = admitted.found;
        let broker = admitted.number;
        self.tell_losses(&admitted.losses);
        if admitted.is_older_volume {
            self.note(Note::OlderVolume(broker));
        }
        if found.repaired > 0 {
            let partitions = found.repaired;
            self.note(Note::Repaired { broker, partitions });
        }
        if !found.waiting.is_empty() {
            let partitions = found.waiting.len();
            self.note(Note::InDoubt { broker, partitions });
            self.live.doubted.extend(found.waiting);
        }
        if !found.strays.is_empty() {
            let topics = found.strays.into_iter().collect::<Vec<_>>().join(", ");
            self.note(Note::Strays { broker, topics });
        }
    }

    pub(super) fn tell_losses(&mut self, losses: &Losses) {
        for (partition, may_lack) in losses {
            let cluster = self.cluster.as_ref();
            let topic = cluster.and_then(|cluster| cluster.topic(partition.topic));
            self.losses_found += 1;
            let loss = Loss {
                number: (self.epoch, self.losses_found),
                topic: topic.map_or_else(|| partition.topic.to_string(), |t| t.name.clone()),
                partition: partition.partition.0,
                from: may_lack.from.0,
                known_to: may_lack.known_to.0,
            };
            self.note(Note::MayLack(loss.clone()));
            self.losses.push_back(loss);
            self.is_stale = true;
        }
        let surplus = self.losses.len().saturating_sub(LOSSES_MAX);
        self.losses.drain(..surplus);
    }
}
