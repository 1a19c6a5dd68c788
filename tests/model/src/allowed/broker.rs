//! What brokers and their volumes may do.

use crate::{
    action::Action,
    state::{LOG_MAX, Number, State, Volume},
    system::System,
};

impl System {
    pub(crate) fn broker_actions(&self, state: &State, slot: usize, actions: &mut Vec<Action>) {
        let broker = &state.brokers[slot];
        let log_end = broker.volume.log.end();
        if broker.leads && state.spent.records < self.config.records && (log_end as usize) < LOG_MAX
        {
            actions.push(Action::Produce(slot));
        }
        if broker.durable_end < log_end {
            actions.push(Action::Sync(slot));
        }
        if state.spent.retries < self.config.retries {
            let ids = 1..=state.spent.records;
            actions.extend(
                ids.filter(|&id| self.may_retry(state, slot, id))
                    .map(|id| Action::Retry { slot, id }),
            );
        }
        if self.fetch_of(state, slot).is_some() {
            actions.push(if self.config.delayed_fetches {
                Action::SendFetch(slot)
            } else {
                Action::Fetch(slot)
            });
        }
        let maps = state.sent.iter().filter(|map| broker.would_act_on(map));
        actions.extend(maps.map(|map| Action::ReceiveMap(slot, *map)));
        if state.spent.crashes < self.config.crashes {
            actions.push(Action::Crash(slot));
        }
        if broker.leads
            && broker.pending.is_none()
            && state.spent.isr_requests < self.config.isr_requests
        {
            self.isr_actions(state, slot, actions);
        }
    }

    fn isr_actions(&self, state: &State, slot: usize, actions: &mut Vec<Action>) {
        let leader = &state.brokers[slot];
        for member in Number::all() {
            for change in self.wanted_isr_changes(leader, member) {
                for (controller, known) in state.controllers.iter().enumerate() {
                    if known.claimed && known.epoch >= leader.volume.stamp.0 {
                        actions.push(Action::RequestIsrChange {
                            slot,
                            controller,
                            change,
                            member,
                        });
                    }
                }
            }
        }
    }

    pub(crate) fn volume_actions(&self, state: &State, slot: usize, actions: &mut Vec<Action>) {
        let broker = &state.brokers[slot];
        if !broker.up {
            actions.push(Action::Restart(slot));
            if state.spent.wipes < self.config.wipes {
                actions.push(Action::WipeVolume(slot));
            }
            let is_its_own = |copy: Volume| copy.number == broker.volume.number;
            if state.spent.restores < self.config.restores
                && state.volume_copies[slot].is_some_and(is_its_own)
            {
                actions.push(Action::RestoreVolume(slot));
            }
        }
        let loses_something = broker.up || broker.durable_end < broker.volume.log.end();
        if state.spent.node_crashes < self.config.node_crashes && loses_something {
            actions.push(Action::CrashNode(slot));
        }
        let may_copy = state.spent.crashes == 0 && state.volume_copies.iter().all(Option::is_none);
        if self.config.restores > 0 && may_copy {
            actions.push(Action::CopyVolume(slot));
        }
        if state.fetches[slot].is_some() {
            actions.push(Action::ServeFetch(slot));
        }
        let arriving = (0..2).filter(|&age| state.answers[slot][age].is_some());
        actions.extend(arriving.map(|age| Action::ReceiveAnswer { slot, age }));
    }
}
