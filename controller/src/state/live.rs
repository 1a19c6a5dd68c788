//! What is known of brokers at this moment and not persisted: sessions, heartbeats, reports. Hints, never what keeps data safe.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
};

use taffrail_api::{convert, transport, v1};
use taffrail_core::{
    Assignment, BrokerNumber, BrokerUuid, Incarnation, PartitionEpoch, TopicId, TopicPartition,
    replica::Leap,
};

use super::{
    cluster::{Cluster, PendingDelete, Topic},
    groups::DeclaredGroups,
    registration::{Registration, Stored},
};

/// How long a broker that has not registered with a controller that took office is only suspected. The Lease takes longer to change hands
/// than brokers take to pause for longest between two dials: called gone before it had the time to come, a healthy member would not count
/// for `minInSync`, and produces be refused. The second is for its registration to be written. Whoever registered is judged as ever.
pub(crate) const HEARING_MS: u64 = transport::CONTROLLER_FOUND_WITHIN.as_millis() as u64 + 1_000;

/// A stream between one broker and this controller. Never reused.
pub(crate) type SessionId = u64;

/// Whether a broker is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    Online,
    /// Silent, or its session was lost a moment ago.
    Suspect,
    Offline,
}

impl Liveness {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Online => "ONLINE",
            Self::Suspect => "SUSPECT",
            Self::Offline => "OFFLINE",
        }
    }
}

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) registration: Registration,
    /// Once it is registered.
    pub(crate) broker: Option<BrokerNumber>,
    pub(crate) last_heard_ms: u64,
}

/// A broker that registered with this controller.
#[derive(Debug)]
pub(crate) struct LiveBroker {
    pub(crate) session: Option<SessionId>,
    pub(crate) incarnation: Incarnation,
    pub(crate) process_id: u32,
    pub(crate) liveness: Liveness,
    last_heard_ms: u64,
    pub(crate) disk_total_bytes: u64,
    pub(crate) disk_free_bytes: u64,
    pub(crate) disk_full: bool,
    /// It is about to stop, and wins no election.
    pub(crate) is_stopping: bool,
    /// A later run of it had registered before: an old copy of its volume came back.
    pub(crate) is_older_volume: bool,
    /// Brokers that it cannot hear, and how: `None` if a connection was refused, else for how long.
    doubts: BTreeMap<BrokerNumber, Option<u64>>,
    /// Since the session began.
    pub(crate) reports: HashMap<TopicPartition, v1::PartitionReport>,
    /// What its disk had when it registered.
    pub(crate) stored: HashMap<TopicPartition, Stored>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) brokers: BTreeMap<BrokerNumber, LiveBroker>,
    /// Those that were found lost and have not been heard since. Whoever doubted them follows others now, and says nothing of them any more.
    lost: BTreeSet<BrokerNumber>,
    /// Deletions that brokers confirmed and that are still noted as pending, and the epochs in which they were ordered.
    pub(crate) deleted: HashMap<(TopicPartition, BrokerNumber), PartitionEpoch>,
    /// Since when a closing topic is waited for.
    pub(crate) closing_since_ms: BTreeMap<TopicId, u64>,
    /// Closing topics of which a broker that is there has not reported for too long.
    pub(crate) overdue: BTreeSet<TopicId>,
    /// When a broker last came or went, or its disk got full or had room again.
    pub(crate) settled_from_ms: u64,
    suspect_after_ms: u64,
    /// Until then, a broker that has not registered is only suspected.
    hears_until_ms: Option<u64>,
    /// Partitions of which a broker knows more than the store, and that wait for others.
    pub(crate) doubted: BTreeSet<TopicPartition>,
    /// What is declared of consumer groups.
    pub(crate) groups: DeclaredGroups,
    /// What the store held when the controller took office.
    found: Option<Cluster>,
    /// Drawn for this term.
    pub(crate) leap: Leap,
}

impl Live {
    /// The controller took office: brokers have not had the time to come.
    pub(crate) fn begin(&mut self, found: Cluster, now_ms: u64, suspect_after_ms: u64, leap: Leap) {
        self.found = Some(found);
        self.leap = leap;
        self.settled_from_ms = now_ms;
        self.suspect_after_ms = suspect_after_ms;
        self.hears_until_ms = Some(now_ms + suspect_after_ms.max(HEARING_MS));
    }

