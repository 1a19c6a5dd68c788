//! `taffrail describe`: all about one topic.

use std::io::Write;

use clap::Args;

use crate::{
    cli::ServerArgs,
    connect::{self, topic_names},
    failure::{Failure, Outcome},
    table::{Table, human_bytes},
    time::now_ms,
    view::{Listing as _, Partitions, TopicView},
};

/// Show all about one topic
#[derive(Args, Debug)]
pub(crate) struct DescribeArgs {
    /// Which topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints what there is to know.
pub(crate) async fn run(args: DescribeArgs) -> Outcome {
    let admin = connect::admin(&args.server).await?;
    let names = topic_names(&args.topics);
    for (index, topic) in admin.topics(&names).await?.iter().enumerate() {
        let partitions = Partitions(
            admin
                .partitions(std::slice::from_ref(&topic.metadata.name))
                .await?,
        );
        let mut out = std::io::stdout().lock();
        if index > 0 {
            writeln!(out)?;
        }
        describe(topic, &mut out)?;
        writeln!(out, "\nPartitions:")?;
        partitions.table(true, now_ms()).print(&mut out, "none")?;
    }
    Ok(())
}

/// `Delete`, or how it compacts.
fn cleanup(topic: &TopicView) -> String {
    let spares = topic.status.effective.compaction.as_ref();
    let cleanup = topic.cleanup();
    let Some((min_lag, tombstones)) = spares.and_then(|c| c.min_lag.zip(c.tombstone_retention))
    else {
        return format!("{cleanup:?}");
    };
    format!(
        "{cleanup:?} (spares records younger than {min_lag}, and for {tombstones} those that delete a key)"
    )
}

fn describe(topic: &TopicView, out: &mut dyn Write) -> Outcome {
    let (status, effective) = (&topic.status, &topic.status.effective);
    let segment = &effective.segment;
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let batches = effective.limits.max_batch_bytes;
    let online = &status.partitions;
    for (label, value) in [
        ("Name", topic.metadata.name.clone()),
        ("Topic ID", status.topic_id.clone()),
        (
            "Partitions",
            format!("{} ({} online)", online.wanted, online.online),
        ),
        (
            "Replicas",
            format!(
                "{} (minInSync {})",
                effective.replicas, effective.min_in_sync
            ),
        ),
        ("Durability", format!("{:?}", effective.durability)),
        ("Retention", topic.retention()),
        ("Cleanup", cleanup(topic)),
        (
            "Segments",
            format!(
                "up to {} or {}",
                text(segment.bytes.map(|b| b.to_string())),
                text(segment.max_age.map(|a| a.to_string()))
            ),
        ),
        (
            "Batches",
            format!("up to {}", text(batches.map(|b| b.to_string()))),
        ),
        ("Size", human_bytes(status.storage.bytes.0)),
        ("Oldest", text(status.storage.oldest.clone())),
        (
            "Deletion policy",
            format!(
                "{:?}",
                topic
                    .spec
                    .deletion_policy
                    .unwrap_or(taffrail_crds::topic::DeletionPolicy::Retain)
            ),
        ),
    ] {
        writeln!(out, "{:<17}{value}", format!("{label}:"))?;
    }
    let mut conditions = Table::new(&["TYPE", "STATUS", "REASON", "MESSAGE"]);
    for condition in &status.conditions {
        conditions.row(vec![
            condition.kind.clone(),
            condition.status.clone(),
            condition.reason.clone(),
            condition.message.clone(),
        ]);
    }
    writeln!(out, "\nConditions:")?;
    conditions.print(out, "none").map_err(Failure::from)
}
