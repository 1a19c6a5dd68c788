//! Coordinates the groups of one partition of `__offsets`, for as long as this broker leads it.

mod declared;
mod requests;
mod run;
#[cfg(feature = "sim")]
mod stepped;
mod upkeep;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use taffrail_api::{WireError, v1};
use taffrail_core::{
    ErrorCode, LeaderEpoch, TopicPartition,
    group::Now,
    replica::{Mutant, is_broken},
};
use tokio::sync::{mpsc, watch};

use self::upkeep::Reporting;
use super::{
    catalog::Topics,
    coordinators::offline,
    event::Event,
    hosted::Hosted,
    load::{self, Found},
    policies::{Declared, Policies},
    records::{Entry, forgotten_members_entry, members_entry},
    write::{Answer, Writes, append},
};
use crate::{
    broker::Broker,
    cluster::known::Known,
    metrics::CoordinatedMetrics,
    partition::{Partition, standing::Role},
};

/// Writes under way. While there are so many, events gather, and the next write is larger.
const WRITES_MAX: usize = 4;
/// Events that become one write.
const EVENTS_MAX: usize = 1_000;
/// Deadlines of members, and whether followers are heard, are looked at so often.
const TICK: Duration = Duration::from_millis(200);
/// Without a look for so long, the process or the machine stood still.
const STALL_MS: u64 = 2_000;
/// Groups that nobody was in for long are looked for so often.
const SWEEP_INTERVAL_MS: u64 = 60_000;

/// The coordinator of one partition, in one leader epoch.
#[derive(Debug)]
pub(super) struct Coordinator {
    broker: Arc<Broker>,
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
    groups: BTreeMap<String, Hosted>,
    /// What is declared of groups, of all and of those here.
    policies: Policies,
    declared: BTreeMap<String, Arc<Declared>>,
    topics: Topics,
    writes: Writes,
    /// Of the events that are being dealt with.
    entries: Vec<Entry>,
    answers: Vec<Answer>,
    /// Groups with something new.
    touched: BTreeSet<String>,
    /// Can nobody else coordinate, for all that is known?
    is_sure: bool,
    /// Why the log takes nothing just now. What would have to be stored is refused before anything changes; what becomes of members waits, and nobody is
    /// told of it.
    closed: Option<WireError>,
    /// The shortest of any member.
    session_timeout_ms: u64,
    /// When it began to coordinate.
    begun: Now,
    ticked_ms: u64,
    swept_ms: u64,
    reporting: Reporting,
    metrics: CoordinatedMetrics,
}

/// Where a partition's coordinator gets its events.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) known: watch::Receiver<Arc<Known>>,
}

