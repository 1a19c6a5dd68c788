//! Whoever makes topics asks until it is done.

use std::time::Duration;

use taffrail_controller::sim::{Input, Refusal};
use taffrail_core::{DeletionPolicy, TopicId, TopicSpec};

use crate::{
    chance::Chance,
    world::{CONTROLLERS, MIN_IN_SYNC, MS, REPLICAS, SECOND, Step, World},
};

/// Never ends, never expires anything.
pub(crate) const ORDERS: &str = "orders";
/// At first.
const ORDERS_PARTITIONS: u32 = 2;
/// Expires its oldest segments soon.
pub(crate) const CLICKS: &str = "clicks";
/// Is deleted half way.
pub(crate) const PASSING: &str = "passing";

/// Has as many replicas as is drawn, and a `minInSync` of its own, which change half way.
const VARIED: &str = "varied";
const VARIED_PARTITIONS: u32 = 2;

/// How safe a topic is to be.
#[derive(Debug, Clone, Copy)]
struct Safety {
    replicas: usize,
    min_in_sync: usize,
}

impl Safety {
    /// Of every topic but one.
    const USUAL: Self = Self {
        replicas: REPLICAS,
        min_in_sync: MIN_IN_SYNC,
    };

    fn drawn(chance: &mut Chance) -> Self {
        let replicas = 1 + chance.below(REPLICAS);
        Self {
            replicas,
            min_in_sync: 1 + chance.below(replicas),
        }
    }
}

#[derive(Debug, Clone)]
enum Wish {
    Apply(&'static str, Box<TopicSpec>),
    Delete(&'static str),
}

/// What is wanted, and what was asked for.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    wishes: Vec<Wish>,
    asked: Option<u64>,
    made: u64,
    /// How safe the varied topic is to be in this run, one after the other, and how many of these were asked for.
    varied: Vec<Safety>,
    varied_asked: usize,
    /// The store has another set of topics since: no backup from before is restored.
    pub(crate) changed_us: u64,
}

impl Topics {
    pub(super) fn unanswered(&mut self) {
        self.asked = None;
    }

    /// Nothing is wanted any more.
    pub(crate) fn is_done(&self) -> bool {
        self.wishes.is_empty()
    }

    /// The least and the most that were asked of this topic as its `minInSync`. One that changes comes to brokers one after the other.
    pub(crate) fn min_in_sync(&self, topic: &str) -> (usize, usize) {
        let asked = self.varied.iter().take(self.varied_asked);
        let asked = asked.map(|safety| safety.min_in_sync);
        let both = asked.clone().min().zip(asked.max());
        both.filter(|_| topic == VARIED)
            .unwrap_or((MIN_IN_SYNC, MIN_IN_SYNC))
    }

    /// May a volume lose something, over all of this run? With `minInSync: 1` any one may be the only one that has the last records.
    pub(crate) fn do_without_one(&self) -> bool {
        self.varied.iter().all(|safety| safety.min_in_sync > 1)
    }
}

fn spec(partitions: u32, safety: Safety) -> TopicSpec {
    TopicSpec {
        partitions: Some(partitions),
        replicas: Some(safety.replicas as u32),
        min_in_sync: Some(safety.min_in_sync as u32),
        deletion_policy: DeletionPolicy::Retain,
        ..TopicSpec::default()
    }
}

impl World {
    pub(super) fn begin_topics(&mut self) {
        let clicks = TopicSpec {
            retention: Some(Duration::from_secs(4)),
            segment_max_age: Some(Duration::from_secs(2)),
            ..spec(1, Safety::USUAL)
        };
        let spec = |partitions| Box::new(spec(partitions, Safety::USUAL));
        self.wish(0, Wish::Apply(ORDERS, spec(ORDERS_PARTITIONS)));
        self.wish(0, Wish::Apply(CLICKS, Box::new(clicks)));
        self.wish(0, Wish::Apply(PASSING, spec(1)));
        let (later, last) = (
            self.chance.between(10 * SECOND, 40 * SECOND),
            self.chance.between(20 * SECOND, 50 * SECOND),
        );
        if self.chance.happens(500) {
            self.wish(later, Wish::Apply(ORDERS, spec(ORDERS_PARTITIONS + 1)));
        }
        if self.chance.happens(500) {
            self.wish(last, Wish::Delete(PASSING));
        }
        self.begin_varied();
        self.plan(200 * MS, Self::ask_for_topic);
    }

