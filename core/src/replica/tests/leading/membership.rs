//! Who joins, leaves and is confirmed, and how that is asked for.

use super::*;

/// What the first run of this broker causes when it has caught up.
fn confirm(broker: u32) -> LeaderEffect {
    LeaderEffect::Confirm {
        broker: BrokerNumber(broker),
        incarnation: run(1),
    }
}

#[test]
fn a_pending_expansion_holds_the_high_watermark_back() {
    let mut test = Test::new(&[1, 2]);
    test.has(2, 5);
    test.has(3, 5);
    assert_eq!(test.asked(), [expand(3)]);
    test.stored(9);
    test.has(2, 9);
    assert_eq!(test.committed(), 5, "3 may be a member already");
    test.has(3, 9);
    assert_eq!(test.committed(), 9);
}

#[test]
fn a_pending_shrink_holds_the_high_watermark_back_and_no_longer_counts_for_min_in_sync() {
    let mut test = Test::new(&[1, 2, 3]);
    test.has(2, 5);
    test.stored(9);
    test.has(2, 9);
    test.tick(101);
    assert_eq!(test.asked(), [shrink(3, ShrinkReason::Lagging)]);
    assert_eq!(
        test.committed(),
        2,
        "3 may still be a member, and lead next"
    );
    assert_eq!(
        test.leader.check_append(Acks::All),
        Ok(()),
        "1 and 2 are enough"
    );
    test.assigned(&[1, 2], 2, 101);
    assert_eq!(test.committed(), 9);
    let anew = FetchRequest {
        incarnation: run(2),
        ..Test::request(2, 3, 8)
    };
    assert_eq!(test.fetch(&anew), Ok(FetchOutcome::Matches));
    assert!(test.effects.contains(&LeaderEffect::TooFewInSync));
    assert_eq!(test.asked(), [shrink(2, ShrinkReason::LostData)]);
    let refused = test.leader.check_append(Acks::All);
    assert_eq!(
        refused,
        Err(ErrorCode::NotEnoughReplicas),
        "2 is about to leave"
    );
    test.stored(12);
    let anew = FetchRequest {
        incarnation: run(2),
        ..Test::request(2, 3, 12)
    };
    assert_eq!(test.fetch(&anew), Ok(FetchOutcome::Matches));
    assert_eq!(test.committed(), 9, "and what it has now may not be enough");
}

#[test]
fn the_in_sync_set_does_not_shrink_below_min_in_sync_and_records_are_refused_while_a_member_is_late()
 {
    let mut test = Test::new(&[1, 2]);
    test.has(2, 5);
    test.stored(9);
    test.tick(100);
    assert_eq!(test.leader.check_append(Acks::All), Ok(()));
    test.tick(101);
    assert!(test.effects.contains(&LeaderEffect::TooFewInSync));
    assert_eq!(test.asked(), [], "2 stays");
    let refused = test.leader.check_append(Acks::All);
    assert_eq!(refused, Err(ErrorCode::NotEnoughReplicas));
    assert_eq!(test.leader.in_sync_count(), 1);
    assert_eq!(test.committed(), 5, "nothing is committed without it");
    test.has(2, 9);
    assert_eq!(test.committed(), 9);
    assert_eq!(test.leader.check_append(Acks::All), Ok(()));
    assert_eq!(test.asked(), []);
}

#[test]
fn of_members_that_are_late_those_that_lag_most_leave_down_to_min_in_sync() {
    let late = shrink(2, ShrinkReason::Lagging);
    let mut test = Test::new(&[1, 2, 3]);
    test.stored(9);
    test.has(2, 5);
    test.has(3, 8);
    test.tick(101);
    assert_eq!(test.asked(), [late], "3 has more");
    test.assigned(&[1, 3], 2, 101);
    test.tick(1_000);
    assert_eq!(test.asked(), [], "two are left");
    let mut test = Test::new(&[1, 2, 3]);
    test.leader
        .is_heard(BrokerNumber(2), false, &mut test.effects);
    test.tick(101);
    assert_eq!(test.asked(), [late], "the controller misses it too");
}

