//! Sessions: opened, fenced, silent, closed.

use std::{collections::BTreeSet, mem};

use taffrail_api::{
    WireError, convert,
    v1::{self, NotActive, Refused, controller_message::Message},
};
use taffrail_core::{BrokerNumber, ErrorCode, Incarnation, PartitionEpoch};

use super::{
    Effect, Machine, Note, SessionId, Step, Work, live::Session, registration::Registration, update,
};

/// No controller gets here by one election after another: a stamp above this is garbage, and must not use up the epochs.
const EPOCH_MAX: u64 = 1 << 48;

impl Machine {
    pub(super) fn session_opened(&mut self, id: SessionId, register: v1::Register) {
        if self.step != Step::Active {
            return self.send_not_active(id);
        }
        if self.live.sessions.contains_key(&id) {
            // What it reported since would be forgotten, and a broker says only what has changed.
            return;
        }
        let registration = match Registration::try_from(register) {
            Ok(registration) => registration,
            Err(error) => return self.refuse(id, error),
        };
        // Within this epoch as well: a store that went back gives out an epoch again, and what a broker obeyed in it was not said here. It would
        // refuse everything until as much was said anew.
        let seen = registration.highest_stamp;
        if seen > self.stamp() && self.is_of_this_cluster(&registration) {
            let epoch = seen.epoch;
            if epoch > EPOCH_MAX {
                let reason = format!("highest_stamp: epoch {epoch} cannot be");
                return self.refuse(id, WireError::invalid(reason));
            }
            self.send_not_active(id);
            return self.retake(epoch);
        }
        let session = Session {
            registration,
            broker: None,
            last_heard_ms: self.now_ms,
        };
        self.live.sessions.insert(id, session);
        self.queue.push_back(Work::Register(id));
    }

    fn is_of_this_cluster(&self, registration: &Registration) -> bool {
        let ours = self.cluster.as_ref().map(|c| c.root.value.cluster_id);
        registration.cluster_id.is_some() && registration.cluster_id == ours
    }

    fn refuse(&mut self, id: SessionId, error: WireError) {
        self.note(Note::Refused(error.clone()));
        let error = Some(error.into());
        self.send(id, Message::Refused(Refused { error }));
        self.close(id);
    }

    /// A newer session of the volume took over.
    pub(super) fn fence(&mut self, id: SessionId, by: Incarnation) {
        let is_same_process = self
            .live
            .sessions
            .get(&id)
            .is_some_and(|session| session.registration.incarnation() == by);
        if !is_same_process {
            let error = WireError::new(
                ErrorCode::BrokerFenced,
                format!("incarnation {by} of this volume registered; this process must stop"),
            );
            let error = Some(error.into());
            self.send(id, Message::Refused(Refused { error }));
        }
        self.close(id);
    }

    /// Ends a session from this side.
    pub(super) fn close(&mut self, id: SessionId) {
        self.forget(id);
        self.effect(Effect::Close(id));
    }

    fn forget(&mut self, id: SessionId) {
        self.live.close(id, self.now_ms);
        self.queue.retain(|work| work.session() != Some(id));
    }

    pub(super) fn session_closed(&mut self, id: SessionId) {
        self.forget(id);
        self.judge();
        self.has_chores |= self.step == Step::Active;
    }

    pub(super) fn send_not_active(&mut self, id: SessionId) {
        let hint = String::new();
        self.send(id, Message::NotActive(NotActive { hint }));
        self.effect(Effect::Close(id));
    }

    /// Tells every broker to look for the active controller.
    pub(super) fn drop_sessions(&mut self) {
        for id in mem::take(&mut self.live.sessions).into_keys() {
            self.send_not_active(id);
        }
        self.live.brokers.clear();
        self.live.doubted.clear();
        self.queue.retain(|work| work.session().is_none());
    }

    pub(super) fn delete_done(&mut self, id: SessionId, done: &v1::DeleteDone) {
        let session = self.live.sessions.get(&id);
        let Some(broker) = session.and_then(|session| session.broker) else {
            return;
        };
        let Ok(partition) = convert::topic_partition(&done.topic_id, done.partition) else {
            return;
        };
        let topic = self.cluster.as_ref().and_then(|c| c.topic(partition.topic));
        let pending = topic.and_then(|topic| topic.pending(partition.partition, broker));
        let epoch = PartitionEpoch(done.partition_epoch);
        if pending.is_some_and(|pending| pending.partition_epoch <= epoch) {
            self.live.deleted.insert((partition, broker), epoch);
            self.has_chores = true;
        }
    }

    pub(super) fn tick(&mut self) {
        for id in self
            .live
            .silent(self.now_ms, self.settings.session_timeout_ms)
        {
            self.close(id);
        }
        let has_changed = self.judge();
        let is_due = self.now_ms >= self.look_again_ms;
        self.has_chores |= self.step == Step::Active && (has_changed || is_due);
        self.look_for_chores();
    }

    /// Tells who came or went. Mere suspicion is only shown. `true`: something is not as it was.
    pub(super) fn judge(&mut self) -> bool {
        let changed = self.live.judge(self.now_ms, self.settings.suspect_after_ms);
        if self.step != Step::Active {
            return false;
        }
        let has_changed = !changed.is_empty();
        for broker in changed {
            let state = self.live.liveness(broker).name();
            self.is_stale = true;
            self.note(Note::LivenessChanged { broker, state });
        }
        let after = self.gone();
        // Against what was told, not against a moment ago: a heartbeat may have changed it before anybody judged.
        let stirred: Vec<_> = self
            .told_gone
            .symmetric_difference(&after)
            .copied()
            .collect();
        self.told_gone = after;
        if !stirred.is_empty() {
            self.is_stale = true;
            self.publish(None, &stirred);
        }
        has_changed || !stirred.is_empty()
    }

    fn gone(&self) -> BTreeSet<BrokerNumber> {
        let brokers = self.cluster.iter().flat_map(|c| c.brokers.keys()).copied();
        brokers
            .filter(|number| update::is_gone(&self.live, *number))
            .collect()
    }
}
