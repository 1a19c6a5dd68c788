//! `taffrail get`: lists.

use clap::{Args, ValueEnum};

use crate::{
    cli::ServerArgs,
    connect::{self, topic_names},
    failure::Outcome,
    time::now_ms,
    view::{self, Brokers, Listing, Output, Partitions, Topics},
};

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Topics
    #[value(alias = "topic", alias = "tp")]
    Topics,
    /// Partitions
    #[value(alias = "partition")]
    Partitions,
    /// Brokers
    #[value(alias = "broker")]
    Brokers,
}

/// List topics, partitions or brokers
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// What to list
    #[arg(value_enum)]
    kind: Kind,
    /// Only these topics, or the partitions of these topics
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,
    /// How to print the list
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints the list.
pub(crate) async fn run(args: GetArgs) -> Outcome {
    let admin = connect::admin(&args.server).await?;
    let names = topic_names(&args.topics);
    match args.kind {
        Kind::Topics => show(&Topics(admin.topics(&names).await?), args.output),
        Kind::Partitions => show(&Partitions(admin.partitions(&names).await?), args.output),
        Kind::Brokers => show(&Brokers(admin.brokers().await?), args.output),
    }
}

fn show<L: Listing>(list: &L, output: Output) -> Outcome {
    let mut out = std::io::stdout().lock();
    view::print(list, output, now_ms(), &mut out)?;
    Ok(())
}