#[test]
fn a_member_that_the_controller_lost_does_not_keep_up_until_it_is_heard_again() {
    let mut test = Test::new(&[1, 2]);
    test.has(2, 5);
    let of_2 = |test: &mut Test, is_heard| {
        let (two, effects) = (BrokerNumber(2), &mut test.effects);
        test.leader.is_heard(two, is_heard, effects);
    };
    of_2(&mut test, false);
    assert!(test.effects.contains(&LeaderEffect::TooFewInSync));
    let refused = test.leader.check_append(Acks::All);
    assert_eq!(refused, Err(ErrorCode::NotEnoughReplicas));
    assert_eq!(test.leader.check_append(Acks::Leader), Ok(()));
    assert_eq!(test.asked(), [], "it stays");
    of_2(&mut test, true);
    assert_eq!(test.leader.check_append(Acks::All), Ok(()));
}

#[test]
fn a_lower_min_in_sync_lets_those_go_that_are_late_and_a_higher_one_forces_nothing() {
    let rules = |min_in_sync| LeaderRules {
        min_in_sync,
        ..RULES
    };
    let mut test = Test::new(&[1, 2]);
    test.has(2, 5);
    test.stored(9);
    test.leader.configure(rules(3), &mut test.effects);
    test.tick(101);
    assert_eq!(test.asked(), []);
    test.leader.configure(rules(1), &mut test.effects);
    test.tick(102);
    assert_eq!(test.asked(), [shrink(2, ShrinkReason::Lagging)]);
}

#[test]
fn acks_none_and_leader_do_not_need_in_sync_replicas() {
    let test = Test::new(&[1]);
    assert_eq!(test.leader.check_append(Acks::None), Ok(()));
    assert_eq!(test.leader.check_append(Acks::Leader), Ok(()));
    let all = test.leader.check_append(Acks::All);
    assert_eq!(all, Err(ErrorCode::NotEnoughReplicas));
}

#[test]
fn one_change_is_in_flight_and_is_sent_again_until_a_higher_partition_epoch_answers() {
    let mut test = Test::new(&[1, 2, 3]);
    let min_in_sync = 1;
    let rules = LeaderRules {
        min_in_sync,
        ..RULES
    };
    test.leader.configure(rules, &mut test.effects);
    test.stored(9);
    test.tick(101);
    let first = shrink(3, ShrinkReason::Lagging);
    assert_eq!(test.asked(), [first], "and not the one of 2 as well");
    test.tick(120);
    assert_eq!(test.asked(), [], "not so soon");
    test.tick(151);
    assert_eq!(test.asked(), [first]);
    test.assigned(&[1, 2], 2, 152);
    let second = shrink(2, ShrinkReason::Lagging);
    assert_eq!(test.asked(), [second], "its turn now");
    test.assigned(&[1, 2], 3, 153);
    assert_eq!(test.asked(), [], "not at once what changed nothing");
    test.tick(202);
    assert_eq!(
        test.asked(),
        [second],
        "an answer that changed nothing frees the way"
    );
}

#[test]
fn a_newcomer_that_is_refused_again_and_again_holds_up_no_other() {
    for (first, second) in [(2, 3), (3, 2)] {
        let mut test = Test::new(&[1]);
        test.has(first, 5);
        test.has(second, 5);
        assert_eq!(test.asked(), [expand(first)]);
        test.assigned(&[1], 2, 10);
        assert_eq!(test.asked(), [expand(second)], "{first} was refused");
        test.assigned(&[1], 3, 20);
        assert_eq!(test.asked(), [], "neither of them at once again");
        test.tick(50);
        assert_eq!(test.asked(), [expand(first)]);
        test.assigned(&[1], 4, 65);
        assert_eq!(test.asked(), [expand(second)]);
        test.assigned(&[1], 5, 70);
        test.tick(500);
        assert_eq!(test.asked(), [expand(first)], "it waits longer");
    }
}

