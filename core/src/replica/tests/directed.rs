//! Histories of two faults in one order, each of which loses a record if one rule is broken and none if all are kept.
//!
//! Broker 0 leads first. What "loses" means is what the world's checks after each step find.

use super::{
    histories::SHOWN,
    world::{Message, World},
};
use crate::replica::{
    invariants::Violated,
    mutant::{Broken, Mutant},
};

type History = fn(&mut World) -> Result<(), Violated>;

/// The rule that is broken, and the history that shows it.
const DIRECTED: [(Mutant, History); 11] = [
    (Mutant::NoEpochCheck, fetch_of_a_former_epoch),
    (Mutant::NoDivergenceCheck, tail_of_a_deposed_leader),
    (Mutant::ExpansionNotCounted, newcomer_that_is_a_member),
    (Mutant::ExpansionCountedForMin, newcomer_to_a_short_isr),
    (Mutant::HighWatermarkBelowMin, newcomer_to_a_short_isr),
    (Mutant::CaughtUpByHighWatermark, newcomer_without_the_past),
    (Mutant::IncarnationNotCompared, newcomer_that_was_set_back),
    (Mutant::OldSyncCounted, sync_across_a_truncation),
    (Mutant::StaleAnswerObeyed, order_to_cut_comes_twice),
    (Mutant::UnconfirmedElected, member_that_was_set_back),
    (Mutant::LateChangeAccepted, expansion_comes_twice),
];

/// 1 has what 0 wrote in epoch 1 and says so; under 2, in epoch 2, it is cut; what it said arrives in epoch 3.
fn fetch_of_a_former_epoch(world: &mut World) -> Result<(), Violated> {
    world.produce(0)?;
    world.sync(0)?;
    world.round(1)?;
    world.sync(1)?;
    let (_, late) = world.next_fetch(1).expect("it follows");
    world.appoint(2)?;
    world.hear_map(&[1, 2])?;
    world.round(1)?;
    world.appoint(0)?;
    world.hear_map(&[0, 1, 2])?;
    world.serve(0, &late)?;
    world.drop_last_laggard(0)?;
    world.appoint(1)?;
    world.hear_map(&[0, 1])?;
    world.produce(1)?;
    world.round(0)?;
    world.check()
}

/// 0 and 1 each write an own record at one offset, 0's without anybody else.
fn tail_of_a_deposed_leader(world: &mut World) -> Result<(), Violated> {
    world.produce(0)?;
    world.sync(0)?;
    world.appoint(1)?;
    world.hear_map(&[0, 1, 2])?;
    world.produce(1)?;
    world.sync(1)?;
    for _ in 0..3 {
        for follower in [0, 2] {
            world.round(follower)?;
            world.sync(follower)?;
            world.check()?;
        }
    }
    Ok(())
}

/// 2 has caught up and is a member again, of which 0 has not heard yet; 1 has what 0 writes meanwhile, and 2 has not.
fn newcomer_that_is_a_member(world: &mut World) -> Result<(), Violated> {
    world.round(1)?;
    world.drop_last_laggard(0)?;
    world.catch_up(2)?;
    world.decide_changes()?;
    world.produce(0)?;
    world.sync(0)?;
    world.catch_up(1)?;
    world.elect_if_member(2)
}

/// 0 is alone in sync, for an older volume came back; 2 has caught up, and the map does not say so yet.
fn newcomer_to_a_short_isr(world: &mut World) -> Result<(), Violated> {
    world.snapshot(1);
    world.produce(0)?;
    world.sync(0)?;
    world.drop_last_laggard(0)?;
    world.start_again(1)?;
    world.start_again(1)?;
    world.restore(1);
    world.start_again(1)?;
    assert_eq!(world.stored.isr.len(), 1);
    world.hear_map(&[0])?;
    world.catch_up(2)?;
    world.check()
}

/// 0 and 1 have a committed record, of which 1, when elected, does not know that it is; 2 joins without it.
fn newcomer_without_the_past(world: &mut World) -> Result<(), Violated> {
    world.acknowledge_without_2()?;
    world.appoint(1)?;
    world.hear_map(&[1, 2])?;
    let (_, empty) = world.next_fetch(2).expect("it follows");
    world.serve(1, &empty)?;
    world.decide_changes()?;
    world.elect_if_member(2)
}

/// 2 has caught up; while the request is under way its volume is set back to before.
fn newcomer_that_was_set_back(world: &mut World) -> Result<(), Violated> {
    world.snapshot(2);
    world.acknowledge_without_2()?;
    world.catch_up(2)?;
    world.restore(2);
    world.restart(2)?;
    world.register(2)?;
    world.decide_changes()?;
    world.elect_if_member(2)
}

/// 2 syncs a record of epoch 1, is cut, gets another of epoch 2, and only then is the sync done.
fn sync_across_a_truncation(world: &mut World) -> Result<(), Violated> {
    world.produce(0)?;
    world.round(2)?;
    world.sync_begins(2);
    world.appoint(1)?;
    world.hear_map(&[1, 2])?;
    world.round(2)?;
    world.round(2)?;
    world.drop_last_laggard(1)?;
    world.produce(1)?;
    world.sync(1)?;
    world.round(2)?;
    world.sync_ends(2)?;
    world.round(2)?;
    world.check()
}

