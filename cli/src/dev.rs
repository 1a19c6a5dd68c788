//! `taffrail dev`: an embedded cluster that runs until it is told to stop.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, value_parser};
use tokio::time::Instant;

use crate::{
    apply::{apply_all, tell_what_is_skipped, wait_until_ready},
    connect,
    embedded::{BROKERS_MAX, Embedded, Listen, Options},
    failure::Outcome,
    logging::Logging,
    manifest, signals,
};

/// How long topics may take to become Ready.
pub(crate) const TOPICS_DEADLINE: Duration = Duration::from_mins(1);

/// Run an embedded cluster for development
///
/// The controller that the operator runs on Kubernetes, over files, and one broker, in one process; or several brokers, each in a process of its own, so that one can be killed to see what happens. Prints "listening on HOST:PORT" once clients can connect. Ctrl-C stops it; the data stays.
#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// Manifests to apply at the start: a file, a directory, or - for standard input; a BrokerCluster gives the defaults of topics
    #[arg(long, short, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// How many brokers; several have a process each, with ports 10 above those of the one before and a log DATA-DIR/broker-N.log; one that ends is started again after 5 s [default: what the BrokerCluster says, or 1]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=i64::from(BROKERS_MAX)))]
    brokers: Option<u16>,
    /// Leave a broker process that ended as it is
    #[arg(long)]
    no_restart: bool,
    /// Settings of each broker: a TOML file as for taffrail-broker; what dev decides itself, such as addresses, wins over it
    #[arg(long, value_name = "FILE")]
    broker_config: Option<PathBuf>,
    #[command(flatten)]
    listen: Listen,
    /// Where the data is kept
    #[arg(long, default_value = "taffrail-data", value_name = "DIR")]
    data_dir: PathBuf,
}

/// Runs until a signal comes, or the cluster fails.
pub(crate) async fn run(args: DevArgs, log: Logging) -> Outcome {
    let manifests = manifest::read(&args.filename)?;
    tell_what_is_skipped(&manifests);
    let stop = signals::interrupted()?;
    let mut embedded = Embedded::start(Options {
        data_dir: args.data_dir.clone(),
        listen: args.listen,
        cluster: manifests.cluster.clone(),
        brokers: args.brokers,
        restart: !args.no_restart,
        broker_config: args.broker_config,
        log,
    })
    .await?;
    let admin = connect::admin_at(&embedded.addresses()).await?;
    let started: Outcome = async {
        let deadline = Instant::now() + TOPICS_DEADLINE;
        apply_all(&admin, &manifests.topics, deadline).await?;
        for topic in &manifests.topics {
            wait_until_ready(&admin, &topic.name, deadline).await?;
        }
        announce(&embedded, &args.data_dir)
    }
    .await;
    let ended = match started {
        Ok(()) => embedded.run_until(stop).await,
        Err(failure) => Err(failure),
    };
    embedded.stop().await.and(ended)
}

fn announce(embedded: &Embedded, data_dir: &Path) -> Outcome {
    tracing::info!(
        client = %embedded.address(),
        metrics = %embedded.metrics(),
        data = %data_dir.display(),
        "the cluster is ready"
    );
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", embedded.address())?;
    let all = embedded.addresses();
    if all.len() > 1 {
        writeln!(
            out,
            "to ask whichever broker is there: export TAFFRAIL_SERVER={}",
            all.join(",")
        )?;
    }
    out.flush()?;
    Ok(())
}
