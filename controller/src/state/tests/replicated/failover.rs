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

/// What keeps each broker from being stopped.
fn blocked(world: &mut World) -> [String; BROKERS] {
    world.go_on();
    let brokers = world.view().brokers;
    [0, 1, 2].map(|index| brokers[index].stop_blocked_by.clone())
}

#[test]
fn what_keeps_a_broker_from_being_stopped_is_told() {
    let (mut world, partition) = running();
    let (leader, second, third) = roles(&world, partition);
    assert_eq!(blocked(&mut world), ["", "", ""]);
    world.stop_broker(third);
    let needed = "topic-0/0: 1 of 3 replicas would be in sync, 2 needed";
    let why = blocked(&mut world);
    assert_eq!(
        [&why[leader], &why[second], &why[third]],
        [needed, needed, ""]
    );
    world.start_broker(third, 0);
    world.settle();
    assert_eq!(blocked(&mut world), ["", "", ""]);
    // Both followers run anew, and their leader has not confirmed that they have everything.
    for follower in [second, third] {
        world.start_broker(follower, 0);
    }
    let why = blocked(&mut world);
    let unsure = "topic-0/0: no other replica has caught up since it restarted";
    assert_eq!([&why[leader], &why[second], &why[third]], [unsure, "", ""]);
    world.settle();
    assert_eq!(blocked(&mut world), ["", "", ""]);
}

#[test]
fn the_only_copies_keep_their_broker_from_being_stopped_and_are_counted() {
    let (mut world, partition) = running_with(spec(4, 1, Adoption::Never));
    let (broker, second, _) = roles(&world, partition);
    let why = blocked(&mut world);
    let first = "topic-0/0: it has the only copy; and 1 more partition";
    assert_eq!(why[broker], first);
    assert!(why[second].ends_with(": it has the only copy"), "{why:?}");
    world.apply(0, NAME, spec(7, 1, Adoption::Never));
    let why = blocked(&mut world);
    assert!(why[broker].ends_with("; and 2 more partitions"), "{why:?}");
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

/// A broker that led 300 of 900 partitions, in eight maps, is back after its death. Gives its number, and how many puts its return took.
fn returned() -> (World, BrokerNumber, u64) {
    let mut world = World::new();
    world.recover();
    // So that no map ends with 256 of the partitions that it led.
    world.apply(0, "single", spec(100, 1, Adoption::Never));
    world.settle();
    world.apply(0, NAME, spec(900, 3, Adoption::Never));
    world.settle();
    let cluster = world.cluster().expect("there is a root");
    let partition = cluster.active(NAME).expect("applied").partition(0);
    let (broker, ..) = roles(&world, partition);
    world.stop_broker(broker);
    world.go_on();
    let puts = world.puts();
    world.start_broker(broker, 0);
    world.settle();
    let (number, written) = (world.number(broker), world.puts() - puts);
    let cluster = world.cluster().expect("there is a root");
    for (.., record) in cluster.assignments() {
        assert_eq!(record.isr.len(), record.replicas.len());
        assert_eq!(record.unconfirmed, []);
    }
    assert_eq!(led(&world, number), 0, "not before all is calm");
    (world, number, written)
}

fn led(world: &World, by: BrokerNumber) -> usize {
    let cluster = world.cluster().expect("there is a root");
    let records = cluster.assignments();
    let led = records.filter(|(.., r)| r.replicas.len() == BROKERS && r.leader == Some(by));
    led.count()
}

#[test]
fn the_return_of_a_broker_costs_a_few_writes_for_each_map() {
    let (.., written) = returned();
    // It is marked, joins and is confirmed, in all partitions at a time; then there is its own object.
    let most = 8 * 3 + 1;
    assert!(written <= most, "{written} puts of {most}");
}

#[test]
fn preferred_leaders_return_256_partitions_at_a_time() {
    let (mut world, number, _) = returned();
    let mut returned = Vec::new();
    while returned.last() != Some(&300) {
        world.wait(500);
        (0..BROKERS).for_each(|broker| world.beat(broker));
        while !world.is_idle(0) {
            world.step_store(0, Fault::Nothing);
            returned.push(led(&world, number));
        }
    }
    // One put for each map, and for the seventh two: the first decision ends in it.
    returned.dedup();
    assert!(returned.contains(&256), "{returned:?}");
    assert_eq!(returned.len(), 9, "{returned:?}");
}

/// More than two maps hold.
const IN_THREE_MAPS: u32 = 300;

/// Something that takes one put for each map is cut off after each of its puts, by a crash; another controller goes on. `begin` makes the first one decide it
/// about the broker that leads most; `is_done` tells of a record whether it was.
fn cut_off_between_maps(
    begin: fn(&mut World, usize),
    is_done: fn(&Assignment, BrokerNumber) -> bool,
    check: fn(&mut World, usize),
) {
    let mut done = Vec::new();
    while done.last() != Some(&IN_THREE_MAPS) {
        let (mut world, partition) = running_with(spec(IN_THREE_MAPS, 3, Adoption::Never));
        (0..BROKERS).for_each(|broker| world.produce(broker));
        world.settle();
        let (broker, ..) = roles(&world, partition);
        let number = world.number(broker);
        begin(&mut world, broker);
        (0..done.len()).for_each(|_| world.step_store(0, Fault::Nothing));
        let cluster = world.cluster().expect("there is a root");
        let records = cluster.assignments();
        done.push(records.filter(|(.., r)| is_done(r, number)).count() as u32);
        world.crash(0);
        check(&mut world, broker);
        world.settle();
        world.calm_down();
        world.assert_good(NAME);
        world.assert_preferred();
        for broker in 0..BROKERS {
            assert_eq!(world.end(broker, partition), 1);
        }
    }
    let between = done.iter().filter(|n| ![0, IN_THREE_MAPS].contains(n));
    assert!(between.count() >= 2, "it was cut between maps: {done:?}");
}

#[test]
fn an_election_that_is_cut_off_between_maps_is_held_by_the_next_controller() {
    let die = |world: &mut World, broker| {
        world.stop_broker(broker);
        (0..BROKERS).for_each(|other| world.beat(other));
    };
    let is_without = |record: &Assignment, broker| !record.isr.contains(&broker);
    cut_off_between_maps(die, is_without, |world, dead| {
        let others: Vec<_> = (0..BROKERS).filter(|other| *other != dead).collect();
        world.come(&others);
        let (number, cluster) = (world.number(dead), world.cluster());
        let cluster = cluster.expect("there is a root");
        for (.., record) in cluster.assignments() {
            assert!(record.leader.is_some_and(|leader| leader != number));
            assert!(!record.isr.contains(&number), "{record:?}");
        }
        world.start_broker(dead, 0);
    });
}

#[test]
fn a_registration_that_is_cut_off_between_maps_is_ended_by_the_next_controller() {
    let restart = |world: &mut World, broker| world.start_broker(broker, 0);
    let is_marked = |record: &Assignment, broker| record.awaits(broker).is_some();
    cut_off_between_maps(restart, is_marked, |world, broker| {
        world.go_on();
        // Nobody is there who could confirm it.
        world.dial(broker, 0);
        world.go_on();
        let number = world.number(broker);
        let cluster = world.cluster().expect("there is a root");
        let mut records = cluster.assignments();
        assert!(records.all(|(.., record)| record.awaits(number).is_some()));
        world.come(&[0, 1, 2]);
    });
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
