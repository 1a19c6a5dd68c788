//! Which member would read what.

mod planned;
mod topics;

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use taffrail_api::v1;
use taffrail_client::ClientError;
use taffrail_core::{
    ErrorCode, PartitionIndex, TopicId, TopicPartition,
    group::{AssignmentStrategy, GroupPolicy, Reader, assign},
};

use crate::{
    cli::ServerArgs,
    connect::{self, client_failure},
    failure::{Failure, Outcome},
    groups::member_name,
    time::now_ms,
    view::{self, Output},
};
use planned::Planned;
use topics::Known;

/// Most members to plan for: as many as a group may have where nobody says otherwise.
const MEMBERS_MAX: u32 = 1_000;

/// How partitions are given to members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Strategy {
    /// Evenly, and as little moves as possible
    Sticky,
    /// Each topic by itself, in pieces that follow on each other
    Range,
    /// All partitions in turn
    RoundRobin,
}

impl From<Strategy> for AssignmentStrategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Sticky => Self::Sticky,
            Strategy::Range => Self::Range,
            Strategy::RoundRobin => Self::RoundRobin,
        }
    }
}

/// Which member of a group would read which partitions, and what would move
///
/// Works it out with the same function as the group's coordinator, from the members, topics and policy that the group has now, or from what is given here.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  taffrail plan group billing --members 8
  taffrail plan group billing --strategy range
  taffrail plan group audit --members 3 --topic flights")]
pub(super) struct GroupArgs {
    /// Which group, whether it is there or not
    #[arg(value_parser = connect::group_name, value_name = "NAME")]
    group: String,
    /// How many members it would have: new ones come after those that there are, or the last ones go [default: as many as now]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(MEMBERS_MAX)))]
    members: Option<u32>,
    /// How partitions would be given to members [default: as the group's policy says, or else sticky]
    #[arg(long, value_enum)]
    strategy: Option<Strategy>,
    /// Topics that every member would read [default: what each member reads now, and new ones what the group reads]
    #[arg(long = "topic", value_parser = connect::topic_name, value_name = "NAME")]
    topics: Vec<String>,
    /// How to print it
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: &GroupArgs) -> Outcome {
    let client = connect::client(&args.server).await?;
    let admin = client.admin();
    let described = match admin.describe_group(&args.group).await {
        Ok(described) => described,
        Err(ClientError::Refused(error)) if error.code == ErrorCode::UnknownGroup => {
            v1::DescribeGroupResponse::default()
        }
        Err(error) => return Err(client_failure(&error)),
    };
    let known = Known::ask(&admin).await?;
    let planned = plan(args, &described, &known)?;
    view::print(&planned, args.output, now_ms(), &mut std::io::stdout())?;
    eprintln!(
        "{} of {} partitions would move from one member to another; nothing was changed",
        planned.moved(),
        planned.read()
    );
    Ok(())
}

/// What the coordinator would decide.
fn plan(
    args: &GroupArgs,
    described: &v1::DescribeGroupResponse,
    known: &Known,
) -> Outcome<Planned> {
    let policy = described.policy.clone().unwrap_or_default();
    let policy = GroupPolicy::try_from(policy).map_err(|error| client_failure(&error.into()))?;
    let named = args.topics.iter().map(|name| known.id(name));
    let named = named.collect::<Outcome<BTreeSet<_>>>()?;
    let minds_racks = policy.rack_aware != Some(false);
    let members = members(args, described, &named, minds_racks)?;
    let readers: Vec<Reader> = members.iter().map(|(_, reader)| reader.clone()).collect();
    let read = known.only(readers.iter().flat_map(|reader| &reader.topics));
    let strategy = args.strategy.map_or(policy.strategy, Into::into);
    Ok(Planned::new(
        &members,
        assign(strategy, &readers, &read),
        known,
    ))
}

/// Names for people, and members as the assignor sees them. `named`: what all of them would read, if that is given.
fn members(
    args: &GroupArgs,
    described: &v1::DescribeGroupResponse,
    named: &BTreeSet<TopicId>,
    minds_racks: bool,
) -> Outcome<Vec<(String, Reader)>> {
    let wanted = args.members.map_or(described.members.len(), |n| n as usize);
    if wanted == 0 {
        return Err(Failure::usage(format!(
            "group {} has no members; say how many there would be with --members",
            args.group
        )));
    }
    let unless_named = |own: BTreeSet<TopicId>| {
        if named.is_empty() { own } else { named.clone() }
    };
    let of_group = unless_named(read_by_group(described));
    if of_group.is_empty() {
        return Err(Failure::usage(format!(
            "group {} reads nothing yet; name a --topic",
            args.group
        )));
    }
    let present = described.members.iter().take(wanted).map(|member| {
        let topics = unless_named(topic_ids(&member.topic_ids));
        (member_name(member), reader(member, topics, minds_racks))
    });
    let new = (1..=wanted.saturating_sub(described.members.len())).map(|new| {
        let reader = Reader {
            // Behind those that are there.
            name: format!("n/{new:04}"),
            topics: of_group.clone(),
            ..Reader::default()
        };
        (format!("(new {new})"), reader)
    });
    Ok(present.chain(new).collect())
}

/// What members read; of a group without any what its policy names, or else what it has committed.
fn read_by_group(described: &v1::DescribeGroupResponse) -> BTreeSet<TopicId> {
    let read = topic_ids(&described.topic_ids);
    if !read.is_empty() {
        return read;
    }
    let committed = described.offsets.iter();
    let committed = committed.filter_map(|offset| Some(&offset.committed.as_ref()?.topic_id));
    topic_ids(committed)
}

fn topic_ids<'a, T: AsRef<[u8]> + 'a>(ids: impl IntoIterator<Item = &'a T>) -> BTreeSet<TopicId> {
    let ids = ids.into_iter();
    ids.filter_map(|id| TopicId::try_from(id.as_ref()).ok())
        .collect()
}

fn reader(member: &v1::GroupMember, topics: BTreeSet<TopicId>, minds_racks: bool) -> Reader {
    let owned = member.partitions.iter().filter(|held| !held.revoking);
    let owned = owned.filter_map(|held| {
        Some(TopicPartition {
            topic: TopicId::try_from(&held.topic_id[..]).ok()?,
            partition: PartitionIndex(held.partition),
        })
    });
    Reader {
        name: if member.instance_id.is_empty() {
            format!("m/{}", member_name(member))
        } else {
            format!("i/{}", member.instance_id)
        },
        rack: (minds_racks && !member.rack.is_empty()).then(|| member.rack.clone()),
        owned: owned.filter(|held| topics.contains(&held.topic)).collect(),
        topics,
    }
}

#[cfg(test)]
mod tests;
