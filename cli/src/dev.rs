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
    embedded::{self, BROKERS_MAX, DEFAULT_DATA_DIR, Embedded, Listen, Options},
    failure::Outcome,
    logging::Logging,
    manifest::{self, Manifests, NamedTopic},
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
    #[arg(long, default_value = DEFAULT_DATA_DIR, value_name = "DIR")]
    data_dir: PathBuf,
}

/// Runs until a signal comes, or the cluster fails.
pub(crate) async fn run(args: DevArgs, log: Logging) -> Outcome {
    let manifests = manifest::read(&args.filename)?;
    tell_what_is_skipped(&manifests);
    tell_what_flags_decide(&manifests);
    let options = Options {
        data_dir: args.data_dir.clone(),
        listen: args.listen,
        cluster: manifests.cluster,
        brokers: args.brokers,
        restart: !args.no_restart,
        broker_config: args.broker_config,
        log,
    };
    let serve = async |embedded: &mut Embedded| -> Outcome {
        make_ready(embedded, &manifests.topics).await?;
        announce(embedded, &args.data_dir)?;
        Err(embedded.failed().await)
    };
    embedded::run(options, serve).await.map(|_| ())
}

/// Says what of a BrokerCluster is not taken over, though here is something of the kind.
fn tell_what_flags_decide(manifests: &Manifests) {
    let Some(cluster) = &manifests.cluster else {
        return;
    };
    for (field, flag) in &cluster.left_out {
        eprintln!(
            "brokercluster/{}: {field} is left out: use {flag}",
            cluster.name
        );
    }
}

async fn make_ready(embedded: &Embedded, topics: &[NamedTopic]) -> Outcome {
    let admin = connect::admin_at(&embedded.addresses()).await?;
    let deadline = Instant::now() + TOPICS_DEADLINE;
    apply_all(&admin, topics, deadline).await?;
    for topic in topics {
        wait_until_ready(&admin, &topic.name, deadline).await?;
    }
    Ok(())
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