    /// Replaces what was known of `number`: it registered. Gives the session that it had before.
    pub(crate) fn register(
        &mut self,
        number: BrokerNumber,
        id: SessionId,
        now_ms: u64,
    ) -> Option<SessionId> {
        let was_online = self.is_online(number);
        let session = self.sessions.get_mut(&id)?;
        session.broker = Some(number);
        let registration = &mut session.registration;
        let stored = mem::take(&mut registration.stored).into_iter();
        let stored = stored.map(|stored| (stored.partition, stored));
        let broker = LiveBroker {
            session: Some(id),
            incarnation: registration.incarnation(),
            process_id: registration.process_id,
            liveness: Liveness::Online,
            last_heard_ms: now_ms,
            disk_total_bytes: 0,
            disk_free_bytes: 0,
            disk_full: false,
            is_stopping: false,
            is_older_volume: false,
            doubts: BTreeMap::new(),
            reports: HashMap::new(),
            stored: stored.collect(),
        };
        if !was_online {
            self.settled_from_ms = now_ms;
        }
        self.lost.remove(&number);
        let before = self.brokers.insert(number, broker);
        before
            .and_then(|before| before.session)
            .filter(|old| *old != id)
    }

    /// Takes in a heartbeat. `false`: nothing that anybody sees changed.
    pub(crate) fn heard(&mut self, id: SessionId, heartbeat: v1::Heartbeat, now_ms: u64) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        session.last_heard_ms = now_ms;
        let Some(broker) = session.broker.and_then(|n| self.brokers.get_mut(&n)) else {
            return false;
        };
        let incarnation = heartbeat.incarnation.unwrap_or_default().into();
        if broker.session != Some(id) || broker.incarnation != incarnation {
            return false;
        }
        broker.last_heard_ms = now_ms;
        let disk_moved = broker.disk_full != heartbeat.disk_full
            || broker.disk_total_bytes != heartbeat.disk_total_bytes
            || broker.disk_free_bytes.abs_diff(heartbeat.disk_free_bytes)
                > heartbeat.disk_total_bytes / 100;
        if broker.disk_full != heartbeat.disk_full {
            broker.disk_full = heartbeat.disk_full;
            self.settled_from_ms = now_ms;
        }
        if disk_moved {
            broker.disk_total_bytes = heartbeat.disk_total_bytes;
            broker.disk_free_bytes = heartbeat.disk_free_bytes;
        }
        let doubts = heartbeat.doubts.into_iter();
        broker.doubts = doubts
            .map(|doubt| {
                let silent_ms = (!doubt.refused).then_some(u64::from(doubt.silent_ms));
                (BrokerNumber(doubt.broker), silent_ms)
            })
            .collect();
        let is_news = disk_moved || !heartbeat.partitions.is_empty();
        for report in heartbeat.partitions {
            // A report of something that cannot exist says nothing about what does.
            if let Ok(partition) = convert::topic_partition(&report.topic_id, report.partition) {
                broker.reports.insert(partition, report);
            }
        }
        is_news
    }

    /// Forgets a session. Its broker is suspected from now on.
    pub(crate) fn close(&mut self, id: SessionId, now_ms: u64) {
        let session = self.sessions.remove(&id);
        let number = session.and_then(|session| session.broker);
        let broker = number.and_then(|number| self.brokers.get_mut(&number));
        if let Some(broker) = broker.filter(|broker| broker.session == Some(id)) {
            broker.session = None;
            broker.last_heard_ms = now_ms;
            self.settled_from_ms = now_ms;
        }
    }

    /// Brings liveness up to date and gives those whose liveness changed.
    pub(crate) fn judge(&mut self, now_ms: u64, suspect_after_ms: u64) -> Vec<BrokerNumber> {
        self.hears_until_ms.take_if(|until| now_ms >= *until);
        let mut changed = Vec::new();
        for (number, broker) in &mut self.brokers {
            let silent = now_ms.saturating_sub(broker.last_heard_ms) >= suspect_after_ms;
            let liveness = match (broker.session, silent) {
                (Some(_), false) => Liveness::Online,
                (Some(_), true) | (None, false) => Liveness::Suspect,
                (None, true) => Liveness::Offline,
            };
            if broker.liveness != liveness {
                broker.liveness = liveness;
                changed.push(*number);
            }
        }
        let numbers = self.brokers.keys().copied();
        self.lost = numbers.filter(|number| self.is_lost(*number)).collect();
        changed
    }

    /// Sessions that were silent for `timeout_ms`.
    pub(crate) fn silent(&self, now_ms: u64, timeout_ms: u64) -> Vec<SessionId> {
        let silent = self.sessions.iter().filter(|(_, session)| {
            session.broker.is_some() && now_ms.saturating_sub(session.last_heard_ms) >= timeout_ms
        });
        silent.map(|(id, _)| *id).collect()
    }

    /// Does its disk have room for records, for all that it said?
    pub(crate) fn has_room(&self, number: BrokerNumber) -> bool {
        let broker = self.brokers.get(&number);
        broker.is_some_and(|broker| !broker.disk_full)
    }

    /// Another session of the volume that is open, or was lost a moment ago, with the incarnation that speaks there.
    pub(crate) fn rival(
        &self,
        uuid: BrokerUuid,
        number: Option<BrokerNumber>,
        own: SessionId,
    ) -> Option<Incarnation> {
        let open = self
            .sessions
            .iter()
            .filter(|(id, session)| **id != own && session.registration.uuid == uuid);
        let open = open.map(|(_, session)| session.registration.incarnation());
        let broker = number.and_then(|number| self.brokers.get(&number));
        let lost = broker.filter(|broker| broker.liveness != Liveness::Offline);
        open.chain(lost.map(|broker| broker.incarnation))
            .max_by_key(|incarnation| incarnation.generation)
    }

    pub(crate) fn liveness(&self, number: BrokerNumber) -> Liveness {
        match self.brokers.get(&number) {
            Some(broker) => broker.liveness,
            None if self.hears_until_ms.is_some() => Liveness::Suspect,
            None => Liveness::Offline,
        }
    }

    /// Are brokers expected that have not had the time to come?
    pub(crate) fn is_early(&self) -> bool {
        self.hears_until_ms.is_some()
    }

    /// Has this controller begun an epoch of the partition since it took office? It had heard enough then.
    pub(crate) fn has_raised(&self, partition: TopicPartition, record: &Assignment) -> bool {
        self.found.as_ref().is_some_and(|found| {
            let topic = found.topic(partition.topic);
            let then = topic.and_then(|topic| found.assignment(topic, partition));
            then.is_none_or(|then| then.leader_epoch < record.leader_epoch)
        })
    }

    pub(crate) fn is_online(&self, number: BrokerNumber) -> bool {
        self.liveness(number) == Liveness::Online
    }

    /// Did the broker confirm this deletion, and not only an older one?
    pub(crate) fn is_deleted(&self, topic: &Topic, pending: &PendingDelete) -> bool {
        let replica = (topic.partition(pending.partition.0), pending.broker);
        let confirmed = self.deleted.get(&replica);
        confirmed.is_some_and(|epoch| *epoch >= pending.partition_epoch)
    }

    /// The broker of session `id` is about to stop. `false`: that session does not count.
    pub(crate) fn stops(&mut self, id: SessionId) -> bool {
        let speaker = self.speaker(id).map(|(number, _)| number);
        let Some(broker) = speaker.and_then(|number| self.brokers.get_mut(&number)) else {
            return false;
        };
        broker.is_stopping = true;
        true
    }

    /// Is it there, and will it stay?
    pub(crate) fn is_there(&self, number: BrokerNumber) -> bool {
        let broker = self.brokers.get(&number);
        broker.is_some_and(|broker| {
            let is_heard = broker.session.is_some() && broker.liveness == Liveness::Online;
            is_heard && !broker.is_stopping
        })
    }

    /// Is the running process of `number` gone? It is offline, or said that it would stop and closed its session; or its session is closed or silent, and another broker cannot hear it either: a
    /// connection was refused, or it was silent for as long. From then on until it is heard it is lost, whatever others say. A hint that moves leadership, never what keeps data safe.
    pub(crate) fn is_lost(&self, number: BrokerNumber) -> bool {
        let is_away = match self.brokers.get(&number) {
            Some(broker) if broker.liveness == Liveness::Offline => return true,
            Some(broker) if broker.session.is_none() && broker.is_stopping => return true,
            Some(broker) => broker.session.is_none() || broker.liveness != Liveness::Online,
            // It may be on its way to a controller that just took office.
            None => self.hears_until_ms.is_none(),
        };
        let is_doubted_by = |other: &LiveBroker| {
            let doubt = other.doubts.get(&number);
            doubt.is_some_and(|silent_ms| silent_ms.is_none_or(|ms| ms >= self.suspect_after_ms))
        };
        let mut others = self
            .brokers
            .iter()
            .filter(|(other, _)| self.is_online(**other));
        is_away && (self.lost.contains(&number) || others.any(|(_, other)| is_doubted_by(other)))
    }

    /// The broker at the other end of a session that counts, and its run.
    pub(crate) fn speaker(&self, id: SessionId) -> Option<(BrokerNumber, Incarnation)> {
        let number = self.sessions.get(&id)?.broker?;
        let broker = self.brokers.get(&number)?;
        (broker.session == Some(id)).then_some((number, broker.incarnation))
    }

    /// The last report of a partition by a broker that is there.
    pub(crate) fn report(
        &self,
        number: BrokerNumber,
        partition: TopicPartition,
    ) -> Option<&v1::PartitionReport> {
        let broker = self.brokers.get(&number)?;
        broker.reports.get(&partition)
    }
}
