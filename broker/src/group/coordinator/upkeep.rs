//! What a coordinator does from time to time: it forgets, and tells the controller what it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use taffrail_api::{convert::epoch_to_wire, v1};
use taffrail_core::group::{Catalog as _, Now, Subscription};

use super::Coordinator;
use crate::{
    cluster::view::topic_id_bytes,
    group::{hosted::Hosted, write::Answer},
};

/// Between two reports. Nothing is reported while nothing changes.
const REPORT_INTERVAL_MS: u64 = 2_000;
/// That a group is gone is said to sessions with the controller that begin within this time.
const GONE_MS: u64 = 600_000;

/// What the controller was told and is to be told, beside groups that are there.
#[derive(Debug, Default)]
pub(super) struct Reporting {
    reported_ms: u64,
    /// Was everything that was there at the beginning reported?
    has_told_all: bool,
    /// Groups of which there is nothing here (any more), to be reported.
    absent: BTreeSet<String>,
    /// Groups that were reported to be gone, and when.
    gone: BTreeMap<String, u64>,
}

impl Reporting {
    /// Is there nothing to do for it?
    pub(super) fn is_idle(&self) -> bool {
        self.has_told_all && self.absent.is_empty() && self.gone.is_empty()
    }

    /// There is nothing here of that group (any more).
    pub(super) fn say_absent(&mut self, group: &str) {
        self.absent.insert(group.to_owned());
    }
}

impl Coordinator {
    /// Forgets groups that nobody was in for long, and patterns that nobody uses.
    pub(super) fn sweep(&mut self, now: Now) {
        let retention_ms = self.broker.config.groups.offset_retention_ms;
        // A wall clock that leaps ahead ages nobody.
        let wall_ms = now.wall_ms.min(self.begun.wall_ms + now.ms - self.begun.ms);
        let is_dead = |hosted: &Hosted| hosted.is_dead(wall_ms, now.ms, retention_ms);
        let dead: Vec<String> = self
            .groups
            .iter()
            .filter(|(_, hosted)| is_dead(hosted))
            .map(|(name, _)| name.clone())
            .collect();
        for name in dead {
            if let Some(hosted) = self.remove(&name) {
                tracing::info!(group = %name, "nobody was in the group for long: its offsets are forgotten");
                self.entries.extend(hosted.forget(&name));
            }
        }
        let members = self
            .groups
            .values()
            .flat_map(|hosted| hosted.group.members());
        let subscriptions = members.map(|m| &m.profile().subscription);
        let declared = self.declared.values().map(|d| &d.policy.subscription);
        let used: BTreeSet<&str> = subscriptions.flat_map(patterns).collect();
        let declared = declared.flat_map(patterns).collect();
        self.topics.keep_patterns(&used, &declared);
        self.forget_gone(now);
    }

    /// Takes a group out. What is stored of it is up to the caller.
    pub(super) fn remove(&mut self, name: &str) -> Option<Hosted> {
        let removed = self.groups.remove(name)?;
        if removed.is_reported || self.declared.contains_key(name) {
            self.reporting.say_absent(name);
        }
        Some(removed)
    }

    /// Tells the controller of groups that changed, once that is durable.
    pub(super) fn report(&mut self, now: Now) {
        if now.ms < self.reporting.reported_ms + REPORT_INTERVAL_MS {
            return;
        }
        let mut reports = Vec::new();
        let is_closed = self.closed.is_some();
        for (name, hosted) in &mut self.groups {
            if is_closed && hosted.group.has_changed() {
                continue;
            }
            if mem::take(&mut hosted.is_news) {
                hosted.is_reported = true;
                hosted.forget_lost(now.ms);
                reports.push(hosted.report(name, &self.topics));
            }
        }
        for name in mem::take(&mut self.reporting.absent) {
            if !self.groups.contains_key(&name) {
                reports.push(self.absent(name, now));
            }
        }
        let has_told_all = mem::replace(&mut self.reporting.has_told_all, true);
        if reports.is_empty() && has_told_all {
            return;
        }
        for report in &mut reports {
            report.coordinator_epoch = epoch_to_wire(self.epoch);
        }
        self.reporting.reported_ms = now.ms;
        let board = self.broker.coordinators.reports.clone();
        let coordinator = (self.partition.id, self.epoch);
        self.answers
            .push(Answer::Report(board.clone(), coordinator, reports));
        if !has_told_all {
            self.answers.push(Answer::ToldAll(board, coordinator));
        }
    }

    /// Groups of which there is nothing here but what is declared.
    pub(super) fn report_declared(&mut self) {
        let declared = self.declared.keys();
        let absent = declared.filter(|name| !self.groups.contains_key(*name));
        self.reporting.absent.extend(absent.cloned());
    }

    /// A group that is declared exists without members and offsets, unless it is to be forgotten.
    fn absent(&mut self, group: String, now: Now) -> v1::GroupReport {
        let mut report = v1::GroupReport {
            group,
            ..v1::GroupReport::default()
        };
        match self.declared.get(&report.group) {
            Some(declared) if !declared.forget => {
                let topics = self.topics.matching(&declared.policy.subscription);
                report.topic_ids = topics.into_iter().map(topic_id_bytes).collect();
                report.state = v1::GroupState::GroupEmpty.into();
            }
            _ => {
                self.reporting.gone.insert(report.group.clone(), now.ms);
                report.is_gone = true;
            }
        }
        report
    }

    /// Whoever wanted to know that a group is gone knows by now. As long as its resource is being deleted, somebody may ask anew.
    fn forget_gone(&mut self, now: Now) {
        let (groups, declared) = (&self.groups, &self.declared);
        let board = &self.broker.coordinators.reports;
        self.reporting.gone.retain(|name, since_ms| {
            if groups.contains_key(name) || declared.contains_key(name) {
                return false;
            }
            let stays = now.ms < *since_ms + GONE_MS;
            if !stays {
                board.retract(self.partition.id, name);
            }
            stays
        });
    }
}

fn patterns(subscription: &Subscription) -> impl Iterator<Item = &str> {
    subscription.patterns.iter().map(String::as_str)
}
