//! The election rules of architecture.md's section 4, one by one.

mod certainty;
mod loss;

use crate::{
    assignment::Assignment,
    ids::{BrokerNumber, Incarnation, LeaderEpoch, Offset, PartitionEpoch},
    replica::{Elected, Election, Leap, LogTail, MayLack, Report, Standing, Wait},
};

const fn run(generation: u64) -> Incarnation {
    Incarnation {
        generation,
        random: 7,
    }
}

fn assignment(isr: &[u32], leader: u32, version: (u32, u64)) -> Assignment {
    Assignment {
        replicas: [1, 2, 3].map(BrokerNumber).to_vec(),
        isr: isr.iter().copied().map(BrokerNumber).collect(),
        leader: Some(BrokerNumber(leader)),
        leader_incarnation: run(1),
        leader_epoch: LeaderEpoch(version.0),
        partition_epoch: PartitionEpoch(version.1),
        ..Assignment::default()
    }
}

/// Alive, whole, confirmed, with a log of epoch 1 up to `end`.
fn report(broker: u32, end: u64) -> Report<'static> {
    Report {
        broker: BrokerNumber(broker),
        incarnation: run(1),
        is_alive: true,
        standing: Standing::Whole,
        is_confirmed: true,
        tail: LogTail {
            last_epoch: Some(LeaderEpoch(1)),
            end: Offset(end),
        },
        is_fresh: true,
        high_watermark: Offset(0),
        record: None,
    }
}

fn dead(report: Report<'_>) -> Report<'_> {
    Report {
        is_alive: false,
        ..report
    }
}

fn restarted(report: Report<'_>) -> Report<'_> {
    Report {
        incarnation: run(2),
        is_confirmed: false,
        ..report
    }
}

fn election<'a>(stored: &'a Assignment, reports: &'a [Report<'a>]) -> Election<'a> {
    Election {
        stored: Some(stored),
        reports,
        min_in_sync: 2,
        except: None,
        loss_accepted: false,
        is_raised: true,
        leap: Leap::default(),
    }
}

