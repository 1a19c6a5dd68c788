//! How long a group takes to share its partitions anew when a member joins or leaves, and how many partitions stop for it.

use std::{
    collections::BTreeSet,
    io::Write as _,
    time::{Duration, Instant},
};

use serde::Serialize;
use taffrail_client::{Client, DeliveryMode, Group, GroupEvent, GroupPartition};
use taffrail_core::ErrorCode;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::{
    MembersBench, own_group,
    report::{print_json, round},
};
use crate::{
    connect::{self, client_failure, join_failure},
    failure::{Failure, Outcome},
};

/// No assignment takes this long.
const DEADLINE: Duration = Duration::from_mins(2);
/// Changes that wait to be counted: a few for each member.
const CHANGES_MAX: usize = 4_096;

/// What was measured. Field names are API.
#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    topic: String,
    members: u32,
    partitions: usize,
    join: Rebalance,
    leave: Rebalance,
}

/// From the call until every partition has its owner and is read by it.
#[derive(Debug, Serialize)]
struct Rebalance {
    ms: f64,
    /// Partitions that one member gave up for another. Of a member that leaves: that it had.
    moved: usize,
}

/// A member in its task.
struct Member {
    held: BTreeSet<GroupPartition>,
    leave: oneshot::Sender<()>,
}

/// A change of what a member has.
struct Change {
    member: usize,
    got: bool,
    partitions: Vec<GroupPartition>,
}

struct Members<'a> {
    client: &'a Client,
    group: String,
    topic: &'a str,
    partitions: usize,
    tasks: JoinSet<Outcome>,
    changes: mpsc::Receiver<Change>,
    sender: mpsc::Sender<Change>,
    all: Vec<Member>,
    moved: usize,
}

/// Joins `args.members` members, then one more, which leaves again.
pub(super) async fn run(client: &Client, args: &MembersBench) -> Outcome {
    let topic = connect::require_topic(client, &args.topic).await?;
    let (sender, changes) = mpsc::channel(CHANGES_MAX);
    let mut members = Members {
        client,
        group: own_group(),
        topic: &args.topic,
        partitions: topic.partitions.len(),
        tasks: JoinSet::new(),
        changes,
        sender,
        all: Vec::new(),
        moved: 0,
    };
    for _ in 0..args.members {
        members.join().await?;
    }
    members.until_shared(args.members as usize).await?;
    let begun = Instant::now();
    members.moved = 0;
    members.join().await?;
    members.until_shared(args.members as usize + 1).await?;
    let join = members.since(begun);
    let begun = Instant::now();
    members.moved = 0;
    members.leave();
    members.until_shared(args.members as usize).await?;
    let leave = members.since(begun);
    let report = Report {
        bench: "rebalance",
        topic: args.topic.clone(),
        members: args.members,
        partitions: members.partitions,
        join,
        leave,
    };
    members.end().await?;
    report.print(args.output.json)
}

impl Members<'_> {
    async fn join(&mut self) -> Outcome {
        let member = self.client.group(&self.group).topic(self.topic);
        let member = member.delivery(DeliveryMode::Manual).join().await;
        let member = member.map_err(|error| client_failure(&error))?;
        let (leave, leaves) = oneshot::channel();
        let (number, sender) = (self.all.len(), self.sender.clone());
        self.tasks.spawn(read(member, number, sender, leaves));
        self.all.push(Member {
            held: BTreeSet::new(),
            leave,
        });
        Ok(())
    }

    /// The last one goes.
    fn leave(&mut self) {
        if let Some(Member { held, leave }) = self.all.pop() {
            self.moved += held.len();
            // An error means that its task failed, which is found when the others are waited for.
            let _ = leave.send(());
        }
    }

    /// Until every partition has an owner, and no member of `count` has less than its share.
    async fn until_shared(&mut self, count: usize) -> Outcome {
        let share = self.partitions / count;
        let shared = async {
            loop {
                let held: usize = self.all.iter().map(|member| member.held.len()).sum();
                let is_even = self.all.iter().all(|m| m.held.len() >= share);
                if held == self.partitions && is_even {
                    return Ok(());
                }
                tokio::select! {
                    Some(change) = self.changes.recv() => self.heard(change),
                    Some(ended) = self.tasks.join_next() => ended.map_err(|e| join_failure(&e))??,
                }
            }
        };
        timeout(DEADLINE, shared).await.unwrap_or_else(|_| {
            Err(Failure::of(
                ErrorCode::TimedOut,
                "the members did not get their partitions",
            )
            .hint("does somebody else read with this group? see: taffrail groups describe"))
        })
    }

    fn heard(&mut self, change: Change) {
        let Some(member) = self.all.get_mut(change.member) else {
            return;
        };
        if change.got {
            member.held.extend(change.partitions);
            return;
        }
        self.moved += change.partitions.len();
        for partition in change.partitions {
            member.held.remove(&partition);
        }
    }

    fn since(&self, begun: Instant) -> Rebalance {
        Rebalance {
            ms: round(begun.elapsed().as_secs_f64() * 1e3, 3),
            moved: self.moved,
        }
    }

    async fn end(mut self) -> Outcome {
        drop(self.all);
        self.changes.close();
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| join_failure(&error))??;
        }
        let deleted = self.client.admin().delete_group(&self.group).await;
        deleted.map_err(|error| client_failure(&error))
    }
}

/// Reads, and says what it got and gave up, until it is to leave.
async fn read(
    mut member: Group,
    number: usize,
    changes: mpsc::Sender<Change>,
    mut leaves: oneshot::Receiver<()>,
) -> Outcome {
    loop {
        let event = tokio::select! {
            event = member.next() => event.map_err(|error| client_failure(&error))?,
            // Asked to, or nobody measures any more.
            _ = &mut leaves => break,
        };
        let (got, partitions) = match event {
            GroupEvent::Assigned(partitions) => (true, partitions),
            GroupEvent::Revoked(partitions) | GroupEvent::Lost { partitions, .. } => {
                (false, partitions)
            }
            _ => continue,
        };
        let change = Change {
            member: number,
            got,
            partitions,
        };
        if changes.send(change).await.is_err() {
            break;
        }
    }
    member.close().await.map_err(|error| client_failure(&error))
}

impl Report {
    fn print(&self, json: bool) -> Outcome {
        if json {
            return print_json(self);
        }
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "rebalance {}: {} members, {} partitions",
            self.topic, self.members, self.partitions
        )?;
        for (what, rebalance) in [("joins", &self.join), ("leaves", &self.leave)] {
            writeln!(
                out,
                "  one {what}: {:.1} ms, {} partitions move",
                rebalance.ms, rebalance.moved
            )?;
        }
        Ok(())
    }
}
