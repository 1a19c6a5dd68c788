//! Whoever makes topics asks until it is done.

use std::time::Duration;

use taffrail_controller::sim::{Input, Refusal};
use taffrail_core::{DeletionPolicy, TopicId, TopicSpec};

use crate::world::{CONTROLLERS, MIN_IN_SYNC, MS, SECOND, Step, World};

/// Never ends, never expires anything.
pub(crate) const ORDERS: &str = "orders";
/// At first.
const ORDERS_PARTITIONS: u32 = 2;
/// Expires its oldest segments soon.
pub(crate) const CLICKS: &str = "clicks";
/// Is deleted half way.
pub(crate) const PASSING: &str = "passing";

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
}

fn spec(partitions: u32) -> TopicSpec {
    TopicSpec {
        partitions: Some(partitions),
        replicas: Some(3),
        min_in_sync: Some(MIN_IN_SYNC as u32),
        deletion_policy: DeletionPolicy::Retain,
        ..TopicSpec::default()
    }
}

impl World {
    pub(super) fn begin_topics(&mut self) {
        let clicks = TopicSpec {
            retention: Some(Duration::from_secs(4)),
            segment_max_age: Some(Duration::from_secs(2)),
            ..spec(1)
        };
        self.wish(0, Wish::Apply(ORDERS, Box::new(spec(ORDERS_PARTITIONS))));
        self.wish(0, Wish::Apply(CLICKS, Box::new(clicks)));
        self.wish(0, Wish::Apply(PASSING, Box::new(spec(1))));
        let (later, last) = (
            self.chance.between(10 * SECOND, 40 * SECOND),
            self.chance.between(20 * SECOND, 50 * SECOND),
        );
        if self.chance.happens(500) {
            self.wish(
                later,
                Wish::Apply(ORDERS, Box::new(spec(ORDERS_PARTITIONS + 1))),
            );
        }
        if self.chance.happens(500) {
            self.wish(last, Wish::Delete(PASSING));
        }
        self.plan(200 * MS, Self::ask_for_topic);
    }

    fn wish(&mut self, delay_us: u64, wish: Wish) {
        self.plan(delay_us, move |w| {
            w.clients.topics.wishes.push(wish);
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

    pub(in crate::world) fn topic_answered(&mut self, id: u64, outcome: &Result<(), Refusal>) {
        let topics = &mut self.clients.topics;
        if topics.asked == Some(id) {
            topics.asked = None;
            topics.changed_us = self.now_us;
            if outcome.is_ok() {
                let wish = topics.wishes.remove(0);
                let has_more = |spec: &TopicSpec| spec.partitions > Some(ORDERS_PARTITIONS);
                if matches!(&wish, Wish::Apply(ORDERS, spec) if has_more(spec)) {
                    self.count("partitions added");
                }
            }
        }
    }
}
