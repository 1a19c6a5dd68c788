//! Faults that wait for a moment: what goes wrong right then is seldom met by chance.

use taffrail_api::v1;
use taffrail_core::{Assignment, BrokerNumber};
use taffrail_log::sim::Loss;

use crate::world::{
    BROKERS, CONTROLLERS, MIN_IN_SYNC, MS, SECOND, World,
    network::{ConnectionId, End, Wire},
};

/// Suspected are those who were silent for 3 s.
const UNSUSPECTED: u64 = 2_500 * MS;

/// What it waits for, and so what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trap {
    /// A leader asks for a newcomer: what it asks arrives late, and another follower runs anew meanwhile.
    Asked,
    /// The store has a newcomer: its leader does not hear of it, and it does not hear its leader.
    Grew,
    /// The store has one member less: nobody hears more of the leader, which is gone a moment later.
    Shrank,
    /// A leader was elected, and is gone a moment later.
    Elected,
    /// A log was cut: then the power fails.
    Cut,
    /// A follower is told to cut its log: it is told so again when it has obeyed and gone on.
    ToldToCut,
    /// The store has only `minInSync` members left: one of them comes back with an older volume, and its leader is alone.
    Short,
}

const TRAPS: [Trap; 7] = [
    Trap::Asked,
    Trap::Grew,
    Trap::Shrank,
    Trap::Elected,
    Trap::Cut,
    Trap::ToldToCut,
    Trap::Short,
];

impl World {
    pub(super) fn set_trap(&mut self) -> bool {
        let trap = self.chance.pick(&TRAPS);
        self.note(format!("a trap waits: {trap:?}"));
        self.faults.trap = Some(trap);
        true
    }

    fn springs(&mut self, trap: Trap) -> bool {
        let is_it = self.faults.trap == Some(trap) && !self.faults.are_over;
        if is_it {
            self.faults.trap = None;
            self.faults.made += 1;
            self.note(format!("the trap springs: {trap:?}"));
        }
        is_it
    }

    /// The leader on `broker` asks for a newcomer.
    pub(in crate::world) fn newcomer_is_asked_for(&mut self, broker: usize, newcomer: usize) {
        let others = self.all().filter(|b| *b != broker && *b != newcomer);
        let Some(other) = others.into_iter().find(|b| self.may_restart(*b)) else {
            return;
        };
        if !self.springs(Trap::Asked) {
            return;
        }
        self.count("change asked for late");
        self.note(format!("b{broker} asks for b{newcomer}"));
        let until = self.chance.between(UNSUSPECTED / 2, UNSUSPECTED);
        for controller in 0..CONTROLLERS {
            self.cut_for(broker, BROKERS + controller, until);
        }
        self.cut_for(broker, newcomer, until + SECOND);
        self.restart_soon(other, Loss::Nothing);
    }

    /// The store has another assignment.
    pub(in crate::world) fn assignment_changed(&mut self, before: &Assignment, now: &Assignment) {
        let node = |number: BrokerNumber| self.numbers.get(&number).copied();
        let Some(leader) = now.leader.and_then(node) else {
            return;
        };
        let newcomer = now.isr.iter().find(|member| !before.isr.contains(member));
        let gone = before.isr.iter().find(|member| !now.isr.contains(member));
        let (newcomer, gone) = (newcomer.copied().and_then(node), gone.copied());
        let is_same = before.leader == now.leader;
        if let Some(newcomer) = newcomer.filter(|_| is_same)
            && self.springs(Trap::Grew)
        {
            self.count("leader not told of a newcomer");
            let until = self.chance.between(SECOND, 4 * SECOND);
            for controller in 0..CONTROLLERS {
                self.cut_for(BROKERS + controller, leader, until);
            }
            self.cut_for(leader, newcomer, until);
        } else if gone.is_some_and(|_| is_same)
            && self.may_restart(leader)
            && self.springs(Trap::Shrank)
        {
            self.count("leader gone after a shrink");
            for other in self.all().filter(|other| *other != leader) {
                self.cut_for(leader, other, 3 * SECOND);
            }
            let goes = self.chance.between(5 * MS, 60 * MS);
            self.crash_in(goes, leader, Loss::Nothing);
        } else if gone.is_some_and(|_| is_same)
            && let Some(member) = self.other_of_two(leader, now)
            && self.springs(Trap::Short)
        {
            self.count("leader left alone by a loss");
            self.bring_back(member);
            self.restart_in(member, 100 * MS, SECOND);
        } else if now.leader_epoch > before.leader_epoch
            && self.may_restart(leader)
            && self.springs(Trap::Elected)
        {
            self.count("leader gone after its election");
            let goes = self.chance.between(5 * MS, 500 * MS);
            self.crash_in(goes, leader, Loss::Everything);
        }
    }

    /// The only member beside the leader, if its volume may go back.
    fn other_of_two(&self, leader: usize, now: &Assignment) -> Option<usize> {
        let nodes = now.isr.iter().filter_map(|m| self.numbers.get(m));
        let other = nodes.copied().find(|node| *node != leader);
        let other = other.filter(|_| now.isr.len() == MIN_IN_SYNC)?;
        (self.may_damage_a_member() && self.brokers[other].older.is_some()).then_some(other)
    }

    /// A leader tells a follower that its log parts from its own.
    pub(in crate::world) fn follower_is_told_to_cut(
        &mut self,
        connection: ConnectionId,
        message: &v1::LeaderMessage,
    ) {
        if !self.springs(Trap::ToldToCut) {
            return;
        }
        self.count("told twice to cut");
        let again = Wire::Leader(Box::new(message.clone()));
        let late = self.chance.between(20 * MS, SECOND);
        self.plan(late, move |w| {
            w.arrive_late(connection, End::Listened, again)
        });
    }

    /// A replica's log was cut.
    pub(in crate::world) fn log_was_cut(&mut self, broker: usize) {
        if self.may_restart(broker) && self.springs(Trap::Cut) {
            self.count("power failed after a cut");
            let goes = self.chance.between(MS, 800 * MS);
            self.crash_in(goes, broker, Loss::Everything);
        }
    }

    /// Nothing of what `from` sends gets to `to` for so long.
    pub(in crate::world) fn cut_for(&mut self, from: usize, to: usize, for_us: u64) {
        if from == to {
            return;
        }
        self.network.cut[from][to] = true;
        self.plan(for_us, move |w| {
            w.network.cut[from][to] = false;
            w.resume_stalled();
            Ok(())
        });
    }

    fn crash_in(&mut self, after: u64, broker: usize, loss: Loss) {
        let run = self.brokers[broker].run;
        self.plan(after, move |w| {
            if w.brokers[broker].run == run && w.may_restart(broker) {
                w.crash(broker, loss);
            }
            Ok(())
        });
    }

    fn restart_soon(&mut self, broker: usize, loss: Loss) {
        self.crash_broker(broker, loss);
        self.restart_in(broker, 10 * MS, 200 * MS);
    }

    fn restart_in(&mut self, broker: usize, least: u64, most: u64) {
        let down = self.chance.between(least, most);
        self.plan(down, move |w| w.start_broker(broker));
    }
}