#[test]
fn a_follower_with_everything_does_not_lag_however_long_nothing_comes() {
    let mut test = Test::new(&[1, 2]);
    test.has(2, 5);
    test.tick(1_000_000);
    assert_eq!(test.asked(), []);
}

#[test]
fn caught_up_is_at_least_the_log_end_at_the_election_also_if_less_is_known_to_be_committed() {
    let mut test = Test::new(&[1, 2]);
    test.has(3, 4);
    assert_eq!(test.committed(), 2);
    assert_eq!(
        test.asked(),
        [],
        "4 is above the high watermark and not enough"
    );
    test.has(3, 5);
    assert_eq!(test.asked(), [expand(3)]);
}

#[test]
fn a_replica_that_is_being_removed_does_not_join() {
    let mut test = Test::new(&[1, 2]);
    let next = Assignment {
        removing: vec![BrokerNumber(3)],
        ..assignment(&[1, 2], 2)
    };
    test.leader
        .assigned(BrokerNumber(1), &next, 0, &mut test.effects);
    test.has(3, 5);
    assert_eq!(test.asked(), []);
}

#[test]
fn a_member_that_reports_less_than_once_before_is_to_be_removed() {
    let mut test = Test::new(&[1, 2, 3]);
    test.has(2, 5);
    let anew = FetchRequest {
        incarnation: run(2),
        ..Test::request(2, 1, 4)
    };
    assert_eq!(test.fetch(&anew), Ok(FetchOutcome::Matches));
    assert_eq!(test.asked(), [shrink(2, ShrinkReason::LostData)]);
}

#[test]
fn a_member_with_less_than_what_is_committed_is_to_be_removed() {
    for request in [
        Test::request(2, 1, 1),
        // It will be cut to before what is committed.
        Test::request(2, 0, 1),
    ] {
        let mut test = Test::new(&[1, 2, 3]);
        assert!(test.fetch(&request).is_ok());
        assert_eq!(test.asked(), [shrink(2, ShrinkReason::LostData)]);
    }
}

#[test]
fn a_restarted_member_is_confirmed_once_it_has_caught_up_and_once_for_each_run() {
    let mut test = Test::new(&[1, 2]);
    let confirm = |generation| LeaderEffect::Confirm {
        broker: BrokerNumber(2),
        incarnation: run(generation),
    };
    test.has(2, 4);
    assert!(!test.effects.contains(&confirm(1)));
    test.has(2, 5);
    test.has(2, 5);
    let confirmed = test.effects.iter().filter(|e| **e == confirm(1));
    assert_eq!(confirmed.count(), 1);
    test.registered(2, 2);
    assert_eq!(test.leader.confirmed().count(), 0);
    let anew = FetchRequest {
        incarnation: run(2),
        ..Test::request(2, 1, 5)
    };
    assert_eq!(test.fetch(&anew), Ok(FetchOutcome::Matches));
    assert!(test.effects.contains(&confirm(2)));
    let told: Vec<_> = test.leader.confirmed().collect();
    assert_eq!(told, [(BrokerNumber(2), run(2))]);
}

#[test]
fn a_member_is_confirmed_again_as_long_as_the_map_awaits_it() {
    let mut test = Test::new(&[1, 2]);
    test.has(2, 5);
    // Its registration was under way: the controller did not wait for it yet.
    test.effects.clear();
    let awaiting = Assignment {
        unconfirmed: vec![(BrokerNumber(2), run(1))],
        ..assignment(&[1, 2], 2)
    };
    test.leader
        .assigned(BrokerNumber(1), &awaiting, 0, &mut test.effects);
    assert!(test.effects.contains(&confirm(2)));
    test.effects.clear();
    test.assigned(&[1, 2], 3, 0);
    assert!(!test.effects.contains(&confirm(2)));
}

