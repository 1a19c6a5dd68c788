//! Taking office, claiming what is there, and losing it: what happens at the store's edge.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
};

use taffrail_core::replica::{Leap, Mutant, is_broken};

use super::{
    Answer, Batch, Effect, Event, Failure, Io, Machine, Note, Outcome, Step, Work, WriteFailure,
    cluster::{Cluster, Object, Root},
    draft::{Draft, Write},
    in_sync,
    live::Live,
    stored::{self, Loaded},
};
use crate::{
    invariants,
    request::{ApplyError, Request},
    store::{Snapshot, Version},
    writes::WriteReason,
};

/// Conflicts and unknown outcomes in a row before a controller gives up taking office.
const ATTEMPTS_MAX: u32 = 20;

impl Machine {
    /// The store was read.
    pub(super) fn loaded(&mut self, snapshot: Snapshot) {
        self.io = Io::Idle;
        let loaded = match stored::load(snapshot) {
            Ok(loaded) => loaded,
            Err(invalid) => {
                return self.fail(Failure::Invalid {
                    object: invalid.object.to_string(),
                    reason: invalid.reason,
                });
            }
        };
        if self.epoch > 0 && !self.is_ours(&loaded) {
            return self.end(Effect::Deposed);
        }
        match self.step {
            Step::Take => self.take_office(loaded),
            Step::Claim => self.claim(loaded),
            Step::Active => self.resume(loaded),
            Step::Ended => {}
        }
    }

    /// Is the root still as this controller left it? Nobody else writes its random id.
    fn is_ours(&self, loaded: &Loaded) -> bool {
        let root = loaded.cluster.as_ref().map(|cluster| &cluster.root.value);
        root.is_some_and(|root| root.holder == self.settings.holder && root.epoch >= self.epoch)
    }

    fn take_office(&mut self, loaded: Loaded) {
        let epoch = 1 + loaded.epoch_max.max(self.epoch_floor);
        let cluster = match loaded.cluster {
            Some(cluster) => cluster,
            None if loaded.has_others => return self.fail(Failure::RootVanished),
            None => self.new_cluster(),
        };
        let mut draft = Draft::new(&cluster);
        let root = draft.root(WriteReason::TakeOffice);
        root.epoch = epoch;
        root.holder = self.settings.holder;
        self.write(draft);
    }

    fn new_cluster(&self) -> Cluster {
        let root = Root {
            cluster_id: self.settings.new_cluster_id,
            epoch: 0,
            holder: 0,
            maps: Vec::new(),
            topics: BTreeMap::new(),
            next_broker_number: 0,
        };
        Cluster {
            root: Object {
                version: None,
                value: Arc::new(root),
            },
            maps: BTreeMap::new(),
            brokers: BTreeMap::new(),
            leftovers: BTreeMap::new(),
        }
    }

    /// Writes our epoch into everything, so that puts of controllers before us conflict. Nothing else changes.
    fn claim(&mut self, loaded: Loaded) {
        let Some(cluster) = loaded.cluster else {
            return;
        };
        if loaded.epoch_max > self.epoch {
            // A map is ahead of the root: the root is older than it. Begin again, above both.
            self.epoch_floor = loaded.epoch_max;
            self.step = Step::Take;
            return self.read();
        }
        let mut draft = Draft::new(&cluster);
        if !loaded.vanished.is_empty() {
            // Brokers report again, and so bring back the records.
            self.drop_sessions();
        }
        for name in loaded.vanished {
            draft.recreate_map(&name, self.epoch, WriteReason::Claim);
            self.note(Note::MapVanished(name));
        }
        for name in cluster.maps.keys() {
            if let Some(map) = draft.map(name, WriteReason::Claim) {
                map.epoch = self.epoch;
                if is_broken(Mutant::ClaimRaisesPartitionEpoch) {
                    let records = map.partitions.values_mut();
                    records.for_each(|record| record.partition_epoch.0 += 1);
                }
            }
        }
        for number in cluster.brokers.keys() {
            if let Some(broker) = draft.broker(*number, WriteReason::Claim) {
                broker.epoch = self.epoch;
            }
        }
        self.write(draft);
    }

    /// After a put that failed: what was put before it counts, and is told.
    fn resume(&mut self, loaded: Loaded) {
        let is_intact = loaded.vanished.is_empty() && loaded.epoch_max <= self.epoch;
        let Some(cluster) = loaded.cluster.filter(|_| is_intact) else {
            // Somebody took objects away or put old ones back: claim everything anew.
            self.step = Step::Claim;
            return self.read();
        };
        let before = self.cluster.replace(cluster);
        self.publish(before.as_ref(), &[]);
        self.release();
        self.has_chores = true;
    }

    /// Puts what `draft` changed; if nothing did, that is persisted already.
    pub(super) fn write(&mut self, draft: Draft) {
        self.write_decision(draft, VecDeque::new(), Vec::new());
    }

    /// The same, for `work` with its `outcomes`, which are told once it is persisted.
    pub(super) fn write_decision(
        &mut self,
        draft: Draft,
        work: VecDeque<Work>,
        outcomes: Vec<Outcome>,
    ) {
        let writes = draft.writes();
        invariants::check_decision(draft.base(), &draft.cluster);
        self.io = Io::Writing(Box::new(Batch {
            step: self.step,
            draft,
            writes: writes.iter().map(Write::object).collect(),
            work,
            outcomes,
        }));
        if writes.is_empty() {
            self.written(Vec::new());
        } else {
            // One step may make the next one possible.
            self.look_again_ms = self.now_ms;
            self.effect(Effect::Write(writes));
        }
    }

