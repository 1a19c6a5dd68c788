//! How many offsets a coordinator stores in a second. Every member commits one partition at a time, and waits for the answer.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use serde::Serialize;
use taffrail_client::{Client, ConsumedBatch, DeliveryMode, Group, GroupEvent, Offset};
use taffrail_core::ErrorCode;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    CommitBench, own_group,
    report::{Latencies, LatencyMs, print_json, round},
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
    groups: u32,
    /// Of each group.
    members: u32,
    commits: u64,
    seconds: f64,
    commits_per_s: f64,
    /// From the call to the answer that it is stored.
    latency_ms: Option<LatencyMs>,
    /// That any one member was without an answer.
    longest_gap_ms: f64,
}

/// What members are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Join,
    Commit,
    Leave,
}

/// What one member did.
struct Done {
    latencies: Vec<Duration>,
    answered: Vec<Instant>,
}

/// Joins the members, then has each commit one record after the other.
pub(super) async fn run(client: &Client, args: &CommitBench) -> Outcome {
    connect::require_topic(client, &args.members.topic).await?;
    let own = own_group();
    let groups: Vec<String> = (0..args.groups)
        .map(|number| format!("{own}-{number}"))
        .collect();
    let members = u64::from(args.members.members) * u64::from(args.groups);
    let (stage, stages) = watch::channel(Stage::Join);
    let (done, mut all_done) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    for number in 0..members {
        let group = &groups[(number % u64::from(args.groups)) as usize];
        let joining = client.group(group).topic(&args.members.topic);
        let member = joining.delivery(DeliveryMode::Manual).join().await;
        let member = member.map_err(|error| client_failure(&error))?;
        let commits = args.commits / members + u64::from(number < args.commits % members);
        tasks.spawn(take_part(member, commits, stages.clone(), done.clone()));
    }
    drop(done);
    let begun = Instant::now();
    stage.send_replace(Stage::Commit);
    let mut all = Vec::new();
    while let Some(done) = all_done.recv().await {
        all.push(done);
        if all.len() as u64 == members {
            break;
        }
    }
    if all.len() as u64 == members {
        report(args, begun, all)?.print(args.members.output.json)?;
        sleep(args.idle).await;
    }
    stage.send_replace(Stage::Leave);
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| join_failure(&error))??;
    }
    for group in groups {
        let deleted = client.admin().delete_group(&group).await;
        deleted.map_err(|error| client_failure(&error))?;
    }
    Ok(())
}

/// Commits when it is time to, says so, and stays until it is time to leave.
async fn take_part(
    mut member: Group,
    commits: u64,
    mut stages: watch::Receiver<Stage>,
    all_done: mpsc::Sender<Done>,
) -> Outcome {
    // An error means that another member failed, which is said.
    let _ = stages.wait_for(|stage| *stage != Stage::Join).await;
    let done = commit(&mut member, commits).await?;
    let _ = all_done.send(done).await;
    drop(all_done);
    let _ = stages.wait_for(|stage| *stage == Stage::Leave).await;
    member.close().await.map_err(|error| client_failure(&error))
}

async fn commit(member: &mut Group, commits: u64) -> Outcome<Done> {
    let mut done = Done {
        latencies: Vec::new(),
        answered: Vec::new(),
    };
    while (done.latencies.len() as u64) < commits {
        let Ok(next) = timeout(IDLE_MAX, member.next()).await else {
            return Err(Failure::of(
                ErrorCode::TimedOut,
                "a member has read all records of its partitions: each commit takes one",
            )
            .hint("fill the topic with more records, or lower --commits"));
        };
        if let GroupEvent::Batch(batch) = next.map_err(|error| client_failure(&error))? {
            commit_each(member, &batch, commits, &mut done).await?;
        }
    }
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
    let (mut commits, mut last, mut gap) = (0, begun, Duration::ZERO);
    for done in all {
        commits += done.latencies.len() as u64;
        for latency in done.latencies {
            latencies.add(latency);
        }
        let gaps = done.answered.windows(2).map(|pair| pair[1] - pair[0]);
        gap = gap.max(gaps.max().unwrap_or_default());
        last = last.max(done.answered.last().copied().unwrap_or(begun));
    }
    let seconds = (last - begun).as_secs_f64().max(1e-9);
    Ok(Report {
        bench: "commit",
        topic: args.members.topic.clone(),
        groups: args.groups,
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
        if json {
            return print_json(self);
        }
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "commit {}: {} commits by {} groups of {} members in {:.2} s, {:.0} a second",
            self.topic, self.commits, self.groups, self.members, self.seconds, self.commits_per_s
        )?;
        if let Some(latency) = self.latency_ms {
            writeln!(out, "  {latency}")?;
        }
        writeln!(
            out,
            "  longest time that a member was without an answer: {:.1} ms",
            self.longest_gap_ms
        )?;
        Ok(())
    }
}
