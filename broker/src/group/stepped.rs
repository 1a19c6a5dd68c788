//! The coordinators of a broker without tasks: what `coordinators.rs` does with its own.

use std::{collections::BTreeMap, sync::Arc};

use taffrail_api::WireError;
use taffrail_core::{
    LeaderEpoch, Offset, TopicPartition,
    group::{Group, GroupState, Member},
};
use tokio::sync::{Notify, mpsc};

use super::{
    coordinator::{Coordinator, Inbox, not_coordinator},
    coordinators::{EVENTS_MAX, RETRY_INTERVAL, Running, led, not_loaded, still_leads},
    hosted::Hosted,
    load::load_now,
};
use crate::{broker::Broker, partition::Partition};

/// All that run on a broker.
#[derive(Debug, Default)]
pub(crate) struct Stepped {
    running: BTreeMap<TopicPartition, One>,
    news: Arc<Notify>,
}

#[derive(Debug)]
struct One {
    epoch: LeaderEpoch,
    partition: Arc<Partition>,
    /// `None`: it is over.
    inbox: Option<Inbox>,
    state: State,
}

#[derive(Debug)]
enum State {
    Loading { end: Offset },
    Running(Box<Coordinator>, Ticks),
    Over { until_ms: u64 },
}

/// When the next look at the clock is due.
#[derive(Debug, Default)]
struct Ticks {
    at_ms: u64,
}

/// A group, as its coordinator has it.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// Its name.
    pub group: String,
    /// Every member has what it is to have, and is there.
    pub is_stable: bool,
    /// How many.
    pub members: usize,
    /// What they are to read.
    pub assigned: Vec<TopicPartition>,
    /// How far it has come.
    pub committed: BTreeMap<TopicPartition, Offset>,
}

/// A coordinator that takes itself for the only one, and has groups.
#[derive(Debug, Clone, Copy)]
pub struct CoordinatorView {
    /// Whose groups.
    pub partition: TopicPartition,
    /// It leads the partition in.
    pub epoch: LeaderEpoch,
    /// How long after it was replaced it may answer still, in milliseconds.
    pub answers_on_ms: u64,
}

impl Stepped {
    /// Starts coordinators, lets each deal with what waits for it, and ends those that are not any more. What happened, for counters.
    pub(crate) fn step(&mut self, broker: &Arc<Broker>) -> Vec<&'static str> {
        let mut notes = Vec::new();
        self.begin(broker);
        let now_ms = broker.uptime_ms();
        for (id, one) in &mut self.running {
            if let Err(error) = one.step(broker, &mut notes) {
                broker.coordinators.end(*id, one.epoch);
                // Whoever waits in the inbox hears that nobody is there.
                one.inbox = None;
                let pause = match one.state {
                    State::Loading { .. } => not_loaded(broker, &one.partition, one.epoch, &error),
                    State::Running(..) | State::Over { .. } => {
                        tracing::info!(partition = %one.partition.label(), reason = %error, "does not coordinate groups any more");
                        RETRY_INTERVAL
                    }
                };
                let until_ms = now_ms + pause.as_millis() as u64;
                one.state = State::Over { until_ms };
            }
        }
        let is_over = |one: &One| matches!(one.state, State::Over { until_ms } if until_ms <= now_ms || !still_leads(&one.partition, one.epoch));
        self.running.retain(|_, one| !is_over(one));
        notes
    }

    fn begin(&mut self, broker: &Broker) {
        for partition in led(broker, &self.news).partitions {
            let (id, epoch) = (partition.id, partition.standing().leader_epoch);
            let unloaded = &broker.coordinators.unloaded;
            if self.running.contains_key(&id) || !unloaded.may_try(id, epoch, broker.uptime_ms()) {
                continue;
            }
            let (events, received) = mpsc::channel(EVENTS_MAX);
            if broker.coordinators.begin(id, Running { epoch, events }) {
                let inbox = Inbox {
                    events: received,
                    known: broker.known.clone(),
                };
                let end = partition.progress.log_end();
                let one = One {
                    epoch,
                    partition,
                    inbox: Some(inbox),
                    state: State::Loading { end },
                };
                self.running.insert(id, one);
            }
        }
    }

    /// Those that answer members.
    pub(crate) fn sure(&self) -> impl Iterator<Item = CoordinatorView> {
        self.running
            .iter()
            .filter_map(|(partition, one)| match &one.state {
                State::Running(coordinator, _) => Some(CoordinatorView {
                    partition: *partition,
                    epoch: one.epoch,
                    answers_on_ms: coordinator.answers_on_ms()?,
                }),
                _ => None,
            })
    }

    /// The groups that are coordinated here.
    pub(crate) fn groups(&self) -> Vec<GroupView> {
        let running = self.running.values().filter_map(|one| match &one.state {
            State::Running(coordinator, _) if coordinator.is_sure() => Some(coordinator.groups()),
            _ => None,
        });
        running
            .flatten()
            .map(|(name, hosted)| view(name, hosted))
            .collect()
    }
}

impl One {
    fn step(
        &mut self,
        broker: &Arc<Broker>,
        notes: &mut Vec<&'static str>,
    ) -> Result<(), WireError> {
        let Some(inbox) = &mut self.inbox else {
            return Ok(());
        };
        if let State::Loading { end } = self.state {
            if !still_leads(&self.partition, self.epoch) {
                return Err(not_coordinator("another broker leads by now"));
            }
            let Some(found) = load_now(&self.partition, end)? else {
                return Ok(());
            };
            let known = Arc::clone(&inbox.known.borrow_and_update());
            let partition = Arc::clone(&self.partition);
            let coordinator =
                Coordinator::new(Arc::clone(broker), partition, self.epoch, &known, found);
            let has_members = |(_, hosted): (&str, &Hosted)| hosted.group.members().len() > 0;
            if coordinator.groups().any(has_members) {
                notes.push("members taken over");
            }
            broker.coordinators.unloaded.forget(self.partition.id);
            self.state = State::Running(Box::new(coordinator), Ticks::default());
        }
        if let State::Running(coordinator, ticks) = &mut self.state {
            let was_sure = coordinator.is_sure();
            coordinator.step(inbox, &mut ticks.at_ms)?;
            if was_sure && !coordinator.is_sure() {
                notes.push("coordinator not sure");
            }
        }
        Ok(())
    }
}

fn view(name: &str, hosted: &Hosted) -> GroupView {
    let group: &Group = &hosted.group;
    let committed = group.offsets().map(|(id, c)| (id, c.offset));
    let assigned = group.members().flat_map(Member::assigned);
    GroupView {
        group: name.to_owned(),
        is_stable: group.state() == GroupState::Stable && group.members().all(Member::is_connected),
        members: group.members().len(),
        assigned: assigned.map(|(partition, _)| partition).collect(),
        committed: committed.collect(),
    }
}
