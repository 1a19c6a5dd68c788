//! A consumer group of many members, some of which are lost, on brokers that are killed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use taffrail_client::{Client, Group, GroupEvent, Start};
use taffrail_core::PartitionIndex;
use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    load::Load,
    wait,
};
use tokio::{task::JoinHandle, time::timeout};

use crate::{SOME, TOPIC};

const GROUP: &str = "billing";
const MEMBERS: usize = 50;
const PARTITIONS: u32 = 20;
/// A member that is lost is given up soon.
const SESSION_TIMEOUT: Duration = Duration::from_secs(3);
/// What a member works on a batch.
const WORK: Duration = Duration::from_millis(2);

/// What all members did.
#[derive(Debug, Default)]
struct Ledger {
    /// Who works on a partition just now.
    busy: HashMap<u32, usize>,
    /// One past the last record that was processed without a gap.
    processed: BTreeMap<u32, u64>,
    records: u64,
    wrong: Vec<String>,
}

impl Ledger {
    fn begin(&mut self, member: usize, partition: u32, first: u64) {
        if let Some(other) = self.busy.insert(partition, member) {
            self.wrong.push(format!(
                "members {other} and {member} work on partition {partition}"
            ));
        }
        let next = self.processed.get(&partition).copied().unwrap_or(0);
        if first > next {
            self.wrong.push(format!("member {member} began partition {partition} at {first}, processed were those below {next}"));
        }
    }

    fn end(&mut self, member: usize, partition: u32, next: u64, records: u64) {
        if self.busy.get(&partition) == Some(&member) {
            self.busy.remove(&partition);
        }
        let processed = self.processed.entry(partition).or_default();
        *processed = next.max(*processed);
        self.records += records;
    }

    /// A member is no more, whatever it did.
    fn lost(&mut self, member: usize) {
        self.busy.retain(|_, busy| *busy != member);
    }
}

type Shared = Arc<Mutex<Ledger>>;

fn with<T>(ledger: &Shared, look: impl FnOnce(&mut Ledger) -> T) -> T {
    look(&mut ledger.lock().expect("nobody panicked with it"))
}

async fn join(client: &Client) -> Group {
    let joining = client
        .group(GROUP)
        .topic(TOPIC)
        .session_timeout(SESSION_TIMEOUT);
    joining
        .commit_interval(Duration::from_millis(200))
        .join()
        .await
        .expect("joins")
}

/// Processes what it gets until it is lost.
async fn work(client: Client, member: usize, ledger: Shared) {
    let mut group = join(&client).await;
    loop {
        let GroupEvent::Batch(batch) = group.next().await.expect("a group goes on") else {
            continue;
        };
        let (partition, first) = (batch.partition().0, batch.first_offset().0);
        with(&ledger, |l| l.begin(member, partition, first));
        // Nothing is waited for: it works.
        let _ = timeout(WORK, std::future::pending::<()>()).await;
        with(&ledger, |l| {
            l.end(
                member,
                partition,
                batch.next_offset().0,
                batch.record_count(),
            );
        });
    }
}

/// Members that come and go.
struct Team {
    client: Client,
    ledger: Shared,
    members: Vec<(usize, JoinHandle<()>)>,
    hired: usize,
}

impl Team {
    fn hire(&mut self) {
        let member = self.hired;
        self.hired += 1;
        let task = tokio::spawn(work(self.client.clone(), member, self.ledger.clone()));
        self.members.push((member, task));
    }

    /// Some members end in the middle of whatever they do, without a word, and others begin.
    async fn replace(&mut self, count: usize) {
        for _ in 0..count {
            let (member, task) = self.members.remove(0);
            task.abort();
            // Nothing of it runs any more.
            let _ = task.await;
            with(&self.ledger, |l| l.lost(member));
            self.hire();
        }
    }

    fn records(&self) -> u64 {
        with(&self.ledger, |l| l.records)
    }

    /// Waits until the members have processed more in every partition.
    async fn more(&self) {
        let before = with(&self.ledger, |l| l.processed.clone());
        wait::until_async(
            "records processed of every partition",
            wait::PATIENCE,
            async || {
                let now = with(&self.ledger, |l| l.processed.clone());
                let grew = |p: u32| now.get(&p).unwrap_or(&0) > before.get(&p).unwrap_or(&0);
                (0..PARTITIONS).all(grew).then_some(())
            },
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_members_of_which_some_are_lost_process_everything_one_at_a_time_though_brokers_are_killed()
 {
    let mut cluster = Cluster::start("fifty-members").await;
    let partitions = format!("partitions: {PARTITIONS}");
    cluster.create(TOPIC, &[&partitions, "replicas: 3", "minInSync: 2"]);
    let load = Load::start(&cluster, TOPIC).await;
    let mut team = Team {
        client: cluster.client().await,
        ledger: Shared::default(),
        members: Vec::new(),
        hired: 0,
    };
    for _ in 0..MEMBERS {
        team.hire();
    }
    load.more(SOME / 10).await;
    team.more().await;
    for round in 0..BROKERS {
        team.replace(5).await;
        cluster.kill(round);
        load.more(SOME / 10).await;
        team.more().await;
        cluster.restart(round);
        cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
        team.more().await;
    }
    let client = cluster.client().await;
    load.stop_and_check(&mut cluster).await;
    let latest = |p| (TOPIC.to_owned(), PartitionIndex(p), Start::Latest);
    let latest: Vec<_> = (0..PARTITIONS).map(latest).collect();
    let ends = client.offsets(&latest).await.expect("the leaders answer");
    let ends: BTreeMap<u32, u64> = (0..).zip(ends.into_iter().map(|end| end.0)).collect();
    wait::until_async("everything to be processed", wait::PATIENCE, async || {
        (with(&team.ledger, |l| l.processed.clone()) == ends).then_some(())
    })
    .await;
    let wrong = with(&team.ledger, |l| std::mem::take(&mut l.wrong));
    assert_eq!(wrong, [] as [String; 0]);
    let total: u64 = ends.values().sum();
    assert!(team.records() >= total, "{} of {total}", team.records());
    wait::until_async("everything to be committed", wait::PATIENCE, async || {
        let described = client.admin().describe_group(GROUP).await.ok()?;
        let offsets = described.offsets.into_iter().filter_map(|o| o.committed);
        let committed: BTreeMap<u32, u64> = offsets
            .map(|c| (c.partition, c.offset.cast_unsigned()))
            .collect();
        (committed == ends).then_some(())
    })
    .await;
    for (_, task) in team.members {
        task.abort();
    }
}