fn decide(stored: &Assignment, reports: &[Report<'_>]) -> Result<Elected, Wait> {
    election(stored, reports).decide()
}

fn leader(outcome: Result<Elected, Wait>) -> Result<u32, Wait> {
    let elected = outcome?;
    assert_eq!(elected.may_lack, None);
    Ok(elected.assignment.leader.expect("elected").0)
}

#[test]
fn a_leader_is_elected_from_the_persisted_isr_only() {
    let stored = assignment(&[1, 2], 1, (1, 5));
    let reports = [dead(report(1, 9)), report(2, 7), report(3, 9)];
    assert_eq!(
        leader(decide(&stored, &reports)),
        Ok(2),
        "3 is longer and not in sync"
    );
    let none = [dead(report(1, 9)), dead(report(2, 7)), report(3, 9)];
    assert_eq!(leader(decide(&stored, &none)), Err(Wait::Candidate));
}

#[test]
fn an_election_raises_both_epochs_and_names_the_winners_run() {
    let stored = assignment(&[1, 2, 3], 1, (4, 9));
    let reports = [dead(report(1, 9)), report(2, 7), report(3, 9)];
    let elected = decide(&stored, &reports).expect("elected").assignment;
    assert_eq!(elected.version(), (LeaderEpoch(5), PartitionEpoch(10)));
    assert!(elected.is_led_by(BrokerNumber(3), run(1)));
    assert_eq!(
        elected.isr, stored.isr,
        "who is away stays until its leader says otherwise"
    );
}

#[test]
fn nobody_is_elected_before_replicas_less_min_in_sync_plus_one_have_reported() {
    let stored = assignment(&[1, 2], 1, (1, 5));
    let outcome = leader(decide(&stored, &[report(2, 7)]));
    assert_eq!(
        outcome,
        Err(Wait::Reports {
            heard: 1,
            needed: 2
        })
    );
    let heard = [report(2, 7), dead(report(3, 1))];
    assert_eq!(
        leader(decide(&stored, &heard)),
        Ok(2),
        "one that was heard and is away counts"
    );
}

#[test]
fn the_greatest_last_epoch_and_then_end_wins_and_of_equals_the_preferred_one() {
    let stored = assignment(&[1, 2, 3], 1, (4, 9));
    let later = |broker, end| Report {
        tail: LogTail {
            last_epoch: Some(LeaderEpoch(3)),
            end: Offset(end),
        },
        ..report(broker, 0)
    };
    for (reports, winner) in [
        ([report(1, 9), report(2, 11), report(3, 10)], 2),
        ([report(1, 9), report(2, 11), later(3, 10)], 3),
        ([report(1, 9), report(2, 9), report(3, 9)], 1),
    ] {
        assert_eq!(leader(decide(&stored, &reports)), Ok(winner));
    }
}

#[test]
fn one_that_hands_over_does_not_win() {
    let stored = assignment(&[1, 2, 3], 1, (1, 5));
    let reports = [report(1, 9), report(2, 7), report(3, 7)];
    let handing_over = Election {
        except: Some(BrokerNumber(1)),
        ..election(&stored, &reports)
    };
    assert_eq!(leader(handing_over.decide()), Ok(2));
}

#[test]
fn an_unconfirmed_member_wins_only_when_all_others_are_there_and_have_nothing_greater() {
    let stored = assignment(&[1, 2, 3], 1, (1, 5));
    let own = restarted(report(2, 7));
    for (first, third, expected) in [
        (restarted(report(1, 7)), restarted(report(3, 5)), Ok(1)),
        (restarted(report(1, 6)), restarted(report(3, 5)), Ok(2)),
        (
            restarted(report(1, 6)),
            dead(report(3, 5)),
            Err(Wait::Candidate),
        ),
        (
            dead(report(1, 6)),
            restarted(report(3, 5)),
            Err(Wait::Candidate),
        ),
        // A confirmed one needs nobody, and its report is only a lower bound of what it has.
        (dead(report(1, 6)), report(3, 5), Ok(3)),
    ] {
        assert_eq!(leader(decide(&stored, &[first, own, third])), expected);
    }
}

#[test]
fn the_run_that_leads_is_confirmed_by_the_map() {
    let stored = assignment(&[1, 2], 1, (1, 5));
    let leads = Report {
        is_confirmed: false,
        ..report(1, 5)
    };
    let reports = [leads, restarted(report(2, 7))];
    assert_eq!(leader(decide(&stored, &reports)), Ok(1));
}

#[test]
fn the_only_replica_wins_whatever_its_run() {
    let stored = Assignment {
        replicas: vec![BrokerNumber(1)],
        ..assignment(&[1], 1, (1, 1))
    };
    let reports = [restarted(report(1, 7))];
    let election = Election {
        min_in_sync: 1,
        ..election(&stored, &reports)
    };
    assert_eq!(leader(election.decide()), Ok(1));
}

#[test]
fn an_unconfirmed_only_member_is_compared_with_replicas_that_had_what_was_acknowledged() {
    let stored = assignment(&[1], 1, (1, 5));
    let own = restarted(report(1, 7));
    for (second, third, expected) in [
        (report(2, 6), report(3, 7), Ok(1)),
        (report(2, 8), report(3, 7), Err(Wait::Candidate)),
        (report(2, 6), dead(report(3, 7)), Err(Wait::Candidate)),
    ] {
        let outcome = leader(decide(&stored, &[own, second, third]));
        assert_eq!(outcome, expected, "{second:?} {third:?}");
    }
    // With minInSync 1 nobody else need have had it.
    let reports = [own, dead(report(2, 9)), dead(report(3, 9))];
    let alone = Election {
        min_in_sync: 1,
        ..election(&stored, &reports)
    };
    assert_eq!(leader(alone.decide()), Ok(1));
}

#[test]
fn an_unconfirmed_member_is_not_elected_on_reports_from_before_the_leader_was_lost() {
    let stored = assignment(&[1, 2], 1, (1, 5));
    let old = |report: Report<'static>| Report {
        is_fresh: false,
        ..report
    };
    let (first, second) = (restarted(report(1, 7)), restarted(report(2, 6)));
    for (reports, expected) in [
        ([first, second], Ok(1)),
        ([old(first), second], Err(Wait::Candidate)),
        ([first, old(second)], Err(Wait::Candidate)),
        // A confirmed one has what is committed, whenever it reported.
        ([first, old(report(2, 6))], Ok(2)),
    ] {
        assert_eq!(leader(decide(&stored, &reports)), expected);
    }
}

#[test]
fn below_min_in_sync_other_replicas_are_asked_also_if_there_are_two_members() {
    let stored = Assignment {
        replicas: [1, 2, 3, 4, 5].map(BrokerNumber).to_vec(),
        ..assignment(&[1, 2], 1, (1, 5))
    };
    let of = |broker, end| restarted(report(broker, end));
    let decide = |reports: &[Report<'_>]| {
        let election = Election {
            min_in_sync: 3,
            ..election(&stored, reports)
        };
        leader(election.decide())
    };
    // What was acknowledged may be on 3, 4 and 5, and the volumes of both members older copies.
    let reports = [of(1, 7), of(2, 7), dead(of(3, 9))];
    assert_eq!(decide(&reports), Err(Wait::Candidate));
    assert_eq!(decide(&[of(1, 7), of(2, 7), of(3, 6), of(4, 7)]), Ok(1));
    let reports = [of(1, 7), of(2, 7), of(3, 6), of(4, 9)];
    assert_eq!(decide(&reports), Err(Wait::Candidate));
}

#[test]
fn who_wins_needs_no_confirmation_any_more() {
    let stored = Assignment {
        unconfirmed: vec![(BrokerNumber(1), run(2)), (BrokerNumber(2), run(2))],
        ..assignment(&[1, 2], 1, (1, 5))
    };
    let reports = [restarted(report(1, 7)), restarted(report(2, 7))];
    let elected = decide(&stored, &reports).expect("elected").assignment;
    assert_eq!(elected.leader, Some(BrokerNumber(1)));
    assert_eq!(elected.unconfirmed, [(BrokerNumber(2), run(2))]);
}
