//! Leaders that are lost, cannot go on, or leave.

use taffrail_core::{Adoption, LeaderEpoch, UncleanElection};

use crate::store::Fault;

use super::{super::world::TOLD_THERE, *};

#[test]
fn a_lost_leader_is_replaced_at_once_if_followers_are_refused_and_nobody_waits_for_it() {
    let (mut world, partition) = running();
    let (leader, ..) = roles(&world, partition);
    let before = record(&world, partition);
    world.stop_broker(leader);
    world.go_on();
    let after = record(&world, partition);
    assert_ne!(after.leader, before.leader);
    assert_eq!(after.leader_epoch, LeaderEpoch(before.leader_epoch.0 + 1));
    assert_eq!(after.isr.len(), 2);
    assert!(!after.isr.contains(&world.number(leader)));
    // It catches up, joins and leads again.
    world.start_broker(leader, 0);
    world.settle();
    world.calm_down();
    let again = record(&world, partition);
    assert_eq!((again.leader, again.isr.len()), (before.leader, 3));
}

#[test]
fn a_leader_that_only_the_controller_cannot_hear_is_replaced_when_it_is_offline() {
    let (mut world, partition) = running();
    let (leader, ..) = roles(&world, partition);
    let before = record(&world, partition);
    world.disconnect(leader);
    for _ in 0..5 {
        world.go_on();
        assert_eq!(record(&world, partition), before);
        world.wait(500);
    }
    world.wait(500);
    world.go_on();
    assert_ne!(record(&world, partition).leader, before.leader);
}

#[test]
fn the_picture_says_what_is_missing_and_who_may_be_stopped() {
    let (mut world, partition) = running();
    let status = |world: &mut World| {
        let view = world.view();
        let partition = view.partitions[NAME][0].clone();
        let safe: Vec<_> = view.brokers.iter().map(|b| b.safe_to_stop).collect();
        (partition.state, partition.message, safe)
    };
    let online =
        |message: &str, safe: &[bool]| ("ONLINE".to_owned(), message.to_owned(), safe.to_vec());
    assert_eq!(status(&mut world), online("", &[true; 3]));
    let (leader, second, third) = roles(&world, partition);
    world.stop_broker(third);
    world.go_on();
    let safe = (0..BROKERS)
        .map(|number| number == third)
        .collect::<Vec<_>>();
    assert_eq!(status(&mut world), online("2 of 3 replicas in sync", &safe));
    world.stop_broker(second);
    world.go_on();
    let (state, message, _) = status(&mut world);
    assert_eq!(state, "ONLINE");
    assert_eq!(
        message,
        "1 of 3 replicas in sync, 2 needed: produce with acks=all is refused"
    );
    let ready = world.view().topics[NAME].conditions[1].clone();
    assert_eq!(
        (&*ready.status, &*ready.reason),
        ("False", "UnderMinInSync")
    );
    world.start_broker(leader, 0);
    world.go_on();
    let (state, message, _) = status(&mut world);
    assert_eq!(state, "OFFLINE");
    assert!(message.contains("start broker"), "{message}");
    world.stop_broker(leader);
    world.wait(4_000);
    world.go_on();
    let (state, message, _) = status(&mut world);
    assert_eq!(state, "OFFLINE");
    assert!(message.contains("uncleanElection: Allow"), "{message}");
}

#[test]
fn the_picture_counts_members_that_keep_up_and_says_who_is_needed() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    for (late, message) in [
        (&[second][..], "2 of 3 replicas in sync"),
        (&[second, third], "1 of 3 replicas in sync, 2 needed"),
        (&[], ""),
    ] {
        world.report_late(leader, late);
        let status = world.view().partitions[NAME][0].clone();
        assert!(status.message.starts_with(message), "{}", status.message);
        assert_eq!(status.message.is_empty(), late.is_empty());
        assert_eq!(status.isr.len(), 3, "they are members");
        let in_sync = status.followers.iter().filter(|f| f.in_sync).count();
        assert_eq!(in_sync, 2 - late.len());
    }
    for gone in [second, third, leader] {
        world.stop_broker(gone);
        world.go_on();
    }
    world.wait(4_000);
    let message = world.view().partitions[NAME][0].message.clone();
    let other = format!("replica {}", world.number(third));
    assert!(message.contains(&other), "{message}");
    assert!(message.contains("start them again"), "{message}");
}

