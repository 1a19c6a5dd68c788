//! Whom a session is with: checked before anything of it is kept.

use taffrail_api::{WireError, v1};
use taffrail_core::{BrokerNumber, ErrorCode, Incarnation};

use crate::cluster::view::ClusterView;

/// The versions of `replication.proto` that this release speaks.
pub(crate) const VERSIONS: v1::VersionRange = v1::VersionRange { min: 1, max: 1 };

/// A follower that may have a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Follower {
    pub(super) broker: BrokerNumber,
    pub(super) incarnation: Incarnation,
    pub(super) version: u32,
    pub(super) window_bytes: usize,
}

/// Checks a hello to broker `me`.
///
/// # Errors
/// It is of another cluster, of an unknown version, for another broker, or of a run that is over.
pub(super) fn check(
    hello: &v1::FollowerHello,
    me: Option<BrokerNumber>,
    view: &ClusterView,
) -> Result<Follower, WireError> {
    if view.cluster_id.is_empty() {
        return Err(not_yet("this broker has not heard of its cluster"));
    }
    if hello.cluster_id != view.cluster_id {
        return Err(WireError::new(
            ErrorCode::ForeignCluster,
            format!(
                "this broker belongs to cluster {}, the follower to {:?}; one of the two addresses is wrong",
                view.cluster_id, hello.cluster_id
            ),
        ));
    }
    let theirs = hello.versions.unwrap_or_default();
    let version = theirs.max.min(VERSIONS.max);
    if version < theirs.min.max(VERSIONS.min) {
        return Err(WireError::new(
            ErrorCode::UnsupportedVersion,
            format!(
                "this broker speaks versions {} to {} of replication, the follower {} to {}; upgrade the older one",
                VERSIONS.min, VERSIONS.max, theirs.min, theirs.max
            ),
        ));
    }
    if me != Some(BrokerNumber(hello.leader)) {
        let number = me.map_or_else(|| "without a number".to_owned(), |me| me.to_string());
        return Err(not_yet(&format!(
            "this is broker {number}, not {}: its address went to another one",
            hello.leader
        )));
    }
    let broker = BrokerNumber(hello.broker);
    let Some(known) = view.brokers.get(&broker).filter(|_| me != Some(broker)) else {
        return Err(not_yet(&format!(
            "there is no broker {broker} to follow this one"
        )));
    };
    let incarnation: Incarnation = hello
        .incarnation
        .ok_or_else(|| WireError::invalid("incarnation is missing"))?
        .into();
    let registered: Incarnation = known.incarnation.unwrap_or_default().into();
    let is_double = incarnation.generation == registered.generation && incarnation != registered;
    if incarnation.generation < registered.generation || is_double {
        return Err(fenced(broker, incarnation, registered));
    }
    Ok(Follower {
        broker,
        incarnation,
        version,
        window_bytes: hello.window_bytes as usize,
    })
}

/// A run that is over.
pub(super) fn fenced(broker: BrokerNumber, run: Incarnation, newest: Incarnation) -> WireError {
    WireError::new(
        ErrorCode::BrokerFenced,
        format!(
            "run {run} of broker {broker} is over, {newest} is known; only one process may use its volume"
        ),
    )
}

fn not_yet(what: &str) -> WireError {
    WireError::new(
        ErrorCode::NotYetKnown,
        format!("{what}; retry when the metadata has changed"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Option<BrokerNumber> = Some(BrokerNumber(1));

    fn run(generation: u64) -> v1::Incarnation {
        v1::Incarnation {
            generation,
            random: 9,
        }
    }

    fn view() -> ClusterView {
        let record = |number| v1::BrokerRecord {
            number,
            incarnation: Some(run(5)),
            ..v1::BrokerRecord::default()
        };
        ClusterView {
            cluster_id: "c".into(),
            brokers: [1, 2]
                .map(|number| (BrokerNumber(number), record(number)))
                .into(),
            ..ClusterView::default()
        }
    }

    fn hello() -> v1::FollowerHello {
        v1::FollowerHello {
            cluster_id: "c".into(),
            broker: 2,
            incarnation: Some(run(5)),
            leader: 1,
            versions: Some(v1::VersionRange { min: 1, max: 3 }),
            window_bytes: 100,
        }
    }

    #[test]
    fn the_highest_version_that_both_speak_is_taken() {
        let follower = check(&hello(), ME, &view()).expect("welcome");
        assert_eq!(follower.version, 1);
        assert_eq!(
            (follower.broker, follower.window_bytes),
            (BrokerNumber(2), 100)
        );
        let newer = v1::FollowerHello {
            incarnation: Some(run(6)),
            ..hello()
        };
        check(&newer, ME, &view()).expect("a run that the metadata does not have yet");
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        type Change = fn(&mut v1::FollowerHello);
        let refused: [(Change, ErrorCode); 8] = [
            (|h| h.cluster_id = "other".into(), ErrorCode::ForeignCluster),
            (|h| h.cluster_id.clear(), ErrorCode::ForeignCluster),
            (
                |h| h.versions = Some(v1::VersionRange { min: 2, max: 3 }),
                ErrorCode::UnsupportedVersion,
            ),
            (|h| h.versions = None, ErrorCode::UnsupportedVersion),
            (|h| h.leader = 3, ErrorCode::NotYetKnown),
            (|h| h.broker = 1, ErrorCode::NotYetKnown),
            (|h| h.incarnation = Some(run(4)), ErrorCode::BrokerFenced),
            // Another process on a copy of the volume.
            (
                |h| {
                    h.incarnation = Some(v1::Incarnation {
                        random: 99,
                        ..run(5)
                    });
                },
                ErrorCode::BrokerFenced,
            ),
        ];
        for (change, code) in refused {
            let mut bad = hello();
            change(&mut bad);
            assert_eq!(check(&bad, ME, &view()).expect_err("refused").code, code);
        }
        let code = |me, view: &ClusterView| check(&hello(), me, view).expect_err("refused").code;
        assert_eq!(code(None, &view()), ErrorCode::NotYetKnown);
        assert_eq!(code(ME, &ClusterView::default()), ErrorCode::NotYetKnown);
    }
}
