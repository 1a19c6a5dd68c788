//! `taffrail groups reset`: where a group goes on.

use std::{io::Write as _, str::FromStr, time::Duration};

use clap::Args;
use serde::Serialize;
use taffrail_api::v1;
use taffrail_client::{Client, ClientError, GroupOffset, Metadata, Offset, PartitionIndex, Start};
use taffrail_core::{ErrorCode, quantity::parse_duration};

use super::{
    Of, Show, print,
    progress::{ByPartition, by_partition},
};
use crate::{
    connect::{self, client_failure},
    failure::{Failure, Outcome},
    table::{Table, human_count},
    time::{From, now_ms},
    view::Listing,
};

/// Set where a group goes on, also while it is being read
///
/// Members go on from there at once, and commits that are under way do not undo it. Prints where each partition was and will be.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  taffrail groups reset billing --to earliest --dry-run
  taffrail groups reset billing --to -1h --topic flights
  taffrail groups reset billing --to 1200 --topic flights --partition 0")]
pub(super) struct ResetArgs {
    #[command(flatten)]
    of: Of,
    /// Where to: earliest, latest, an offset of one partition, a record time, or a record time so long ago
    #[arg(
        long,
        allow_hyphen_values = true,
        value_name = "earliest|latest|OFFSET|TIMESTAMP|-DURATION"
    )]
    to: To,
    /// Only this topic, also if the group has not read it yet [default: all that it has read]
    #[arg(long, value_parser = connect::topic_name)]
    topic: Option<String>,
    /// Only this partition of the topic
    #[arg(long, short, requires = "topic", value_name = "NUMBER")]
    partition: Option<u32>,
    /// Print what would be set and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    show: Show,
}

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    At(From),
    /// Record time this long ago.
    Ago(Duration),
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(ago) = text.strip_prefix('-') {
            let ago =
                parse_duration(ago).map_err(|error| format!("{error}; -1h is an hour ago"))?;
            return Ok(Self::Ago(ago));
        }
        let at = text.parse::<From>();
        at.map(Self::At)
            .map_err(|error| format!("{error}, or -1h for an hour ago"))
    }
}

impl To {
    /// As it is at this time.
    fn at(self, now_ms: i64) -> From {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => From::Timestamp(now_ms.saturating_sub(ago.as_millis() as i64)),
        }
    }
}

pub(super) async fn run(args: ResetArgs) -> Outcome {
    let client = connect::client(&args.show.server).await?;
    let metadata = client.metadata(&[]).await;
    let metadata = metadata.map_err(|error| client_failure(&error))?;
    let described = described(&client, &args).await?;
    let chosen = chosen(&args, &metadata, &by_partition(&metadata, &described))?;
    let to = args.to.at(now_ms());
    let rows = rows(&client, chosen, to).await?;
    if !args.dry_run {
        set(&client, &args.of.group, &metadata, &rows).await?;
    }
    let resets = Resets(rows);
    print(&resets, args.show.output)?;
    eprintln!("{}", resets.summary(args.dry_run));
    std::io::stdout().flush()?;
    Ok(())
}

/// Sets where the group goes on, in all partitions that it has read.
///
/// # Errors
/// There is no such group, or its coordinator or a leader does not answer.
pub(crate) async fn reset_all(client: &Client, group: &str, to: From) -> Outcome {
    let metadata = client.metadata(&[]).await;
    let metadata = metadata.map_err(|error| client_failure(&error))?;
    let described = client.admin().describe_group(group).await;
    let described = described.map_err(|error| client_failure(&error))?;
    let known = by_partition(&metadata, &described);
    let rows = rows(client, all(&known), to).await?;
    set(client, group, &metadata, &rows).await
}

async fn set(client: &Client, group: &str, metadata: &Metadata, rows: &[ResetView]) -> Outcome {
    if rows.is_empty() {
        return Ok(());
    }
    let offsets: Vec<_> = rows.iter().filter_map(|row| row.offset(metadata)).collect();
    let reset = client.admin().reset_group(group, &offsets).await;
    reset.map_err(|error| client_failure(&error))
}

/// A group that nobody knows yet may be told where to begin, if it is said with which topic.
async fn described(client: &Client, args: &ResetArgs) -> Outcome<v1::DescribeGroupResponse> {
    match client.admin().describe_group(&args.of.group).await {
        Ok(described) => Ok(described),
        Err(ClientError::Refused(error))
            if error.code == ErrorCode::UnknownGroup && args.topic.is_some() =>
        {
            Ok(v1::DescribeGroupResponse::default())
        }
        Err(error) => Err(client_failure(&error)),
    }
}

/// A partition that is to be reset.
struct Chosen {
    topic: String,
    partition: u32,
    from: Option<u64>,
}

/// All that the group has read.
fn all(known: &ByPartition) -> Vec<Chosen> {
    let all = known.iter().map(|((topic, partition), known)| Chosen {
        topic: topic.clone(),
        partition: *partition,
        from: known.committed,
    });
    all.collect()
}

fn chosen(args: &ResetArgs, metadata: &Metadata, known: &ByPartition) -> Outcome<Vec<Chosen>> {
    let from = |topic: &str, partition| known.get(&(topic.to_owned(), partition))?.committed;
    let Some(name) = &args.topic else {
        return Ok(all(known));
    };
    let topic = metadata.topic(name).ok_or_else(|| {
        client_failure(&ClientError::UnknownTopic {
            topic: name.clone(),
        })
    })?;
    let count = topic.partitions.len() as u32;
    if let Some(partition) = args.partition.filter(|partition| *partition >= count) {
        return Err(client_failure(&ClientError::UnknownPartition {
            topic: name.clone(),
            partition: PartitionIndex(partition),
            partitions: count,
        }));
    }
    let partitions = (0..count).filter(|p| args.partition.is_none_or(|only| only == *p));
    let chosen = partitions.map(|partition| Chosen {
        topic: name.clone(),
        partition,
        from: from(name, partition),
    });
    Ok(chosen.collect())
}

