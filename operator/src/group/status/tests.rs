use serde_json::json;
use taffrail_crds::consumer_group::{GroupState, GroupTopic};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn group(status: Option<ConsumerGroupStatus>) -> ConsumerGroup {
    let mut group: ConsumerGroup = serde_json::from_value(json!({
        "apiVersion": "taffrail.dev/v1alpha1", "kind": "ConsumerGroup",
        "metadata": { "name": "billing", "namespace": "streams", "generation": 2 },
        "spec": { "objectives": { "maxLag": "10m", "retentionHeadroom": "6h" } },
    }))
    .expect("valid");
    group.status = status;
    group
}

/// One that is coordinated, has two members, and has read everything of two partitions.
fn seen() -> v1::GroupStatus {
    let partition = |partition| v1::GroupPartitionStatus {
        topic: "orders".to_owned(),
        partition,
        committed_offset: 100,
        ..v1::GroupPartitionStatus::default()
    };
    v1::GroupStatus {
        group: "billing".to_owned(),
        state: v1::GroupState::GroupStable.into(),
        members: 2,
        useful_members: 2,
        member_partitions_min: 1,
        member_partitions_max: 1,
        coordinator: Some(1),
        coordinator_name: "main-1".to_owned(),
        partitions: vec![partition(0), partition(1)],
        is_reported: true,
        progress_ms: Some(1_000),
        ..v1::GroupStatus::default()
    }
}

fn sight(change: impl FnOnce(&mut v1::GroupStatus)) -> Sight {
    let mut seen = seen();
    change(&mut seen);
    let effective = group(None).spec.effective(ToOwned::to_owned);
    Sight {
        verdict: Verdict::Accepted(Box::new(effective)),
        cluster: Some("streams/main".to_owned()),
        name: Some("billing".to_owned()),
        seen: Some(seen),
        watched_for: Duration::from_secs(1),
        with_members_for: Duration::from_hours(1),
        safe_for: Duration::from_hours(1),
    }
}

fn with(verdict: Verdict) -> Sight {
    Sight {
        verdict,
        ..sight(|_| {})
    }
}

/// `<status> <reason>` of a condition.
fn said(status: &ConsumerGroupStatus, type_: &str) -> String {
    let condition = find(&status.conditions, type_).expect("is there");
    format!("{} {}", condition.status, condition.reason)
}

fn first(change: impl FnOnce(&mut v1::GroupStatus)) -> ConsumerGroupStatus {
    next(&group(None), &sight(change), at(1_000))
}

fn then(before: &ConsumerGroupStatus, sight: &Sight, second: i64) -> ConsumerGroupStatus {
    next(&group(Some(before.clone())), sight, at(second))
}

#[test]
fn a_group_that_reads_everything_is_fine_in_every_way() {
    let status = first(|_| {});
    assert_eq!(said(&status, "Accepted"), "True Valid");
    assert_eq!(said(&status, "Ready"), "True Coordinated");
    assert_eq!(said(&status, "Consuming"), "True Progressing");
    assert_eq!(said(&status, "WithinLagObjective"), "True WithinObjective");
    assert_eq!(said(&status, "DataSafe"), "True HeadroomOK");
    assert_eq!(said(&status, "Balanced"), "True Stable");
    assert_eq!(
        (status.state, status.members),
        (Some(GroupState::Stable), Some(2))
    );
    assert_eq!(status.coordinator.as_deref(), Some("main-1"));
    assert_eq!(status.group_name.as_deref(), Some("billing"));
    assert_eq!(status.observed_generation, Some(2));
    let lag = status.lag.expect("known");
    assert_eq!(
        (lag.records, lag.time.to_string(), lag.worst),
        (0, "0s".to_owned(), None)
    );
    assert_eq!(status.loss_deadline, None);
}

