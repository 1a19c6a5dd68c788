//! A thousand topics: Ready within minutes, and then next to nothing is asked of the API server, whatever producers do.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use taffrail_client::{Client, ProducerConfig, Record};
use taffrail_core::internal::OFFSETS_PARTITIONS_DEFAULT;
use taffrail_tests::{manifest, operated::Operated, traffic, wait};

const TOPICS: usize = 1_000;
/// What a steady cluster may write in a second, the Lease included.
const WRITES_PER_SECOND: f64 = 1.0;
/// Several renewals of the Lease and rounds of summaries.
const WINDOW: Duration = Duration::from_secs(45);
/// In a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_mins(4);

const CLUSTER: &str = "apiVersion: taffrail.dev/v1alpha1
kind: BrokerCluster
metadata: {name: main}
spec:
  brokers: 1
  storage: {size: 1Gi}
";

/// Reads of what the operator reads. The API server counts them; nobody else asks for these kinds.
const READ: [&str; 8] = [
    "topics",
    "brokerclusters",
    "brokers",
    "partitionmaps",
    "clustermetadata",
    "statefulsets",
    "configmaps",
    "leases",
];

fn topics() -> String {
    (0..TOPICS).fold(String::new(), |mut all, n| {
        let topic = manifest::topic(&format!("topic-{n}"), &["partitions: 1"]);
        let _ = write!(all, "---\n{topic}");
        all
    })
}

fn ready(operated: &Operated) -> usize {
    let path = r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
    let said = operated
        .api()
        .kubectl(&["get", "topics", "--output", path])
        .stdout;
    said.split(' ').filter(|status| *status == "True").count()
}

/// The sum of a counter, over all labels.
fn sum(metrics: &str, name: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

fn writes(operated: &Operated) -> f64 {
    let metrics = operated.metrics();
    sum(&metrics, "taffrail_operator_api_writes_total")
        + sum(&metrics, "taffrail_operator_metadata_writes_total")
}

/// GETs and LISTs that the API server has answered, by resource.
fn reads(operated: &Operated) -> BTreeMap<&'static str, f64> {
    let metrics = operated
        .api()
        .kubectl(&["get", "--raw", "/metrics"])
        .expect_success();
    let requests = metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_request_total"))
        .filter(|line| line.contains(r#"verb="GET""#) || line.contains(r#"verb="LIST""#));
    let mut reads = BTreeMap::new();
    for line in requests {
        for kind in READ {
            if line.contains(&format!(r#"resource="{kind}""#)) {
                *reads.entry(kind).or_default() += sum(line, "apiserver_request_total");
            }
        }
    }
    reads
}

/// One record after the other, each when the one before is stored.
async fn produce(client: Client, acknowledged: Arc<AtomicUsize>) {
    let producer = client.producer(ProducerConfig::default());
    loop {
        let record = Record::new("a record of some bytes");
        let delivery = producer.send("topic-7", record).await.expect("it is taken");
        delivery.await.expect("it is stored");
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the coming of the topics gave to write has been written: ten seconds bring a few renewals of the Lease and hardly more.
fn wait_for_rest(operated: &Operated) {
    let mut seen = VecDeque::from([(Instant::now(), writes(operated))]);
    wait::until("rest", PATIENCE, || {
        let (now, count) = (Instant::now(), writes(operated));
        seen.push_back((now, count));
        let (then, before) = seen[0];
        if now - then < Duration::from_secs(10) {
            return None;
        }
        seen.pop_front();
        (count - before <= 8.0).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn a_thousand_topics_become_ready_and_then_cost_the_api_server_next_to_nothing() {
    let operated = Operated::start();
    operated.api().apply(CLUSTER, &[]).expect_success();
    let broker = operated.start_broker("main");
    operated.wait_until_ready("brokercluster/main");
    operated.api().apply(&topics(), &[]).expect_success();
    wait::until("a thousand topics Ready", PATIENCE, || {
        (ready(&operated) == TOPICS).then_some(())
    });
    let maps = ["get", "partitionmaps", "--output", "name"];
    let maps = operated.api().kubectl(&maps).expect_success();
    let partitions = TOPICS + OFFSETS_PARTITIONS_DEFAULT as usize;
    assert_eq!(maps.lines().count(), partitions.div_ceil(128));

    let acknowledged = Arc::new(AtomicUsize::new(0));
    let client = traffic::connect(broker.address()).await;
    let producing = tokio::spawn(produce(client, acknowledged.clone()));
    wait_for_rest(&operated);
    let produced_before = acknowledged.load(Ordering::Relaxed);

    let (writes_before, reads_before) = (writes(&operated), reads(&operated));
    let begun = Instant::now();
    wait::until("the window", PATIENCE, || {
        (begun.elapsed() >= WINDOW).then_some(())
    });
    let seconds = begun.elapsed().as_secs_f64();
    let written = (writes(&operated) - writes_before) / seconds;
    let read: BTreeMap<_, _> = reads(&operated)
        .into_iter()
        .map(|(kind, count)| {
            let before = reads_before.get(kind).copied().unwrap_or_default();
            (kind, count - before)
        })
        .collect();
    assert!(written > 0.0, "the Lease at least is renewed");
    assert!(written <= WRITES_PER_SECOND, "{written:.2} writes a second");
    // Far fewer than topics: renewals of Leases, and a look at the cluster now and then.
    let total: f64 = read.values().sum();
    assert!(total < 100.0, "{read:?}");
    assert!(!producing.is_finished());
    assert!(acknowledged.load(Ordering::Relaxed) > produced_before);
    producing.abort();
}