async fn rows(client: &Client, chosen: Vec<Chosen>, to: From) -> Outcome<Vec<ResetView>> {
    if matches!(to, From::Offset(_)) && chosen.len() > 1 {
        return Err(Failure::usage(
            "--to OFFSET needs --topic and --partition: each partition counts its own offsets",
        ));
    }
    let first = offsets(client, &chosen, Start::Earliest).await?;
    let end = offsets(client, &chosen, Start::Latest).await?;
    let wanted = match to {
        From::Earliest => first.clone(),
        From::Latest => end.clone(),
        From::Offset(offset) => vec![offset; chosen.len()],
        From::Timestamp(ms) => offsets(client, &chosen, Start::Timestamp(ms)).await?,
    };
    let mut rows = Vec::with_capacity(chosen.len());
    for (index, chosen) in chosen.into_iter().enumerate() {
        let (first, end, to) = (first[index], end[index], wanted[index]);
        if !(first..=end).contains(&to) {
            return Err(connect::out_of_range(
                &chosen.topic,
                chosen.partition,
                to,
                first..=end,
            ));
        }
        rows.push(ResetView::new(chosen, first, to));
    }
    Ok(rows)
}

async fn offsets(client: &Client, chosen: &[Chosen], start: Start) -> Outcome<Vec<u64>> {
    let queries: Vec<_> = chosen
        .iter()
        .map(|c| (c.topic.clone(), PartitionIndex(c.partition), start))
        .collect();
    let found = client.offsets(&queries).await;
    let found = found.map_err(|error| client_failure(&error))?;
    Ok(found.into_iter().map(|offset| offset.0).collect())
}

struct Resets(Vec<ResetView>);

/// What a reset does to one partition. Field names are API.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct ResetView {
    topic: String,
    partition: u32,
    /// `null`: nothing was committed.
    from: Option<u64>,
    to: u64,
    /// Records that are read a second time.
    read_again: u64,
    /// Records that are not read at all.
    skipped: u64,
}

impl ResetView {
    fn new(chosen: Chosen, first: u64, to: u64) -> Self {
        // What is gone cannot be read again, nor was it skipped by this.
        let from = chosen.from.map_or(first, |from| from.max(first));
        Self {
            topic: chosen.topic,
            partition: chosen.partition,
            from: chosen.from,
            to,
            read_again: from.saturating_sub(to),
            skipped: to.saturating_sub(from),
        }
    }

    fn offset(&self, metadata: &Metadata) -> Option<GroupOffset> {
        Some(GroupOffset {
            topic: metadata.topic(&self.topic)?.id,
            partition: PartitionIndex(self.partition),
            offset: Offset(self.to),
        })
    }

    fn effect(&self) -> String {
        match (self.read_again, self.skipped) {
            (0, 0) => "-".to_owned(),
            (again, 0) => format!("{} read again", human_count(again)),
            (_, skipped) => format!("{} skipped", human_count(skipped)),
        }
    }
}

impl Resets {
    fn summary(&self, dry_run: bool) -> String {
        let again = self.0.iter().map(|row| row.read_again).sum();
        let skipped = self.0.iter().map(|row| row.skipped).sum();
        let (again, skipped) = (human_count(again), human_count(skipped));
        if dry_run {
            return format!(
                "{again} records would be read again, {skipped} skipped; nothing was changed"
            );
        }
        format!("{again} records will be read again, {skipped} skipped")
    }
}

impl Listing for Resets {
    type Item = ResetView;
    const NOTHING: &'static str = "the group has read nothing yet; name a --topic";

    fn items(&self) -> &[ResetView] {
        &self.0
    }

    fn table(&self, _wide: bool, _now_ms: i64) -> Table {
        let mut table = Table::new(&["TOPIC", "PARTITION", "FROM", "TO", "EFFECT"]);
        for row in &self.0 {
            let from = row
                .from
                .map_or_else(|| "-".to_owned(), |from| from.to_string());
            table.row(vec![
                row.topic.clone(),
                row.partition.to_string(),
                from,
                row.to.to_string(),
                row.effect(),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_is_read_as_it_is_written() {
        for (text, to) in [
            ("earliest", To::At(From::Earliest)),
            ("1200", To::At(From::Offset(1_200))),
            ("-1h30m", To::Ago(Duration::from_mins(90))),
        ] {
            assert_eq!(text.parse(), Ok(to), "{text}");
        }
        for text in ["-1200", "-", "tomorrow"] {
            assert!(text.parse::<To>().is_err(), "{text}");
        }
        let ago = To::Ago(Duration::from_secs(5));
        assert_eq!(ago.at(7_000), From::Timestamp(2_000));
    }

    #[test]
    fn a_reset_says_what_is_read_again_and_what_is_skipped() {
        let row = |from, first, to| {
            let chosen = Chosen {
                topic: "flights".to_owned(),
                partition: 0,
                from,
            };
            let row = ResetView::new(chosen, first, to);
            (row.read_again, row.skipped)
        };
        assert_eq!(row(Some(1_500), 0, 300), (1_200, 0));
        assert_eq!(row(Some(300), 0, 1_500), (0, 1_200));
        assert_eq!(row(Some(300), 0, 300), (0, 0));
        assert_eq!(row(None, 100, 500), (0, 400), "nothing was read before");
        assert_eq!(
            row(Some(40), 100, 100),
            (0, 0),
            "what is gone was not skipped by this"
        );
    }
}