impl Coordinator {
    /// Reads the groups from the log.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) async fn load(
        broker: Arc<Broker>,
        partition: Arc<Partition>,
        epoch: LeaderEpoch,
        known: &Known,
    ) -> Result<Self, WireError> {
        let end = load::committed_end(&partition).await;
        let found = load::load(&partition, end).await?;
        Ok(Self::new(broker, partition, epoch, known, found))
    }

    /// Goes on with what the log says.
    pub(super) fn new(
        broker: Arc<Broker>,
        partition: Arc<Partition>,
        epoch: LeaderEpoch,
        known: &Known,
        found: Found,
    ) -> Self {
        let metrics = CoordinatedMetrics::new(Arc::clone(&broker.metrics));
        let mut coordinator = Self {
            broker,
            partition,
            epoch,
            groups: BTreeMap::new(),
            policies: Policies::default(),
            declared: BTreeMap::new(),
            topics: Topics::default(),
            writes: Writes::default(),
            entries: Vec::new(),
            answers: Vec::new(),
            touched: BTreeSet::new(),
            is_sure: false,
            closed: None,
            session_timeout_ms: 0,
            begun: Now::default(),
            ticked_ms: 0,
            swept_ms: 0,
            reporting: Reporting::default(),
            metrics,
        };
        let now = coordinator.now();
        (coordinator.begun, coordinator.swept_ms) = (now, now.ms);
        let members_max = coordinator.broker.config.groups.members_max;
        coordinator.topics.update(known);
        coordinator.declare(known);
        let policy = |group: &str| coordinator.policy(group);
        coordinator.groups = found.groups(policy, members_max, now);
        for hosted in coordinator.groups.values() {
            for member in hosted.group.members() {
                coordinator.topics.learn(&member.profile().subscription);
            }
        }
        coordinator.rebalance_all();
        coordinator.session_timeout_ms = coordinator.shortest_session_timeout_ms();
        coordinator.is_sure = coordinator.hears_everybody();
        coordinator.look_at_log();
        let (partition, groups) = (coordinator.partition.label(), coordinator.groups.len());
        if groups > 0 {
            tracing::info!(%partition, %epoch, groups, "coordinates groups");
        }
        coordinator
    }

    /// Is there nothing that time changes?
    fn is_idle(&self) -> bool {
        self.groups.is_empty() && self.reporting.is_idle()
    }

    /// May events become another write?
    fn has_room(&self) -> bool {
        self.writes.len() < WRITES_MAX
    }

    /// Nobody is a member here any more.
    fn end(&mut self, why: &WireError) {
        for hosted in self.groups.values_mut() {
            for member in hosted.streams.keys().copied().collect::<Vec<_>>() {
                hosted.end_stream(member, why);
            }
        }
    }

    /// One event, and those that wait behind it.
    fn hear(&mut self, first: Event, inbox: &mut Inbox) -> Result<(), WireError> {
        self.begin_round()?;
        self.look_around();
        let mut next = Some(first);
        for _ in 0..EVENTS_MAX {
            let Some(event) = next else { break };
            self.take_and_look(event);
            next = inbox.events.try_recv().ok();
        }
        if let Some(event) = next {
            self.take_and_look(event);
        }
        Ok(())
    }

    fn take_and_look(&mut self, event: Event) {
        let before_ms = self.session_timeout_ms;
        self.take(event);
        self.look_if_shorter_than(before_ms);
    }

    /// What is recent enough by a longer session timeout need not be by the shortest one now.
    fn look_if_shorter_than(&mut self, before_ms: u64) {
        if self.session_timeout_ms < before_ms {
            self.look_around();
        }
    }

    fn learn(&mut self, known: &Known) -> Result<(), WireError> {
        self.begin_round()?;
        let is_other = self.topics.update(known);
        let before_ms = self.session_timeout_ms;
        self.declare(known);
        self.look_if_shorter_than(before_ms);
        if is_other {
            self.rebalance_all();
        }
        Ok(())
    }

    fn rebalance_all(&mut self) {
        for (name, hosted) in &mut self.groups {
            let has_members = hosted.group.members().len() > 0;
            if has_members {
                hosted.group.catalog_changed(&self.topics);
                self.touched.insert(name.clone());
            }
            // Topics may have come or gone of which nobody gets anything.
            hosted.is_news |= has_members || !hosted.group.policy().subscription.is_empty();
        }
        self.report_declared();
    }

    fn tick(&mut self) -> Result<(), WireError> {
        self.begin_round()?;
        self.session_timeout_ms = self.shortest_session_timeout_ms();
        let members = self.groups.values().map(|h| h.group.members().len());
        self.metrics.set(self.groups.len(), members.sum());
        let was_sure = self.is_sure;
        self.look_around();
        let now = self.now();
        let since_ms = now.ms - self.ticked_ms;
        let answered = was_sure && self.is_sure;
        if !answered || since_ms >= STALL_MS || !self.has_room() {
            // It fell silent, this broker stood still, or it waits for its writes: what members said meanwhile was not heard, or still waits to be.
            for hosted in self.groups.values_mut() {
                hosted.group.give_time(since_ms, now);
            }
        }
        self.ticked_ms = now.ms;
        if self.is_sure {
            for (name, hosted) in &mut self.groups {
                if hosted
                    .group
                    .next_deadline_ms()
                    .is_some_and(|at| at <= now.ms)
                {
                    let expired = hosted.group.expire(&self.topics, now);
                    for member in expired {
                        tracing::info!(group = %name, %member, "a member was not heard of in time: others get its partitions");
                        hosted.end_stream(member, &given_up());
                    }
                    self.touched.insert(name.clone());
                }
            }
        }
        if now.ms >= self.swept_ms + SWEEP_INTERVAL_MS && self.closed.is_none() {
            self.swept_ms = now.ms;
            self.sweep(now);
        }
        self.forget_declared();
        self.report(now);
        Ok(())
    }

    fn begin_round(&mut self) -> Result<(), WireError> {
        self.check_leads()?;
        self.look_at_log();
        Ok(())
    }

    /// Does the log take records? Until the next round that is so.
    fn look_at_log(&mut self) {
        let space = self.broker.space.check();
        let closed = space.and_then(|()| self.partition.check_in_sync()).err();
        if closed.is_some() != self.closed.is_some() {
            let partition = self.partition.label();
            if let Some(why) = &closed {
                tracing::warn!(%partition, reason = %why, "groups' commits are refused, and members wait for changes");
            } else {
                tracing::info!(%partition, "groups' commits are stored again");
            }
        }
        self.closed = closed;
    }

    /// Does this broker still lead, in the same epoch?
    fn check_leads(&self) -> Result<(), WireError> {
        let standing = self.partition.standing();
        if standing.role != Role::Leader || standing.leader_epoch != self.epoch {
            return Err(not_coordinator(
                "another broker coordinates the group by now",
            ));
        }
        offline(&self.partition).map_or(Ok(()), Err)
    }

    /// Whoever may be a coordinator without knowing that another one is answers nobody: members that hear from it would go on with partitions that
    /// others have got.
    fn look_around(&mut self) {
        let is_sure = self.hears_everybody();
        if std::mem::replace(&mut self.is_sure, is_sure) == is_sure {
            return;
        }
        if is_sure {
            return;
        }
        for (name, hosted) in &mut self.groups {
            for member in hosted.streams.keys().copied().collect::<Vec<_>>() {
                hosted.end_stream(member, &unsure());
            }
            self.touched.insert(name.clone());
        }
        tracing::warn!(partition = %self.partition.label(), "a follower was not heard of lately: groups are not coordinated until it is, or leaves the in-sync set");
    }

    /// A third of the shortest session timeout. Members count on being heard by somebody for two thirds after a word that was answered, and who takes over
    /// gives each the whole: so the last third is for a coordinator that does not know yet that it was replaced.
    const fn silence_ms_max(&self) -> u64 {
        self.session_timeout_ms / 3
    }

    /// Has every in-sync replica, and one that may have become one, followed in this epoch within [`Self::silence_ms_max`]?
    fn hears_everybody(&self) -> bool {
        let known = self.broker.known.borrow();
        let (Some(me), Some(assignment)) = (
            self.broker.membership.number(),
            known.view.partitions.get(&self.partition.id),
        ) else {
            return false;
        };
        let hearing = &self.partition.hearing;
        let others = assignment
            .isr
            .iter()
            .copied()
            .filter(|broker| *broker != me)
            .chain(hearing.newcomer(assignment.partition_epoch));
        if is_broken(Mutant::SilentFollowerIgnored) {
            return true;
        }
        let heard_ms = hearing.longest_silent_ms(others, self.epoch);
        heard_ms
            .is_some_and(|ms| ms.saturating_add(self.silence_ms_max()) >= self.broker.uptime_ms())
    }

    fn shortest_session_timeout_ms(&self) -> u64 {
        let groups = self.groups.values();
        let timeouts = groups.filter_map(|hosted| hosted.group.session_timeout_ms_min());
        let default = self.broker.config.groups.session_timeout_ms;
        timeouts.min().unwrap_or(default)
    }

    /// Stores what changed, and answers once it is stored.
    fn flush(&mut self) -> Result<(), WireError> {
        let bytes_max = self.partition.standing().max_batch_bytes;
        let now_ms = self.broker.uptime_ms();
        for name in std::mem::take(&mut self.touched) {
            let Some(hosted) = self.groups.get_mut(&name) else {
                continue;
            };
            hosted.heard_ms = Some(now_ms);
            if self.closed.is_some() && hosted.group.has_changed() {
                self.touched.insert(name);
                continue;
            }
            if hosted.group.take_changed() {
                hosted.is_news = true;
                let entry = if hosted.is_forgotten() {
                    forgotten_members_entry(&name)
                } else {
                    members_entry(&name, &hosted.group.stored())
                };
                if entry.fits(bytes_max) {
                    self.entries.push(entry);
                } else {
                    hosted.is_too_large(bytes_max);
                    continue;
                }
            }
            hosted.tell(&self.topics, &mut self.answers);
            if hosted.is_forgotten() && hosted.streams.is_empty() {
                self.remove(&name);
            }
        }
        if self.groups.is_empty() {
            // There are no ticks any more.
            self.metrics.set(0, 0);
        }
        let entries = std::mem::take(&mut self.entries);
        if !entries.is_empty() {
            for stored in append(&self.broker, &self.partition, self.epoch, &entries)? {
                self.writes.push(stored, self.broker.uptime_ms());
            }
        }
        let answers = std::mem::take(&mut self.answers);
        if !answers.is_empty() {
            self.writes.then(answers);
        }
        Ok(())
    }

    fn now(&self) -> Now {
        Now {
            ms: self.broker.uptime_ms(),
            wall_ms: (self.broker.environment.clock)().max(0).cast_unsigned(),
        }
    }

    fn summaries(&self) -> Vec<v1::GroupSummary> {
        self.groups
            .iter()
            .map(|(name, hosted)| hosted.summary(name))
            .collect()
    }
}

pub(super) fn not_coordinator(why: &str) -> WireError {
    WireError::new(
        ErrorCode::NotCoordinator,
        format!("{why}; refresh the metadata and retry"),
    )
}

fn unsure() -> WireError {
    not_coordinator(
        "this broker has not heard of every in-sync follower lately and cannot be sure to be the group's coordinator",
    )
}

fn given_up() -> WireError {
    WireError::new(
        ErrorCode::UnknownMember,
        "no heartbeat came within the session timeout: the member's partitions are others' now; stop processing, and join with a new member id",
    )
}

fn label(partition: TopicPartition, topics: &Topics) -> String {
    match topics.name(partition.topic) {
        Some(name) => format!("{name}/{}", partition.partition),
        None => partition.to_string(),
    }
}
