//! From the log back to groups.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use taffrail_api::WireError;
use taffrail_core::{
    ErrorCode, Offset, TopicPartition,
    group::{Committed, Group, GroupPolicy, Now, StoredGroup},
};
use taffrail_record::{BatchError, RecordRef, records, split, verify};
use tokio::{sync::Notify, task::spawn_blocking, time::timeout};

use super::{
    hosted::Hosted,
    records::{Key, decode_group, decode_offset},
};
use crate::partition::Partition;

const READ_BYTES: usize = 1 << 20;
/// What one batch may decompress to. Brokers write them uncompressed.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;
/// Looks again at the high watermark, in case that news were missed.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What the records say, the last one of each key.
#[derive(Debug, Default)]
pub(super) struct Found {
    groups: BTreeMap<String, FoundGroup>,
    /// Records of which it is not known whose they are.
    unknown: u64,
}

#[derive(Debug, Default)]
struct FoundGroup {
    members: StoredGroup,
    offsets: BTreeMap<TopicPartition, Committed>,
    /// What cannot be read, by what it is about, and why.
    unreadable: BTreeMap<Option<TopicPartition>, String>,
}

/// As [`committed_end`] and [`load`], without waiting. `None`: not everything before `end` is committed yet.
///
/// # Errors
/// The log cannot be read.
#[cfg(feature = "sim")]
pub(super) fn load_now(partition: &Partition, end: Offset) -> Result<Option<Found>, WireError> {
    if partition.progress.high_watermark() < end {
        return Ok(None);
    }
    let mut found = Found::default();
    let mut at = partition.progress.log_start();
    while at < end {
        at = found.read(partition, at)?;
    }
    Ok(Some(found))
}

/// Waits until everything that the log holds is committed: a leader that was just elected does not know that yet, and records of the coordinator before
/// may still become so.
pub(super) async fn committed_end(partition: &Arc<Partition>) -> Offset {
    let end = partition.progress.log_end();
    let news = Arc::new(Notify::new());
    loop {
        partition.waiters.add(&news);
        if partition.progress.high_watermark() >= end {
            return end;
        }
        // Whether it came or not, there is something to look at.
        let _ = timeout(LOOK_INTERVAL, news.notified()).await;
    }
}

/// Reads everything below `end`.
pub(super) async fn load(partition: &Arc<Partition>, end: Offset) -> Result<Found, WireError> {
    let mut found = Found::default();
    let mut at = partition.progress.log_start();
    while at < end {
        let reading = Arc::clone(partition);
        let mut so_far = found;
        let read = spawn_blocking(move || {
            let next = so_far.read(&reading, at)?;
            Ok::<_, WireError>((so_far, next))
        });
        let read = read.await;
        (found, at) =
            read.map_err(|e| WireError::new(ErrorCode::Internal, format!("loading groups: {e}")))??;
    }
    Ok(found)
}

impl Found {
    /// Reads the next batches. Returns where to go on.
    fn read(&mut self, partition: &Partition, at: Offset) -> Result<Offset, WireError> {
        let mut next = at;
        for chunk in partition.read(at, READ_BYTES)?.chunks {
            let taken = self.take_batches(&chunk, next);
            next = taken.map_err(|(at, why)| unreadable(&partition.label(), at, &why))?;
        }
        if next <= at {
            let message = format!("{}: nothing to read at {at}", partition.label());
            return Err(WireError::new(ErrorCode::NotYetKnown, message));
        }
        Ok(next)
    }

    /// Returns where to go on, or which batch cannot be read.
    fn take_batches(
        &mut self,
        batches: &Bytes,
        mut at: Offset,
    ) -> Result<Offset, (Offset, BatchError)> {
        for batch in split(batches) {
            let (header, batch) = batch.map_err(|why| (at, why))?;
            self.take_batch(batch).map_err(|why| (at, why))?;
            at = header.next_offset();
        }
        Ok(at)
    }

