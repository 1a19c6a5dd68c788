//! `taffrail bench`: what this cluster does, measured from a client.
//!
//! MB are 10^6 bytes of payload. Latency is counted from the moment a record was *due*, so that a stall is paid for by every record it delays.

mod commit;
mod consume;
mod cpu;
mod latency;
mod pace;
mod payload;
mod produce;
mod rebalance;
mod report;
mod source;

use std::time::Duration;

use clap::{Args, Subcommand};
use taffrail_core::quantity::{parse_duration, parse_size};

use crate::{
    cli::ServerArgs,
    connect,
    failure::{Failure, Outcome},
    produce::AcksArg,
    time::now_ms,
};

/// Measure throughput and latency
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    #[command(flatten)]
    Data(Data),
    /// How many offsets a group's coordinator stores: each member commits one record after the other, and waits for the answer
    Commit(CommitBench),
    /// How long a group takes to share its partitions anew when one member joins, and when it leaves
    Rebalance(MembersBench),
}

#[derive(Subcommand, Debug)]
enum Data {
    /// How fast records go in; latency is from the moment a record is due to its acknowledgement
    Produce(ProduceBench),
    /// How fast records come out, from the earliest on
    Consume(ConsumeBench),
    /// How long a record takes from the moment it is due to the consumer, both in this process
    Latency(LatencyBench),
}

/// A group that is made for this, and deleted afterwards.
#[derive(Args, Debug)]
struct MembersBench {
    /// Which topic they read; it must exist
    #[arg(value_parser = connect::topic_name)]
    topic: String,
    /// How many members, all in this process
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=900))]
    members: u32,
    #[command(flatten)]
    output: BenchOutput,
}

/// What to commit.
#[derive(Args, Debug)]
struct CommitBench {
    /// How many commits of all members together; their partitions must have as many records
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    commits: u64,
    /// How many groups, each with as many members
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    groups: u32,
    /// Stay in the groups for so long afterwards and do nothing: to see what that costs
    #[arg(long, default_value = "0s", hide_default_value = true, value_parser = parse_duration, value_name = "DURATION")]
    idle: Duration,
    #[command(flatten)]
    members: MembersBench,
}

/// What to send.
#[derive(Args, Debug)]
struct ProduceBench {
    /// Into which topic; it must exist
    #[arg(value_parser = connect::topic_name)]
    topic: String,
    /// How many records
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Bytes of each record's value
    #[arg(long, value_parser = clap::value_parser!(u32).range(8..))]
    size: u32,
    /// Give each record one of so many keys, drawn at random. Without it records have none
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    keys: Option<u64>,
    /// Records a second. Without it, or with 0: as fast as it goes; for latency: the next one when the last was consumed
    #[arg(long, default_value_t = 0.0, hide_default_value = true, value_name = "PER_SECOND", value_parser = rate)]
    rate: f64,
    /// When a record counts as stored
    #[arg(long, value_enum, default_value = "all")]
    acks: AcksArg,
    /// A batch is sent when it is this large
    #[arg(long, value_parser = parse_size, value_name = "SIZE")]
    batch_bytes: Option<u64>,
    /// A batch is sent when it is this old
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    linger: Option<Duration>,
    #[command(flatten)]
    output: BenchOutput,
}

/// What to read.
#[derive(Args, Debug)]
struct ConsumeBench {
    /// From which topic
    #[arg(value_parser = connect::topic_name)]
    topic: String,
    /// How many records
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Bytes that each record's value is expected to have
    #[arg(long)]
    size: u32,
    /// As the only member of this group, which commits every 5 s, instead of by itself
    #[arg(long, short, value_parser = connect::group_name, value_name = "NAME")]
    group: Option<String>,
    #[command(flatten)]
    output: BenchOutput,
}

/// What to send, and as whom to wait for it.
#[derive(Args, Debug)]
struct LatencyBench {
    /// Consume as the only member of this group, which must be a new one and stays with its offsets
    #[arg(long, short, value_parser = connect::group_name, value_name = "NAME")]
    group: Option<String>,
    #[command(flatten)]
    sent: ProduceBench,
}

#[derive(Args, Debug)]
struct BenchOutput {
    /// Print one JSON object: mb_per_s, records_per_s, latency_ms (p50, p95, p99, p999, max), longest_gap_ms, client_cpu_s_per_gb
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Measures, then reports.
///
/// On a worker of the runtime, as in a service: the main thread is none, and each answer would have to wake it.
pub(crate) async fn run(args: BenchArgs) -> Outcome {
    match args.what {
        What::Data(what) => {
            let measured = tokio::spawn(measure(what)).await;
            measured.map_err(|error| connect::join_failure(&error))?
        }
        // Their members have tasks of their own.
        What::Commit(args) => {
            let client = connect::client(&args.members.output.server).await?;
            commit::run(&client, &args).await
        }
        What::Rebalance(args) => {
            let client = connect::client(&args.output.server).await?;
            rebalance::run(&client, &args).await
        }
    }
}

async fn measure(what: Data) -> Outcome {
    match what {
        Data::Produce(args) => {
            let client = connect::client(&args.output.server).await?;
            connect::require_topic(&client, &args.topic).await?;
            produce::run(&client, &args).await?.print(args.output.json)
        }
        Data::Consume(args) => {
            let client = connect::client(&args.output.server).await?;
            consume::run(&client, &args).await?.print(args.output.json)
        }
        Data::Latency(args) => {
            let client = connect::client(&args.sent.output.server).await?;
            connect::require_topic(&client, &args.sent.topic).await?;
            let report = latency::run(&client, &args).await?;
            report.print(args.sent.output.json)
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("write a number of records a second, such as 1000".to_owned()),
    }
}

/// The name of a group that nobody else uses.
fn own_group() -> String {
    format!("bench-{}-{}", std::process::id(), now_ms())
}

impl ProduceBench {
    /// The producer's settings.
    fn config(&self) -> Outcome<taffrail_client::ProducerConfig> {
        let mut config = taffrail_client::ProducerConfig {
            acks: self.acks.into(),
            ..Default::default()
        };
        if let Some(bytes) = self.batch_bytes {
            config.batch_bytes = usize::try_from(bytes).map_err(|_| {
                Failure::usage("--batch-bytes is larger than this machine's memory")
            })?;
        }
        if let Some(linger) = self.linger {
            config.linger = linger;
        }
        Ok(config)
    }
}
