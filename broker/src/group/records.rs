//! The records of `__offsets`: by group its members, by group and partition how far it was read.

use bytes::Bytes;
use prost::Message as _;
use taffrail_api::{
    WireError,
    convert::{self, topic_partition},
    v1,
};
use taffrail_core::{
    GroupEpoch, MemberId, TopicPartition,
    group::{Committed, Profile, StoredGroup, StoredMember, Subscription},
};

use crate::cluster::view::topic_id_bytes;

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) group: String,
    /// `None`: its members.
    pub(crate) partition: Option<TopicPartition>,
}

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Vec<u8>,
    /// `None`: forgotten.
    pub(super) value: Option<Vec<u8>>,
}

/// What a batch and a record take beside key and value, and more.
const ENVELOPE_BYTES: usize = 256;

impl Entry {
    /// Is there room for it in a batch?
    pub(super) fn fits(&self, batch_bytes_max: usize) -> bool {
        let value = self.value.as_ref().map_or(0, Vec::len);
        self.key.len() + value + ENVELOPE_BYTES <= batch_bytes_max
    }
}

impl Key {
    pub(super) fn encode(&self) -> Vec<u8> {
        v1::OffsetsKey {
            group: self.group.clone(),
            offset: self.partition.map(|id| v1::OffsetsPartition {
                topic_id: topic_id_bytes(id.topic),
                partition: id.partition.0,
            }),
        }
        .encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let key = v1::OffsetsKey::decode(bytes).map_err(|e| WireError::invalid(e.to_string()))?;
        if key.group.is_empty() {
            return Err(WireError::invalid("no group"));
        }
        let id = |p: v1::OffsetsPartition| topic_partition(&p.topic_id, p.partition);
        Ok(Self {
            group: key.group,
            partition: key.offset.map(id).transpose()?,
        })
    }
}

pub(super) fn members_entry(group: &str, stored: &StoredGroup) -> Entry {
    let key = Key {
        group: group.to_owned(),
        partition: None,
    };
    Entry {
        key: key.encode(),
        value: Some(encode_group(stored).encode_to_vec()),
    }
}

pub(super) fn forgotten_members_entry(group: &str) -> Entry {
    let key = Key {
        group: group.to_owned(),
        partition: None,
    };
    Entry {
        key: key.encode(),
        value: None,
    }
}

/// `None`: nothing is known of it any more.
pub(super) fn offset_entry(
    group: &str,
    partition: TopicPartition,
    committed: Option<&Committed>,
) -> Entry {
    let key = Key {
        group: group.to_owned(),
        partition: Some(partition),
    };
    let value = committed.map(|committed| v1::StoredOffset {
        offset: convert::offset_to_wire(committed.offset),
        metadata: committed.metadata.clone(),
        committed_at_ms: committed.at_ms.cast_signed(),
    });
    Entry {
        key: key.encode(),
        value: value.map(|value| value.encode_to_vec()),
    }
}

pub(crate) fn decode_offset(value: &[u8]) -> Result<Committed, WireError> {
    let stored = v1::StoredOffset::decode(value).map_err(|e| WireError::invalid(e.to_string()))?;
    Ok(Committed {
        offset: convert::offset_from_wire(stored.offset)?,
        metadata: stored.metadata,
        at_ms: u64::try_from(stored.committed_at_ms)
            .map_err(|_| WireError::invalid("a time before 1970"))?,
    })
}

fn encode_group(stored: &StoredGroup) -> v1::StoredGroup {
    v1::StoredGroup {
        epoch: stored.epoch.0,
        empty_since_ms: stored.empty_since_ms.cast_signed(),
        members: stored.members.iter().map(encode_member).collect(),
    }
}

fn encode_member(member: &StoredMember) -> v1::StoredMember {
    let profile = &member.profile;
    v1::StoredMember {
        member_id: Bytes::copy_from_slice(member.id.as_bytes()),
        instance_id: profile.instance_id.clone().unwrap_or_default(),
        client_name: profile.client_name.clone(),
        rack: profile.rack.clone().unwrap_or_default(),
        topics: profile.subscription.topics.iter().cloned().collect(),
        patterns: profile.subscription.patterns.iter().cloned().collect(),
        session_timeout_ms: profile.session_timeout_ms as u32,
        lives_by_ms: member.lives_by_ms as u32,
        epoch: member.epoch.0,
        held: member.held.iter().map(encode_hold).collect(),
    }
}

fn encode_hold(
    (partition, since, revoked): &(TopicPartition, GroupEpoch, Option<GroupEpoch>),
) -> v1::StoredHold {
    v1::StoredHold {
        topic_id: topic_id_bytes(partition.topic),
        partition: partition.partition.0,
        since_epoch: since.0,
        revoked_epoch: revoked.map_or(0, |revoked| revoked.0),
    }
}

