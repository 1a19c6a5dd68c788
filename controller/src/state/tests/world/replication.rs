//! Brokers replicate to one another, acknowledge, and ask for changes of in-sync sets: the rules of architecture.md, section 4, in their
//! simplest form. What is acknowledged has to be on every leader of the same or a later epoch.

use std::collections::{BTreeMap, VecDeque};

use taffrail_api::v1::{self, isr_request::Change};
use taffrail_core::{Assignment, BrokerNumber, Incarnation, LeaderEpoch, Offset, TopicPartition};

use super::{BROKERS, Broker, World};
use crate::{
    state::{Event, SessionId, Work, stored},
    view::View,
};

/// What a leader knows in its epoch.
#[derive(Debug, Default, Clone)]
pub(in crate::state::tests) struct Leading {
    /// The end of its log at its election.
    start: usize,
    high_watermark: usize,
    /// Who has how much, and in which run.
    ends: BTreeMap<BrokerNumber, (Incarnation, usize)>,
    /// Asked for, and not answered by a newer map yet.
    pending: Option<v1::IsrRequest>,
}

impl Broker {
    /// A newer map: in a new epoch, a leader begins anew; in the same, what it asked for is answered.
    pub(super) fn take_over(&mut self, partition: TopicPartition, known: Option<&Assignment>) {
        let Some(now) = self.stored.get(&partition) else {
            return;
        };
        let is_new_epoch = known.is_none_or(|known| known.leader_epoch < now.leader_epoch);
        if is_new_epoch {
            let start = self.log(partition).len();
            let leading = Leading {
                start,
                ..Leading::default()
            };
            self.leading.insert(partition, leading);
        } else if known.is_some_and(|known| known.partition_epoch < now.partition_epoch)
            && let Some(leading) = self.leading.get_mut(&partition)
        {
            leading.pending = None;
        }
    }
}

impl World {
    /// The process ends; the volume stays.
    pub(in crate::state::tests) fn stop_broker(&mut self, broker: usize) {
        self.disconnect(broker);
        self.brokers[broker].is_down = true;
        self.brokers[broker].leading.clear();
    }

    /// Whoever is down refuses connections.
    pub(super) fn doubts(&self, broker: usize) -> Vec<v1::PeerDoubt> {
        if self.doubts_nobody {
            return Vec::new();
        }
        let others = (0..BROKERS).filter(|other| *other != broker);
        let down = others.map(|other| &self.brokers[other]);
        let numbers = down.filter(|other| other.is_down).filter_map(|o| o.number);
        numbers
            .map(|broker| v1::PeerDoubt {
                broker,
                refused: true,
                silent_ms: 0,
            })
            .collect()
    }

    /// The broker fetches up to `records_max` records of each partition that it follows, after cutting off what its leader does not have.
    pub(in crate::state::tests) fn replicate(&mut self, index: usize, records_max: usize) {
        let follower = &self.brokers[index];
        let (Some(number), false) = (follower.number, follower.is_down) else {
            return;
        };
        let run = *follower.candidates.last().expect("it runs");
        let wanted: Vec<_> = follower
            .stored
            .iter()
            .filter(|(p, _)| !follower.faults.contains(p))
            .map(|(p, a)| (*p, a.leader_epoch))
            .collect();
        let others = (0..BROKERS).filter(|other| *other != index);
        let led: BTreeMap<_, _> = others
            .flat_map(|other| {
                self.brokers[other]
                    .led()
                    .into_iter()
                    .map(move |led| (led, other))
            })
            .collect();
        for (partition, epoch) in wanted {
            let Some(&leader) = led.get(&(partition, epoch)) else {
                continue;
            };
            let theirs = self.brokers[leader].log(partition).to_vec();
            let own = self.brokers[index].logs.entry(partition).or_default();
            let same = own.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
            own.truncate(same);
            own.extend(theirs[same..].iter().take(records_max));
            let end = own.len();
            if let Some(leading) = self.brokers[leader].leading.get_mut(&partition) {
                leading.ends.insert(BrokerNumber(number), (run, end));
            }
        }
        (0..BROKERS).for_each(|leader| self.advance(leader));
    }

