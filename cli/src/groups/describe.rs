//! `taffrail groups describe`: all about one group.

use std::{io::Write, sync::Arc};

use serde::Serialize;
use taffrail_api::v1;
use taffrail_client::{Metadata, Topic};
use taffrail_core::BrokerNumber;

use super::{
    Show,
    policy::{NO_SUCH_TOPIC, PolicyView, span},
    progress::{self, member_name},
};
use crate::{
    connect::{self, client_failure},
    failure::{Failure, Outcome},
    table::Table,
    time::now_ms,
    view::{Listing as _, Output, Progress, ProgressView, state_name},
};

/// A group. Field names are API.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Description<'a> {
    name: String,
    state: &'static str,
    epoch: u64,
    /// The broker's name.
    coordinator: Option<String>,
    /// As many members can have something to read.
    useful_members: usize,
    policy: PolicyView,
    members: Vec<MemberView>,
    partitions: &'a [ProgressView],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberView {
    name: String,
    /// Its newest assignment.
    epoch: u64,
    client_name: String,
    rack: String,
    connected: bool,
    topics: Vec<String>,
    patterns: Vec<String>,
    partitions: usize,
    /// Of what it names, or the policy for it, no topic is there.
    matches_nothing: bool,
    session_timeout: String,
}

impl From<&v1::GroupMember> for MemberView {
    fn from(member: &v1::GroupMember) -> Self {
        Self {
            name: member_name(member),
            epoch: member.epoch,
            client_name: member.client_name.clone(),
            rack: member.rack.clone(),
            connected: member.connected,
            topics: member.topics.clone(),
            patterns: member.patterns.clone(),
            partitions: member.partitions.len(),
            matches_nothing: member.topic_ids.is_empty(),
            session_timeout: span(member.session_timeout_ms),
        }
    }
}

impl MemberView {
    fn reads(&self) -> String {
        let names = [&self.topics[..], &self.patterns[..]].concat();
        let names = match &names[..] {
            [] => "what is declared".to_owned(),
            names => names.join(","),
        };
        if self.matches_nothing {
            format!("{names} {NO_SUCH_TOPIC}")
        } else {
            names
        }
    }
}

pub(super) async fn run(group: &str, show: &Show) -> Outcome {
    let client = connect::client(&show.server).await?;
    let described = client.admin().describe_group(group).await;
    let described = described.map_err(|error| client_failure(&error))?;
    let progress = progress::of_description(&client, &described).await?;
    let description = Description {
        state: state_name(described.state()),
        coordinator: described
            .coordinator
            .map(|number| name(&client.known(), number)),
        useful_members: useful_members(&client.known(), &described.topic_ids),
        policy: PolicyView::from(&described),
        name: described.group,
        epoch: described.epoch,
        members: described.members.iter().map(MemberView::from).collect(),
        partitions: progress.items(),
    };
    let mut out = std::io::stdout().lock();
    match show.output {
        Output::Table | Output::Wide => {
            let wide = show.output == Output::Wide;
            print(&description, &progress, wide, &mut out)
        }
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, &description).map_err(std::io::Error::other)?;
            writeln!(out).map_err(Failure::from)
        }
        Output::Yaml => {
            let text = taffrail_crds::manifest::to_yaml(&description);
            let text = text.map_err(std::io::Error::other)?;
            write!(out, "{text}").map_err(Failure::from)
        }
    }
}

fn name(known: &Metadata, number: u32) -> String {
    let broker = known.brokers.get(&BrokerNumber(number));
    broker.map_or_else(|| number.to_string(), |broker| broker.name.clone())
}

/// The partitions of these topics.
fn useful_members(known: &Metadata, topics: &[bytes::Bytes]) -> usize {
    let is_read = |topic: &&Arc<Topic>| topics.iter().any(|id| id[..] == topic.id.as_bytes()[..]);
    let read = known.topics.values().filter(is_read);
    read.map(|topic| topic.partitions.len()).sum()
}

fn print(group: &Description<'_>, progress: &Progress, wide: bool, out: &mut dyn Write) -> Outcome {
    let lines = [
        ("Name", group.name.clone()),
        ("State", group.state.to_owned()),
        ("Assignment", group.epoch.to_string()),
        (
            "Coordinator",
            group.coordinator.clone().unwrap_or_else(|| "-".to_owned()),
        ),
        ("Useful members", group.useful_members.to_string()),
    ];
    let policy = group.policy.lines(group.useful_members == 0);
    for (label, value) in lines.into_iter().chain(policy) {
        writeln!(out, "{:<17}{value}", format!("{label}:"))?;
    }
    let mut members = Table::new(&[
        "MEMBER",
        "CLIENT",
        "RACK",
        "CONNECTED",
        "READS",
        "PARTITIONS",
    ]);
    for member in &group.members {
        let dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
        members.row(vec![
            member.name.clone(),
            dash(&member.client_name),
            dash(&member.rack),
            member.connected.to_string(),
            member.reads(),
            member.partitions.to_string(),
        ]);
    }
    writeln!(out, "\nMembers:")?;
    members.print(out, "none")?;
    writeln!(out, "\nPartitions:")?;
    let partitions = progress.table(wide, now_ms());
    partitions.print(out, "none").map_err(Failure::from)
}
