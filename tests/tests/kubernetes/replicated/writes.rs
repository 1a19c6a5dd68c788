//! What many partitions cost the API server: when a broker dies, when it comes back, and at rest.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    wait,
};

const TOPIC: &str = "events";
const PARTITIONS: usize = 1_500;
/// Half of what a fail-over may cost where the dead broker leads 3,000. Measured are 22: one for each of 13 maps, which elects and takes the dead broker out
/// of the in-sync sets at once; the others are statuses and Events. Should sets change in a round of their own, each round costs 13 more.
const FAIL_OVER_WRITES_MAX: f64 = 50.0;
/// Its registration and confirmations, its way back into the sets, and preferred leaders, 256 partitions at a time: a few rounds of 13 maps.
const RETURN_WRITES_MAX: f64 = 200.0;
/// Many times as long as it takes, in debug builds on a busy machine.
const FAIL_OVER_MAX: Duration = Duration::from_mins(1);
/// The Lease included.
const WRITES_PER_SECOND_MAX: f64 = 1.0;
/// Several renewals of the Lease and rounds of summaries.
const WINDOW: Duration = Duration::from_secs(30);

/// What the operator has written.
struct Writes {
    /// With its Lease.
    all: f64,
    /// Without what is written as time passes, whatever happens: the Lease, and numbers in statuses, one in two seconds.
    occasioned: f64,
    /// By kind and reason, for people.
    lines: String,
}

fn writes(cluster: &mut Cluster) -> Writes {
    let metrics = cluster.operated().metrics();
    let counted = [
        "taffrail_operator_api_writes_total",
        "taffrail_operator_metadata_writes_total",
    ];
    let is_counted = |line: &&str| counted.iter().any(|name| line.starts_with(name));
    let lines: Vec<&str> = metrics.lines().filter(is_counted).collect();
    let sum = |is_left_out: fn(&str) -> bool| {
        let counts = lines.iter().filter(|line| !is_left_out(line));
        let counts = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        counts.sum()
    };
    Writes {
        all: sum(|_| false),
        occasioned: sum(|line| {
            line.contains("kind=\"Lease\"") || line.contains("reason=\"summary\"")
        }),
        lines: lines.join("\n"),
    }
}

/// Waits until ten seconds bring a few renewals of the Lease and hardly more.
fn rest(cluster: &mut Cluster) {
    let mut seen = VecDeque::from([(Instant::now(), writes(cluster).all)]);
    wait::until("rest", wait::PATIENCE, || {
        let (now, count) = (Instant::now(), writes(cluster).all);
        seen.push_back((now, count));
        let (then, before) = seen[0];
        if now - then < Duration::from_secs(10) {
            return None;
        }
        seen.pop_front();
        (count - before <= 6.0).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn the_death_of_a_broker_of_many_partitions_costs_few_writes_its_return_too_and_rest_next_to_none()
 {
    let mut cluster = Cluster::start_operated("writes", BROKERS).await;
    let partitions = format!("partitions: {PARTITIONS}");
    cluster.create(TOPIC, &[&partitions, "replicas: 3", "minInSync: 2"]);
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    rest(&mut cluster);
    let (begun, before) = (Instant::now(), writes(&mut cluster).all);
    wait::until("the window", wait::PATIENCE, || {
        (begun.elapsed() >= WINDOW).then_some(())
    });
    let at_rest = (writes(&mut cluster).all - before) / begun.elapsed().as_secs_f64();
    assert!(at_rest > 0.0, "the Lease at least is renewed");
    assert!(
        at_rest <= WRITES_PER_SECOND_MAX,
        "{at_rest:.2} writes a second at rest"
    );

    let dead = cluster.metadata().leader(TOPIC, 0).await;
    let number = cluster.metadata().known_partitions(TOPIC).await[0].leader;
    let before = writes(&mut cluster);
    cluster.kill(dead);
    let killed = Instant::now();
    wait::until_async(
        "other leaders, and sets without it",
        wait::PATIENCE,
        async || {
            let partitions = cluster.metadata().partitions(TOPIC).await?;
            let is_without = |isr: &[u32]| !isr.iter().any(|member| Some(*member) == number);
            let mut all = partitions.iter();
            all.all(|p| p.leader.is_some() && p.leader != number && is_without(&p.isr))
                .then_some(())
        },
    )
    .await;
    let took = killed.elapsed();
    check(&mut cluster, &before, FAIL_OVER_WRITES_MAX);
    eprintln!("{took:?} from kill -9 to the last of {PARTITIONS} partitions");
    assert!(took < FAIL_OVER_MAX, "{took:?}");

    // Back again.
    let before = writes(&mut cluster);
    cluster.restart(dead);
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    check(&mut cluster, &before, RETURN_WRITES_MAX);
}

/// Waits until all is at rest, and checks that it took some writes and no more than these.
fn check(cluster: &mut Cluster, before: &Writes, most: f64) {
    rest(cluster);
    let after = writes(cluster);
    let written = after.occasioned - before.occasioned;
    eprintln!("{written} writes");
    assert!(written > 0.0, "it is written somewhere");
    assert!(
        written <= most,
        "{written} writes, of these before and after:\n{}\n\n{}",
        before.lines,
        after.lines
    );
}
