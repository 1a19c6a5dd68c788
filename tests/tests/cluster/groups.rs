//! Consumer groups of many members, each a process, which are killed, stand still and leave, on brokers that are killed and stand still.

use std::{
    collections::BTreeMap,
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};
use taffrail_client::{Client, ClientError, Start};
use taffrail_core::PartitionIndex;
use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    load::Load,
    members::{Promise, Team},
    wait,
};
use tokio::{runtime::Handle, time::timeout};

use crate::{SOME, TOPIC};

/// What a broker or a member that stands still does so for, at most.
const STILL_MAX: Duration = Duration::from_secs(12);

/// How often it is looked at what is committed.
const LOOK: Duration = Duration::from_millis(100);

/// Committed offsets by partition.
type Offsets = BTreeMap<u32, u64>;

async fn committed(client: &Client, group: &str) -> Result<Offsets, ClientError> {
    let described = client.admin().describe_group(group).await?;
    let committed = described.offsets.into_iter().filter_map(|o| o.committed);
    Ok(committed
        .map(|c| (c.partition, c.offset.cast_unsigned()))
        .collect())
}

/// Watches that what is committed never moves back.
struct Watch {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<usize>,
}

impl Watch {
    fn over(client: Client, group: &'static str) -> Self {
        let (stop, stopped) = mpsc::channel();
        let runtime = Handle::current();
        let thread = thread::spawn(move || {
            let mut highest = Offsets::new();
            let mut looks = 0;
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let now = runtime.block_on(committed(&client, group));
                for (partition, offset) in now.unwrap_or_default() {
                    let before = highest.insert(partition, offset).unwrap_or(0);
                    assert!(
                        offset >= before,
                        "{before} of partition {partition} was committed, and then {offset}"
                    );
                    looks += 1;
                }
            }
            looks
        });
        Self { stop, thread }
    }

    fn end(self) {
        drop(self.stop);
        let looks = self.thread.join().expect("no offset moves back");
        assert!(looks > 0, "it saw none");
    }
}

/// Waits until more of every partition is committed.
async fn more(client: &Client, group: &str, partitions: u32) {
    let before = wait::until_ok("what is committed", wait::PATIENCE, async || {
        committed(client, group).await
    })
    .await;
    let what = "more of every partition to be committed";
    wait::until_ok(what, wait::PATIENCE, async || {
        let now = committed(client, group).await.map_err(|e| e.to_string())?;
        let grew = |p: u32| now.get(&p).unwrap_or(&0) > before.get(&p).unwrap_or(&0);
        let same: Vec<_> = (0..partitions).filter(|p| !grew(*p)).collect();
        let why = format!("no more of {same:?}");
        same.is_empty().then_some(()).ok_or(why)
    })
    .await;
}

/// Something befalls some members, and others come for those that are lost.
fn befall(team: &mut Team, befallen: usize, dice: &mut Xoshiro256PlusPlus) {
    // Not those that are just starting.
    let mut at_work = team.at_work();
    for _ in 0..befallen {
        let victim = at_work.swap_remove(dice.random_range(0..at_work.len()));
        match dice.random_range(0..3) {
            0 => team.stand_still(victim),
            1 => {
                team.kill(victim);
                team.hire();
            }
            _ => {
                team.dismiss(victim);
                team.hire();
            }
        }
    }
}

async fn ends(client: &Client, partitions: u32) -> Offsets {
    let latest = |p| (TOPIC.to_owned(), PartitionIndex(p), Start::Latest);
    let latest: Vec<_> = (0..partitions).map(latest).collect();
    let ends = client.offsets(&latest).await.expect("the leaders answer");
    (0..).zip(ends.into_iter().map(|end| end.0)).collect()
}

/// Members of a group, and how many of them something befalls in a round.
struct Trial {
    group: &'static str,
    promise: Promise,
    members: usize,
    befallen: usize,
    partitions: u32,
    /// A record comes each.
    period: Duration,
}

impl Trial {
    /// Members and brokers are killed and stand still while records come; then everything is checked.
    async fn run(self) {
        let wanted = std::env::var("TAFFRAIL_GROUPS_SEED").ok();
        let wanted = wanted.map(|seed| seed.parse().expect("a seed is a number"));
        let seed: u64 = wanted.unwrap_or_else(rand::random);
        eprintln!("the same dice again: TAFFRAIL_GROUPS_SEED={seed}");
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut cluster = Cluster::start(self.group).await;
        let partitions = format!("partitions: {}", self.partitions);
        cluster.create(TOPIC, &[&partitions, "replicas: 3", "minInSync: 2"]);
        let load = Load::start_slow(&cluster, TOPIC, self.period).await;
        let (brokers, folder) = (cluster.addresses(), cluster.aside("members"));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let mut team = Team::new(&brokers, TOPIC, (self.group, self.promise), &folder);
        (0..self.members).for_each(|_| team.hire());
        let client = cluster.client().await;
        let watch = Watch::over(client.clone(), self.group);
        more(&client, self.group, self.partitions).await;
        for _ in 0..BROKERS {
            befall(&mut team, self.befallen, &mut dice);
            let broker = dice.random_range(0..BROKERS);
            let is_killed = dice.random();
            if is_killed {
                cluster.kill(broker);
            } else {
                cluster.stand_still(broker);
            }
            // Longer than a session of members or of brokers, or not.
            let still = dice.random_range(Duration::ZERO..STILL_MAX);
            let _ = timeout(still, std::future::pending::<()>()).await;
            team.go_on();
            if is_killed {
                cluster.restart(broker);
            } else {
                cluster.go_on(broker);
            }
            cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
            load.more(SOME / 10).await;
            more(&client, self.group, self.partitions).await;
        }
        load.stop_and_check(&mut cluster).await;
        let ends = ends(&client, self.partitions).await;
        wait::until_ok("everything to be committed", wait::PATIENCE, async || {
            let now = committed(&client, self.group).await;
            let now = now.map_err(|e| e.to_string())?;
            let why = || format!("{now:?} of {ends:?}");
            (now == ends).then_some(()).ok_or_else(why)
        })
        .await;
        watch.end();
        team.check(&ends);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_members_process_everything_one_at_a_time_though_they_and_brokers_are_killed_and_stand_still()
 {
    let trial = Trial {
        group: "billing",
        promise: Promise::AtLeastOnce,
        members: 50,
        befallen: 8,
        partitions: 20,
        period: Duration::from_millis(2),
    };
    trial.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_commit_first_are_handed_nothing_twice_though_they_and_brokers_are_killed_and_stand_still()
 {
    let trial = Trial {
        group: "alerts",
        promise: Promise::AtMostOnce,
        members: 12,
        befallen: 4,
        partitions: 6,
        // Each costs a commit, which is awaited.
        period: Duration::from_millis(20),
    };
    trial.run().await;
}
