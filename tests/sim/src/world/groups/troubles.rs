//! What goes wrong with members and coordinators, and resets.

use taffrail_api::{WireError, v1, v1::member_request::Request};
use taffrail_broker::sim::{Input, Reset};
use taffrail_core::Offset;

use super::{OTHERS, PLANS};
use crate::world::{
    BROKERS, CLIENTS, CONTROLLERS, MS, SECOND, Step, World, clients::ORDERS, faults::pause,
};

impl World {
    pub(super) fn next_trouble(&mut self) -> Step {
        if self.faults.are_over {
            return Ok(());
        }
        let pause = self.chance.between(SECOND, 5 * SECOND);
        self.plan(pause, Self::next_trouble);
        let members = self.clients.groups.members.len();
        let index = self.chance.below(members);
        match self.chance.below(16) {
            0..6 => self.end_member(index),
            6..9 => self.pause_member(index),
            9..12 => self.cut_from_members(),
            12..14 => self.cut_coordinator_off(),
            14 => self.pause_coordinator(),
            _ => self.hang_up(index),
        }
        Ok(())
    }

    /// It crashes, with or without anybody hearing of it, or it leaves.
    fn end_member(&mut self, index: usize) {
        if !self.member(index).is_up {
            return;
        }
        match self.chance.below(3) {
            0 => {
                let member = self.member(index);
                let (id, comes_back) = (member.id, member.instance.is_some());
                self.clients.groups.left.insert(id);
                self.say(index, Request::Leave(v1::LeaveGroup { comes_back }));
                self.count("member says that it leaves");
            }
            1 => self.hang_up(index),
            // The machine is gone.
            _ => self.member(index).stream = None,
        }
        self.lose(index, "its process ends");
        let member = self.member(index);
        member.is_up = false;
        member.run += 1;
        self.count("member ended");
        let down = self.chance.between(50 * MS, 9 * SECOND);
        self.plan(down, move |w| w.start_member(index));
    }

    fn pause_member(&mut self, index: usize) {
        let paused = self.chance.between(SECOND, 11 * SECOND);
        let now_us = self.now_us;
        if !pause(&mut self.member(index).paused_until_us, now_us, paused) {
            return;
        }
        self.note(format!("m{index} is paused for {} ms", paused / MS));
        self.count("member paused");
    }

    /// In one direction, or in both.
    fn cut_from_members(&mut self) {
        let broker = self.any_broker();
        let for_us = self.chance.between(SECOND, 9 * SECOND);
        self.note(format!("members and b{broker} do not hear each other"));
        self.count("members cut off");
        let which = self.chance.below(3);
        if which != 0 {
            self.cut_for(broker, CLIENTS, for_us);
        }
        if which != 1 {
            self.cut_for(CLIENTS, broker, for_us);
        }
    }

    fn pick_coordinator(&mut self) -> Option<usize> {
        let group = self.chance.below(PLANS.len());
        let partition = self.coordinated_by(group)?;
        let leader = self.stored.get(&partition)?.assignment.leader?;
        self.numbers.get(&leader).copied()
    }

    /// Members hear it, and no broker and no controller does: another one is elected beside it.
    fn cut_coordinator_off(&mut self) {
        let Some(coordinator) = self.pick_coordinator() else {
            return;
        };
        let for_us = self.chance.between(4 * SECOND, 16 * SECOND);
        self.note(format!(
            "b{coordinator} coordinates, and only members hear it"
        ));
        self.count("coordinator cut off");
        for other in (0..BROKERS + CONTROLLERS).filter(|other| *other != coordinator) {
            self.cut_for(coordinator, other, for_us);
            self.cut_for(other, coordinator, for_us);
        }
    }

    /// Long enough for another one to give its members up.
    fn pause_coordinator(&mut self) {
        let Some(coordinator) = self.pick_coordinator() else {
            return;
        };
        let paused = self.chance.between(4 * SECOND, 14 * SECOND);
        let until_us = &mut self.brokers[coordinator].paused_until_us;
        if !pause(until_us, self.now_us, paused) {
            return;
        }
        self.note(format!(
            "b{coordinator} coordinates, and is paused for {} ms",
            paused / MS
        ));
        self.count("coordinator paused");
    }

    /// Somebody sets a group back.
    pub(super) fn reset_somebody(&mut self) -> Step {
        let group = self.chance.below(PLANS.len());
        let client = OTHERS + self.clients.groups.members.len();
        let active = self
            .stored
            .values()
            .filter(|s| s.is_active && s.topic == ORDERS);
        let active: Vec<_> = active.map(|s| s.partition).collect();
        let Some(coordinated) = self.coordinated_by(group).filter(|_| !active.is_empty()) else {
            return Ok(());
        };
        self.refresh(client);
        let Some((node, _)) = self.leader_of(client, coordinated) else {
            return Ok(());
        };
        let (name, partition) = (PLANS[group].name, self.chance.pick(&active));
        let committed = self.ledger.groups.committed((name, partition));
        let to = self.chance.between(0, committed + 1);
        self.clients.groups.resets += 1;
        let (id, now_us) = (self.clients.groups.resets, self.now_us);
        let told_by = self.ledger.groups.resets((name, partition), id, to, now_us);
        self.note(format!(
            "reset {id} of {name} at b{node}: {partition} from {committed} to {to}"
        ));
        let reset = Reset {
            group: name.to_owned(),
            partition,
            offset: Offset(to),
            note: told_by,
        };
        let (run, delay) = (self.brokers[node].run, self.delay());
        self.plan(delay, move |w| {
            w.broker_input(node, run, Input::Reset(id, reset))
        });
        Ok(())
    }

    pub(in crate::world) fn was_reset(&mut self, id: u64, outcome: &Result<(), WireError>) {
        let said = match outcome {
            Ok(()) => "done".to_owned(),
            Err(error) => error.code.name().to_owned(),
        };
        self.note(format!("reset {id}: {said}"));
        self.count(if outcome.is_ok() {
            "offsets reset"
        } else {
            "reset refused"
        });
    }
}
