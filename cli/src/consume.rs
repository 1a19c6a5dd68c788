//! `taffrail consume`: the records of a topic, on standard output.

mod print;
mod reader;

use std::{
    io::{BufWriter, Write as _},
    time::Duration,
};

use clap::{Args, ValueEnum};
use taffrail_core::quantity::parse_duration;

pub(crate) use print::Printed;
pub(crate) use reader::{Reader, Until};

use crate::{
    cli::ServerArgs,
    connect::{self, client_failure},
    failure::Outcome,
    table::human_count,
    time::From,
};

/// How records are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecordOutput {
    /// partition/offset, time, key and value, a tab between them
    Text,
    /// One JSON object a line: topic, partition, offset, timestamp, key, value, headers (key_base64 or value_base64 where they are not UTF-8)
    Json,
    /// The value's bytes and a line feed
    Raw,
    /// Nothing but how many there were, at the end
    Count,
}

/// Print the records of a topic
///
/// Ends where the topic ended when it began, unless --follow is given. Order holds within a partition.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  taffrail consume flights --from 2013-01-31T12:00:00Z --max 5
  taffrail consume flights --from latest --follow")]
pub(crate) struct ConsumeArgs {
    /// Of which topic
    #[arg(value_parser = connect::topic_name)]
    topic: String,
    /// Where to start: earliest, latest, an offset, or a time
    #[arg(
        long,
        default_value = "earliest",
        value_name = "earliest|latest|OFFSET|TIMESTAMP"
    )]
    from: From,
    /// Only this partition
    #[arg(long, short, value_name = "NUMBER")]
    partition: Option<u32>,
    /// End after this many records
    #[arg(long, short = 'n', value_name = "COUNT")]
    max: Option<u64>,
    /// Go on and wait for new records
    #[arg(long, short)]
    follow: bool,
    /// How to print records
    #[arg(long, short, value_enum, default_value = "text")]
    output: RecordOutput,
    /// Wait this long until a broker answers and the topic is there
    #[arg(long, default_value = "0s", value_parser = parse_duration, value_name = "DURATION")]
    wait: Duration,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints them, then says on standard error how many there were.
pub(crate) async fn run(args: ConsumeArgs) -> Outcome {
    let client = connect::client_of_topic(&args.server, &args.topic, args.wait).await?;
    let starts = connect::starts(&client, &args.topic, args.partition, args.from).await?;
    let until = if args.follow {
        Until::Stopped
    } else {
        Until::End
    };
    let mut reader = Reader::open(&client, &args.topic, starts, until).await?;
    let mut out = BufWriter::with_capacity(256 << 10, std::io::stdout());
    let mut left = args.max.unwrap_or(u64::MAX);
    let mut printed = 0_u64;
    while left > 0
        && let Some(batch) = reader.next().await?
    {
        for record in batch.records().map_err(|error| client_failure(&error))? {
            let record = record.map_err(|error| client_failure(&error))?;
            if left == 0 {
                break;
            }
            Printed::from(&record).write(args.output, &mut out)?;
            printed += 1;
            left -= 1;
        }
        // Whoever waits for the next record wants to see this one.
        if args.follow {
            out.flush()?;
        }
    }
    out.flush()?;
    eprintln!("{} records read from {}", human_count(printed), args.topic);
    Ok(())
}
