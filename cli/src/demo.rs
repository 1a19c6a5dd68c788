//! `taffrail demo`: the main job in one command.

mod groups;
mod story;

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use clap::Args;
use taffrail_client::ConsumerConfig;

use crate::{
    apply::{apply_all, wait_until_ready},
    connect::{self, client_failure},
    consume::{Reader, Until},
    dev::TOPICS_DEADLINE,
    embedded::{self, DEFAULT_DATA_DIR, Embedded, Listen, Options, Stopped},
    failure::{Exit, Failure, Outcome},
    input::{self, Fields, Format, Source},
    logging::Logging,
    manifest,
    produce::{AcksArg, send_all},
};

const TOPIC: &str = "flights";
const FLIGHTS: u64 = 27_004;
const CLUSTER_YAML: &str = include_str!("../../examples/brokercluster.yaml");
const TOPIC_YAML: &str = include_str!("../../examples/topic.yaml");
const FLIGHTS_CSV_GZ: &[u8] = include_bytes!("../../examples/flights-2013-01.csv.gz");

/// See it work: an embedded cluster, real data in and out, and what to type next
///
/// Starts a controller and a broker in this process, applies the manifests of examples/, sends the 27,004 flights that left New York in January 2013, reads them back, has two consumer groups read them, of which one goes back in time, and then serves until Ctrl-C.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Exit when done instead of serving until Ctrl-C
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    listen: Listen,
    /// Where the data is kept
    #[arg(long, default_value = DEFAULT_DATA_DIR, value_name = "DIR")]
    data_dir: PathBuf,
}

/// Tells the story, then serves.
pub(crate) async fn run(args: DemoArgs, log: Logging) -> Outcome {
    let manifests = manifest::parse("examples", &format!("{CLUSTER_YAML}---\n{TOPIC_YAML}"))?;
    let options = Options {
        data_dir: args.data_dir.clone(),
        listen: args.listen,
        cluster: manifests.cluster.clone(),
        brokers: None,
        restart: false,
        broker_config: None,
        log,
    };
    let started = Instant::now();
    let tell = async |embedded: &mut Embedded| -> Outcome {
        story::started(embedded, &args.data_dir, started.elapsed())?;
        show(embedded, &manifests).await?;
        story::what_next(embedded, &args.data_dir, args.once)?;
        if args.once {
            return Ok(());
        }
        Err(embedded.failed().await)
    };
    let stopped = embedded::run(options, tell).await?;
    story::stopped(&args.data_dir)?;
    if args.once && stopped == Stopped::Interrupted {
        return Err(Failure::new(
            Exit::Interrupted,
            "INTERRUPTED",
            "stopped by a signal before it was done",
        ));
    }
    Ok(())
}

async fn show(embedded: &Embedded, manifests: &manifest::Manifests) -> Outcome {
    let admin = connect::admin_at(&embedded.addresses()).await?;
    let deadline = tokio::time::Instant::now() + TOPICS_DEADLINE;
    apply_all(&admin, &manifests.topics, deadline).await?;
    wait_until_ready(&admin, TOPIC, deadline).await?;
    story::applied(&admin.topics(&[TOPIC.to_owned()]).await?)?;

    let client = connect::client_at(&embedded.addresses()).await?;
    let before = connect::ends(&client, TOPIC).await?;
    let sent = send_all(&client, TOPIC, flights()?, AcksArg::All, None).await?;
    story::produced(&sent, before.values().sum())?;

    let read = read_back(&client, &before).await?;
    if read.records != FLIGHTS || read.records != sent.records {
        return Err(Failure::new(
            Exit::Failed,
            "INTERNAL",
            format!(
                "{} flights were acknowledged and {} came back; this is a bug",
                sent.records, read.records
            ),
        ));
    }
    story::consumed(&read)?;
    groups::show(&client).await
}

fn flights() -> Outcome<input::Records> {
    let source = Source::of_bytes("flights-2013-01.csv.gz", FLIGHTS_CSV_GZ, true);
    let fields = Fields {
        key: Some("tailnum".to_owned()),
        timestamp: Some("time_hour".to_owned()),
    };
    input::records(source, Format::Csv, &fields)
}

/// What came back.
struct ReadBack {
    records: u64,
    seconds: f64,
    by_partition: BTreeMap<u32, u64>,
    /// One record, to show what it looks like.
    sample: Option<String>,
}

/// Reads what was added since the ends were `before`.
async fn read_back(
    client: &taffrail_client::Client,
    before: &BTreeMap<u32, u64>,
) -> Outcome<ReadBack> {
    let started = Instant::now();
    let mut reader = Reader::open(
        client,
        TOPIC,
        before.clone(),
        Until::End,
        ConsumerConfig::default(),
    )
    .await?;
    let mut by_partition = BTreeMap::new();
    let mut sample = None;
    while let Some(batch) = reader.next().await? {
        for record in batch.records().map_err(|error| client_failure(&error))? {
            let record = record.map_err(|error| client_failure(&error))?;
            *by_partition.entry(record.partition.0).or_default() += 1;
            if sample.is_none() {
                sample = record
                    .value
                    .as_deref()
                    .map(|value| String::from_utf8_lossy(value).into_owned());
            }
        }
    }
    Ok(ReadBack {
        records: by_partition.values().sum(),
        seconds: started.elapsed().as_secs_f64(),
        by_partition,
        sample,
    })
}
