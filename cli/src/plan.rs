//! `taffrail plan`: what would be, without doing it.

mod group;
mod topic;

use clap::{Args, Subcommand};

use crate::failure::Outcome;

/// See what a placement or an assignment would be, and change nothing
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Where the partitions of a new topic would go, or those that an existing one would get
    Topic(topic::TopicArgs),
    /// Which member of a group would read which partitions, and what would move
    Group(group::GroupArgs),
}

/// Asks, and prints the answer.
pub(crate) async fn run(args: PlanArgs) -> Outcome {
    match args.what {
        What::Topic(args) => topic::run(&args).await,
        What::Group(args) => group::run(&args).await,
    }
}
