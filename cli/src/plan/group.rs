//! Which member would read what.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, ValueEnum};
use serde::Serialize;
use taffrail_api::v1;
use taffrail_client::{Admin, ClientError};
use taffrail_core::{
    ErrorCode, PartitionIndex, TopicId, TopicPartition,
    group::{AssignmentStrategy, Reader, Topic, assign},
};

use crate::{
    cli::ServerArgs,
    connect::{self, client_failure},
    failure::{Failure, Outcome},
    groups::member_name,
    table::Table,
    time::now_ms,
    view::{self, Listing, Output},
};

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

/// Which member of a group would read which partitions, and what would move
///
/// Works it out with the same function as the group's coordinator, from the members and topics that the group has now, or from what is given here.
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
    /// How partitions would be given to members
    #[arg(long, value_enum, default_value = "sticky")]
    strategy: Strategy,
    /// Topics that every member would read [default: what the group reads now]
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
    let topics = topics(args, &described, &known)?;
    let members = members(args, &described, &topics)?;
    let read: BTreeMap<TopicId, Topic> = (known.topics.iter())
        .filter(|(id, _)| topics.contains(id))
        .map(|(id, (_, topic))| (*id, topic.clone()))
        .collect();
    let strategy = match args.strategy {
        Strategy::Sticky => AssignmentStrategy::Sticky,
        Strategy::Range => AssignmentStrategy::Range,
        Strategy::RoundRobin => AssignmentStrategy::RoundRobin,
    };
    let readers: Vec<Reader> = members.iter().map(|(_, reader)| reader.clone()).collect();
    let planned = Planned::new(&members, assign(strategy, &readers, &read), &known);
    view::print(&planned, args.output, now_ms(), &mut std::io::stdout())?;
    let all: usize = read.values().map(|topic| topic.racks.len()).sum();
    let moved: usize = planned.0.iter().map(|row| row.gives_up.len()).sum();
    eprintln!(
        "{moved} of {all} partitions would move from one member to another; nothing was changed"
    );
    Ok(())
}

/// All topics there are: names, and for each partition the rack of its leader.
struct Known {
    topics: BTreeMap<TopicId, (String, Topic)>,
}

impl Known {
    async fn ask(admin: &Admin) -> Outcome<Self> {
        let failed = |error| client_failure(&error);
        let listed = admin.list_topics(&[]).await.map_err(failed)?;
        let partitions = admin.list_partitions(&[]).await.map_err(failed)?;
        let brokers = admin.list_brokers().await.map_err(failed)?.brokers;
        let rack = |number: u32| {
            let broker = brokers.iter().find(|broker| broker.number == number)?;
            (!broker.rack.is_empty()).then(|| broker.rack.clone())
        };
        let mut by_name: BTreeMap<String, BTreeMap<u32, BTreeSet<String>>> = BTreeMap::new();
        for partition in partitions {
            let racks = partition.leader.and_then(rack).into_iter().collect();
            let topic = by_name.entry(partition.topic).or_default();
            topic.insert(partition.partition, racks);
        }
        let topics = listed.into_iter().filter_map(|status| {
            let id = TopicId::try_from(&status.topic_id[..]).ok()?;
            let racks = by_name.remove(&status.name)?.into_values().collect();
            Some((id, (status.name, Topic { racks })))
        });
        Ok(Self {
            topics: topics.collect(),
        })
    }

    fn label(&self, partition: TopicPartition) -> String {
        let topic = self.topics.get(&partition.topic);
        topic.map_or_else(
            || partition.to_string(),
            |(name, _)| format!("{name}/{}", partition.partition),
        )
    }
}

