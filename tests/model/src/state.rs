//! Everything that the checker tells states apart by.

mod assignment;
mod broker;
mod controller;
mod log;
mod members;
mod observer;

pub(crate) use assignment::Assignment;
pub(crate) use broker::{Broker, IsrChange, Report, Volume};
pub(crate) use controller::{Controller, Registration, Standing, Store, Topic};
pub(crate) use log::{LOG_MAX, Log, Record};
pub(crate) use members::{Members, NUMBERS, Number};
pub(crate) use observer::{Acknowledgement, Observer};

/// Pods: where a broker process runs, whatever volume it finds.
pub(crate) const SLOTS: usize = 3;
/// Of every topic here.
pub(crate) const MIN_IN_SYNC: u32 = 2;

/// Starts of a volume are counted; the random part is left out, copies of a volume are told apart by their candidates.
pub(crate) type Incarnation = u8;
/// Raised by every election.
pub(crate) type LeaderEpoch = u8;
/// Raised by every change of an assignment.
pub(crate) type PartitionEpoch = u8;
/// Raised by every controller that takes office.
pub(crate) type ControllerEpoch = u8;
/// Orders a controller's messages: its epoch, then its sequence, which is the partition epoch here.
pub(crate) type Stamp = (ControllerEpoch, PartitionEpoch);

/// A follower's question, which also reports how far it is durable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Fetch {
    pub(crate) number: Number,
    pub(crate) incarnation: Incarnation,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) log_end: u8,
    pub(crate) last_epoch: LeaderEpoch,
    pub(crate) durable_end: u8,
}

/// What the leader found for a fetch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Answer {
    pub(crate) to: Fetch,
    pub(crate) found: Found,
}

/// Records, or where the logs part.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Found {
    /// The leader's log, of which the follower takes what it lacks.
    Records { log: Log, high_watermark: u8 },
    /// The leader has nothing later of the follower's last epoch: its epoch below that ends here.
    Divergence { epoch: LeaderEpoch, end: u8 },
}

/// A leader's wish to change the in-sync replicas.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) struct IsrRequest {
    /// The controller that it was sent to.
    pub(crate) to: u8,
    pub(crate) version: (LeaderEpoch, PartitionEpoch),
    pub(crate) change: IsrChange,
    pub(crate) member: Number,
    /// Who reported that it caught up.
    pub(crate) incarnation: Incarnation,
}

/// How often each bounded thing happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) records: u8,
    pub(crate) crashes: u8,
    pub(crate) node_crashes: u8,
    pub(crate) retries: u8,
    pub(crate) isr_requests: u8,
    pub(crate) wipes: u8,
    pub(crate) restores: u8,
    pub(crate) rolled_back: bool,
}

/// The whole system at one moment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) brokers: [Broker; SLOTS],
    /// Copies of volumes that may come back.
    pub(crate) volume_copies: [Option<Volume>; SLOTS],
    /// The highest incarnation that a slot ever ran.
    pub(crate) starts: [Incarnation; SLOTS],
    pub(crate) controllers: [Controller; 2],
    pub(crate) store: Store,
    pub(crate) backup: Option<Store>,
    /// Maps sent and not yet obsolete at every broker: each may reach any broker at any time, or never.
    pub(crate) sent: Vec<Assignment>,
    pub(crate) isr_requests: Vec<IsrRequest>,
    /// Fetches on their way, where they are delayed.
    pub(crate) fetches: [Option<Fetch>; SLOTS],
    /// The last two answers, where those are delayed: each may arrive at any time, also again.
    pub(crate) answers: [[Option<Answer>; 2]; SLOTS],
    pub(crate) spent: Spent,
    pub(crate) observer: Observer,
}

impl State {
    /// Where the volume with this number is.
    pub(crate) fn slot_of(&self, number: Number) -> Option<usize> {
        (0..SLOTS).find(|&slot| self.brokers[slot].volume.number == number)
    }

    /// Drops what can reach nobody any more, and sorts what has no order.
    pub(crate) fn normalize(&mut self) {
        let current = self.store.map;
        let brokers = &self.brokers;
        self.sent.retain(|map| {
            *map == current
                || brokers.iter().any(|broker| {
                    let stamp = map.stamp();
                    stamp > broker.volume.stamp || (stamp == broker.volume.stamp && !broker.current)
                })
        });
        self.sent.sort_unstable();
        self.sent.dedup();
        self.isr_requests.sort_unstable();
    }
}
