//! A broker process and its volume.

use super::{Assignment, Incarnation, LOG_MAX, Log, NUMBERS, Number, Record, Stamp};

/// What is on a broker's disk. `log` is the one in memory while the broker is up: only what is below its durable end survives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Volume {
    pub(crate) number: Number,
    /// Bit set of the incarnations started since the last confirmed one, that one included.
    pub(crate) candidates: u16,
    pub(crate) incarnation: Incarnation,
    pub(crate) log: Log,
    pub(crate) high_watermark: u8,
    pub(crate) map: Assignment,
    /// The highest one acted on.
    pub(crate) stamp: Stamp,
    /// The node crashed since: what the page cache held is gone.
    pub(crate) is_unclean: bool,
    /// Producer state: by record id, one more than the offset it was appended at.
    pub(crate) producers: [u8; LOG_MAX + 1],
}

impl Volume {
    /// What a copy made now holds: only what is durable.
    pub(crate) fn as_on_disk(&self, durable_end: u8) -> Self {
        let mut copy = *self;
        copy.cut(durable_end);
        copy.forget_producers_from(durable_end);
        copy
    }

    pub(crate) fn append(&mut self, record: Record) {
        self.log.push(record);
        self.producers[record.id as usize] = self.log.end();
    }

    /// Cuts the log. The producer state is cut by its own call, which one mutant leaves out.
    pub(crate) fn cut(&mut self, end: u8) {
        self.log.cut(end);
        self.high_watermark = self.high_watermark.min(end);
    }

    pub(crate) fn forget_producers_from(&mut self, end: u8) {
        for offset in self.producers.iter_mut().filter(|offset| **offset > end) {
            *offset = 0;
        }
    }

    /// Where the producer state says that this record stands.
    pub(crate) fn offset_of(&self, id: u8) -> Option<u8> {
        self.producers[id as usize].checked_sub(1)
    }

    /// Does it know anything of the partition?
    pub(crate) const fn holds_replica(&self) -> bool {
        self.map.leader_epoch > 0
    }
}

/// How far a follower told its leader that it is durable, in this epoch and without divergence.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Report {
    pub(crate) durable_end: u8,
    pub(crate) incarnation: Incarnation,
}

/// What a leader asks the controller for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) enum IsrChange {
    Add,
    Remove,
    /// One that has less than what is committed.
    RemoveLost,
    /// A restarted member has caught up again.
    Confirm,
}

/// A broker process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is told apart by the checker, and all but one imply `up`"
)]
pub(crate) struct Broker {
    pub(crate) up: bool,
    pub(crate) volume: Volume,
    pub(crate) durable_end: u8,
    /// In this life.
    pub(crate) registered: bool,
    /// Got a map since it registered.
    pub(crate) current: bool,
    pub(crate) leads: bool,
    /// Leader: where its log ended when it was elected.
    pub(crate) election_end: u8,
    /// Leader: the last report of each number.
    pub(crate) reports: [Option<Report>; NUMBERS],
    /// Leader: the change that it asked for and has not seen answered by a map.
    pub(crate) pending: Option<(IsrChange, Number)>,
}

impl Broker {
    /// A process that is not running, on `volume`.
    pub(crate) fn down(volume: Volume, durable_end: u8) -> Self {
        Self {
            volume,
            durable_end,
            ..Self::default()
        }
    }

    /// Only what is newer is acted on; after a registration the same map counts once more.
    pub(crate) fn would_act_on(&self, map: &Assignment) -> bool {
        let stamp = map.stamp();
        let seen = self.volume.stamp;
        self.up && (stamp > seen || (stamp == seen && self.registered && !self.current))
    }

    /// Forgets what only the leader of one epoch knows.
    pub(crate) fn forget_reports(&mut self) {
        self.reports = [None; NUMBERS];
        self.pending = None;
    }

    /// What elections compare: how much of the log is durable.
    pub(crate) fn durable_position(&self) -> (u8, u8) {
        let durable = self.volume.log.cut_to(self.durable_end);
        (durable.last_epoch(), self.durable_end)
    }
}
