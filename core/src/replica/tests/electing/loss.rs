//! Members that may lack records, losses that are accepted, and stores that went back.

use super::*;

#[test]
fn who_may_lack_records_or_cannot_be_read_leaves_the_isr_with_the_election() {
    let stored = assignment(&[1, 2, 3], 1, (1, 5));
    let of = |standing, broker| Report {
        standing,
        ..restarted(report(broker, 9))
    };
    let reports = [
        of(Standing::MayLack, 1),
        of(Standing::Unusable, 2),
        report(3, 7),
    ];
    let elected = decide(&stored, &reports).expect("elected");
    assert_eq!(elected.assignment.isr, [BrokerNumber(3)]);
    assert_eq!(elected.may_lack, None);
}

#[test]
fn if_every_member_lost_its_page_cache_the_longest_log_of_all_replicas_wins_and_the_loss_is_reported()
 {
    let torn = |broker, end, high_watermark| Report {
        standing: Standing::MayLack,
        high_watermark: Offset(high_watermark),
        ..restarted(report(broker, end))
    };
    let may_lack = MayLack {
        from: Offset(7),
        known_to: Offset(8),
    };
    let reports = [torn(1, 6, 8), torn(2, 7, 7), report(3, 5)];
    let elected = decide(&assignment(&[1, 2], 1, (1, 5)), &reports).expect("elected");
    assert_eq!(elected.assignment.leader, Some(BrokerNumber(2)));
    assert_eq!(elected.assignment.isr, [BrokerNumber(2)]);
    assert_eq!(elected.may_lack, Some(may_lack));
    // They left the in-sync set one after the other; the map says so of the last one.
    let last = Assignment {
        is_unclean: true,
        ..assignment(&[1], 1, (1, 5))
    };
    let whole = [restarted(report(1, 6)), report(2, 7), report(3, 5)];
    let elected = decide(&last, &whole).expect("elected").assignment;
    assert_eq!(elected.isr, [BrokerNumber(2)], "one that left has more");
    assert!(!elected.is_unclean);
    for away in 0..3 {
        let mut reports = whole;
        reports[away] = dead(reports[away]);
        assert_eq!(leader(decide(&last, &reports)), Err(Wait::Candidate));
    }
}

#[test]
fn an_unclean_election_needs_permission_and_reports_the_loss() {
    let stored = assignment(&[1], 1, (1, 5));
    let reports = [dead(report(1, 9)), report(2, 7), report(3, 8)];
    assert_eq!(leader(decide(&stored, &reports)), Err(Wait::Candidate));
    let unclean = Election {
        loss_accepted: true,
        ..election(&stored, &reports)
    };
    let elected = unclean.decide().expect("elected");
    assert_eq!(elected.assignment.leader, Some(BrokerNumber(3)));
    assert_eq!(elected.assignment.isr, [BrokerNumber(3)]);
    let may_lack = MayLack {
        from: Offset(8),
        known_to: Offset(9),
    };
    assert_eq!(elected.may_lack, Some(may_lack));
}

#[test]
fn the_last_member_waits_for_a_human_when_its_log_is_gone() {
    let stored = assignment(&[1], 1, (1, 5));
    let gone = Report {
        standing: Standing::Unusable,
        tail: LogTail::default(),
        ..restarted(report(1, 0))
    };
    let reports = [gone, report(2, 7), report(3, 8)];
    assert_eq!(leader(decide(&stored, &reports)), Err(Wait::Candidate));
}

#[test]
fn in_doubt_every_member_of_the_best_records_isr_has_to_report() {
    // The store was restored to before broker 3 left the in-sync set.
    let old = assignment(&[1, 2, 3], 1, (1, 5));
    let newer = assignment(&[1, 2], 1, (1, 6));
    let knows = |report: Report<'static>| Report {
        record: Some(&newer),
        ..restarted(report)
    };
    let reports = [dead(report(1, 9)), knows(report(2, 7)), report(3, 3)];
    assert_eq!(leader(decide(&old, &reports)), Err(Wait::Doubt));
    let reports = [knows(report(1, 9)), knows(report(2, 7)), report(3, 3)];
    let elected = decide(&old, &reports).expect("elected").assignment;
    assert_eq!(elected.leader, Some(BrokerNumber(1)));
    assert_eq!(elected.isr, newer.isr);
    assert_eq!(elected.version(), (LeaderEpoch(2), PartitionEpoch(7)));
}

#[test]
fn a_record_that_vanished_comes_back_from_the_brokers() {
    let record = assignment(&[1, 2], 1, (3, 6));
    let knows = |report: Report<'static>| Report {
        record: Some(&record),
        ..report
    };
    let reports = [knows(report(1, 9)), knows(report(2, 7))];
    let vanished = Election {
        stored: None,
        ..election(&record, &reports)
    };
    let elected = vanished.decide().expect("elected").assignment;
    assert_eq!(elected.leader, Some(BrokerNumber(1)));
    assert_eq!(elected.version(), (LeaderEpoch(4), PartitionEpoch(7)));
}

#[test]
fn batches_of_a_later_epoch_than_any_record_raise_doubt_and_the_epoch() {
    let stored = assignment(&[1, 2], 1, (1, 5));
    let later = Report {
        tail: LogTail {
            last_epoch: Some(LeaderEpoch(8)),
            end: Offset(4),
        },
        ..report(3, 0)
    };
    assert_eq!(
        leader(decide(&stored, &[report(1, 9), later])),
        Err(Wait::Doubt)
    );
    let elected = decide(&stored, &[report(1, 9), report(2, 9), later]);
    assert_eq!(
        elected.expect("elected").assignment.leader_epoch,
        LeaderEpoch(9)
    );
}
