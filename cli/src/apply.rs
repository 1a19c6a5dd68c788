//! `taffrail apply`: makes the topics of a cluster what manifests say.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use taffrail_core::{ErrorCode, quantity::parse_duration};
use tokio::time::Instant;

use crate::{
    cli::ServerArgs,
    connect::{self, Admin},
    failure::{Failure, Outcome},
    manifest::{self, Manifests, NamedTopic},
};

/// How often a topic that is not Ready yet is looked at again.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Create or change the topics of a manifest, the same YAML as on Kubernetes
///
/// A cluster that the operator runs answers MANAGED_BY_KUBERNETES: there, use kubectl apply.
#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// Manifests: a file, a directory, or - for standard input
    #[arg(long, short, required = true, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Wait until the topics are Ready
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "60s", value_parser = parse_duration, value_name = "DURATION")]
    timeout: Duration,
    /// Say what would happen and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Applies every topic, then waits for all of them.
pub(crate) async fn run(args: ApplyArgs) -> Outcome {
    let manifests = manifest::read(&args.filename)?;
    tell_what_is_left_out(&manifests);
    if manifests.topics.is_empty() {
        return Err(Failure::of(
            ErrorCode::InvalidSpec,
            "the manifests hold no Topic",
        ));
    }
    let admin = connect::admin(&args.server).await?;
    let deadline = Instant::now() + args.timeout;
    for topic in &manifests.topics {
        let applied = apply(&admin, topic, args.dry_run, deadline).await;
        let outcome = applied.map_err(|failure| in_kubernetes(failure, &args.filename))?;
        let suffix = if args.dry_run { " (dry run)" } else { "" };
        writeln!(io::stdout(), "topic/{} {outcome}{suffix}", topic.name)?;
    }
    if args.wait && !args.dry_run {
        for topic in &manifests.topics {
            wait_until_ready(&admin, &topic.name, deadline).await?;
        }
    }
    Ok(())
}

/// Says on standard error what is not applied, since it is Kubernetes' own.
pub(crate) fn tell_what_is_skipped(manifests: &Manifests) {
    for resource in &manifests.skipped {
        eprintln!("{resource} left out: it is for Kubernetes");
    }
}

fn tell_what_is_left_out(manifests: &Manifests) {
    tell_what_is_skipped(manifests);
    if let Some(cluster) = &manifests.cluster {
        eprintln!(
            "brokercluster/{} left out: a running cluster keeps its settings; start one with: taffrail dev -f FILE",
            cluster.name
        );
    }
}

/// Applies topics without a word.
pub(crate) async fn apply_all(admin: &Admin, topics: &[NamedTopic], deadline: Instant) -> Outcome {
    for topic in topics {
        apply(admin, topic, false, deadline).await?;
    }
    Ok(())
}

/// A cluster that has just started may not have its controller yet: that is waited for.
async fn apply(
    admin: &Admin,
    topic: &NamedTopic,
    dry_run: bool,
    deadline: Instant,
) -> Outcome<&'static str> {
    loop {
        match admin.apply_topic(&topic.name, &topic.spec, dry_run).await {
            Err(failure)
                if failure.code() == ErrorCode::ControllerUnavailable.name()
                    && Instant::now() < deadline =>
            {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            outcome => return outcome,
        }
    }
}

fn in_kubernetes(failure: Failure, files: &[PathBuf]) -> Failure {
    if failure.code() == ErrorCode::ManagedByKubernetes.name() {
        failure.hint(format!("kubectl apply{}", connect::file_flags(files)))
    } else {
        failure
    }
}

/// Returns once the topic's condition Ready is true.
///
/// # Errors
/// It did not become so before the deadline; the failure says what it is waiting for.
pub(crate) async fn wait_until_ready(admin: &Admin, name: &str, deadline: Instant) -> Outcome {
    loop {
        let topics = admin.topics(&[name.to_owned()]).await?;
        let ready = topics.first().and_then(|topic| topic.condition("Ready"));
        if ready.is_some_and(|condition| condition.status == "True") {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let why = ready.map_or_else(
                || "nothing is known of it".to_owned(),
                |condition| format!("{}: {}", condition.reason, condition.message),
            );
            return Err(Failure::of(
                ErrorCode::TimedOut,
                format!("topic {name:?} is applied and not Ready: {why}"),
            )
            .hint(format!("look again with: taffrail describe {name}")));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