#[test]
fn a_lost_follower_leaves_the_isr_at_once_and_joins_only_when_it_is_there() {
    let (mut world, partition) = running();
    let (leader, second, _) = roles(&world, partition);
    let before = record(&world, partition);
    world.stop_broker(second);
    world.go_on();
    let after = record(&world, partition);
    assert_eq!((after.leader, after.isr.len()), (before.leader, 2));
    assert_eq!(after.leader_epoch, before.leader_epoch);
    // What it reported before it went does not count.
    world.ask_to_expand(leader, partition, second);
    world.go_on();
    let refused = record(&world, partition);
    assert_eq!(refused.isr, after.isr);
    assert!(
        refused.partition_epoch > after.partition_epoch,
        "the leader hears so"
    );
    world.start_broker(second, 0);
    world.settle();
    assert_eq!(record(&world, partition).isr.len(), 3);
}

#[test]
fn the_loss_of_a_broker_costs_one_write_for_each_map() {
    let (mut world, partition) = running_with(spec(3_000, 3, Adoption::Never));
    let leader = world.broker_of(record(&world, partition).leader.expect("led"));
    let number = world.number(leader);
    let before = world.puts();
    world.stop_broker(leader);
    world.go_on();
    let cluster = world.cluster().expect("there is a root");
    let mut records = cluster.assignments();
    assert!(records.all(|(_, _, record)| record.leader.is_some_and(|l| l != number)));
    assert_eq!(world.puts() - before, 24, "3,000 partitions in maps of 128");
}

/// Leaders that are told that it is there ask for it to join, as it had everything. That is refused, and each refusal is a write.
#[test]
fn a_lost_broker_is_not_told_there_when_nobody_follows_it_any_more() {
    let (mut world, partition) = running();
    let (leader, ..) = roles(&world, partition);
    world.stop_broker(leader);
    world.go_on();
    let puts = world.puts();
    world.doubts_nobody = true;
    world.reached.remove(TOLD_THERE);
    for _ in 0..8 {
        world.wait(500);
        world.go_on();
    }
    assert!(!world.reached.contains(TOLD_THERE), "{:?}", world.reached);
    assert_eq!(world.puts(), puts);
    world.start_broker(leader, 0);
    world.go_on();
    assert!(world.reached.contains(TOLD_THERE), "{:?}", world.reached);
}

#[test]
fn a_broker_that_came_back_and_loses_its_session_is_not_lost_as_it_was_before() {
    let (mut world, partition) = running();
    let (leader, ..) = roles(&world, partition);
    world.stop_broker(leader);
    world.go_on();
    world.doubts_nobody = true;
    world.go_on();
    world.start_broker(leader, 0);
    for _ in 0..9 {
        world.step_store(0, Fault::Nothing);
    }
    world.reached.remove(TOLD_THERE);
    world.disconnect(leader);
    assert!(
        world.reached.contains(TOLD_THERE),
        "it may dial in a moment"
    );
}

#[test]
fn a_leader_whose_log_failed_is_replaced_and_leaves_the_isr() {
    let (mut world, partition) = running();
    let (leader, ..) = roles(&world, partition);
    world.fail_log(leader, partition);
    world.go_on();
    let after = record(&world, partition);
    assert_ne!(after.leader, Some(world.number(leader)));
    assert_eq!(after.isr.len(), 2);
    assert!(!after.isr.contains(&world.number(leader)));
}

#[test]
fn a_member_that_cannot_use_its_log_leaves_at_once_and_the_leader_stays_in_a_new_epoch() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    let before = record(&world, partition);
    world.fail_log(second, partition);
    world.go_on();
    let after = record(&world, partition);
    assert_eq!(after.leader, before.leader);
    // What the leader knows of the log that failed it does not take for what the next one has.
    assert_eq!(after.leader_epoch, LeaderEpoch(before.leader_epoch.0 + 1));
    assert!(!after.isr.contains(&world.number(second)) && after.isr.len() == 2);
    world.settle();
    assert_eq!(record(&world, partition), after, "once");
    // The last one has to do with what there is.
    world.fail_log(third, partition);
    world.fail_log(leader, partition);
    world.settle();
    let isr = record(&world, partition).isr;
    assert_eq!(isr.len(), 1, "{isr:?}");
}

#[test]
fn a_broker_that_stops_hands_over_and_wins_no_election_meanwhile() {
    let (mut world, partition) = running();
    world.apply(0, "single", spec(3, 1, Adoption::Never));
    world.settle();
    let (leader, second, third) = roles(&world, partition);
    let number = world.number(leader);
    world.announce_stop(leader);
    world.go_on();
    assert_ne!(record(&world, partition).leader, Some(number));
    assert!(
        world.reached.contains("handed over but 1"),
        "{:?}",
        world.reached
    );
    for gone in [second, third] {
        world.stop_broker(gone);
    }
    world.go_on();
    assert_ne!(
        record(&world, partition).leader,
        Some(number),
        "it is about to stop"
    );
    // Its next process may.
    world.start_broker(leader, 0);
    world.start_broker(second, 0);
    world.start_broker(third, 0);
    world.settle();
    world.calm_down();
    assert_eq!(record(&world, partition).leader, Some(number));
}