    fn take_batch(&mut self, batch: Bytes) -> Result<(), BatchError> {
        let attributes = verify(&batch)?.attributes;
        // It ends a transaction, and says nothing of a group.
        if attributes.is_control() {
            return Ok(());
        }
        let mut records = records(batch, DECOMPRESSED_BYTES_MAX)?;
        while let Some(record) = records.next_ref() {
            let record = record?;
            if attributes.is_transactional() {
                self.refuse(&record);
            } else {
                self.take(&record);
            }
        }
        Ok(())
    }

    /// Whether a transaction came to its end is nothing that this version knows: what is part of one takes its group out of service.
    fn refuse(&mut self, record: &RecordRef<'_>) {
        let Some(key) = self.key(record) else { return };
        let what = format!(
            "the record at offset {} of __offsets is part of a transaction, which this version does not know: upgrade the broker",
            record.offset
        );
        let group = self.groups.entry(key.group).or_default();
        group.unreadable.insert(key.partition, what);
    }

    /// A record that cannot be read takes its group out of service, and no other.
    pub(super) fn take(&mut self, record: &RecordRef<'_>) {
        let offset = record.offset;
        let Some(key) = self.key(record) else { return };
        let group = match (self.groups.entry(key.group), record.value) {
            (Entry::Vacant(_), None) => return,
            (entry, _) => entry.or_default(),
        };
        let taken = match (key.partition, record.value) {
            (None, None) => {
                group.members = StoredGroup::default();
                Ok(())
            }
            (None, Some(value)) => decode_group(value).map(|stored| group.members = stored),
            (Some(partition), None) => {
                group.offsets.remove(&partition);
                Ok(())
            }
            (Some(partition), Some(value)) => decode_offset(value).map(|committed| {
                group.offsets.insert(partition, committed);
            }),
        };
        // A later record of the same key is read instead.
        if let Err(error) = taken {
            let what = format!(
                "the record at offset {offset} of __offsets: {}",
                error.message
            );
            group.unreadable.insert(key.partition, what);
        } else {
            group.unreadable.remove(&key.partition);
        }
    }

    /// `None`: of whom the record is cannot be said.
    fn key(&mut self, record: &RecordRef<'_>) -> Option<Key> {
        let key = Key::decode(record.key.unwrap_or_default());
        if let Err(error) = &key {
            self.unknown += 1;
            tracing::error!(offset = %record.offset, %error, "a record of __offsets has no readable key and is left out");
        }
        key.ok()
    }

    /// The groups, as far as there is anything to know of them, with their policies.
    pub(super) fn groups(
        self,
        policy: impl Fn(&str) -> GroupPolicy,
        members_max: usize,
        now: Now,
    ) -> BTreeMap<String, Hosted> {
        let host = |(name, found): (String, FoundGroup)| {
            let mut unreadable = found.unreadable;
            let (members, offsets) = (found.members, found.offsets);
            let restored = Group::restore(policy(&name), members_max, members, offsets, now);
            let group = restored.unwrap_or_else(|why| {
                unreadable.insert(None, why.to_owned());
                Group::new(policy(&name), members_max, now)
            });
            if let Some(what) = unreadable.values().next() {
                tracing::error!(group = %name, what, "a group cannot be read and is not served; others are");
            }
            let mut hosted = Hosted::new(group);
            hosted.unreadable = unreadable;
            (!hosted.is_forgotten()).then_some((name, hosted))
        };
        self.groups.into_iter().filter_map(host).collect()
    }
}

/// Whose the records are is not known: any group of the partition may have some there, and would go on with what is older.
fn unreadable(label: &str, at: Offset, why: &BatchError) -> WireError {
    WireError::new(
        ErrorCode::UnreadableGroup,
        format!(
            "the batch at offset {at} of {label} cannot be read: {why}; whose records it has is not known, so no group of that partition is served, others are; restore the partition from a backup, and report this"
        ),
    )
}

#[cfg(test)]
mod tests {
    use taffrail_core::{
        GroupEpoch, MemberId, PartitionIndex, TopicId,
        group::{Profile, StoredMember},
    };
    use taffrail_record::{BatchBuilder, Compression, NewRecord};