/// 0 is told to cut what it alone had, does so, gets what is committed, and is told so again.
fn order_to_cut_comes_twice(world: &mut World) -> Result<(), Violated> {
    world.produce(0)?;
    world.sync(0)?;
    world.appoint(1)?;
    world.hear_map(&[0, 1, 2])?;
    world.produce(1)?;
    world.sync(1)?;
    let (to, request) = world.next_fetch(0).expect("it follows");
    world.serve(to, &request)?;
    let order = world.net.pop().expect("the answer");
    world.deliver(order.clone())?;
    for _ in 0..3 {
        for follower in [0, 2] {
            world.round(follower)?;
            world.sync(follower)?;
        }
    }
    world.check()?;
    world.deliver(order)?;
    world.check()
}

/// 1's volume is set back to before it had what it acknowledged, and 0 is gone.
fn member_that_was_set_back(world: &mut World) -> Result<(), Violated> {
    world.snapshot(1);
    world.acknowledge_without_2()?;
    world.restore(1);
    world.restart(1)?;
    world.register(1)?;
    world.crash(0, 0);
    world.elect(None)?;
    world.hear_map(&[1, 2])?;
    world.check()
}

/// 2 joins and is dropped again; then a copy of the first request arrives.
fn expansion_comes_twice(world: &mut World) -> Result<(), Violated> {
    world.round(1)?;
    world.drop_last_laggard(0)?;
    world.catch_up(2)?;
    let asked = world.requests();
    world.decide_changes()?;
    world.hear_map(&[0])?;
    world.produce(0)?;
    world.sync(0)?;
    world.catch_up(1)?;
    world.drop_last_laggard(0)?;
    world.check()?;
    assert_eq!(world.history.acknowledged(), 1);
    world.net.extend(asked);
    world.decide_changes()?;
    world.elect_if_member(2)
}

impl World {
    /// These hear of the newest map.
    fn hear_map(&mut self, brokers: &[usize]) -> Result<(), Violated> {
        let newest = self.stored.clone();
        for at in brokers {
            self.map(*at, &newest)?;
            self.check()?;
        }
        Ok(())
    }

    fn requests(&self) -> Vec<Message> {
        let is_request = |message: &&Message| matches!(message, Message::Ask(_));
        self.net.iter().filter(is_request).cloned().collect()
    }

    /// A new process on the volume that is there.
    fn start_again(&mut self, at: usize) -> Result<(), Violated> {
        self.crash(at, 0);
        self.restart(at)?;
        self.register(at)
    }

    /// The controller gets the requests for changes that are under way; nothing else arrives.
    fn decide_changes(&mut self) -> Result<(), Violated> {
        let asked = self.requests();
        self.net.clear();
        for request in asked {
            self.deliver(request)?;
        }
        Ok(())
    }

    /// Time passes, and the member that leader `at` missed longest leaves the in-sync set.
    fn drop_last_laggard(&mut self, at: usize) -> Result<(), Violated> {
        let before = self.stored.isr.len();
        self.now_ms += 50;
        self.tick(at)?;
        self.decide_changes()?;
        assert_eq!(self.stored.isr.len() + 1, before, "one leaves");
        self.hear_map(&[at])
    }

    /// Follower `at` gets everything, durably, and says so.
    fn catch_up(&mut self, at: usize) -> Result<(), Violated> {
        self.round(at)?;
        self.sync(at)?;
        self.round(at)
    }

    /// 0 and 1 are in sync and 0 acknowledges a record; 1 does not hear that, and 2 has nothing.
    fn acknowledge_without_2(&mut self) -> Result<(), Violated> {
        self.round(1)?;
        self.drop_last_laggard(0)?;
        self.produce(0)?;
        self.sync(0)?;
        self.round(1)?;
        self.sync(1)?;
        let (to, request) = self.next_fetch(1).expect("it follows");
        self.serve(to, &request)?;
        assert_eq!(self.history.acknowledged(), 1);
        Ok(())
    }

    /// If the controller has `at` in the in-sync set, it may elect it.
    fn elect_if_member(&mut self, at: usize) -> Result<(), Violated> {
        if self.stored.isr.iter().any(|member| member.0 as usize == at) {
            self.appoint(at)?;
            self.hear_map(&[at])?;
        }
        Ok(())
    }
}

#[test]
fn a_history_of_two_faults_loses_nothing_unless_its_rule_is_broken() {
    let mut unnoticed = Vec::new();
    for (mutant, history) in DIRECTED {
        let kept = history(&mut World::new(Broken(None)));
        assert_eq!(kept, Ok(()), "with all rules, in the history of {mutant:?}");
        let broken = history(&mut World::new(Broken(Some(mutant))));
        if broken.is_ok() {
            unnoticed.push(mutant);
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}

#[test]
fn every_rule_that_can_be_broken_is_shown_by_some_history() {
    let directed = DIRECTED.iter().map(|(mutant, _)| mutant);
    for mutant in Mutant::ALL.into_iter().take(Mutant::OF_REPLICAS) {
        let mut shown = SHOWN.iter().chain(directed.clone());
        assert!(shown.any(|other| *other == mutant), "{mutant:?}");
    }
}
