//! How many offsets a coordinator stores in a second. Every member commits one partition at a time, and waits for the answer.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use serde::Serialize;
use taffrail_client::{Client, ConsumedBatch, DeliveryMode, Group, GroupEvent, Offset};
use taffrail_core::ErrorCode;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::{
    CommitBench, own_group,
    report::{Latencies, LatencyMs, round},
};
use crate::{
    connect::{self, client_failure, join_failure},
    failure::{Failure, Outcome},
};

/// A member that gets no record for this long has read everything.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// What was measured. Field names are API.
#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    topic: String,
    members: u32,
    commits: u64,
    seconds: f64,
    commits_per_s: f64,
    /// From the call to the answer that it is stored.
    latency_ms: Option<LatencyMs>,
    /// Between two answers, over all members.
    longest_gap_ms: f64,
}

/// What one member did.
struct Done {
    latencies: Vec<Duration>,
    answered: Vec<Instant>,
}

/// Joins the members, then has each commit one record after the other.
pub(super) async fn run(client: &Client, args: &CommitBench) -> Outcome {
    connect::require_topic(client, &args.members.topic).await?;
    let group = own_group();
    let members = args.members.members;
    let (start, started) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for number in 0..u64::from(members) {
        let joining = client.group(&group).topic(&args.members.topic);
        let member = joining.delivery(DeliveryMode::Manual).join().await;
        let member = member.map_err(|error| client_failure(&error))?;
        let commits = args.commits / u64::from(members)
            + u64::from(number < args.commits % u64::from(members));
        tasks.spawn(commit(member, commits, started.clone()));
    }
    let begun = Instant::now();
    start.send_replace(true);
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.push(done.map_err(|error| join_failure(&error))??);
    }
    report(args, begun, all)?.print(args.members.output.json)?;
    let deleted = client.admin().delete_group(&group).await;
    deleted.map_err(|error| client_failure(&error))
}

async fn commit(
    mut member: Group,
    commits: u64,
    mut started: watch::Receiver<bool>,
) -> Outcome<Done> {
    let mut done = Done {
        latencies: Vec::new(),
        answered: Vec::new(),
    };
    // An error means that another member failed, which is said.
    let _ = started.wait_for(|started| *started).await;
    while (done.latencies.len() as u64) < commits {
        let Ok(next) = timeout(IDLE_MAX, member.next()).await else {
            return Err(Failure::of(
                ErrorCode::TimedOut,
                "a member has read all records of its partitions: each commit takes one",
            )
            .hint("fill the topic with more records, or lower --commits"));
        };
        if let GroupEvent::Batch(batch) = next.map_err(|error| client_failure(&error))? {
            commit_each(&mut member, &batch, commits, &mut done).await?;
        }
    }
    let closed = member.close().await;
    closed.map_err(|error| client_failure(&error))?;
    Ok(done)
}

/// Every record of the batch.
async fn commit_each(
    member: &mut Group,
    batch: &ConsumedBatch,
    commits: u64,
    done: &mut Done,
) -> Outcome {
    for offset in batch.first_offset().0..batch.next_offset().0 {
        if done.latencies.len() as u64 == commits {
            break;
        }
        let begun = Instant::now();
        let next = Offset(offset + 1);
        let commit = member.begin_commit_of(batch.topic(), batch.partition(), next);
        let stored = commit.map_err(|error| client_failure(&error))?.await;
        stored.map_err(|error| client_failure(&error))?;
        done.latencies.push(begun.elapsed());
        done.answered.push(Instant::now());
    }
    Ok(())
}

fn report(args: &CommitBench, begun: Instant, all: Vec<Done>) -> Outcome<Report> {
    let mut latencies = Latencies::new()?;
    let mut answered = vec![begun];
    for done in all {
        for latency in done.latencies {
            latencies.add(latency);
        }
        answered.extend(done.answered);
    }
    answered.sort_unstable();
    let commits = answered.len() as u64 - 1;
    let last = answered.last().copied().unwrap_or(begun);
    let seconds = (last - begun).as_secs_f64().max(1e-9);
    let gaps = answered.windows(2).map(|pair| pair[1] - pair[0]);
    let gap = gaps.max().unwrap_or_default();
    Ok(Report {
        bench: "commit",
        topic: args.members.topic.clone(),
        members: args.members.members,
        commits,
        seconds: round(seconds, 3),
        commits_per_s: round(commits as f64 / seconds, 1),
        latency_ms: latencies.percentiles(),
        longest_gap_ms: round(gap.as_secs_f64() * 1e3, 3),
    })
}

impl Report {
    fn print(&self, json: bool) -> Outcome {
        let mut out = std::io::stdout().lock();
        if json {
            let text = serde_json::to_string(self).map_err(std::io::Error::from)?;
            writeln!(out, "{text}")?;
            return Ok(());
        }
        writeln!(
            out,
            "commit {}: {} commits by {} members in {:.2} s, {:.0} a second",
            self.topic, self.commits, self.members, self.seconds, self.commits_per_s
        )?;
        if let Some(latency) = self.latency_ms {
            writeln!(out, "  {latency}")?;
        }
        writeln!(
            out,
            "  longest time between two answers: {:.1} ms",
            self.longest_gap_ms
        )?;
        Ok(())
    }
}
