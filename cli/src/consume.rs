//! `taffrail consume`: the records of a topic, on standard output.

mod member;
mod print;
mod reader;
mod unread;

use std::{
    io::{BufWriter, Write},
    time::Duration,
};

use clap::{Args, ValueEnum};
use taffrail_client::{Client, ConsumedBatch, ConsumedRecord, ConsumerConfig};
use taffrail_core::quantity::{parse_duration, parse_size};

pub(crate) use member::{As, Member};
pub(crate) use print::Printed;
pub(crate) use reader::{Reader, Until};

use crate::{
    cli::ServerArgs,
    connect::{self, client_failure},
    failure::Outcome,
    signals,
    table::human_count,
    time::From,
};

/// How records are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecordOutput {
    /// partition/offset (topic/partition/offset without TOPIC), time, key and value, a tab between them
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
///
/// With --group it reads what the group has not read yet, shares the partitions with the group's other members, and commits what it has printed. Without TOPIC it
/// reads what the group's ConsumerGroup names.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  taffrail consume flights --from 2013-01-31T12:00:00Z --max 5
  taffrail consume flights --from latest --follow
  taffrail consume flights --group billing --follow
  taffrail consume --group billing
  taffrail consume flights --group audit --rate 5Mi")]
pub(crate) struct ConsumeArgs {
    /// Of which topic. With --group: by default those that the group's ConsumerGroup names
    #[arg(value_parser = connect::topic_name, required_unless_present = "group")]
    topic: Option<String>,
    /// Where to start: earliest, latest, a time, or an offset, which needs --partition. With --group: only where the group has committed nothing
    #[arg(
        long,
        default_value = "earliest",
        value_name = "earliest|latest|OFFSET|TIMESTAMP"
    )]
    from: From,
    /// Only this partition
    #[arg(long, short, value_name = "NUMBER", conflicts_with = "group")]
    partition: Option<u32>,
    /// As a member of this consumer group
    #[arg(long, short, value_parser = connect::group_name, value_name = "NAME")]
    group: Option<String>,
    /// As this static member of the group: its partitions wait for it while it restarts
    #[arg(long, requires = "group", value_name = "ID")]
    instance_id: Option<String>,
    /// Where this member of the group runs: of partitions that are as good otherwise it gets those that are led in this rack
    #[arg(long, requires = "group", value_name = "NAME")]
    rack: Option<String>,
    /// End after this many records
    #[arg(long, short = 'n', value_name = "COUNT")]
    max: Option<u64>,
    /// Go on and wait for new records
    #[arg(long, short)]
    follow: bool,
    /// Read no faster than this each second, as the records are stored: to read old ones without disturbing others
    #[arg(long, value_parser = rate, value_name = "SIZE")]
    rate: Option<u64>,
    /// How to print records
    #[arg(long, short, value_enum, default_value = "text")]
    output: RecordOutput,
    /// Wait this long until a broker answers and the topic is there
    #[arg(long, default_value = "0s", value_parser = parse_duration, value_name = "DURATION")]
    wait: Duration,
    #[command(flatten)]
    server: ServerArgs,
}

impl ConsumeArgs {
    fn consumer(&self) -> ConsumerConfig {
        ConsumerConfig {
            bytes_per_s_max: self.rate,
            ..ConsumerConfig::default()
        }
    }

    /// What is read, for people.
    fn what(&self) -> String {
        match (&self.topic, &self.group) {
            (Some(topic), _) => topic.clone(),
            (None, group) => format!(
                "the topics of group {}",
                group.as_deref().unwrap_or_default()
            ),
        }
    }
}

fn rate(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(0) => Err(
            "at a rate of 0 nothing is read; leave --rate out to read as fast as possible"
                .to_owned(),
        ),
        Ok(rate) => Ok(rate),
        Err(error) => Err(error.to_string()),
    }
}

/// Prints them, then says on standard error how many there were.
pub(crate) async fn run(args: ConsumeArgs) -> Outcome {
    let client = connect::client_of_topic(&args.server, args.topic.as_deref(), args.wait).await?;
    let until = if args.follow {
        Until::Stopped
    } else {
        Until::End
    };
    let mut source = open(&client, &args, until).await?;
    let mut out = BufWriter::with_capacity(256 << 10, std::io::stdout());
    let printed = print_all(&args, &mut source, &mut out).await;
    let flushed = out.flush();
    // What was printed is committed also if the next record could not be.
    if let Source::Member(member) = source
        && flushed.is_ok()
    {
        member.close().await?;
    }
    let printed = printed?;
    flushed?;
    eprintln!("{} records read from {}", human_count(printed), args.what());
    Ok(())
}

/// Where batches come from.
enum Source {
    Reader(Box<Reader>),
    Member(Box<Member>),
}

impl Source {
    async fn next(&mut self) -> Outcome<Option<ConsumedBatch>> {
        match self {
            Self::Reader(reader) => reader.next().await,
            Self::Member(member) => member.next().await,
        }
    }

    fn printed(&mut self, record: &ConsumedRecord) {
        if let Self::Member(member) = self {
            member.printed(record);
        }
    }
}

async fn open(client: &Client, args: &ConsumeArgs, until: Until) -> Outcome<Source> {
    let Some(group) = &args.group else {
        let topic = args.topic.as_deref().unwrap_or_default();
        let starts = connect::starts(client, topic, args.partition, args.from).await?;
        let reader = Reader::open(client, topic, starts, until, args.consumer()).await?;
        return Ok(Source::Reader(Box::new(reader)));
    };
    let who = As {
        group: group.clone(),
        topic: args.topic.clone(),
        instance_id: args.instance_id.clone(),
        rack: args.rack.clone(),
        from: args.from,
        consumer: args.consumer(),
    };
    let member = Member::join(client, who, until).await?;
    Ok(Source::Member(Box::new(member)))
}

/// Until the end, --max or a signal; says how many there were.
async fn print_all(args: &ConsumeArgs, source: &mut Source, out: &mut impl Write) -> Outcome<u64> {
    let mut left = args.max.unwrap_or(u64::MAX);
    let mut printed = 0_u64;
    // A member commits and leaves when it is stopped; nobody else has something to do then.
    let mut signals = match source {
        Source::Reader(_) => None,
        Source::Member(_) => Some(signals::interrupted()?),
    };
    while left > 0 {
        let next = match &mut signals {
            None => source.next().await?,
            Some(signals) => tokio::select! {
                next = source.next() => next?,
                () = signals.next() => None,
            },
        };
        let Some(batch) = next else { break };
        for record in batch.records().map_err(|error| client_failure(&error))? {
            let record = record.map_err(|error| client_failure(&error))?;
            if left == 0 {
                break;
            }
            let printed_record = Printed {
                shows_topic: args.topic.is_none(),
                ..Printed::from(&record)
            };
            printed_record.write(args.output, out)?;
            source.printed(&record);
            printed += 1;
            left -= 1;
        }
        // Whoever waits for the next record wants to see this one.
        if args.follow {
            out.flush()?;
        }
    }
    Ok(printed)
}
