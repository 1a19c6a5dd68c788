//! What must hold, looked at after each step of a broker.

use std::collections::BTreeSet;

use taffrail_api::v1::{self, answer::Outcome, leader_message};
use taffrail_broker::sim::ReplicaView;
use taffrail_core::{Offset, replica::invariants};

use super::{
    Step, World,
    brokers::Process,
    groups::{PROMISES, count_groups},
    promises::{self, Kept},
};
use crate::groups::News;

impl World {
    /// Looks at every replica of a broker that changed.
    pub(super) fn observe(&mut self, broker: usize) -> Step {
        let (mut committed, mut recounted) = (Vec::new(), Vec::new());
        let mut is_cut = false;
        let node = &mut self.brokers[broker];
        let Some(process) = &mut node.process else {
            return Ok(());
        };
        if let Some(number) = process.sim.number() {
            self.numbers.insert(number, broker);
        }
        for view in process.sim.replicas() {
            let before = process.seen.get(&view.partition).cloned();
            if before.as_ref() == Some(&view) {
                continue;
            }
            let named = |broken| format!("b{broker}: {broken}");
            in_order(&view).map_err(named)?;
            promises::was_synced(&view).map_err(named)?;
            promises::is_on_medium(&node.volume.disk, before.as_ref(), &view).map_err(named)?;
            promises::is_rightly_offline(&view, node.was_struck).map_err(named)?;
            if let Some(before) = &before {
                for what in moved(before, &view).map_err(named)? {
                    is_cut |= what == "log cut";
                    self.counters.count(what);
                }
            }
            if view.is_internal {
                self.ledger.is_internal(view.partition);
            }
            if view.is_leading {
                let Some(number) = process.sim.number() else {
                    return Err(named("a broker without a number leads".to_owned()));
                };
                let owner = (number, process.sim.incarnation());
                self.ledger
                    .leads(view.partition, view.leader_epoch, owner)
                    .map_err(named)?;
            }
            if view.fault.is_none() {
                let news = expose(process, &mut self.ledger, before.as_ref(), &view);
                count_groups(
                    &mut self.counters,
                    &mut self.clients.groups,
                    &news.map_err(named)?,
                );
            } else if before.as_ref().is_none_or(|before| before.fault.is_none()) {
                let fault = view.fault.clone().unwrap_or_default();
                self.trace.note(
                    self.now_us,
                    format!("b{broker} {} is offline: {fault}", view.partition),
                );
                self.counters.count("replica offline");
            }
            if view.fault.is_none() {
                let kept = Kept {
                    epoch: view.leader_epoch,
                    durable_end: view.durable_end,
                };
                let was = node.kept.insert(view.partition, kept);
                let is_new = before.is_none();
                promises::keeps(was.as_ref(), &view, is_new).map_err(named)?;
                let has_less = was.is_some_and(|was| was.durable_end > view.durable_end);
                if has_less || before.as_ref().map(|b| &b.counted) != Some(&view.counted) {
                    recounted.push(view.partition);
                }
            }
            let is_higher = |b: &ReplicaView| b.high_watermark < view.high_watermark;
            if view.is_leading && before.as_ref().is_none_or(is_higher) {
                committed.push((view.partition, view.high_watermark));
            }
            if view.is_leading && before.as_ref().is_some_and(is_higher) {
                let members = |view: &ReplicaView| {
                    let version = (view.leader_epoch, view.partition_epoch);
                    self.persisted.get(&(view.partition, version)).copied()
                };
                // One step may bring an assignment and what it commits, or commit and bring one.
                let went_by = before.iter().filter(|before| before.is_leading);
                let most = went_by.chain([&view]).filter_map(members).max();
                let stored = self.stored.get(&view.partition);
                let topic = stored.map_or("", |stored| &stored.topic);
                let (least, _) = self.clients.topics.min_in_sync(topic);
                promises::enough_members(&view, most, least).map_err(named)?;
            }
            process.seen.insert(view.partition, view);
        }
        let there: BTreeSet<_> = process.sim.replicas().iter().map(|v| v.partition).collect();
        process.seen.retain(|id, _| there.contains(id));
        node.kept.retain(|id, _| there.contains(id));
        for coordinator in process.sim.coordinators() {
            self.ledger
                .groups
                .coordinates(coordinator, self.now_us)
                .map_err(|broken| format!("b{broker}: {broken}"))?;
        }
        if is_cut {
            self.log_was_cut(broker);
        }
        for (partition, end) in committed {
            self.check_committed(partition, end)?;
        }
        recounted
            .into_iter()
            .try_for_each(|partition| self.check_counted(partition))
    }

    /// True: some log is to be cut.
    pub(super) fn count_answers(&mut self, message: &v1::LeaderMessage) -> bool {
        let mut is_to_cut = false;
        if let Some(leader_message::Message::Answers(answers)) = &message.message {
            for answer in &answers.answers {
                match answer.outcome {
                    Some(Outcome::Diverging(_)) => {
                        is_to_cut = true;
                        self.count("logs diverged");
                    }
                    Some(Outcome::OutOfRange(_)) => self.count("follower out of range"),
                    _ => {}
                }
            }
        }
        is_to_cut
    }
}

/// New committed records are exposed; a new leader has everything that was acknowledged.
fn expose(
    process: &Process,
    ledger: &mut crate::ledger::Ledger,
    before: Option<&ReplicaView>,
    view: &ReplicaView,
) -> Result<News, String> {
    let mut news = News::default();
    let read = |from: Offset, to: Offset| {
        let read = process.sim.read(view.partition, from, to);
        read.map_err(|e| format!("{} cannot be read from {from} to {to}: {e}", view.partition))
    };
    let from = before.map_or(view.log_start, |b| b.high_watermark.max(view.log_start));
    if view.high_watermark > from {
        let batches = read(from, view.high_watermark)?;
        ledger.exposes(view.partition, &batches)?;
        if view.is_internal {
            news = ledger.groups.exposes(view.partition, &batches, &PROMISES)?;
        }
    }
    let led_before = before.is_some_and(|b| b.is_leading && b.leader_epoch == view.leader_epoch);
    if view.is_leading && !led_before {
        let batches = read(view.log_start, view.log_end)?;
        ledger.serves(view.partition, view.leader_epoch, view.log_start, &batches)?;
    }
    Ok(news)
}

fn in_order(view: &ReplicaView) -> Step {
    let in_order = view.log_start <= view.log_end
        && view.durable_end <= view.log_end
        && view.high_watermark <= view.log_end;
    if in_order || view.fault.is_some() {
        return Ok(());
    }
    Err(format!("{}: {view:?}", invariants::A_LOG_IS_IN_ORDER))
}

/// What happened to a replica.
fn moved(before: &ReplicaView, view: &ReplicaView) -> Result<Vec<&'static str>, String> {
    let leads_on = before.is_leading && view.is_leading && before.leader_epoch == view.leader_epoch;
    let moved_back = view.high_watermark < before.high_watermark || view.log_end < before.log_end;
    if leads_on && moved_back && view.fault.is_none() {
        let rule = invariants::THE_HIGH_WATERMARK_NEVER_MOVES_BACK;
        return Err(format!("{rule}: {before:?} became {view:?}"));
    }
    let mut what = Vec::new();
    if view.log_start > before.log_end {
        what.push("log began anew");
    } else if view.log_start > before.log_start {
        what.push("segments expired");
    }
    if view.log_end < before.log_end {
        what.push("log cut");
    }
    Ok(what)
}