pub(crate) fn decode_group(value: &[u8]) -> Result<StoredGroup, WireError> {
    let stored = v1::StoredGroup::decode(value).map_err(|e| WireError::invalid(e.to_string()))?;
    let members = stored.members.into_iter().map(decode_member);
    Ok(StoredGroup {
        epoch: GroupEpoch(stored.epoch),
        empty_since_ms: u64::try_from(stored.empty_since_ms)
            .map_err(|_| WireError::invalid("a time before 1970"))?,
        members: members.collect::<Result<_, _>>()?,
    })
}

fn decode_member(member: v1::StoredMember) -> Result<StoredMember, WireError> {
    let hold = |hold: v1::StoredHold| {
        let revoked = (hold.revoked_epoch != 0).then_some(GroupEpoch(hold.revoked_epoch));
        let partition = topic_partition(&hold.topic_id, hold.partition)?;
        Ok((partition, GroupEpoch(hold.since_epoch), revoked))
    };
    // Not written by versions that knew no policies.
    let lives_by_ms = match member.lives_by_ms {
        0 => member.session_timeout_ms,
        ms => ms,
    };
    Ok(StoredMember {
        lives_by_ms: lives_by_ms.into(),
        id: member_id(&member.member_id)?,
        profile: Profile {
            instance_id: not_empty(member.instance_id),
            client_name: member.client_name,
            rack: not_empty(member.rack),
            subscription: Subscription {
                topics: member.topics.into_iter().collect(),
                patterns: member.patterns.into_iter().collect(),
            },
            session_timeout_ms: u64::from(member.session_timeout_ms),
        },
        epoch: GroupEpoch(member.epoch),
        held: member
            .held
            .into_iter()
            .map(hold)
            .collect::<Result<_, WireError>>()?,
    })
}

pub(crate) fn member_id(bytes: &[u8]) -> Result<MemberId, WireError> {
    MemberId::try_from(bytes).map_err(|e| WireError::invalid(format!("member_id: {e}")))
}

pub(crate) fn not_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use taffrail_core::{Offset, PartitionIndex, TopicId};

    use super::*;

    const PARTITION: TopicPartition = TopicPartition {
        topic: TopicId::from_bytes([7; 16]),
        partition: PartitionIndex(3),
    };

    #[test]
    fn what_is_written_is_read_back() {
        let stored = StoredGroup {
            epoch: GroupEpoch(9),
            empty_since_ms: 1,
            members: vec![StoredMember {
                id: MemberId::from_bytes([1; 16]),
                profile: Profile {
                    instance_id: Some("pod-0".to_owned()),
                    client_name: "billing".to_owned(),
                    rack: Some("a".to_owned()),
                    subscription: Subscription {
                        topics: ["orders".to_owned()].into(),
                        patterns: ["payments.*".to_owned()].into(),
                    },
                    session_timeout_ms: 45_000,
                },
                lives_by_ms: 60_000,
                epoch: GroupEpoch(8),
                held: vec![(PARTITION, GroupEpoch(2), Some(GroupEpoch(8)))],
            }],
        };
        let value = members_entry("billing", &stored)
            .value
            .expect("not forgotten");
        assert_eq!(decode_group(&value), Ok(stored));
        let committed = Committed {
            offset: Offset(42),
            metadata: "half".to_owned(),
            at_ms: 5,
        };
        let entry = offset_entry("billing", PARTITION, Some(&committed));
        assert_eq!(
            decode_offset(&entry.value.expect("not forgotten")),
            Ok(committed)
        );
        let key = Key {
            group: "billing".to_owned(),
            partition: Some(PARTITION),
        };
        assert_eq!(Key::decode(&entry.key), Ok(key));
    }

    #[test]
    fn a_policys_shorter_session_timeout_is_read_back_and_one_that_was_not_written_is_the_members()
    {
        for (written, read) in [(3_000, 3_000), (0, 45_000)] {
            let member = v1::StoredMember {
                member_id: vec![1; 16].into(),
                session_timeout_ms: 45_000,
                lives_by_ms: written,
                ..v1::StoredMember::default()
            };
            let decoded = decode_member(member).expect("valid");
            assert_eq!(decoded.lives_by_ms, read);
            let timeout_ms = decoded.profile.session_timeout_ms;
            assert_eq!(timeout_ms, 45_000, "it said so");
        }
    }

    #[test]
    fn the_bytes_of_a_key_are_these() {
        let key = offset_entry("g", PARTITION, None).key;
        let expected = [&[10, 1, b'g', 18, 20, 10, 16][..], &[7; 16], &[16, 3]].concat();
        assert_eq!(
            key, expected,
            "equal keys must be equal bytes in every release"
        );
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(Key::decode(&[1, 2, 3]).is_err());
        assert!(Key::decode(&[]).is_err());
        assert!(decode_offset(&[8, 255]).is_err());
        assert!(
            decode_group(&[26, 2, 10, 0]).is_err(),
            "a member without an id"
        );
    }
}