#[test]
fn a_leader_with_a_full_disk_hands_over_to_one_that_has_room_and_leads_again_once_it_has_room() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    let led = |world: &mut World| {
        world.go_on();
        record(world, partition).leader
    };
    let numbers = [leader, second, third].map(|broker| world.number(broker));
    world.fill(second, true);
    assert_eq!(led(&mut world), Some(numbers[0]));
    world.fill(leader, true);
    assert_eq!(led(&mut world), Some(numbers[2]), "it alone has room");
    assert_eq!(
        record(&world, partition).isr.len(),
        3,
        "all have everything"
    );
    world.calm_down();
    assert_eq!(led(&mut world), Some(numbers[2]), "as before");
    world.fill(third, true);
    assert_eq!(led(&mut world), Some(numbers[2]), "nobody has room");
    for broker in [third, leader, second] {
        world.fill(broker, false);
        assert_eq!(led(&mut world), Some(numbers[2]), "not at once");
    }
    world.calm_down();
    assert_eq!(led(&mut world), Some(numbers[0]));
}

#[test]
fn whoever_said_that_it_stops_leaves_the_in_sync_sets_as_soon_as_it_is_gone() {
    let (mut world, partition) = running();
    let (_, second, _) = roles(&world, partition);
    let number = world.number(second);
    world.announce_stop(second);
    world.go_on();
    assert!(
        record(&world, partition).isr.contains(&number),
        "still there"
    );
    world.stop_broker(second);
    world.go_on();
    assert!(!record(&world, partition).isr.contains(&number));
}

#[test]
fn out_of_sync_replicas_lead_only_where_the_topic_allows_it_and_after_the_settle_time() {
    for (unclean_election, is_led) in [
        (UncleanElection::Never, false),
        (UncleanElection::Allow, true),
    ] {
        let (mut world, partition) = running_with(TopicSpec {
            unclean_election,
            ..spec(1, 3, Adoption::Never)
        });
        let (leader, second, _) = alone(&mut world, partition);
        let before = record(&world, partition);
        world.stop_broker(leader);
        world.start_broker(second, 0);
        world.go_on();
        assert_eq!(record(&world, partition).leader, before.leader);
        for _ in 0..12 {
            world.wait(1_000);
            world.go_on();
        }
        let after = record(&world, partition);
        assert_eq!(after.leader == Some(world.number(second)), is_led);
        assert_eq!(world.reached.contains("MayLack"), is_led);
        let losses = world.view().losses;
        let told = losses.iter().map(|loss| (&*loss.topic, loss.partition));
        assert_eq!(told.collect::<Vec<_>>(), [(NAME, 0)][..usize::from(is_led)]);
    }
}

#[test]
fn everybody_restarts_and_a_leader_is_elected_only_when_all_have_reported_anew() {
    let (mut world, partition) = running();
    (0..BROKERS).for_each(|broker| world.produce(broker));
    world.settle();
    let (leader, second, third) = roles(&world, partition);
    let before = record(&world, partition);
    for broker in 0..BROKERS {
        world.stop_broker(broker);
    }
    world.settle();
    world.start_broker(leader, 0);
    world.go_on();
    let waiting = record(&world, partition);
    assert_eq!(waiting.leader, None, "the others may know of more");
    assert!(waiting.leader_epoch > before.leader_epoch);
    assert_eq!(waiting.isr, before.isr);
    world.start_broker(second, 0);
    world.go_on();
    assert_eq!(record(&world, partition).leader, None);
    world.start_broker(third, 0);
    world.go_on();
    assert!(record(&world, partition).leader.is_some());
    world.settle();
    assert_eq!(record(&world, partition).unconfirmed, []);
}

#[test]
fn brokers_whose_objects_were_deleted_have_them_again_at_once_and_win_elections() {
    let (mut world, partition) = running();
    let (leader, _, third) = roles(&world, partition);
    world.stop_broker(third);
    world.go_on();
    let objects = |world: &World| {
        let brokers = world.cluster().expect("there is a root").brokers;
        let values = brokers.into_values().map(|broker| broker.value);
        values.collect::<Vec<_>>()
    };
    let gone = world.number(third);
    let mut before = objects(&world);
    before.retain(|broker| broker.number != gone);
    world.delete_brokers();
    world.go_on();
    assert_eq!(objects(&world), before, "of those who are there");
    world.start_broker(third, 0);
    world.settle();
    let known = record(&world, partition);
    assert_eq!(known.isr.len(), BROKERS);
    world.delete_brokers();
    world.go_on();
    world.stop_broker(leader);
    world.go_on();
    let after = record(&world, partition);
    assert!(
        after.leader.is_some() && after.leader != known.leader,
        "{after:?}"
    );
}