    use super::{
        super::{
            catalog::Topics,
            records::{members_entry, offset_entry},
        },
        *,
    };

    const PARTITION: TopicPartition = TopicPartition {
        topic: TopicId::from_bytes([7; 16]),
        partition: PartitionIndex(0),
    };

    fn committed(offset: u64) -> Committed {
        Committed {
            offset: Offset(offset),
            metadata: String::new(),
            at_ms: 0,
        }
    }

    fn stored(members: u8) -> StoredGroup {
        let member = |n: u8| StoredMember {
            id: MemberId::from_bytes([n; 16]),
            profile: Profile::default(),
            lives_by_ms: 0,
            epoch: GroupEpoch(1),
            held: vec![(PARTITION, GroupEpoch(1), None)],
        };
        StoredGroup {
            epoch: GroupEpoch(1),
            empty_since_ms: 0,
            members: (0..members).map(member).collect(),
        }
    }

    /// What a log of these records says.
    fn loaded(entries: &[(Vec<u8>, Option<Vec<u8>>)]) -> BTreeMap<String, Hosted> {
        let mut builder = BatchBuilder::new(Compression::None);
        for (key, value) in entries {
            builder.push(&NewRecord {
                key: Some(key),
                value: value.as_deref(),
                ..NewRecord::default()
            });
        }
        let mut found = Found::default();
        let mut records = records(builder.build().expect("not empty"), 1 << 20).expect("valid");
        while let Some(record) = records.next_ref() {
            found.take(&record.expect("valid"));
        }
        found.groups(|_| GroupPolicy::default(), 10, Now::default())
    }

    fn members_of(group: &str, members: u8) -> (Vec<u8>, Option<Vec<u8>>) {
        let entry = members_entry(group, &stored(members));
        (entry.key, entry.value)
    }

    fn offset_of(group: &str, offset: Option<u64>) -> (Vec<u8>, Option<Vec<u8>>) {
        let entry = offset_entry(group, PARTITION, offset.map(committed).as_ref());
        (entry.key, entry.value)
    }

    #[test]
    fn the_last_record_of_a_key_counts() {
        let groups = loaded(&[
            offset_of("a", Some(1)),
            members_of("a", 1),
            offset_of("b", Some(5)),
            offset_of("a", Some(2)),
            offset_of("b", None),
        ]);
        assert_eq!(
            groups.keys().collect::<Vec<_>>(),
            ["a"],
            "of b everything is forgotten"
        );
        let group = &groups["a"].group;
        assert_eq!(group.committed(PARTITION), Some(&committed(2)));
        assert_eq!(group.members().len(), 1);
    }

    #[test]
    fn a_record_that_cannot_be_read_takes_only_its_group_out_of_service() {
        let (key, _) = offset_of("bad", Some(1));
        let groups = loaded(&[
            (b"no key of ours".to_vec(), Some(Vec::new())),
            offset_of("good", Some(1)),
            (key, Some(vec![8, 255])),
            members_of("odd", 2),
        ]);
        groups["good"].check_readable().expect("served");
        for name in ["bad", "odd"] {
            let error = groups[name].check_readable().expect_err("not served");
            assert_eq!(error.code, ErrorCode::UnreadableGroup);
        }
        let error = groups["bad"].check_readable().expect_err("not served");
        assert!(error.message.contains("offset 2 of __offsets"), "{error}");
        let reported = |name: &str| groups[name].report(name, &Topics::default());
        let is_unreadable = ["good", "bad", "odd"].map(|name| reported(name).is_unreadable);
        assert_eq!(is_unreadable, [false, true, true]);
    }

    #[test]
    fn what_is_forgotten_includes_what_cannot_be_read() {
        let (key, _) = offset_of("bad", Some(1));
        let mut log = vec![(key, Some(vec![8, 255]))];
        let forgotten = loaded(&log)["bad"].forget("bad");
        log.extend(forgotten.into_iter().map(|entry| (entry.key, entry.value)));
        assert!(loaded(&log).is_empty());
    }
}