    /// Half of all runs have the varied topic, and half of those change it.
    fn begin_varied(&mut self) {
        let change = self.chance.between(12 * SECOND, 45 * SECOND);
        for delay in [0, change] {
            if self.chance.happens(500) {
                break;
            }
            let safety = Safety::drawn(&mut self.chance);
            self.clients.topics.varied.push(safety);
            let spec = spec(VARIED_PARTITIONS, safety);
            self.wish(delay, Wish::Apply(VARIED, Box::new(spec)));
        }
    }

    fn wish(&mut self, delay_us: u64, wish: Wish) {
        self.plan(delay_us, move |w| {
            let topics = &mut w.clients.topics;
            topics.varied_asked += usize::from(matches!(wish, Wish::Apply(VARIED, _)));
            topics.wishes.push(wish);
            Ok(())
        });
    }

    fn ask_for_topic(&mut self) -> Step {
        self.plan(SECOND, Self::ask_for_topic);
        let topics = &mut self.clients.topics;
        let in_office = (0..CONTROLLERS).find(|c| self.controllers[*c].in_office);
        let (Some(wish), Some(controller), None) = (topics.wishes.first(), in_office, topics.asked)
        else {
            return Ok(());
        };
        topics.made += 1;
        let id = topics.made;
        topics.asked = Some(id);
        topics.changed_us = self.now_us;
        let input = match wish.clone() {
            Wish::Apply(name, spec) => {
                let mut new_id = [7; 16];
                new_id[..8].copy_from_slice(&self.chance.bits().to_be_bytes());
                Input::Apply {
                    id,
                    name: name.to_owned(),
                    spec,
                    new_id: TopicId::from_bytes(new_id),
                }
            }
            Wish::Delete(name) => Input::Delete {
                id,
                name: name.to_owned(),
                policy: DeletionPolicy::Delete,
            },
        };
        let run = self.controllers[controller].run;
        self.controller_input(controller, run, input)
    }

    /// Replicas of the varied topic come or go: where they were ordered to be does not hold any more.
    fn copies_were_changed(&mut self) {
        let [before, now] = &self.clients.topics.varied[..] else {
            return;
        };
        let minima = (before.min_in_sync, now.min_in_sync);
        let stored = self.stored.values().filter(|s| s.topic == VARIED);
        let changed: Vec<_> = stored.map(|s| s.partition).collect();
        self.clients.moves.are_forgotten_of(&changed);
        if minima.0 < minima.1 {
            self.count("minInSync raised");
        } else if minima.0 > minima.1 {
            self.count("minInSync lowered");
        }
    }

    pub(in crate::world) fn topic_answered(&mut self, id: u64, outcome: &Result<(), Refusal>) {
        let topics = &mut self.clients.topics;
        if topics.asked == Some(id) {
            topics.asked = None;
            topics.changed_us = self.now_us;
            if outcome.is_ok() {
                let wish = topics.wishes.remove(0);
                let is_changed = matches!(&wish, Wish::Apply(VARIED, _)) && topics.varied_asked > 1;
                if is_changed {
                    self.copies_were_changed();
                }
                let has_more = |spec: &TopicSpec| spec.partitions > Some(ORDERS_PARTITIONS);
                if matches!(&wish, Wish::Apply(ORDERS, spec) if has_more(spec)) {
                    self.count("partitions added");
                }
            }
        }
    }
}