    /// The leader moves its high watermarks, and so acknowledges.
    pub(super) fn advance(&mut self, index: usize) {
        for (partition, epoch) in self.brokers[index].led() {
            let broker = &self.brokers[index];
            let assignment = &broker.stored[&partition];
            if assignment.replicas.len() == 1 {
                continue;
            }
            self.check_served(partition, epoch, broker);
            let Some(leading) = broker.leading.get(&partition) else {
                continue;
            };
            let configured = assignment.target().count() / 2 + 1;
            let min_in_sync = assignment.min_in_sync(configured);
            let (mut counted, mut members) = (assignment.isr.clone(), assignment.isr.len());
            match leading
                .pending
                .as_ref()
                .and_then(|asked| asked.change.as_ref())
            {
                Some(Change::Expand(run)) => counted.push(BrokerNumber(run.broker)),
                Some(Change::Shrink(_)) => members -= 1,
                None => {}
            }
            let own = assignment.leader.expect("it leads");
            let others = counted.iter().filter(|member| **member != own);
            let ends = others.map(|member| leading.ends.get(member).map_or(0, |(_, end)| *end));
            let end = ends.fold(broker.log(partition).len(), usize::min);
            let from = leading.high_watermark;
            if members < min_in_sync || end <= from {
                continue;
            }
            let run = assignment.leader_incarnation;
            let log = broker.log(partition)[..end].to_vec();
            let brokers = &self.brokers;
            let history = self.history.partitions.entry(partition).or_default();
            history.leads(epoch, own, run).expect("one leader");
            for (offset, record) in log.iter().enumerate().skip(from) {
                let has = |b: &&Broker| b.log(partition).get(offset) == Some(record);
                let copies = brokers.iter().filter(has).count();
                history
                    .acknowledges(Offset(offset as u64), record.id, epoch, copies, min_in_sync)
                    .expect("durable");
                self.reached.insert("acknowledged".to_owned());
            }
            let leading = self.brokers[index].leading.get_mut(&partition);
            leading.expect("just seen").high_watermark = end;
        }
    }

    /// The leader asks for the changes and confirmations that are due; members that are down leave if it `shrinks`.
    pub(in crate::state::tests) fn ask(&mut self, index: usize, shrinks: bool) {
        let Some((controller, session)) = self.brokers[index].session else {
            return;
        };
        let down = self.brokers.iter().filter(|b| b.is_down);
        let gone: Vec<_> = down.filter_map(|b| b.number.map(BrokerNumber)).collect();
        let mut message = v1::IsrRequests::default();
        for (partition, epoch) in self.brokers[index].led() {
            let assignment = self.brokers[index].stored[&partition].clone();
            if assignment.replicas.len() == 1 {
                continue;
            }
            let mut down = assignment.isr.iter().filter(|m| gone.contains(m));
            let Some(leading) = self.brokers[index].leading.get_mut(&partition) else {
                continue;
            };
            let floor = leading.start.max(leading.high_watermark);
            let topic_id = stored::topic_id(partition.topic);
            for (member, (run, end)) in leading.ends.clone() {
                if end < floor || !assignment.replicas.contains(&member) || gone.contains(&member) {
                    continue;
                }
                let run = v1::BrokerRun {
                    broker: member.0,
                    incarnation: Some(run.into()),
                };
                if !assignment.isr.contains(&member) {
                    leading.pending.get_or_insert_with(|| {
                        request(partition, &assignment, Change::Expand(run))
                    });
                } else if assignment.awaits(member).is_some() {
                    message.confirmations.push(v1::Confirmation {
                        topic_id: topic_id.clone(),
                        partition: partition.partition.0,
                        leader_epoch: epoch.0 as i32,
                        run: Some(run),
                    });
                }
            }
            if let Some(leaver) = down.next().filter(|_| shrinks) {
                let leaver = v1::IsrLeaver {
                    broker: leaver.0,
                    reason: v1::ShrinkReason::Lagging.into(),
                };
                leading
                    .pending
                    .get_or_insert_with(|| request(partition, &assignment, Change::Shrink(leaver)));
            }
            message.requests.extend(leading.pending.clone());
        }
        if !message.requests.is_empty() || !message.confirmations.is_empty() {
            self.event(controller, Event::IsrRequests(session, message));
        }
    }