#[test]
fn an_assignment_of_the_same_version_leaves_members_out_and_awaits_others_and_answers_nothing() {
    let mut test = Test::new(&[1, 2, 3]);
    test.has(2, 5);
    test.stored(9);
    test.has(2, 9);
    test.tick(101);
    assert_eq!(test.asked(), [shrink(3, ShrinkReason::Lagging)]);
    let marked = Assignment {
        unconfirmed: vec![(BrokerNumber(2), run(1))],
        ..assignment(&[1, 2], 1)
    };
    test.leader
        .assigned(BrokerNumber(1), &marked, 101, &mut test.effects);
    assert!(test.effects.contains(&confirm(2)));
    assert_eq!(test.committed(), 9, "3 is not in sync");
    test.effects.clear();
    test.tick(151);
    assert_eq!(
        test.asked(),
        [shrink(3, ShrinkReason::Lagging)],
        "what it asked for may still be made"
    );
}

#[test]
fn a_run_that_has_not_registered_yet_does_not_join() {
    let mut test = Test::new(&[1, 2]);
    test.registered(3, 1);
    let early = FetchRequest {
        incarnation: run(2),
        ..Test::request(3, 1, 5)
    };
    assert_eq!(test.fetch(&early), Ok(FetchOutcome::Matches));
    assert_eq!(test.asked(), []);
    test.registered(3, 2);
    test.tick(1);
    assert_eq!(test.asked().len(), 1);
}

#[test]
fn an_older_volume_that_registered_is_followed_again_under_its_lower_run() {
    let mut test = Test::new(&[1, 2]);
    test.registered(3, 5);
    let of = |generation| FetchRequest {
        incarnation: run(generation),
        ..Test::request(3, 1, 5)
    };
    assert_eq!(test.fetch(&of(5)), Ok(FetchOutcome::Matches));
    assert_eq!(test.fetch(&of(3)), Err(ErrorCode::BrokerFenced));
    test.registered(3, 3);
    assert_eq!(test.fetch(&of(3)), Ok(FetchOutcome::Matches));
}

#[test]
fn what_a_run_reported_counts_again_once_the_controller_speaks_of_it_again() {
    let known = |test: &Test, broker| {
        let mut followers = test.leader.followers(0);
        let of = followers.find(|f| f.broker == BrokerNumber(broker));
        of.and_then(|f| f.durable_end)
    };
    let mut test = Test::new(&[1, 2]);
    for broker in [2, 3] {
        test.registered(broker, 1);
        test.has(broker, 5);
    }
    assert_eq!((test.committed(), test.asked()), (5, vec![expand(3)]));
    // The store was restored: for a moment the controller knows former runs only.
    for broker in [2, 3] {
        test.registered(broker, 0);
        assert_eq!(known(&test, broker), None);
    }
    test.assigned(&[1, 2], 2, 0);
    test.effects.clear();
    test.registered(2, 1);
    test.registered(3, 1);
    assert!(test.effects.contains(&confirm(2)), "it has nothing to add");
    test.tick(50);
    assert_eq!(test.asked(), [expand(3)]);
    test.registered(2, 0);
    let other = FetchRequest {
        incarnation: run(0),
        ..Test::request(2, 1, 4)
    };
    assert_eq!(test.fetch(&other), Ok(FetchOutcome::Matches));
    test.registered(2, 1);
    assert_eq!(known(&test, 2), None, "another run had the volume since");
}

#[test]
fn a_follower_below_the_log_start_is_out_of_range() {
    let mut test = Test::new(&[1, 2]);
    test.leader.expired(Offset(2));
    let outcome = test.fetch(&Test::request(3, 1, 1));
    assert_eq!(
        outcome,
        Ok(FetchOutcome::OutOfRange {
            delete_horizon: Offset(0)
        })
    );
    assert_eq!(test.asked(), [], "3 is no member: nothing is lost");
}

