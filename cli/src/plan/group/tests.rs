use clap::Parser;
use taffrail_core::group::Topic;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: GroupArgs,
}

fn args(more: &[&str]) -> GroupArgs {
    Command::parse_from([&["plan", "billing"], more].concat()).args
}

fn id(number: u8) -> TopicId {
    TopicId::from_bytes([number; 16])
}

fn wire(number: u8) -> bytes::Bytes {
    id(number).as_bytes().to_vec().into()
}

/// `a` and `b`, of two partitions each, the second one led in rack `west`.
fn known() -> Known {
    let racks = vec![["east".to_owned()].into(), ["west".to_owned()].into()];
    let topic = |number: u8, name: &str| {
        let topic = Topic {
            racks: racks.clone(),
        };
        (id(number), (name.to_owned(), topic))
    };
    Known {
        topics: [topic(1, "a"), topic(2, "b")].into(),
    }
}

/// A static one that has nothing.
fn member(instance: &str, rack: &str, topics: &[u8]) -> v1::GroupMember {
    v1::GroupMember {
        instance_id: instance.to_owned(),
        rack: rack.to_owned(),
        topic_ids: topics.iter().map(|topic| wire(*topic)).collect(),
        ..v1::GroupMember::default()
    }
}

fn group(policy: &GroupPolicy, members: Vec<v1::GroupMember>) -> v1::DescribeGroupResponse {
    v1::DescribeGroupResponse {
        topic_ids: vec![wire(1), wire(2)],
        policy: Some(policy.into()),
        members,
        ..v1::DescribeGroupResponse::default()
    }
}

/// What each member would read.
fn reads(more: &[&str], described: &v1::DescribeGroupResponse) -> Vec<Vec<String>> {
    let Ok(planned) = plan(&args(more), described, &known()) else {
        return Vec::new();
    };
    planned.0.into_iter().map(|row| row.reads).collect()
}

#[test]
fn the_strategy_is_the_policys_unless_another_one_is_asked_for() {
    let range = GroupPolicy {
        strategy: AssignmentStrategy::Range,
        ..GroupPolicy::default()
    };
    let members = ["p-0", "p-1", "p-2"].map(|name| member(name, "", &[1, 2]));
    let described = group(&range, members.into());
    assert_eq!(
        reads(&[], &described),
        [vec!["a/0", "b/0"], vec!["a/1", "b/1"], vec![]],
        "no topic has a partition for the third one"
    );
    let sticky = reads(&["--strategy", "sticky"], &described);
    let shares: Vec<usize> = sticky.iter().map(Vec::len).collect();
    assert_eq!(shares, [2, 1, 1]);
}

#[test]
fn each_member_is_planned_with_its_own_topics() {
    let sticky = GroupPolicy::default();
    let described = group(
        &sticky,
        vec![member("p-0", "", &[1]), member("p-1", "", &[2])],
    );
    assert_eq!(reads(&[], &described), [["a/0", "a/1"], ["b/0", "b/1"]]);
    let named = ["--topic", "b"];
    assert_eq!(reads(&named, &described), [["b/0"], ["b/1"]]);
}

#[test]
fn racks_count_unless_the_policy_says_that_they_do_not() {
    for (rack_aware, first) in [(None, "a/1"), (Some(false), "a/0")] {
        let policy = GroupPolicy {
            rack_aware,
            ..GroupPolicy::default()
        };
        let members = vec![member("p-0", "west", &[1]), member("p-1", "east", &[1])];
        let described = group(&policy, members);
        assert_eq!(reads(&[], &described)[0], [first], "{rack_aware:?}");
    }
}

#[test]
fn a_group_without_members_would_read_what_its_policy_names() {
    let described = group(&GroupPolicy::default(), vec![]);
    let all: Vec<_> = reads(&["--members", "1"], &described).concat();
    assert_eq!(all, ["a/0", "a/1", "b/0", "b/1"]);
}