    /// The leader asks for `member` on the strength of what it reported before.
    pub(in crate::state::tests) fn ask_to_expand(
        &mut self,
        leader: usize,
        partition: TopicPartition,
        member: usize,
    ) {
        let number = self.number(member);
        let run = *self.brokers[member].candidates.last().expect("it ran");
        let run = v1::BrokerRun {
            broker: number.0,
            incarnation: Some(run.into()),
        };
        let broker = &self.brokers[leader];
        let (controller, session) = broker.session.expect("open");
        let request = request(partition, &broker.stored[&partition], Change::Expand(run));
        self.request_change(controller, session, request);
    }

    /// The leader asks for the removal of `member`.
    pub(in crate::state::tests) fn ask_to_shrink(
        &mut self,
        leader: usize,
        partition: TopicPartition,
        member: usize,
        reason: v1::ShrinkReason,
    ) {
        let gone = v1::IsrLeaver {
            broker: self.number(member).0,
            reason: reason.into(),
        };
        let broker = &self.brokers[leader];
        let (controller, session) = broker.session.expect("open");
        let request = request(partition, &broker.stored[&partition], Change::Shrink(gone));
        self.request_change(controller, session, request);
    }

    fn request_change(&mut self, controller: usize, session: SessionId, change: v1::IsrRequest) {
        let message = v1::IsrRequests {
            requests: vec![change],
            confirmations: Vec::new(),
        };
        self.event(controller, Event::IsrRequests(session, message));
    }

    /// The leader reports that these do not keep up.
    pub(in crate::state::tests) fn report_late(&mut self, leader: usize, late: &[usize]) {
        let reports: Vec<_> = late
            .iter()
            .map(|follower| v1::FollowerReport {
                broker: self.number(*follower).0,
                late: true,
                ..v1::FollowerReport::default()
            })
            .collect();
        let broker = &self.brokers[leader];
        let (controller, session) = broker.session.expect("open");
        let mut heartbeat = broker.heartbeat();
        for report in &mut heartbeat.partitions {
            report.followers.clone_from(&reports);
        }
        self.event(controller, Event::Heartbeat(session, Box::new(heartbeat)));
    }

    /// The broker is about to stop, and says so.
    pub(in crate::state::tests) fn announce_stop(&mut self, broker: usize) {
        if let Some((controller, session)) = self.brokers[broker].session {
            self.event(controller, Event::Stopping(session));
        }
    }

    /// The broker's number, once it has one.
    pub(in crate::state::tests) fn number(&self, broker: usize) -> BrokerNumber {
        BrokerNumber(self.brokers[broker].number.expect("registered"))
    }

    /// Who has this number.
    pub(in crate::state::tests) fn broker_of(&self, number: BrokerNumber) -> usize {
        let mut brokers = self.brokers.iter();
        brokers
            .position(|b| b.number == Some(number.0))
            .expect("a broker")
    }

    /// The pod comes back with an empty volume.
    pub(in crate::state::tests) fn wipe(&mut self, index: usize) {
        self.stop_broker(index);
        let uuid = self.draw() as u8;
        let broker = &mut self.brokers[index];
        broker.uuid[1] = uuid;
        broker.number = None;
        broker.cluster_id.clear();
        broker.candidates.clear();
        broker.stored.clear();
        broker.gone.clear();
        broker.logs.clear();
        broker.served.clear();
        broker.stamp = v1::ControllerStamp::default();
    }

    /// A copy of the volume as it is now.
    pub(in crate::state::tests) fn snapshot(&self, broker: usize) -> Broker {
        self.brokers[broker].clone()
    }

    /// The volume is replaced by a copy of itself.
    pub(in crate::state::tests) fn restore(&mut self, index: usize, volume: Broker) {
        self.stop_broker(index);
        let session = None;
        let is_down = true;
        self.brokers[index] = Broker {
            session,
            is_down,
            inbox: VecDeque::new(),
            leading: BTreeMap::new(),
            ..volume
        };
    }

    /// From now on its starts come after unclean stops, or no longer.
    pub(in crate::state::tests) fn stops_uncleanly(&mut self, broker: usize, may_lack: bool) {
        self.brokers[broker].may_lack = may_lack;
    }