/// What the members would read.
fn topics(
    args: &GroupArgs,
    described: &v1::DescribeGroupResponse,
    known: &Known,
) -> Outcome<BTreeSet<TopicId>> {
    if args.topics.is_empty() {
        let held = described
            .members
            .iter()
            .flat_map(|member| &member.partitions);
        let held = held.map(|held| &held.topic_id);
        let committed = described.offsets.iter();
        let committed = committed.filter_map(|offset| Some(&offset.committed.as_ref()?.topic_id));
        let ids = held.chain(committed);
        let ids: BTreeSet<_> = ids
            .filter_map(|id| TopicId::try_from(&id[..]).ok())
            .collect();
        if ids.is_empty() {
            return Err(Failure::usage(format!(
                "group {} reads nothing yet; name a --topic",
                args.group
            )));
        }
        return Ok(ids);
    }
    let id = |name: &String| {
        let mut topics = known.topics.iter();
        let found = topics.find(|(_, (known, _))| known == name);
        found.map(|(id, _)| *id).ok_or_else(|| {
            client_failure(&ClientError::UnknownTopic {
                topic: name.clone(),
            })
        })
    };
    args.topics.iter().map(id).collect()
}

/// Names for people, and members as the assignor sees them.
fn members(
    args: &GroupArgs,
    described: &v1::DescribeGroupResponse,
    topics: &BTreeSet<TopicId>,
) -> Outcome<Vec<(String, Reader)>> {
    let mut members: Vec<_> = (described.members.iter())
        .map(|member| (member_name(member), reader(member, topics)))
        .collect();
    let wanted = args.members.map_or(members.len(), |wanted| wanted as usize);
    if wanted == 0 {
        return Err(Failure::usage(format!(
            "group {} has no members; say how many there would be with --members",
            args.group
        )));
    }
    members.truncate(wanted);
    for new in 1..=wanted - members.len() {
        let reader = Reader {
            // Behind those that are there.
            name: format!("n/{new:04}"),
            topics: topics.clone(),
            ..Reader::default()
        };
        members.push((format!("(new {new})"), reader));
    }
    Ok(members)
}

fn reader(member: &v1::GroupMember, topics: &BTreeSet<TopicId>) -> Reader {
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
        topics: topics.clone(),
        rack: (!member.rack.is_empty()).then(|| member.rack.clone()),
        owned: owned.filter(|held| topics.contains(&held.topic)).collect(),
    }
}

/// One member's share. Field names are API.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlannedView {
    member: String,
    reads: Vec<String>,
    gets: Vec<String>,
    gives_up: Vec<String>,
}

struct Planned(Vec<PlannedView>);

impl Planned {
    fn new(
        members: &[(String, Reader)],
        assigned: Vec<BTreeSet<TopicPartition>>,
        known: &Known,
    ) -> Self {
        let labels = |partitions: &mut dyn Iterator<Item = &TopicPartition>| -> Vec<String> {
            partitions
                .map(|partition| known.label(*partition))
                .collect()
        };
        let rows = members
            .iter()
            .zip(assigned)
            .map(|((name, reader), reads)| PlannedView {
                member: name.clone(),
                reads: labels(&mut reads.iter()),
                gets: labels(&mut reads.difference(&reader.owned)),
                gives_up: labels(&mut reader.owned.difference(&reads)),
            });
        Self(rows.collect())
    }
}

impl Listing for Planned {
    type Item = PlannedView;
    const NOTHING: &'static str = "the group has no members";

    fn items(&self) -> &[PlannedView] {
        &self.0
    }

    fn table(&self, wide: bool, _now_ms: i64) -> Table {
        let mut table = Table::new(&["MEMBER", "READS", "GETS", "GIVES-UP"]);
        let cell = |partitions: &[String]| match partitions {
            [] => "-".to_owned(),
            partitions if wide || partitions.len() <= 4 => partitions.join(","),
            partitions => format!("{} partitions", partitions.len()),
        };
        for row in &self.0 {
            table.row(vec![
                row.member.clone(),
                row.reads.len().to_string(),
                cell(&row.gets),
                cell(&row.gives_up),
            ]);
        }
        table
    }
}
