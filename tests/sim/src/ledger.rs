//! What was sent, acknowledged and exposed, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use taffrail_core::{
    BrokerNumber, Incarnation, LeaderEpoch, Offset, TopicPartition, replica::invariants,
};
use taffrail_record::{records, split};

use crate::groups::GroupLedger;

/// A record in the log was sent to its partition by a producer.
const NOTHING_IS_INVENTED: &str = "no record is invented";
/// A record of an idempotent producer has one offset.
const STORED_ONCE: &str = "what an idempotent producer sends is stored once";
/// Offsets of a log follow on each other.
const OFFSETS_HAVE_NO_GAPS: &str = "offsets have no gaps";

/// A record, known by a number of its own.
pub(crate) type RecordId = u64;

/// Of a record that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Its producer only retries.
    Any,
    /// Its producer is idempotent.
    One(Option<u64>),
}

/// Of one partition.
#[derive(Debug, Default)]
struct Log {
    /// Brokers write to it, and no producer.
    is_internal: bool,
    owners: BTreeMap<LeaderEpoch, (BrokerNumber, Incarnation)>,
    /// In which the only replica's next run may go on.
    resumed: BTreeSet<LeaderEpoch>,
    /// And where those are that are to be stored once.
    sent: BTreeMap<RecordId, Place>,
    /// By offset; what was below a high watermark.
    exposed: BTreeMap<u64, RecordId>,
    acknowledged: BTreeMap<u64, (RecordId, LeaderEpoch)>,
}

/// Everything that ever was promised.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    logs: BTreeMap<TopicPartition, Log>,
    pub(crate) groups: GroupLedger,
}

/// A rule that is broken, and by what.
pub(crate) type Broken = String;

impl Ledger {
    fn log(&mut self, partition: TopicPartition) -> &mut Log {
        self.logs.entry(partition).or_default()
    }

    /// Brokers write to it themselves.
    pub(crate) fn is_internal(&mut self, partition: TopicPartition) {
        self.log(partition).is_internal = true;
    }

    /// The newest epoch in which a partition was led.
    pub(crate) fn newest_epoch(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        let log = self.logs.get(&partition)?;
        log.owners.last_key_value().map(|(epoch, _)| *epoch)
    }

    /// A coordinator in `epoch` promised that what is at `offset` stays.
    pub(crate) fn relies_on(&mut self, partition: TopicPartition, epoch: LeaderEpoch, offset: u64) {
        let log = self.log(partition);
        if let Some(record) = log.exposed.get(&offset) {
            log.acknowledged.insert(offset, (*record, epoch));
        }
    }

    /// `once`: its producer is idempotent.
    pub(crate) fn sent(&mut self, partition: TopicPartition, record: RecordId, once: bool) {
        let place = if once { Place::One(None) } else { Place::Any };
        self.log(partition).sent.entry(record).or_insert(place);
    }

    /// In this epoch a partition has one replica, whose next run may go on in it.
    pub(crate) fn resumes(&mut self, partition: TopicPartition, epoch: LeaderEpoch) {
        self.log(partition).resumed.insert(epoch);
    }

    /// A run of a broker serves as the leader of `epoch`.
    pub(crate) fn leads(
        &mut self,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        owner: (BrokerNumber, Incarnation),
    ) -> Result<(), Broken> {
        let log = self.log(partition);
        let known = *log.owners.entry(epoch).or_insert(owner);
        if known == owner || known.0 == owner.0 && log.resumed.contains(&epoch) {
            return Ok(());
        }
        let rule = invariants::AN_EPOCH_HAS_ONE_LEADER;
        Err(format!(
            "{rule}: {partition} epoch {epoch} is led by {known:?} and by {owner:?}"
        ))
    }

    /// A replica shows `batches` to consumers: they are below a high watermark.
    pub(crate) fn exposes(
        &mut self,
        partition: TopicPartition,
        batches: &[Bytes],
    ) -> Result<(), Broken> {
        let rule = invariants::EXPOSED_IS_NEVER_REPLACED;
        let log = self.log(partition);
        for (offset, record) in parse(batches)? {
            match log.sent.get_mut(&record) {
                None if log.is_internal => {}
                None => {
                    return Err(format!(
                        "{NOTHING_IS_INVENTED}: {partition} offset {offset} is {record}"
                    ));
                }
                Some(Place::One(Some(place))) if *place != offset => {
                    return Err(format!(
                        "{STORED_ONCE}: {partition} has {record} at {place} and at {offset}"
                    ));
                }
                Some(Place::One(place)) => *place = Some(offset),
                Some(Place::Any) => {}
            }
            let known = *log.exposed.entry(offset).or_insert(record);
            if known != record {
                return Err(format!(
                    "{rule}: {partition} offset {offset} was {known} and is {record}"
                ));
            }
        }
        Ok(())
    }