#[test]
fn the_worst_partition_and_the_nearest_deadline_are_shown() {
    let status = first(|seen| {
        seen.partitions[0].lag_records = 18_000;
        seen.partitions[0].lag_ms = 41_900;
        seen.partitions[1].lag_records = 422;
        seen.partitions[1].lag_ms = 5_000;
        seen.partitions[1].loses_data_at_ms = Some((1_000 + 16 * 3_600 + 59 * 60) * 1_000);
    });
    let lag = status.lag.clone().expect("known");
    assert_eq!(
        (lag.records, lag.time.to_string(), lag.worst.as_deref()),
        (18_422, "41s".to_owned(), Some("orders/0"))
    );
    let deadline = status.loss_deadline.clone().expect("known");
    assert_eq!(
        (deadline.r#in.to_string(), &*deadline.partition),
        ("16h30m".to_owned(), "orders/1")
    );
    assert_eq!(deadline.at.0.as_second() % 1_800, 0);
    assert_eq!(said(&status, "DataSafe"), "True HeadroomOK");
    // A minute later only time has passed, and none that is shown.
    let later = then(
        &status,
        &sight(|seen| seen.partitions.clone_from(&behind(&status_partitions()))),
        1_060,
    );
    assert_eq!(later.loss_deadline, status.loss_deadline);
}

fn status_partitions() -> Vec<v1::GroupPartitionStatus> {
    seen().partitions
}

/// The same lag and deadline as above.
fn behind(partitions: &[v1::GroupPartitionStatus]) -> Vec<v1::GroupPartitionStatus> {
    let mut partitions = partitions.to_vec();
    partitions[1].lag_records = 422;
    partitions[1].loses_data_at_ms = Some((1_000 + 16 * 3_600 + 59 * 60) * 1_000);
    partitions
}

#[test]
fn data_is_at_risk_from_when_the_deadline_is_nearer_than_the_headroom() {
    let in_hours = |hours: i64, now: i64| {
        sight(move |seen| {
            seen.partitions[0].lag_records = 1;
            seen.partitions[0].loses_data_at_ms = Some((now + hours * 3_600) * 1_000);
        })
    };
    let safe = next(&group(None), &in_hours(7, 1_000), at(1_000));
    assert_eq!(said(&safe, "DataSafe"), "True HeadroomOK");
    let soon = then(&safe, &in_hours(5, 2_000), 2_000);
    assert_eq!(said(&soon, "DataSafe"), "False ExpiringSoon");
    assert_eq!(difference(&safe, &soon), Difference::Urgent);
    // On the edge it stays so until it is a little farther away.
    let edge = then(&soon, &in_hours(6, 3_000), 3_000);
    assert_eq!(said(&edge, "DataSafe"), "False ExpiringSoon");
    let again = then(&edge, &in_hours(7, 4_000), 4_000);
    assert_eq!(said(&again, "DataSafe"), "True HeadroomOK");
    let past = then(&again, &in_hours(-1, 5_000), 5_000);
    assert_eq!(said(&past, "DataSafe"), "False ExpiringSoon");
    assert_eq!(past.loss_deadline.expect("known").r#in.to_string(), "0s");
}

#[test]
fn data_is_safe_again_when_the_deadline_has_stayed_away() {
    let expiring = sight(|seen| seen.partitions[0].loses_data_at_ms = Some(1_300 * 1_000));
    assert_eq!(is_safe(&first(|_| {}), &expiring, at(1_000)), Some(false));
    let soon = next(&group(None), &expiring, at(1_000));
    let mut gone = sight(|_| {});
    assert_eq!(is_safe(&soon, &gone, at(1_010)), Some(true));
    for (seconds, says) in [
        (0, "False ExpiringSoon"),
        (299, "False ExpiringSoon"),
        (300, "True HeadroomOK"),
    ] {
        gone.safe_for = Duration::from_secs(seconds);
        let status = then(&soon, &gone, 1_010);
        assert_eq!(said(&status, "DataSafe"), says, "{seconds}");
    }
    // What was not at risk is safe at once.
    gone.safe_for = Duration::ZERO;
    let fine = next(&group(None), &gone, at(1_000));
    assert_eq!(said(&fine, "DataSafe"), "True HeadroomOK");
    gone.seen = None;
    assert_eq!(is_safe(&soon, &gone, at(1_010)), None);
}

#[test]
fn without_a_headroom_an_hour_is_near() {
    let mut plain = group(None);
    plain.spec.objectives = None;
    let in_minutes = |minutes: i64| {
        let mut sight = sight(|seen| {
            seen.partitions[0].loses_data_at_ms = Some((1_000 + minutes * 60) * 1_000);
        });
        sight.verdict = Verdict::Accepted(Box::new(plain.spec.effective(ToOwned::to_owned)));
        next(&plain, &sight, at(1_000))
    };
    assert_eq!(said(&in_minutes(61), "DataSafe"), "True HeadroomOK");
    assert_eq!(said(&in_minutes(59), "DataSafe"), "False ExpiringSoon");
    assert_eq!(
        said(&in_minutes(61), "WithinLagObjective"),
        "Unknown NoObjective"
    );
}

#[test]
fn a_loss_is_shown_with_its_offsets_as_long_as_it_lasts_and_for_an_hour_at_least() {
    let lost_to = |to: i64| {
        sight(move |seen| {
            seen.partitions[1].lost_from_offset = Some(100);
            seen.partitions[1].lost_to_offset = Some(to);
            seen.partitions[1].lag_records = 5;
        })
    };
    let safe = first(|_| {});
    let lost = then(&safe, &lost_to(250), 2_000);
    assert_eq!(said(&lost, "DataSafe"), "False DataLost");
    let shown = &lost.lost[0];
    assert_eq!(
        (&*shown.partition, shown.from, shown.to),
        ("orders/1", 100, 250)
    );
    assert_eq!(difference(&safe, &lost), Difference::Urgent);
    let more = then(&lost, &lost_to(400), 2_010);
    assert_eq!((more.lost[0].from, more.lost[0].to), (100, 400));
    assert_eq!(more.lost[0].seen_at.0, at(2_000));
    assert_eq!(difference(&lost, &more), Difference::Numbers);
    let went_on = sight(|seen| seen.partitions[1].committed_offset = 450);
    let over = then(&more, &went_on, 2_020);
    assert_eq!(said(&over, "DataSafe"), "False DataLost");
    let later = then(&over, &went_on, 2_000 + 3_600);
    assert_eq!(said(&later, "DataSafe"), "True HeadroomOK");
    assert!(later.lost.is_empty());
    // One that lasts is shown for longer.
    assert_eq!(
        said(&then(&more, &lost_to(400), 9_000), "DataSafe"),
        "False DataLost"
    );
}

#[test]
fn losses_are_found_also_where_the_status_has_no_room_for_them() {
    let lossy = sight(|seen| {
        let lost = |partition| v1::GroupPartitionStatus {
            partition,
            lost_from_offset: Some(100),
            lost_to_offset: Some(250),
            ..seen.partitions[0].clone()
        };
        seen.partitions = (0..150).map(lost).collect();
    });
    let status = next(&group(None), &lossy, at(1_000));
    assert_eq!(status.lost.len(), 100);
    let found = losses(&ConsumerGroupStatus::default(), &lossy, at(1_000));
    assert_eq!(found.len(), 150);
    assert_eq!(found[..100], status.lost);
}

#[test]
fn another_loss_of_the_same_partition_is_another_one() {
    let lost_at = |from, to| {
        move |seen: &mut v1::GroupStatus| {
            // A group that went on behind it at once has committed what is further.
            seen.partitions[1].committed_offset = 400;
            seen.partitions[1].lost_from_offset = Some(from);
            seen.partitions[1].lost_to_offset = Some(to);
        }
    };
    let lost = first(lost_at(100, 250));
    let again = sight(lost_at(300, 350));
    let again = then(&lost, &again, 1_500);
    assert_eq!((again.lost[0].from, again.lost[0].to), (300, 350));
    assert_eq!(again.lost[0].seen_at.0, at(1_500));
    assert_eq!(difference(&lost, &again), Difference::Urgent);
}

#[test]
fn a_group_of_topics_that_are_not_there_says_so_and_not_that_members_are_too_many() {
    let names_topic = |mut sight: Sight| {
        let named: GroupTopic =
            serde_json::from_value(json!({ "pattern": "ordres.*" })).expect("valid");
        if let Verdict::Accepted(effective) = &mut sight.verdict {
            effective.topics = vec![named];
        }
        sight
    };
    let nothing = |members| {
        sight(move |seen| {
            seen.members = members;
            seen.useful_members = 0;
            seen.member_partitions_min = 0;
            seen.member_partitions_max = 0;
            seen.partitions.clear();
        })
    };
    let status = next(&group(None), &nothing(2), at(1_000));
    assert_eq!(said(&status, "Consuming"), "False NothingToRead");
    assert_eq!(said(&status, "Balanced"), "True Stable");
    let declared = next(&group(None), &names_topic(nothing(0)), at(1_000));
    assert_eq!(said(&declared, "Consuming"), "False NothingToRead");
    let empty = next(&group(None), &nothing(0), at(1_000));
    assert_eq!(said(&empty, "Consuming"), "False NoMembers");
}

#[test]
fn a_group_without_members_and_one_whose_members_commit_nothing_do_not_consume() {
    let empty = first(|seen| {
        seen.state = v1::GroupState::GroupEmpty.into();
        seen.members = 0;
    });
    assert_eq!(said(&empty, "Consuming"), "False NoMembers");
    assert_eq!(said(&empty, "Balanced"), "True Stable");
    assert_eq!(empty.partitions_per_member, None);
    let minutes = |minutes: u64| minutes * 60 * 1_000;
    let resting = |progress_ms: Option<u64>, lag_records: u64, lag_ms: u64| {
        move |seen: &mut v1::GroupStatus| {
            seen.progress_ms = progress_ms;
            seen.partitions[0].lag_records = lag_records;
            seen.partitions[0].lag_ms = lag_ms;
        }
    };
    for (progress, lag_records, lag, says) in [
        (Some(minutes(6)), 5, minutes(6), "False Stuck"),
        (Some(minutes(4)), 5, minutes(6), "True Progressing"),
        (Some(minutes(6)), 5, minutes(4), "True Progressing"),
        (Some(minutes(6)), 0, 0, "True Progressing"),
        (None, 5, minutes(6), "True Progressing"),
    ] {
        let status = first(resting(progress, lag_records, lag));
        assert_eq!(
            said(&status, "Consuming"),
            says,
            "{progress:?} {lag_records} {lag}"
        );
    }
    // Nothing has moved for as long as anybody watches, and that is long.
    let mut watched = sight(resting(None, 5, minutes(6)));
    watched.watched_for = Duration::from_mins(5);
    let stuck = next(&group(None), &watched, at(1_000));
    assert_eq!(said(&stuck, "Consuming"), "False Stuck");
    // What waited while nobody was there is not held against members that come.
    let mut came = sight(resting(Some(minutes(600)), 5, minutes(600)));
    for (minutes, says) in [
        (0, "True Progressing"),
        (4, "True Progressing"),
        (5, "False Stuck"),
    ] {
        came.with_members_for = Duration::from_mins(minutes);
        let status = then(&empty, &came, 2_000);
        assert_eq!(said(&status, "Consuming"), says, "{minutes}");
    }
}

#[test]
fn lag_is_measured_against_the_objective() {
    let behind = |seconds: u64| {
        first(move |seen| {
            seen.partitions[1].lag_records = 1;
            seen.partitions[1].lag_ms = seconds * 1_000;
        })
    };
    assert_eq!(
        said(&behind(600), "WithinLagObjective"),
        "True WithinObjective"
    );
    assert_eq!(said(&behind(601), "WithinLagObjective"), "False LagTooLong");
}

#[test]
fn a_group_is_balanced_unless_members_are_idle_or_partitions_wander() {
    let idle = first(|seen| seen.members = 3);
    assert_eq!(said(&idle, "Balanced"), "False TooManyMembers");
    let moving = first(|seen| seen.state = v1::GroupState::GroupAssigning.into());
    assert_eq!(said(&moving, "Balanced"), "False Rebalancing");
    let restarted = first(|seen| seen.assignments_recent = 10);
    assert_eq!(said(&restarted, "Balanced"), "True Stable");
    let flapping = first(|seen| seen.assignments_recent = 11);
    assert_eq!(said(&flapping, "Balanced"), "False Flapping");
}

#[test]
fn what_members_and_coordinators_bring_about_waits_and_what_people_wait_for_does_not() {
    let stable = first(|_| {});
    for (name, change) in [
        (
            "moving",
            (|seen| seen.state = v1::GroupState::GroupAssigning.into()) as fn(&mut v1::GroupStatus),
        ),
        ("empty", |seen| seen.members = 0),
        ("without coordinator", |seen| seen.coordinator = None),
    ] {
        let turned = then(&stable, &sight(change), 1_500);
        assert_eq!(difference(&stable, &turned), Difference::Turned, "{name}");
    }
    let joined = then(&stable, &sight(|seen| seen.useful_members = 4), 1_500);
    assert_eq!(difference(&stable, &joined), Difference::Numbers);
    assert_eq!(
        difference(&stable, &then(&stable, &sight(|_| {}), 1_500)),
        Difference::None
    );
    let away = then(&stable, &sight(|seen| seen.coordinator = None), 1_500);
    assert_eq!(
        difference(&away, &then(&away, &sight(|_| {}), 1_600)),
        Difference::Urgent
    );
    let refused = with(Verdict::Refused("InvalidSpec", "wrong".to_owned()));
    assert_eq!(
        difference(&stable, &then(&stable, &refused, 1_500)),
        Difference::Urgent
    );
    let mut changed = group(Some(stable.clone()));
    changed.metadata.generation = Some(3);
    let changed = next(&changed, &sight(|_| {}), at(1_500));
    assert_eq!(difference(&stable, &changed), Difference::Urgent);
    let unavailable = with(Verdict::Unavailable("away".to_owned()));
    let unavailable = then(&stable, &unavailable, 1_500);
    assert_eq!(difference(&stable, &unavailable), Difference::Turned);
}

#[test]
fn the_first_word_of_a_coordinator_is_waited_for() {
    let silent = first(|seen| seen.is_reported = false);
    assert_eq!(said(&silent, "Ready"), "True Coordinated");
    assert_eq!(said(&silent, "Consuming"), "Unknown NotReported");
    assert_eq!((silent.members, silent.lag.clone()), (None, None));
    let reported = then(&silent, &sight(|_| {}), 1_010);
    assert_eq!(difference(&silent, &reported), Difference::Urgent);
}

#[test]
fn a_coordinator_that_has_just_taken_over_changes_nothing() {
    let before = first(|seen| seen.members = 0);
    let silent = sight(|seen| {
        *seen = v1::GroupStatus {
            group: seen.group.clone(),
            coordinator: Some(2),
            coordinator_name: "main-1".to_owned(),
            ..v1::GroupStatus::default()
        };
    });
    assert_eq!(then(&before, &silent, 1_500), before);
    let unheard = Sight {
        seen: None,
        ..sight(|_| {})
    };
    assert_eq!(then(&before, &unheard, 1_500), before);
}

#[test]
fn numbers_alone_are_written_every_thirty_seconds() {
    let first = first(|_| {});
    let more = sight(|seen| seen.partitions[0].lag_records = 7);
    let grown = then(&first, &more, 1_010);
    assert_eq!(difference(&first, &grown), Difference::Numbers);
    assert!(!numbers_are_due(&first, at(1_029)));
    assert!(numbers_are_due(&first, at(1_030)));
    assert_eq!(grown.lag.clone().expect("known").updated_at.0, at(1_010));
    let same = then(&grown, &more, 2_000);
    assert_eq!(same, grown, "unchanged numbers keep their time");
    // Any number counts.
    let joined = then(&first, &sight(|seen| seen.useful_members = 9), 1_020);
    assert_eq!(joined.lag.expect("known").updated_at.0, at(1_020));
}

#[test]
fn a_refused_group_does_not_show_the_owners_numbers() {
    let refused = with(Verdict::Refused("NameConflict", "taken".to_owned()));
    let status = next(&group(None), &refused, at(1));
    assert_eq!(said(&status, "Accepted"), "False NameConflict");
    assert_eq!(said(&status, "Ready"), "False NotAccepted");
    assert_eq!(said(&status, "DataSafe"), "Unknown NotAccepted");
    assert_eq!(
        (status.members, status.lag, status.coordinator),
        (None, None, None)
    );
    assert_eq!((status.group_name, status.effective), (None, None));
}

#[test]
fn a_group_that_came_to_be_invalid_keeps_its_policy_and_its_name() {
    let accepted = first(|_| {});
    let invalid = with(Verdict::Refused("InvalidSpec", "wrong".to_owned()));
    let status = then(&accepted, &invalid, 1_500);
    assert_eq!(said(&status, "Accepted"), "False InvalidSpec");
    assert_eq!(status.effective, accepted.effective);
    assert_eq!(status.group_name, accepted.group_name);
}

#[test]
fn a_paused_group_and_one_that_ends_say_so() {
    let accepted = first(|_| {});
    let paused = then(&accepted, &with(Verdict::Paused), 1_500);
    assert_eq!(said(&paused, "Accepted"), "True Valid");
    for type_ in ["Ready", "Consuming", "DataSafe", "Balanced"] {
        assert_eq!(said(&paused, type_), "Unknown Paused");
    }
    let ending = then(&accepted, &with(Verdict::Deleting), 1_500);
    assert_eq!(said(&ending, "Ready"), "False Deleting");
    let message = |status: &ConsumerGroupStatus| {
        let ready = find(&status.conditions, "Ready");
        ready.expect("is there").message.clone()
    };
    assert!(message(&ending).contains("stop its members"));
    let mut left = with(Verdict::Deleting);
    left.seen.as_mut().expect("set above").members = 0;
    assert!(!message(&then(&accepted, &left, 1_500)).contains("stop its members"));
}

#[test]
fn time_alone_is_looked_at_as_often_as_it_shows() {
    let status = first(|_| {});
    assert_eq!(next_tick(&status, at(1_000)), Duration::MAX);
    let near = first(|seen| seen.partitions[0].loses_data_at_ms = Some(1_300 * 1_000));
    assert_eq!(next_tick(&near, at(1_000)), Duration::from_secs(10));
}

#[test]
fn a_group_whose_partition_of_offsets_nobody_leads_is_not_ready() {
    let nobody = |seen: &mut v1::GroupStatus| seen.coordinator = None;
    assert_eq!(said(&first(nobody), "Ready"), "False NoCoordinator");
    // A new leader is elected within seconds, and leaves no trace.
    let fine = first(|_| {});
    let calm = Sight {
        safe_for: Duration::ZERO,
        ..sight(nobody)
    };
    assert_eq!(
        said(&then(&fine, &calm, 1_001), "Ready"),
        "False NoCoordinator"
    );
    assert_ne!(
        difference(&fine, &then(&fine, &calm, 1_001)),
        Difference::Urgent
    );
}

#[test]
fn a_group_that_its_coordinator_cannot_read_is_not_ready() {
    let status = first(|seen| seen.is_unreadable = true);
    assert_eq!(said(&status, "Ready"), "False Unreadable");
    assert_eq!(said(&first(|_| {}), "Ready"), "True Coordinated");
}