    /// A write of its log failed.
    pub(in crate::state::tests) fn fail_log(&mut self, broker: usize, partition: TopicPartition) {
        self.brokers[broker].faults.insert(partition);
    }

    /// Its disk is full, or has room again.
    pub(in crate::state::tests) fn fill(&mut self, broker: usize, is_full: bool) {
        self.brokers[broker].is_full = is_full;
    }

    /// Has it a replica, wanted or not?
    pub(in crate::state::tests) fn has(&self, broker: usize, partition: TopicPartition) -> bool {
        self.brokers[broker].stored.contains_key(&partition)
    }

    /// How many records it has.
    pub(in crate::state::tests) fn end(&self, broker: usize, partition: TopicPartition) -> i64 {
        self.brokers[broker].end(partition)
    }

    /// Nobody comes or goes for so long that leadership returns to where it belongs.
    pub(in crate::state::tests) fn calm_down(&mut self) {
        for _ in 0..12 {
            (0..BROKERS).for_each(|broker| self.beat(broker));
            self.wait(1_000);
        }
        self.settle();
    }

    /// Whoever is there reports, and the controller goes on.
    pub(in crate::state::tests) fn go_on(&mut self) {
        for _ in 0..3 {
            self.settle_one(0);
            for broker in 0..BROKERS {
                self.beat(broker);
                self.settle_one(0);
            }
        }
    }

    /// Every partition is led by its preferred replica.
    pub(in crate::state::tests) fn assert_preferred(&self) {
        let cluster = self.cluster().expect("there is a root");
        for (topic, partition, record) in cluster.assignments() {
            if topic.is_active() {
                let preferred = record.replicas.first().copied();
                assert_eq!(record.leader, preferred, "{partition}");
            }
        }
    }

    /// Every topic has as many replicas as it wants, nothing moves, and nobody else has anything of it.
    pub(in crate::state::tests) fn assert_moved(&self) {
        let cluster = self.cluster().expect("there is a root");
        for (topic, partition, record) in cluster.assignments() {
            if !topic.is_active() {
                continue;
            }
            assert!(!record.is_moving(), "{partition}: {record:?}");
            assert_eq!(record.replicas.len(), topic.config.replicas as usize);
            for broker in &self.brokers {
                let number = BrokerNumber(broker.number.expect("registered"));
                let has = broker.stored.contains_key(&partition);
                assert_eq!(
                    has,
                    record.replicas.contains(&number),
                    "{partition} on {number}"
                );
            }
        }
    }

    /// What people see.
    pub(in crate::state::tests) fn view(&mut self) -> View {
        self.view = self.controllers[0].machine.take_view().or(self.view.take());
        self.view.clone().expect("the controller is in office")
    }

    /// How many asks wait for the controller's next decision.
    pub(in crate::state::tests) fn asks_waiting(&self, controller: usize) -> usize {
        let queue = self.controllers[controller].machine.queue.iter();
        let asks = queue.map(|work| match work {
            Work::Change(_, asks) => asks.len(),
            _ => 0,
        });
        asks.sum()
    }

    /// How much of whatever kind waits for the controller's next decision.
    pub(in crate::state::tests) fn work_waiting(&self, controller: usize) -> usize {
        self.controllers[controller].machine.queue.len()
    }

    pub(in crate::state::tests) fn puts(&self) -> u64 {
        self.store.puts()
    }

    /// Everything acknowledged is there.
    pub(super) fn check_served(
        &self,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        leader: &Broker,
    ) {
        if let Some(history) = self.history.partitions.get(&partition) {
            let ids: Vec<_> = leader.log(partition).iter().map(|r| r.id).collect();
            history.serves(epoch, &ids).expect("nothing is lost");
        }
    }
}

fn request(partition: TopicPartition, assignment: &Assignment, change: Change) -> v1::IsrRequest {
    v1::IsrRequest {
        topic_id: stored::topic_id(partition.topic),
        partition: partition.partition.0,
        leader_epoch: assignment.leader_epoch.0 as i32,
        partition_epoch: assignment.partition_epoch.0,
        change: Some(change),
    }
}
