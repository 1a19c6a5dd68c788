//! Two operators that both believe to be the active one: the store decides.

use taffrail_tests::{
    consumed, flights, manifest,
    operated::{Broker, Operated},
    wait,
};

const CLUSTER: &str = "apiVersion: taffrail.dev/v1alpha1
kind: BrokerCluster
metadata: {name: main}
spec:
  brokers: 1
  storage: {size: 1Gi}
";

fn read(operated: &Operated, object: &str, path: &str) -> String {
    let path = format!("jsonpath={{{path}}}");
    operated
        .api()
        .kubectl(&["get", object, "--output", &path])
        .stdout
}

fn epoch(operated: &Operated) -> u64 {
    let epoch = read(operated, "clustermetadata/main", ".spec.controllerEpoch");
    epoch.parse().expect("a number")
}

/// Until a controller of a later epoch than `before` has the broker in session.
fn wait_for_office(operated: &Operated, broker: &Broker, before: u64) {
    wait::until("a new controller with its broker", wait::PATIENCE, || {
        let listed = broker.taffrail(&["get", "brokers", "-o", "json"]);
        let is_heard = listed.stderr.is_empty() && listed.stdout.contains(r#""state": "ONLINE""#);
        (epoch(operated) > before && is_heard).then_some(())
    });
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_new_operator_runs_the_controller_of_a_cluster_that_it_may_not_change() {
    let mut operated = Operated::start();
    operated.api().apply(CLUSTER, &[]).expect_success();
    let broker = operated.start_broker("main");
    let topic = manifest::topic("flights", &["partitions: 3"]);
    operated.apply_and_wait(&topic, "topic/flights");
    let paused = "taffrail.dev/paused=true";
    let pause = ["annotate", "brokercluster/main", paused];
    operated.api().kubectl(&pause).expect_success();
    let generation =
        |operated: &Operated| read(operated, "statefulset/main", ".metadata.generation");
    let held = generation(&operated);

    let before = epoch(&operated);
    operated.kill_operator();
    operated.restart_operator();
    wait_for_office(&operated, &broker, before);
    operated.wait_until_ready("topic/flights");

    // One that breaks a rule: no broker has this setting.
    let invalid = CLUSTER.replace(
        "  brokers: 1\n",
        "  brokers: 1\n  brokerConfig: {disk.nonsense: 1}\n",
    );
    operated.api().apply(&invalid, &[]).expect_success();
    let resume = ["annotate", "brokercluster/main", "taffrail.dev/paused-"];
    operated.api().kubectl(&resume).expect_success();
    let before = epoch(&operated);
    operated.kill_operator();
    operated.restart_operator();
    wait_for_office(&operated, &broker, before);
    wait::until(
        "the operator says why it changes nothing",
        wait::PATIENCE,
        || {
            let reason = r#".status.conditions[?(@.type=="Ready")].reason"#;
            (read(&operated, "brokercluster/main", reason) == "InvalidSpec").then_some(())
        },
    );
    assert_eq!(generation(&operated), held);
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn an_operator_that_slept_through_its_lease_is_refused_by_the_store_and_steps_down() {
    let operated = Operated::start();
    operated.api().apply(CLUSTER, &[]).expect_success();
    let broker = operated.start_broker("main");
    let topic = manifest::topic("flights", &["partitions: 3"]);
    operated.apply_and_wait(&topic, "topic/flights");
    let file = flights::file();
    broker
        .taffrail(&["produce", "flights", &file.to_string_lossy()])
        .expect_success();
    let before = epoch(&operated);

    operated.stop_operator();
    let mut second = operated.start_second_operator();
    wait::until("the second takes office", wait::PATIENCE, || {
        (epoch(&operated) > before).then_some(())
    });
    let taken = epoch(&operated);
    // What the first one would hand to the controller that it still believes in.
    let four = manifest::topic("flights", &["partitions: 4"]);
    operated.api().apply(&four, &[]).expect_success();
    let later = manifest::topic("later", &["partitions: 2"]);
    operated.api().apply(&later, &[]).expect_success();
    operated.continue_operator();

    wait::until("the first steps down by itself", wait::PATIENCE, || {
        let metrics = operated.metrics();
        metrics.contains("taffrail_operator_active 0").then_some(())
    });
    let holder = read(&operated, "lease/taffrail-operator", ".spec.holderIdentity");
    assert_eq!(holder, "operator-1");
    // Nothing of the first's got into the store since the second claimed it.
    assert_eq!(epoch(&operated), taken);
    let claimed = operated.api().kubectl(&[
        "get",
        "partitionmaps",
        "--output",
        "jsonpath={.items[*].spec.controllerEpoch}",
    ]);
    assert_eq!(claimed.stdout, taken.to_string());
    // No broker dials it, and it says so.
    wait::until("the second's topic", wait::PATIENCE, || {
        let accepted = r#".status.conditions[?(@.type=="Accepted")].reason"#;
        (read(&operated, "topic/later", accepted) == "NotEnoughBrokers").then_some(())
    });
    assert!(!second.has_ended(), "{}", second.said());

    // Brokers dial the first only; once the second is gone, it takes office by the book and nothing is lost.
    assert!(second.terminate(wait::PATIENCE).success());
    operated.wait_until_ready("topic/flights");
    operated.wait_until_ready("topic/later");
    wait::until("the fourth partition", wait::PATIENCE, || {
        let online = read(&operated, "topic/flights", ".status.partitions.online");
        (online == "4").then_some(())
    });
    assert!(epoch(&operated) > taken);
    let lines = broker
        .taffrail(&["consume", "flights", "-o", "json"])
        .expect_success();
    assert_eq!(consumed::parse(&lines).len(), flights::COUNT);
}
