//! What members and others may say.

use taffrail_api::{
    WireError,
    convert::{offset_from_wire, topic_partition},
    v1,
};
use taffrail_core::{
    GroupEpoch,
    group::{Join, Profile},
};

use crate::{
    config::GroupSettings,
    group::{
        event::Position,
        limits::{check_name, check_session_timeout, subscription, within},
        member_id, not_empty,
    },
};

/// Instance ids, racks and what members call themselves.
const NAME_BYTES_MAX: usize = 256;
const METADATA_BYTES_MAX: usize = 4_096;

/// A member as it says it is.
pub(super) fn join(
    join: v1::JoinGroup,
    settings: &GroupSettings,
) -> Result<(String, Join), WireError> {
    check_name(&join.group)?;
    // Whether it has to name something is up to the group's policy.
    let subscription = subscription(join.topics, join.patterns)?;
    for (what, text) in [
        ("bytes of instance_id", &join.instance_id),
        ("bytes of client_name", &join.client_name),
        ("bytes of rack", &join.rack),
    ] {
        within(what, text.len(), NAME_BYTES_MAX)?;
    }
    let session_timeout_ms = match u64::from(join.session_timeout_ms) {
        0 => settings.session_timeout_ms,
        ms => check_session_timeout(ms).map(|()| ms)?,
    };
    let joins = Join {
        member: member_id(&join.member_id)?,
        profile: Profile {
            instance_id: not_empty(join.instance_id),
            client_name: join.client_name,
            rack: not_empty(join.rack),
            subscription,
            session_timeout_ms,
        },
        epoch: GroupEpoch(join.epoch),
    };
    Ok((join.group, joins))
}

/// Positions, each of another partition.
/// A range of offsets, of a partition that may be.
pub(super) fn lost(lost: v1::MemberLoss) -> Result<v1::MemberLoss, WireError> {
    topic_partition(&lost.topic_id, lost.partition)?;
    if 0 <= lost.from && lost.from < lost.to {
        return Ok(lost);
    }
    Err(WireError::invalid(format!(
        "{} to {} is no range of offsets",
        lost.from, lost.to
    )))
}

pub(super) fn positions(
    offsets: Vec<v1::CommittedOffset>,
    max: usize,
) -> Result<Vec<Position>, WireError> {
    within("offsets", offsets.len(), max)?;
    let position = |offset: v1::CommittedOffset| {
        within(
            "bytes of metadata",
            offset.metadata.len(),
            METADATA_BYTES_MAX,
        )?;
        Ok(Position {
            partition: topic_partition(&offset.topic_id, offset.partition)?,
            offset: offset_from_wire(offset.offset)?,
            metadata: offset.metadata,
        })
    };
    offsets.into_iter().map(position).collect()
}

#[cfg(test)]
mod tests {
    use taffrail_core::ErrorCode;

    use super::*;

    fn valid() -> v1::JoinGroup {
        v1::JoinGroup {
            group: "billing".to_owned(),
            member_id: vec![1; 16].into(),
            topics: vec!["orders".to_owned()],
            ..v1::JoinGroup::default()
        }
    }

    fn refused(change: impl FnOnce(&mut v1::JoinGroup)) -> String {
        let mut joins = valid();
        change(&mut joins);
        let error = join(joins, &GroupSettings::default()).expect_err("refused");
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        error.message
    }

    #[test]
    fn a_member_gets_the_defaults() {
        let settings = GroupSettings::default();
        let (group, joins) = join(valid(), &settings).expect("valid");
        assert_eq!(group, "billing");
        assert_eq!(
            joins.profile.session_timeout_ms,
            settings.session_timeout_ms
        );
        assert_eq!(joins.profile.instance_id, None);
    }

    #[test]
    fn nonsense_is_refused_with_words() {
        let odd = refused(|j| j.group = "a/b".to_owned());
        assert!(odd.contains("letters, digits"), "{odd}");
        refused(|j| j.group.clear());
        let internal = refused(|j| j.topics.push("__offsets".to_owned()));
        assert!(internal.contains("internal"), "{internal}");
        let short = refused(|j| j.member_id = vec![1; 15].into());
        assert!(short.contains("member id"), "{short}");
        let broken = refused(|j| j.patterns.push("orders(".to_owned()));
        assert!(broken.contains("orders("), "{broken}");
        let huge = refused(|j| j.patterns.push("(a{1000}){1000}".to_owned()));
        assert!(huge.contains("regular expression"), "{huge}");
        refused(|j| j.patterns.push("x".repeat(257)));
        refused(|j| j.instance_id = "x".repeat(257));
        let timeout = refused(|j| j.session_timeout_ms = 2_999);
        assert!(timeout.contains("between 3000 and"), "{timeout}");
    }

    #[test]
    fn positions_are_checked_one_by_one() {
        let position = |offset, metadata: &str| v1::CommittedOffset {
            topic_id: vec![1; 16].into(),
            partition: 0,
            offset,
            metadata: metadata.to_owned(),
        };
        assert_eq!(positions(vec![position(5, "")], 1).expect("valid").len(), 1);
        assert!(positions(vec![position(-2, "")], 1).is_err());
        assert!(positions(vec![position(5, ""), position(5, "")], 1).is_err());
        assert!(positions(vec![position(5, &"x".repeat(4_097))], 1).is_err());
    }
}