    /// The leader of `epoch` told a producer that its records are stored from `base` on.
    pub(crate) fn acknowledges(
        &mut self,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        base: u64,
        all: &[RecordId],
    ) -> Result<bool, Broken> {
        let log = self.log(partition);
        let mut is_again = false;
        for (offset, record) in (base..).zip(all) {
            if log.exposed.get(&offset) != Some(record) {
                let found = log.exposed.get(&offset);
                return Err(format!(
                    "acknowledged is committed: {partition} offset {offset} is {found:?}, {record} was acknowledged"
                ));
            }
            is_again |= log.acknowledged.insert(offset, (*record, epoch)).is_some();
        }
        Ok(is_again)
    }

    /// The leader of `epoch` has this log, from `start` on.
    pub(crate) fn serves(
        &mut self,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        start: Offset,
        batches: &[Bytes],
    ) -> Result<(), Broken> {
        let rule = invariants::ACKNOWLEDGED_IS_ON_EVERY_LEADER;
        let there: BTreeMap<_, _> = parse(batches)?.into_iter().collect();
        for (offset, (record, acknowledged)) in self.log(partition).acknowledged.range(start.0..) {
            if *acknowledged <= epoch && there.get(offset) != Some(record) {
                let found = there.get(offset);
                return Err(format!(
                    "{rule}: {partition} offset {offset}, record {record} of epoch {acknowledged}: the leader of {epoch} has {found:?}"
                ));
            }
        }
        Ok(())
    }

    /// A consumer got `batches` at `position`. Where it goes on.
    pub(crate) fn consumed(
        &mut self,
        partition: TopicPartition,
        position: u64,
        batches: &[Bytes],
    ) -> Result<u64, Broken> {
        let mut next = position;
        let log = self.log(partition);
        for (offset, record) in parse(batches)? {
            if offset < next {
                // Whole batches come, from the one that holds the offset on.
                continue;
            }
            if offset > next {
                return Err(format!(
                    "{OFFSETS_HAVE_NO_GAPS}: {partition} has {offset} after {next}"
                ));
            }
            if log.exposed.get(&offset) != Some(&record) {
                let found = log.exposed.get(&offset);
                return Err(format!(
                    "consumers see what is committed: {partition} offset {offset} is {record}, {found:?} is known"
                ));
            }
            next += 1;
        }
        Ok(next)
    }

    /// Below it everything was shown to consumers.
    pub(crate) fn committed_end(&self, partition: TopicPartition) -> Offset {
        let log = self.logs.get(&partition);
        let last = log.and_then(|log| log.exposed.last_key_value());
        Offset(last.map_or(0, |(offset, _)| offset + 1))
    }

    /// Records of producers that were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        let users = self.logs.values().filter(|log| !log.is_internal);
        users.map(|log| log.acknowledged.len()).sum()
    }
}

/// Offsets and records. Offsets follow on each other, also from batch to batch.
pub(crate) fn parse(batches: &[Bytes]) -> Result<Vec<(u64, RecordId)>, Broken> {
    let mut all: Vec<(u64, RecordId)> = Vec::new();
    for batch in batches.iter().flat_map(split) {
        let (_, batch) = batch.map_err(|e| e.to_string())?;
        for record in records(batch, 64 << 20).map_err(|e| e.to_string())? {
            let record = record.map_err(|e| e.to_string())?;
            let value = record.value.unwrap_or_default();
            let id = match &record.key {
                Some(key) => fingerprint(key, &value),
                None => value
                    .first_chunk()
                    .map(|id| u64::from_be_bytes(*id))
                    .ok_or_else(|| format!("{NOTHING_IS_INVENTED}: an empty record"))?,
            };
            let offset = record.offset.0;
            if let Some((last, _)) = all.last().filter(|(last, _)| last + 1 != offset) {
                return Err(format!("{OFFSETS_HAVE_NO_GAPS}: {offset} after {last}"));
            }
            all.push((offset, id));
        }
    }
    Ok(all)
}

/// Records of brokers have a key, and no number of their own (FNV-1a).
fn fingerprint(key: &[u8], value: &[u8]) -> RecordId {
    let bytes = key.iter().chain(&[0]).chain(value);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
