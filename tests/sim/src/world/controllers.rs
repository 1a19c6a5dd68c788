//! Controllers: processes of which the lease says who is to be in office, and the store with its faults.

use std::{cmp::Ordering, collections::BTreeMap, rc::Rc};

use taffrail_controller::{
    Snapshot, StoreError, Version,
    sim::{self, Controller, Input, Noted, Output, Put, Setup},
    store::Fault,
};
use taffrail_core::{Assignment, ClusterId, TopicDefaults};

use super::{
    BROKERS, CONTROLLERS, MS, REPLICAS, SECOND, Step, World,
    decisions::Told,
    network::{End, Peer, Wire},
};

/// As many as there are groups: each has a coordinator of its own.
pub(super) const OFFSETS_PARTITIONS: u32 = 2;
const TICK: u64 = 500 * MS;
/// No topic here allows unclean elections, and every log is synced.
const NOTHING_ALLOWS_LOSS: &str = "nothing allows the loss of records";
const LEASE_TICK: u64 = 700 * MS;

/// Puts of one decision.
#[derive(Debug, Clone)]
struct Decision {
    /// The controller, and its run.
    by: usize,
    run: u64,
    /// What that had been told when it decided.
    told: Rc<Told>,
}

/// A process that may be in office.
#[derive(Debug)]
pub(super) struct ControllerNode {
    pub(super) is_up: bool,
    /// `None`: a standby.
    machine: Option<Controller>,
    /// Of the process; raised when it starts and when it ends.
    pub(super) run: u64,
    pub(super) paused_until_us: u64,
    pub(super) skew_ms: u64,
    pub(super) in_office: bool,
    /// What this run of it was told.
    pub(super) told: Told,
}

impl Default for ControllerNode {
    fn default() -> Self {
        Self {
            is_up: true,
            machine: None,
            run: 1,
            paused_until_us: 0,
            skew_ms: 0,
            in_office: false,
            told: Told::default(),
        }
    }
}

/// A move, or what a topic with more or fewer copies brings about.
fn ended(moving: &Assignment) -> &'static str {
    match moving.adding.len().cmp(&moving.removing.len()) {
        Ordering::Less => "copies taken away",
        Ordering::Equal => "move ended",
        Ordering::Greater => "copies added",
    }
}

impl World {
    /// Somebody has to be in office.
    pub(super) fn look_at_lease(&mut self) -> Step {
        self.plan(LEASE_TICK, Self::look_at_lease);
        if self.controllers.iter().any(|c| c.machine.is_some()) {
            return Ok(());
        }
        let up: Vec<_> = (0..CONTROLLERS)
            .filter(|c| self.controllers[*c].is_up)
            .collect();
        if up.is_empty() {
            return Ok(());
        }
        let next = self.chance.pick(&up);
        self.take_office(next)
    }

