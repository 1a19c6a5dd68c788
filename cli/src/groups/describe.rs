//! `taffrail groups describe`: all about one group.

use std::io::Write;

use serde::Serialize;
use taffrail_api::v1;

use super::{
    Show,
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
    members: Vec<MemberView>,
    partitions: &'a [ProgressView],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberView {
    name: String,
    client_name: String,
    rack: String,
    connected: bool,
    topics: Vec<String>,
    patterns: Vec<String>,
    partitions: usize,
}

impl From<&v1::GroupMember> for MemberView {
    fn from(member: &v1::GroupMember) -> Self {
        Self {
            name: member_name(member),
            client_name: member.client_name.clone(),
            rack: member.rack.clone(),
            connected: member.connected,
            topics: member.topics.clone(),
            patterns: member.patterns.clone(),
            partitions: member.partitions.len(),
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

fn print(group: &Description<'_>, progress: &Progress, wide: bool, out: &mut dyn Write) -> Outcome {
    for (label, value) in [
        ("Name", group.name.clone()),
        ("State", group.state.to_owned()),
        ("Assignment", group.epoch.to_string()),
    ] {
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
        let reads = [&member.topics[..], &member.patterns[..]].concat();
        members.row(vec![
            member.name.clone(),
            dash(&member.client_name),
            dash(&member.rack),
            member.connected.to_string(),
            reads.join(","),
            member.partitions.to_string(),
        ]);
    }
    writeln!(out, "\nMembers:")?;
    members.print(out, "none")?;
    writeln!(out, "\nPartitions:")?;
    let partitions = progress.table(wide, now_ms());
    partitions.print(out, "none").map_err(Failure::from)
}