    /// Everything is durable.
    pub(super) fn written(&mut self, versions: Vec<Version>) {
        let Io::Writing(batch) = mem::replace(&mut self.io, Io::Idle) else {
            return;
        };
        self.attempts = 0;
        let cluster = batch.draft.finish(batch.writes, versions);
        match batch.step {
            Step::Take => {
                self.epoch = cluster.root.value.epoch;
                self.sequence = 0;
                self.step = Step::Claim;
                self.read();
            }
            Step::Claim => self.enter(cluster),
            Step::Active => {
                self.commit(cluster, batch.outcomes);
                if self.step == Step::Take {
                    // A broker showed meanwhile that the term has to begin anew.
                    self.read();
                }
            }
            Step::Ended => {}
        }
    }

    /// Everything is claimed: from here on this controller decides.
    fn enter(&mut self, cluster: Cluster) {
        self.step = Step::Active;
        let found = cluster.clone();
        let before = self.cluster.replace(cluster);
        self.publish(before.as_ref(), &[]);
        self.release();
        self.is_stale = true;
        self.has_chores = true;
        let (now_ms, suspect_after_ms) = (self.now_ms, self.settings.suspect_after_ms);
        let leap = Leap::drawn(self.settings.holder ^ now_ms);
        self.live.begin(found, now_ms, suspect_after_ms, leap);
        self.queue.push_back(Work::FollowDefaults);
        let epoch = self.epoch;
        self.effect(Effect::InOffice { epoch });
    }

    /// Read again before anything else is decided.
    pub(super) fn write_failed(&mut self, failure: WriteFailure) {
        let Io::Writing(mut batch) = mem::replace(&mut self.io, Io::Idle) else {
            return;
        };
        self.attempts += 1;
        let later = mem::replace(&mut self.queue, mem::take(&mut batch.work));
        self.queue.retain(|work| is_wanted(&self.live, work));
        for work in later {
            self.wait_in_line(work);
        }
        if let WriteFailure::Down(reason) = failure {
            self.refuse_requests(&ApplyError::StoreUnavailable(reason));
        } else if self.attempts > ATTEMPTS_MAX {
            let reason = "others keep changing it".to_owned();
            self.refuse_requests(&ApplyError::StoreUnavailable(reason));
            if self.step != Step::Active {
                return self.fail(Failure::Contended);
            }
        }
        self.read();
    }

    /// Lets `work` wait until the store is idle. What leaders ask again and again meanwhile waits once.
    pub(super) fn wait_in_line(&mut self, work: Work) {
        if !is_wanted(&self.live, &work) {
            return;
        }
        match work {
            Work::Change(id, asks) => in_sync::enqueue(&mut self.queue, id, asks),
            work => self.queue.push_back(work),
        }
    }

    pub(super) fn load_failed(&mut self, reason: String) {
        self.attempts += 1;
        self.refuse_requests(&ApplyError::StoreUnavailable(reason));
        self.read();
    }

    /// A broker obeyed a later controller than we are, or another one of our epoch: either we are not in office any more, or the store went back in time.
    pub(super) fn retake(&mut self, broker_epoch: u64) {
        self.note(Note::StoreIsOld { broker_epoch });
        self.epoch_floor = self.epoch_floor.max(broker_epoch);
        self.step = Step::Take;
        self.drop_sessions();
        if matches!(self.io, Io::Idle) {
            self.read();
        }
    }

    /// Answers requests that wait with `error`. Everything else goes on waiting.
    fn refuse_requests(&mut self, error: &ApplyError) {
        let waiting = mem::take(&mut self.waiting).into_iter();
        let waiting = waiting.map(|(_, id, request)| Work::Request(id, request));
        let queue = mem::take(&mut self.queue);
        for work in queue.into_iter().chain(waiting) {
            match work {
                Work::Request(id, request) => {
                    let answer = refusal(&request, error.clone());
                    self.effect(Effect::Answer(id, answer));
                }
                Work::Register(_) | Work::Change(..) | Work::HandOver(_) | Work::FollowDefaults => {
                    self.queue.push_back(work);
                }
            }
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.end(Effect::Fail(failure));
    }

    fn end(&mut self, effect: Effect) {
        self.step = Step::Ended;
        self.io = Io::Idle;
        self.refuse_requests(&ApplyError::NotActive);
        self.drop_sessions();
        self.effect(effect);
    }

    /// What a controller out of office says.
    pub(super) fn turn_away(&mut self, event: Event) {
        match event {
            Event::Request(id, request) => {
                let answer = refusal(&request, ApplyError::NotActive);
                self.effect(Effect::Answer(id, answer));
            }
            Event::SessionOpened(id, _) => self.send_not_active(id),
            _ => {}
        }
    }
}

fn is_wanted(live: &Live, work: &Work) -> bool {
    let session = work.session();
    session.is_none_or(|id| live.sessions.contains_key(&id))
}

pub(super) fn refusal(request: &Request, error: ApplyError) -> Answer {
    match request {
        Request::Apply { .. } => Answer::Apply(Err(error)),
        Request::Delete { .. } => Answer::Delete(Err(error)),
        Request::Move { .. } => Answer::Move(Err(error)),
    }
}