    /// This one believes to have the lease.
    pub(super) fn take_office(&mut self, controller: usize) -> Step {
        let node = &mut self.controllers[controller];
        if !node.is_up || node.machine.is_some() {
            return Ok(());
        }
        let run = node.run;
        for other in (0..CONTROLLERS).filter(|other| *other != controller) {
            // It notices some time later that the lease is not its own any more.
            let (of, notices) = (
                self.controllers[other].run,
                self.chance.between(SECOND, 10 * SECOND),
            );
            self.plan(notices, move |w| {
                if w.controllers[other].run == of && w.is_active(other) {
                    w.note(format!("c{other} has lost the lease"));
                    w.end_term(other);
                }
                Ok(())
            });
        }
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.chance.bits().to_be_bytes());
        let setup = Setup {
            holder: self.chance.bits(),
            new_cluster_id: ClusterId::from_bytes(id),
            defaults: TopicDefaults {
                brokers_wanted: REPLICAS as u32,
                offsets_partitions: OFFSETS_PARTITIONS,
                ..TopicDefaults::default()
            },
            heartbeat_interval_ms: 1_000,
            suspect_after_ms: 3_000,
            session_timeout_ms: 10_000,
            settle_ms: 5_000,
        };
        let (machine, outputs) = Controller::new(setup);
        self.controllers[controller].machine = Some(machine);
        self.note(format!("c{controller} wants office"));
        for output in outputs {
            self.controller_output(controller, run, output)?;
        }
        self.tick_controller(controller, run)
    }

    fn tick_controller(&mut self, controller: usize, run: u64) -> Step {
        let node = &self.controllers[controller];
        if node.run != run || node.machine.is_none() {
            return Ok(());
        }
        self.plan(TICK, move |w| w.tick_controller(controller, run));
        self.controller_input(controller, run, Input::Tick)
    }

    pub(super) fn controller_input(&mut self, controller: usize, run: u64, input: Input) -> Step {
        let node = &self.controllers[controller];
        if node.run != run || !node.is_up {
            return Ok(());
        }
        if node.paused_until_us > self.now_us {
            if !matches!(input, Input::Tick) {
                let wait = node.paused_until_us - self.now_us;
                self.plan(wait, move |w| w.controller_input(controller, run, input));
            }
            return Ok(());
        }
        let now_ms = self.now_us / MS + node.skew_ms;
        match &input {
            Input::Tick => {}
            Input::BrokerSays(session, message) => {
                self.hears(controller, *session, message);
                let what = super::told::broker(message);
                self.trace
                    .note(self.now_us, format!("c{controller} <- #{session} {what}"));
            }
            Input::Loaded(_) => self
                .trace
                .note(self.now_us, format!("c{controller} <- loaded")),
            other => self
                .trace
                .note(self.now_us, format!("c{controller} <- {other:?}")),
        }
        let Some(machine) = &mut self.controllers[controller].machine else {
            return self.turn_away(&input);
        };
        for output in machine.handle(now_ms, input) {
            self.controller_output(controller, run, output)?;
        }
        Ok(())
    }

    /// A standby answers.
    fn turn_away(&mut self, input: &Input) -> Step {
        if let Input::BrokerSays(session, _) = input {
            let message = taffrail_api::v1::controller_message::Message::NotActive(
                taffrail_api::v1::NotActive::default(),
            );
            let message = taffrail_api::v1::ControllerMessage {
                message: Some(message),
            };
            self.send(*session, End::Listened, Wire::Controller(Box::new(message)));
            self.close(*session, End::Listened);
        }
        Ok(())
    }

    fn controller_output(&mut self, controller: usize, run: u64, output: Output) -> Step {
        match output {
            Output::Load { attempts } => {
                let wait = self.chance.between(MS, 10 * MS) << attempts.min(7);
                self.plan(wait, move |w| w.load(controller, run));
            }
            Output::Write(puts) => {
                let decision = Decision {
                    by: controller,
                    run,
                    told: Rc::new(self.controllers[controller].told.clone()),
                };
                self.put_next(decision, puts, Vec::new());
            }
            Output::Send(session, message) => {
                self.check_told(&message)?;
                self.send(session, End::Listened, Wire::Controller(message));
            }
            Output::Close(session) => self.close(session, End::Listened),
            Output::Answered(id, outcome) => {
                self.topic_answered(id, &outcome);
                self.move_answered(id, &outcome);
            }
            Output::InOffice(epoch) => {
                self.note(format!("c{controller} is in office, epoch {epoch}"));
                self.controllers[controller].in_office = true;
                self.count("controller in office");
            }
            Output::Over(why) => {
                self.note(format!("c{controller} is over: {why}"));
                if why != "deposed" && !self.faults.store_may_be_odd() {
                    self.count("controller failed");
                }
                self.count("controller deposed");
                self.end_term(controller);
            }
            Output::Note(noted, note) => {
                self.note(format!("c{controller} notes {note}"));
                match noted {
                    Noted::InDoubt => self.count("in doubt after a restore"),
                    Noted::Repaired => self.count("record repaired from a broker"),
                    Noted::OlderVolume => self.count("older volume recognized"),
                    Noted::StoreIsOld => self.count("store is old"),
                    Noted::Strays => self.count("strays"),
                    Noted::MayLack => {
                        return Err(format!("{NOTHING_ALLOWS_LOSS}: {note}"));
                    }
                    Noted::Other => {}
                }
            }
        }
        Ok(())
    }

    /// It is a standby from now on.
    fn end_term(&mut self, controller: usize) {
        let node = &mut self.controllers[controller];
        let peer = Peer {
            node: BROKERS + controller,
            run: node.run,
        };
        node.machine = None;
        node.in_office = false;
        node.told = Told::default();
        node.run += 1;
        self.close_all(peer);
        self.clients.are_unanswered();
    }

    pub(super) fn crash_controller(&mut self, controller: usize) {
        self.note(format!("c{controller} crashes"));
        self.end_term(controller);
        self.controllers[controller].is_up = false;
        self.controllers[controller].paused_until_us = 0;
    }

    pub(super) fn is_active(&self, controller: usize) -> bool {
        self.controllers[controller].machine.is_some()
    }

    fn load(&mut self, controller: usize, run: u64) -> Step {
        let input = if self.faults.store_is_down() {
            Input::LoadFailed
        } else {
            Input::Loaded(self.store.snapshot())
        };
        let delay = self.chance.between(MS, 10 * MS);
        self.plan(delay, move |w| w.controller_input(controller, run, input));
        Ok(())
    }

    fn put_next(&mut self, decision: Decision, puts: Vec<Put>, versions: Vec<Version>) {
        let delay = self.chance.between(MS, 8 * MS);
        self.plan(delay, move |w| w.put(decision, puts, versions));
    }

    /// A put reaches the store, whether its sender is still there or not.
    fn put(&mut self, decision: Decision, mut puts: Vec<Put>, mut versions: Vec<Version>) -> Step {
        let (controller, run) = (decision.by, decision.run);
        if versions.is_empty() && puts.is_empty() {
            return self.controller_input(controller, run, Input::Written(versions));
        }
        let is_gone = self.controllers[controller].run != run;
        let put = puts.remove(0);
        let fault = self.store_fault();
        let late = (fault == Fault::UnknownLost && self.chance.happens(500)).then(|| put.clone());
        let outcome = self.try_put(&decision, &put, fault)?;
        if let Some(late) = late {
            // It is still on its way, and nobody waits for it any more.
            let delay = self.chance.between(MS, 200 * MS);
            let of = decision.clone();
            self.plan(delay, move |w| {
                w.count("store put came late");
                w.try_put(&of, &late, Fault::Nothing).map(|_| ())
            });
        }
        if is_gone {
            return Ok(());
        }
        match outcome {
            Ok(version) => versions.push(version),
            Err(error) => {
                return self.controller_input(controller, run, Input::WriteFailed(error));
            }
        }
        if puts.is_empty() {
            return self.controller_input(controller, run, Input::Written(versions));
        }
        self.put_next(decision, puts, versions);
        Ok(())
    }

    fn try_put(
        &mut self,
        decision: &Decision,
        put: &Put,
        fault: Fault,
    ) -> Result<Result<Version, StoreError>, String> {
        let controller = decision.by;
        let before = self.store.snapshot();
        self.store.inject([fault]);
        let outcome = put.apply(&self.store);
        self.store.heal();
        let after = self.store.snapshot();
        self.note(format!(
            "c{controller} puts {put:?}: {}",
            match &outcome {
                Ok(_) => "done".to_owned(),
                Err(error) => error.to_string(),
            }
        ));
        match &outcome {
            Err(StoreError::Conflict { .. }) => self.count("store conflict"),
            Err(StoreError::Unknown { .. }) => self.count("store outcome unknown"),
            Ok(_) if put.returns_leadership() => self.count("preferred replica leads again"),
            _ => {}
        }
        if before != after {
            sim::check(before, after.clone())
                .map_err(|e| format!("c{controller} put {put:?}: {e}"))?;
            let before = self.stored.clone();
            self.stored_is(after)?;
            self.check_put(&decision.told, &before)
                .map_err(|e| format!("c{controller} put {put:?}: {e}"))?;
        }
        Ok(outcome)
    }

    /// Notes what the store has now.
    pub(super) fn stored_is(&mut self, snapshot: Snapshot) -> Step {
        let now: BTreeMap<_, _> = sim::partitions(snapshot)?
            .into_iter()
            .map(|stored| (stored.partition, stored))
            .collect();
        let mut changed = Vec::new();
        for (id, after) in &now {
            let Some(before) = self.stored.get(id) else {
                // A backup from before does not know it.
                self.clients.topics.changed_us = self.now_us;
                continue;
            };
            let (before, after) = (&before.assignment, &after.assignment);
            if before == after {
                continue;
            }
            changed.push((before.clone(), after.clone()));
            let what = format!("stored {id} {}", super::told::assigned(&after.into()));
            self.trace.note(self.now_us, what);
            if after.leader_epoch > before.leader_epoch && after.leader.is_some() {
                self.counters.count("election");
            }
            let lost = before.isr.iter().any(|m| !after.isr.contains(m));
            let won = after.isr.iter().any(|m| !before.isr.contains(m));
            match (before.is_moving(), after.is_moving()) {
                (false, true) => self.counters.count("move begun"),
                (true, false) => self.counters.count(ended(before)),
                _ => {}
            }
            if lost {
                self.counters.count("in-sync set shrank");
            }
            if won {
                self.counters.count("in-sync set grew");
            }
            if after.unconfirmed.len() > before.unconfirmed.len() {
                self.counters.count("unconfirmed member");
            }
        }
        for (id, stored) in &now {
            let version = (*id, stored.assignment.version());
            let members = self.persisted.entry(version).or_default();
            *members = (*members).max(stored.assignment.isr.len());
            if stored.assignment.replicas.len() == 1 {
                self.ledger.resumes(*id, stored.assignment.leader_epoch);
            }
        }
        self.stored = now;
        for (before, after) in changed {
            self.assignment_changed(&before, &after);
        }
        Ok(())
    }

    fn store_fault(&mut self) -> Fault {
        if self.faults.store_is_down() {
            return Fault::Unavailable;
        }
        if !self.faults.store_is_troubled() {
            return Fault::Nothing;
        }
        match self.chance.below(20) {
            0 | 1 => Fault::Conflict,
            2 | 3 => Fault::UnknownWritten,
            4 | 5 => Fault::UnknownLost,
            6 => Fault::Unavailable,
            _ => Fault::Nothing,
        }
    }

    /// After this the store is as it was.
    pub(super) fn restore_store(&mut self, snapshot: Snapshot) -> Step {
        self.store.restore(snapshot);
        self.clients.moves.are_forgotten();
        self.note("the store is restored to an older state".to_owned());
        let now = self.store.snapshot();
        self.stored_is(now)?;
        for controller in 0..CONTROLLERS {
            if self.is_active(controller) {
                self.crash_controller(controller);
                let wait = self.chance.between(100 * MS, 3 * SECOND);
                self.plan(wait, move |w| {
                    w.controllers[controller].is_up = true;
                    Ok(())
                });
            }
        }
        Ok(())
    }
}