/// It would hold nothing of what is committed for a moment, if it began from nothing.
#[test]
fn a_member_whose_epochs_have_expired_begins_anew_where_the_log_begins_and_stays() {
    let mut test = Test::new(&[1, 2, 3]);
    test.has(2, 5);
    test.has(3, 5);
    test.stored(9);
    test.leader.expired(Offset(5));
    for end in [5, 7] {
        let outcome = test.fetch(&Test::request(3, 1, end));
        assert_eq!(
            outcome,
            Ok(FetchOutcome::OutOfRange {
                delete_horizon: Offset(0)
            })
        );
        assert_eq!(test.asked(), [], "it will have what is committed");
    }
    let outcome = test.fetch(&Test::request(3, 1, 4));
    assert_eq!(
        outcome,
        Ok(FetchOutcome::OutOfRange {
            delete_horizon: Offset(0)
        })
    );
    assert_eq!(
        test.asked(),
        [shrink(3, ShrinkReason::LostData)],
        "it had less"
    );
}

/// It may have a record that was deleted by a tombstone which is gone here, and would keep it for ever.
#[test]
fn a_follower_that_has_not_got_the_tombstones_that_are_gone_begins_anew() {
    let mut test = Test::new(&[1, 2]);
    test.stored(9);
    test.has(2, 9);
    test.leader.raise_delete_horizon(Offset(7));
    let outcome = |test: &mut Test, end, delete_horizon| {
        let request = FetchRequest {
            delete_horizon: Offset(delete_horizon),
            ..Test::request(3, 3, end)
        };
        test.fetch(&request)
    };
    let anew = FetchOutcome::OutOfRange {
        delete_horizon: Offset(7),
    };
    assert_eq!(outcome(&mut test, 6, 0), Ok(anew));
    assert_eq!(outcome(&mut test, 6, 6), Ok(anew));
    assert_eq!(test.asked(), [], "3 is no member");
    let goes_on = Ok(FetchOutcome::Matches);
    assert_eq!(outcome(&mut test, 7, 0), goes_on, "it has them");
    assert_eq!(
        outcome(&mut test, 6, 7),
        goes_on,
        "it began after they went"
    );
}

#[test]
fn tombstones_stay_from_where_the_last_follower_is_that_is_there() {
    let mut test = Test::new(&[1, 2]);
    test.stored(9);
    assert_eq!(test.leader.tombstones_from(), Offset(9), "nobody is there");
    test.has(2, 9);
    test.has(3, 6);
    assert_eq!(test.leader.tombstones_from(), Offset(6));
    let lost = BrokerNumber(3);
    test.leader.is_heard(lost, false, &mut test.effects);
    assert_eq!(test.leader.tombstones_from(), Offset(9));
}

#[test]
fn steady_appends_and_fetches_allocate_nothing() {
    let mut test = Test::new(&[1, 2, 3]);
    for end in 6..8 {
        test.stored(end);
        test.has(2, end);
        test.has(3, end);
    }
    let capacity = test.effects.capacity();
    for end in 8..1_000 {
        test.effects.clear();
        test.stored(end);
        test.has(2, end);
        test.has(3, end);
        assert_eq!(test.effects, [LeaderEffect::HighWatermark(Offset(end))]);
    }
    assert_eq!(test.effects.capacity(), capacity);
    assert_eq!(test.leader.log().epochs.as_slice().len(), 2);
}

#[test]
fn nobody_joins_whom_the_controller_cannot_hear() {
    let mut test = Test::new(&[1, 2]);
    let three = BrokerNumber(3);
    test.leader.is_heard(three, false, &mut test.effects);
    test.has(2, 5);
    test.has(3, 5);
    assert_eq!(test.asked(), []);
    test.leader.is_heard(three, true, &mut test.effects);
    test.tick(1);
    assert_eq!(test.asked(), [expand(3)]);
}
