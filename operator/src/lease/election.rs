//! Who may hold the Lease. Pure: time comes in. Other machines' clocks are not trusted: a Lease is over when it stood unchanged before our
//! own eyes for its duration.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use tokio::time::Instant;

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Create, renew or take over.
    Hold,
    /// Somebody else holds it.
    Wait,
}

/// The Lease as we first saw it in its present state.
#[derive(Debug, Default)]
pub(super) struct Sighting {
    resource_version: Option<String>,
    since: Option<Instant>,
}

impl Sighting {
    /// Notes what was read.
    pub(super) fn look(&mut self, lease: Option<&Lease>, now: Instant) {
        let version = lease.and_then(|l| l.metadata.resource_version.clone());
        if version != self.resource_version || self.since.is_none() {
            self.resource_version = version;
            self.since = Some(now);
        }
    }
}

pub(super) fn decide(lease: Option<&Lease>, me: &str, sighting: &Sighting, now: Instant) -> Move {
    let Some(lease) = lease else {
        return Move::Hold;
    };
    match holder(lease) {
        None => Move::Hold,
        Some(holder) if holder == me => Move::Hold,
        Some(_) => {
            let unchanged = sighting.since.map(|since| now.duration_since(since));
            if unchanged.is_some_and(|unchanged| unchanged > duration(lease)) {
                Move::Hold
            } else {
                Move::Wait
            }
        }
    }
}

pub(super) fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    (!holder.is_empty()).then_some(holder)
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|s| s.lease_duration_seconds);
    Duration::from_secs(u64::try_from(seconds.unwrap_or(15)).unwrap_or(15))
}

/// The Lease as we want it: ours, renewed now. With the version that was read, if there was one.
pub(super) fn held_by(
    lease: Option<Lease>,
    name: &str,
    me: &str,
    lasts: Duration,
    now: Timestamp,
) -> Lease {
    let before = lease.unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Lease::default()
    });
    let mine = holder(&before) == Some(me);
    let spec = before.spec.unwrap_or_default();
    let transitions = spec.lease_transitions.unwrap_or(0);
    Lease {
        metadata: before.metadata,
        spec: Some(LeaseSpec {
            holder_identity: Some(me.to_owned()),
            lease_duration_seconds: i32::try_from(lasts.as_secs()).ok(),
            acquire_time: if mine {
                spec.acquire_time
            } else {
                Some(MicroTime(now))
            },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if mine { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }),
    }
}

/// Nobody's.
pub(super) fn released(mut lease: Lease) -> Lease {
    if let Some(spec) = &mut lease.spec {
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
    }
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        let mut lease = held_by(
            None,
            "l",
            holder,
            Duration::from_secs(15),
            Timestamp::UNIX_EPOCH,
        );
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    fn seen(lease: &Lease, at: Instant) -> Sighting {
        let mut sighting = Sighting::default();
        sighting.look(Some(lease), at);
        sighting
    }

    #[test]
    fn a_free_lease_is_taken() {
        let now = Instant::now();
        assert_eq!(decide(None, "a", &Sighting::default(), now), Move::Hold);
        let given_back = released(lease("b", "1"));
        assert_eq!(
            decide(Some(&given_back), "a", &seen(&given_back, now), now),
            Move::Hold
        );
    }

    #[test]
    fn a_lease_that_is_renewed_stays_with_its_holder() {
        let start = Instant::now();
        let first = lease("b", "1");
        let mut sighting = seen(&first, start);
        let later = start + Duration::from_secs(14);
        assert_eq!(decide(Some(&first), "a", &sighting, later), Move::Wait);
        let renewed = lease("b", "2");
        sighting.look(Some(&renewed), later);
        let much_later = later + Duration::from_secs(14);
        assert_eq!(
            decide(Some(&renewed), "a", &sighting, much_later),
            Move::Wait
        );
    }

    #[test]
    fn a_lease_unchanged_for_its_duration_is_taken_over() {
        let start = Instant::now();
        let abandoned = lease("b", "1");
        let sighting = seen(&abandoned, start);
        let later = start + Duration::from_secs(16);
        assert_eq!(decide(Some(&abandoned), "a", &sighting, later), Move::Hold);
        let mine = held_by(
            Some(abandoned),
            "l",
            "a",
            Duration::from_secs(15),
            Timestamp::UNIX_EPOCH,
        );
        let spec = mine.spec.expect("spec");
        assert_eq!(spec.lease_transitions, Some(2));
        assert_eq!(mine.metadata.resource_version.as_deref(), Some("1"));
    }
}
