//! What may be decided while the store may be old.

use super::*;
use crate::replica::{Certainty, Leap};

/// By a controller that took office a moment ago.
fn early<'a>(stored: &'a Assignment, reports: &'a [Report<'a>]) -> Election<'a> {
    Election {
        is_raised: false,
        ..election(stored, reports)
    }
}

#[test]
fn while_the_last_leader_is_not_heard_nobody_wins_who_has_less_than_another_member() {
    let stored = assignment(&[1, 2, 3], 1, (1, 5));
    let without_leader = [dead(report(2, 9)), report(3, 7)];
    let outcome = early(&stored, &without_leader).decide();
    assert_eq!(leader(outcome), Err(Wait::Candidate), "3 may have left");
    let both = [report(2, 9), report(3, 7)];
    assert_eq!(leader(early(&stored, &both).decide()), Ok(2));
    let heard = [dead(report(1, 9)), dead(report(2, 9)), report(3, 7)];
    assert_eq!(
        leader(early(&stored, &heard).decide()),
        Ok(3),
        "its leader would know that it left"
    );
}

#[test]
fn epochs_leap_unless_every_replica_was_heard_or_they_were_raised_before() {
    let stored = assignment(&[1, 2, 3], 1, (4, 9));
    let some = [report(2, 9), report(3, 7)];
    let version = |election: Election<'_>| {
        let elected = election.decide().expect("elected").assignment;
        let vacated = election.vacated().expect("there is a record");
        assert_eq!(elected.version(), vacated.version());
        elected.version()
    };
    let next = (LeaderEpoch(5), PartitionEpoch(10));
    assert_eq!(version(election(&stored, &some)), next);
    let leapt = (LeaderEpoch(4 + 1024), PartitionEpoch(9 + 1024));
    assert_eq!(version(early(&stored, &some)), leapt);
    let by_another = Election {
        leap: Leap::drawn(7),
        ..early(&stored, &some)
    };
    let elsewhere = (LeaderEpoch(4 + 1031), PartitionEpoch(9 + 1031));
    assert_eq!(version(by_another), elsewhere);
    let all = [dead(report(1, 9)), report(2, 9), report(3, 7)];
    assert_eq!(version(early(&stored, &all)), next);
}

#[test]
fn nothing_is_changed_before_the_leader_and_enough_others_were_heard() {
    let stored = assignment(&[1, 2, 3], 1, (4, 9));
    let within = Some((LeaderEpoch(4), PartitionEpoch(10)));
    let above = Some((LeaderEpoch(4 + 1024), PartitionEpoch(9 + 1024)));
    let newer = assignment(&[1, 2], 1, (4, 10));
    let knows_more = Report {
        record: Some(&newer),
        ..report(2, 9)
    };
    let wrote_more = Report {
        tail: LogTail {
            last_epoch: Some(LeaderEpoch(5)),
            end: Offset(9),
        },
        ..report(2, 9)
    };
    let [r1, r2, r3] = [report(1, 9), report(2, 9), report(3, 9)];
    for (reports, certainty, version) in [
        (vec![r1], Certainty::Nothing, None),
        (vec![r2, r3], Certainty::Nothing, None),
        (vec![r1, r3], Certainty::Acknowledged, above),
        (vec![restarted(r1), r3], Certainty::Acknowledged, None),
        (vec![dead(r1), r3], Certainty::Acknowledged, None),
        (vec![r1, r2, r3], Certainty::Everything, within),
        (vec![dead(r1), r2, r3], Certainty::Everything, within),
        (vec![r1, knows_more, r3], Certainty::Nothing, None),
        (vec![r1, wrote_more, r3], Certainty::Nothing, None),
    ] {
        let election = early(&stored, &reports);
        assert_eq!(election.certainty(), certainty, "{reports:?}");
        assert_eq!(election.next_change(), version, "{reports:?}");
    }
}
