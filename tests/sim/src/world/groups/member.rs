//! A member: its process, its stream, and what it reads.

use std::collections::{BTreeMap, VecDeque};

use taffrail_api::{convert, v1};
use taffrail_core::{MemberId, TopicPartition};

use crate::world::network::ConnectionId;

/// A partition, as an assignment tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) since: u64,
    /// The next one to read.
    pub(super) offset: u64,
}

/// What a member is to read.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) epoch: u64,
    pub(super) partitions: BTreeMap<TopicPartition, Share>,
}

/// A partition that a member reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) since: u64,
    /// The next one to hand out.
    pub(super) at: u64,
    /// Before it everything was processed.
    pub(super) done: u64,
    pub(super) committed: u64,
}

/// Records that are with the application, or are to be once they are committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    pub(super) partition: TopicPartition,
    pub(super) since: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) got_us: u64,
}

/// A commit that is with the coordinator.
#[derive(Debug, Clone)]
pub(super) struct Commit {
    pub(super) id: u64,
    pub(super) offsets: Vec<(TopicPartition, u64)>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) interval: u64,
    pub(super) answer_timeout: u64,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: ConnectionId,
    /// The assignment that was carried out when it joined.
    pub(super) joined_with: u64,
    /// When the join and heartbeats were sent that are not answered.
    pub(super) unanswered: VecDeque<u64>,
    /// `None`: it was not told yet.
    pub(super) pace: Option<Pace>,
    pub(super) beats_at_us: u64,
    /// The assignment that the coordinator knows to be carried out.
    pub(super) said: u64,
    pub(super) commit: Option<Commit>,
}

/// A member's process, or its place.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) group: usize,
    /// What it knows of the cluster.
    pub(super) client: usize,
    pub(super) instance: Option<&'static str>,
    pub(super) id: MemberId,
    /// Raised when it starts and when it ends.
    pub(super) run: u64,
    pub(super) is_up: bool,
    pub(super) paused_until_us: u64,
    pub(super) dials_at_us: u64,
    pub(super) applied: u64,
    pub(super) told: Option<Told>,
    /// It processes nothing from then on, unless it is answered.
    pub(super) valid_until_us: Option<u64>,
    pub(super) held: BTreeMap<TopicPartition, Held>,
    pub(super) stream: Option<Stream>,
    pub(super) batch: Option<Batch>,
    pub(super) busy_until_us: u64,
    pub(super) commits_at_us: u64,
    /// Partitions are to go since then.
    pub(super) changes_since_us: Option<u64>,
    pub(super) requests: u64,
}

impl Member {
    pub(super) fn new(group: usize, client: usize, instance: Option<&'static str>) -> Self {
        Self {
            group,
            client,
            instance,
            id: MemberId::from_bytes([0; 16]),
            run: 0,
            is_up: false,
            paused_until_us: 0,
            dials_at_us: 0,
            applied: 0,
            told: None,
            valid_until_us: None,
            held: BTreeMap::new(),
            stream: None,
            batch: None,
            busy_until_us: 0,
            commits_at_us: 0,
            changes_since_us: None,
            requests: 0,
        }
    }

    /// Is this its connection?
    pub(super) fn is_on(&self, connection: ConnectionId) -> bool {
        self.stream.as_ref().is_some_and(|s| s.id == connection)
    }

    /// Was it told on its stream what to read?
    pub(super) fn is_member(&self) -> bool {
        self.stream.as_ref().is_some_and(|s| s.pace.is_some())
    }

    /// May it process that partition, for all that it knows?
    pub(super) fn owns(&self, partition: TopicPartition, now_us: u64) -> bool {
        let is_valid = self.valid_until_us.is_some_and(|until| until > now_us);
        self.is_up && is_valid && self.held.contains_key(&partition)
    }

    /// What the answer to its commit acknowledges.
    pub(super) fn acknowledged(&self, answer: &v1::CommitResponse) -> Vec<(TopicPartition, u64)> {
        let commit = self.stream.as_ref().and_then(|s| s.commit.as_ref());
        let Some(commit) = commit.filter(|commit| commit.id == answer.request_id) else {
            return Vec::new();
        };
        let is_refused = |id: &TopicPartition| {
            let mut refused = answer.refused.iter();
            refused
                .any(|r| r.topic_id[..] == id.topic.as_bytes()[..] && r.partition == id.partition.0)
        };
        let taken = commit.offsets.iter().filter(|(id, _)| !is_refused(id));
        taken.copied().collect()
    }

    /// The oldest of what was sent is answered: its time counts from when it was sent.
    pub(super) fn answered(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if let Some(pace) = stream.pace
            && let Some(sent_us) = stream.unanswered.pop_front()
        {
            let until = Some(sent_us + pace.answer_timeout);
            self.valid_until_us = self.valid_until_us.max(until);
        }
    }
}

/// An assignment as the wire has it.
pub(super) fn told(assigned: &v1::Assigned) -> Result<Told, String> {
    let partition = |p: &v1::AssignedPartition| {
        let id = convert::topic_partition(&p.topic_id, p.partition).map_err(|e| e.to_string())?;
        let share = Share {
            since: p.since_epoch,
            offset: u64::try_from(p.offset).unwrap_or(0),
        };
        Ok::<_, String>((id, share))
    };
    Ok(Told {
        epoch: assigned.epoch,
        partitions: assigned
            .partitions
            .iter()
            .map(partition)
            .collect::<Result<_, _>>()?,
    })
}
