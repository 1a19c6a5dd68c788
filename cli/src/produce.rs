//! `taffrail produce`: the records of a file, into a topic.

mod sender;

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use taffrail_client::Acks;
use taffrail_core::quantity::parse_duration;

pub(crate) use sender::{Sent, send_all};

use crate::{
    cli::ServerArgs,
    connect,
    failure::Outcome,
    input::{self, Fields, Format, Progress, Source},
    table::human_count,
};

/// When a record counts as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AcksArg {
    /// When the broker took it into its queue
    None,
    /// When the leader stored it
    Leader,
    /// When minInSync replicas stored it
    All,
}

impl From<AcksArg> for Acks {
    fn from(acks: AcksArg) -> Self {
        match acks {
            AcksArg::None => Self::None,
            AcksArg::Leader => Self::Leader,
            AcksArg::All => Self::All,
        }
    }
}

/// Send the records of a file or of standard input
///
/// Records with a key go to the partition that Kafka's default partitioner picks for the key; without one they are spread.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  taffrail produce flights examples/flights-2013-01.csv.gz --key-field tailnum --timestamp-field time_hour")]
pub(crate) struct ProduceArgs {
    /// Into which topic
    #[arg(value_parser = connect::topic_name)]
    topic: String,
    /// The data, unpacked if the name ends in .gz; - is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// What the data looks like [default: by the file's name, lines for standard input]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Field that becomes the record's key (csv, ndjson); a record where it is empty has no key
    #[arg(long, value_name = "FIELD")]
    key_field: Option<String>,
    /// Field that becomes the record's time (csv, ndjson): RFC 3339, or milliseconds since 1970
    #[arg(long, value_name = "FIELD")]
    timestamp_field: Option<String>,
    /// When a record counts as sent
    #[arg(long, value_enum, default_value = "all")]
    acks: AcksArg,
    /// Wait this long until a broker answers and the topic is there
    #[arg(long, default_value = "0s", value_parser = parse_duration, value_name = "DURATION")]
    wait: Duration,
    #[command(flatten)]
    server: ServerArgs,
}

/// Sends them all, or says how many were acknowledged before the failure.
pub(crate) async fn run(args: ProduceArgs) -> Outcome {
    let format = args
        .format
        .unwrap_or_else(|| Format::of_name(&args.file.to_string_lossy()));
    let fields = Fields {
        key: args.key_field,
        timestamp: args.timestamp_field,
    };
    fields.check(format)?;
    let client = connect::client_of_topic(&args.server, Some(&args.topic), args.wait).await?;
    let source = Source::open(&args.file)?;
    let progress = source.progress.clone();
    let records = input::records(source, format, &fields)?;
    let bar = progress_bar(&progress);
    let shown = Some((&bar, &progress));
    let sent = send_all(&client, &args.topic, records, args.acks, shown).await;
    bar.finish_and_clear();
    let sent = sent?;
    eprintln!(
        "{} records sent to {} in {:.2} s",
        human_count(sent.records),
        args.topic,
        sent.seconds
    );
    Ok(())
}

/// Drawn on a terminal only.
fn progress_bar(progress: &Progress) -> ProgressBar {
    let (bar, template) = match progress.total {
        Some(total) => (
            ProgressBar::new(total),
            "{wide_bar} {binary_bytes}/{binary_total_bytes} {msg} eta {eta}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {binary_bytes} {msg} {elapsed}",
        ),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
