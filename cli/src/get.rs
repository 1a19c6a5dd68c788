//! `taffrail get`: lists.

use clap::{Args, ValueEnum};

use taffrail_core::{ErrorCode, internal::is_internal};

use crate::{
    cli::ServerArgs,
    connect::{self, Admin, topic_names},
    failure::{Exit, Failure, Outcome},
    time::now_ms,
    view::{
        self, BrokerView, Brokers, Listing, Output, Partitions, Topics,
        last_heard::{self, HeardBroker, LastHeard},
    },
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
    /// Only these topics, the partitions of these topics, or these brokers, by name or number
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Also the cluster's own topics, whose names begin with __
    #[arg(long)]
    internal: bool,
    /// How to print the list
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

impl GetArgs {
    /// Internal topics are listed where somebody asks for them.
    fn shows(&self, topic: &str) -> bool {
        self.internal || !self.names.is_empty() || !is_internal(topic)
    }
}

/// Prints the list; while the controller is away, what a broker last heard.
pub(crate) async fn run(args: GetArgs) -> Outcome {
    let admin = connect::admin(&args.server).await?;
    match list(&admin, &args).await {
        Err(failure) if is_without_controller(&failure) => {
            list_last_heard(&admin, &args, &failure).await
        }
        outcome => outcome,
    }
}

async fn list(admin: &Admin, args: &GetArgs) -> Outcome {
    let names = topic_names(&args.names);
    match args.kind {
        Kind::Topics => {
            let mut topics = admin.topics(&names).await?;
            topics.retain(|topic| args.shows(&topic.metadata.name));
            show(&Topics(topics), args.output)
        }
        Kind::Partitions => {
            let mut partitions = admin.partitions(&names).await?;
            partitions.retain(|partition| args.shows(&partition.topic));
            show(&Partitions(partitions), args.output)
        }
        Kind::Brokers => {
            let brokers = admin.brokers().await?;
            let brokers = only(brokers, &args.names, BrokerView::is_called)?;
            show(&Brokers(brokers), args.output)
        }
    }
}

/// Those that somebody asked for; all, if nobody said which.
fn only<B>(
    mut brokers: Vec<B>,
    wanted: &[String],
    is_called: impl Fn(&B, &str) -> bool,
) -> Outcome<Vec<B>> {
    for name in wanted {
        if !brokers.iter().any(|broker| is_called(broker, name)) {
            let message = format!("there is no broker {name:?}, by name or number");
            return Err(Failure::new(Exit::NotFound, "UNKNOWN_BROKER", message)
                .hint("taffrail get brokers lists all"));
        }
    }
    brokers.retain(|broker| {
        let mut wanted = wanted.iter();
        wanted.len() == 0 || wanted.any(|name| is_called(broker, name))
    });
    Ok(brokers)
}

/// Is nobody there who knows how everything is now?
fn is_without_controller(failure: &Failure) -> bool {
    [
        ErrorCode::ControllerUnavailable,
        ErrorCode::NotActive,
        ErrorCode::TimedOut,
    ]
    .iter()
    .any(|code| failure.code() == code.name())
}

async fn list_last_heard(admin: &Admin, args: &GetArgs, why: &Failure) -> Outcome {
    let names = match args.kind {
        // What they hold is in all topics.
        Kind::Brokers => Vec::new(),
        Kind::Topics | Kind::Partitions => topic_names(&args.names),
    };
    let mut heard = admin.last_heard(&names).await?;
    if args.kind != Kind::Brokers {
        heard.topics.retain(|topic| args.shows(&topic.name));
    }
    eprintln!(
        "warning[{}]: {}\n  below is what a broker last heard; how things are now is not known before a controller is back",
        why.code(),
        why.message()
    );
    match args.kind {
        Kind::Topics => show(&last_heard::topics(heard), args.output),
        Kind::Partitions => show(&last_heard::partitions(heard), args.output),
        Kind::Brokers => {
            let LastHeard(brokers) = last_heard::brokers(heard);
            let brokers = only(brokers, &args.names, HeardBroker::is_called)?;
            show(&LastHeard(brokers), args.output)
        }
    }
}

fn show<L: Listing>(list: &L, output: Output) -> Outcome {
    let mut out = std::io::stdout().lock();
    view::print(list, output, now_ms(), &mut out)?;
    Ok(())
}
