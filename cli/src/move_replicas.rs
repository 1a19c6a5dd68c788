//! `taffrail move`: replicas from broker to broker.

use std::{io::Write as _, time::Duration};

use clap::{ArgGroup, Args};
use taffrail_api::v1::{BalanceReplicas, CancelMoves, MoveTo, move_replicas_request::What};
use tokio::time::{Instant, sleep};

use crate::{
    cli::ServerArgs,
    connect::{self, Admin, topic_name, topic_names},
    failure::{Failure, Outcome},
    table::{Table, human_bytes},
    time::now_ms,
    view::{Listing as _, MoveView, Partitions, numbers},
};

/// How often somebody who waits is told how far it is.
const SHOW_INTERVAL: Duration = Duration::from_secs(2);
/// How often the cluster is asked.
const ASK_INTERVAL: Duration = Duration::from_millis(250);

/// Move replicas between brokers: copy, catch up, swap
///
/// Topics stay readable and writable meanwhile. A move that has begun goes on by itself, whatever restarts; taffrail get partitions shows how far it is. Data is deleted from a broker only when all that came are in sync.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true))]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub(crate) struct MoveArgs {
    /// Move this topic --to brokers, or --cancel what moves of these
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,
    /// Only this partition of the topic
    #[arg(long, short, requires = "to", conflicts_with_all = ["off", "balance", "cancel"], value_name = "NUMBER")]
    partition: Option<u32>,
    /// To these brokers, the preferred leader first; as many as the topic has replicas
    #[arg(
        long,
        group = "what",
        requires = "topics",
        value_name = "BROKERS",
        value_delimiter = ','
    )]
    to: Vec<u32>,
    /// Every replica of this broker to the best other one, as before it is taken away
    #[arg(long, group = "what", conflicts_with = "topics", value_name = "BROKER")]
    off: Option<u32>,
    /// Spread replicas and preferred leaders evenly over all brokers, as after one was added
    #[arg(long, group = "what", conflicts_with = "topics")]
    balance: bool,
    /// Take back what moves, of all topics if none is named
    #[arg(long, group = "what")]
    cancel: bool,
    /// Print what would move and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Show how far it is until nothing moves any more
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Begins the moves, and waits for them if that is wanted.
pub(crate) async fn run(args: MoveArgs) -> Outcome {
    let what = what(&args)?;
    let admin = connect::admin(&args.server).await?;
    let moves = admin.move_replicas(what, args.dry_run).await?;
    table(&moves).print(&mut std::io::stdout(), "nothing to move")?;
    if args.wait {
        wait(&admin, &moves).await?;
    }
    Ok(())
}

fn what(args: &MoveArgs) -> Outcome<What> {
    if args.cancel {
        let topics = topic_names(&args.topics);
        return Ok(What::Cancel(CancelMoves { topics }));
    }
    if args.balance {
        return Ok(What::Balance(BalanceReplicas {}));
    }
    if let Some(broker) = args.off {
        return Ok(What::Off(broker));
    }
    let [topic] = &args.topics[..] else {
        return Err(Failure::usage("--to moves one topic at a time"));
    };
    Ok(What::To(MoveTo {
        topic: topic_name(topic).map_err(Failure::usage)?,
        partition: args.partition,
        brokers: args.to.clone(),
    }))
}

fn table(moves: &[MoveView]) -> Table {
    let mut table = Table::new(&["TOPIC", "PARTITION", "FROM", "TO", "COPIES"]);
    for planned in moves {
        table.row(vec![
            planned.topic.clone(),
            planned.partition.to_string(),
            numbers(&planned.from),
            numbers(&planned.to),
            human_bytes(planned.bytes),
        ]);
    }
    table
}

/// Until none of `moves` is under way. Ctrl-C ends the waiting and not the moves.
async fn wait(admin: &Admin, moves: &[MoveView]) -> Outcome {
    let mut topics: Vec<_> = moves.iter().map(|planned| planned.topic.clone()).collect();
    topics.sort_unstable();
    topics.dedup();
    let mut shown: Option<Instant> = None;
    while !topics.is_empty() {
        let mut moving = admin.partitions(&topics).await?;
        moving.retain(|partition| {
            let is_ours = |planned: &MoveView| partition.is_of(&planned.topic, planned.partition);
            partition.is_moving() && moves.iter().any(is_ours)
        });
        if moving.is_empty() {
            break;
        }
        if shown.is_none_or(|shown| shown.elapsed() >= SHOW_INTERVAL) {
            let mut out = std::io::stdout();
            writeln!(out)?;
            Partitions(moving)
                .table(false, now_ms())
                .print(&mut out, "")?;
            shown = Some(Instant::now());
        }
        sleep(ASK_INTERVAL).await;
    }
    writeln!(std::io::stdout(), "done: nothing moves any more")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: MoveArgs,
    }

    fn parsed(line: &str) -> Result<What, String> {
        let words = ["move"].into_iter().chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|e| e.to_string())?;
        what(&line.args).map_err(|failure| failure.to_string())
    }

    #[test]
    fn what_is_typed_is_what_is_asked_for() {
        assert_eq!(
            parsed("topic/flights --partition 2 --to 1,2,4"),
            Ok(What::To(MoveTo {
                topic: "flights".to_owned(),
                partition: Some(2),
                brokers: vec![1, 2, 4],
            }))
        );
        assert_eq!(parsed("--off 3 --dry-run"), Ok(What::Off(3)));
        assert_eq!(parsed("--balance"), Ok(What::Balance(BalanceReplicas {})));
        let topics = vec!["flights".to_owned()];
        assert_eq!(
            parsed("--cancel flights"),
            Ok(What::Cancel(CancelMoves { topics }))
        );
        assert_eq!(parsed("--cancel"), Ok(What::Cancel(CancelMoves::default())));
    }

    #[test]
    fn half_a_wish_is_refused() {
        for line in [
            "",
            "flights",
            "--to 1",
            "flights other --to 1",
            "flights --off 1",
            "--off 1 --balance",
            "--partition 1 --balance",
            "--balance --dry-run --wait",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
