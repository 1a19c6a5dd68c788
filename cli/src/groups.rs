//! `taffrail groups`: consumer groups, how far they are, and where they go on.

mod describe;
mod policy;
mod progress;
mod reset;

use std::{collections::BTreeMap, io::Write as _};

use clap::{Args, Subcommand};
use taffrail_api::v1;
use taffrail_client::{Admin, Client};
use taffrail_core::internal::OFFSETS;

use crate::{
    cli::ServerArgs,
    connect::{self, client_failure},
    failure::{Failure, Outcome},
    time::now_ms,
    view::{self, GroupView, Groups, Output},
};

/// Consumer groups: who is in, how far they have read, and where they go on
#[derive(Args, Debug)]
pub(crate) struct GroupsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// List the groups
    List {
        #[command(flatten)]
        show: Show,
    },
    /// Show a group's members and how far it has read each partition
    Describe {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        show: Show,
    },
    /// Show how far a group is behind, by partition
    Lag {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        show: Show,
    },
    /// Set where a group goes on, also while it is being read
    Reset(reset::ResetArgs),
    /// Forget a group without members, and how far it has read
    Delete {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Which group.
#[derive(Args, Debug)]
struct Of {
    /// Which group
    #[arg(value_parser = connect::group_name, value_name = "NAME")]
    group: String,
}

/// How a list is printed, and where it comes from.
#[derive(Args, Debug)]
struct Show {
    /// How to print it
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

/// Does what was asked for.
pub(crate) async fn run(args: GroupsArgs) -> Outcome {
    match args.what {
        What::List { show } => list(&show).await,
        What::Describe { of, show } => describe::run(&of.group, &show).await,
        What::Lag { of, show } => {
            let client = connect::client(&show.server).await?;
            let progress = progress::of_group(&client, &of.group).await?;
            print(&progress, show.output)
        }
        What::Reset(args) => reset::run(args).await,
        What::Delete { of, server } => delete(&of.group, &server).await,
    }
}

async fn list(show: &Show) -> Outcome {
    let admin = connect::client(&show.server).await?.admin();
    let listed = admin.list_groups().await;
    let listed = listed.map_err(|error| client_failure(&error))?;
    let statuses = statuses(&admin, &[]).await;
    for partition in &listed.leaderless {
        eprintln!(
            "groups that are kept in {OFFSETS}/{partition} are not listed: it has no leader just now; see taffrail get partitions {OFFSETS} -o wide"
        );
    }
    let groups = listed.groups.into_iter().map(|summary| {
        let status = statuses.get(&summary.group);
        GroupView::new(summary, status)
    });
    let groups = groups.collect();
    print(&Groups(groups), show.output)
}

/// What the controller says of these groups, or of all. It is not needed for what coordinators know: without it, less is shown.
async fn statuses(admin: &Admin, groups: &[String]) -> BTreeMap<String, v1::GroupStatus> {
    let statuses = admin.list_group_statuses(groups).await;
    let statuses = statuses.unwrap_or_else(|error| {
        eprintln!("lag in time and when data is lost are not known just now: {error}");
        Vec::new()
    });
    let named = statuses
        .into_iter()
        .map(|status| (status.group.clone(), status));
    named.collect()
}

async fn delete(group: &str, server: &ServerArgs) -> Outcome {
    let admin = connect::client(server).await?.admin();
    let deleted = admin.delete_group(group).await;
    deleted.map_err(|error| {
        let failure = client_failure(&error);
        if failure.code() == "GROUP_NOT_EMPTY" {
            failure.hint(format!(
                "stop its members first; see: taffrail groups describe {group}"
            ))
        } else {
            failure
        }
    })?;
    writeln!(std::io::stdout(), "group/{group} deleted")?;
    Ok(())
}

/// Records that the group has not read, of the partitions that it reads.
///
/// # Errors
/// There is no such group, or its coordinator or a leader does not answer.
pub(crate) async fn behind(client: &Client, group: &str) -> Outcome<u64> {
    let progress = progress::of_group(client, group).await?;
    Ok(progress.0.iter().filter_map(|row| row.lag).sum())
}

pub(crate) use progress::member_name;
pub(crate) use reset::reset_all;

fn print<L: view::Listing>(list: &L, output: Output) -> Outcome {
    view::print(list, output, now_ms(), &mut std::io::stdout()).map_err(Failure::from)
}
