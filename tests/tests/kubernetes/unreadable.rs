//! Resources that the API server accepts and the operator cannot read: a definition that somebody loosened, or a newer one.

use taffrail_tests::{manifest, operated::Operated, wait};

const CLUSTER: &str = "apiVersion: taffrail.dev/v1alpha1
kind: BrokerCluster
metadata: {name: main}
spec:
  brokers: 1
  storage: {size: 1Gi}
";

/// Lets the API server keep fields of `spec` that the operator does not know.
fn loosen(operated: &Operated, plural: &str) {
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-preserve-unknown-fields";
    let patch = format!(r#"[{{"op": "add", "path": "{field}", "value": true}}]"#);
    let crd = format!("{plural}.taffrail.dev");
    let args = ["patch", "crd", &crd, "--type=json", "--patch", &patch];
    operated.api().kubectl(&args).expect_success();
}

/// Applies it until the field `spec.partitoins` stays: a changed definition takes a moment to hold.
fn apply_with_typo(operated: &Operated, manifest: &str, resource: &str) {
    let with_typo = manifest.replace("spec:\n", "spec:\n  partitoins: 3\n");
    let stored = ["get", resource, "--output", "jsonpath={.spec.partitoins}"];
    wait::until("the unknown field is kept", wait::PATIENCE, || {
        operated
            .api()
            .apply(&with_typo, &["--validate=false"])
            .expect_success();
        (operated.api().kubectl(&stored).stdout == "3").then_some(())
    });
}

fn condition(operated: &Operated, resource: &str, type_: &str) -> String {
    let path = format!(
        r#"jsonpath={{range .status.conditions[?(@.type=="{type_}")]}}{{.status}} {{.reason}} {{.message}}{{end}}"#
    );
    let answer = operated
        .api()
        .kubectl(&["get", resource, "--output", &path]);
    answer.stdout
}

/// A watch that began before the definition changed goes on for a moment without the unknown field: the resource is touched until the next one.
fn wait_for(operated: &Operated, resource: &str, type_: &str, begin: &str) -> String {
    let what = format!("{resource}: {type_} {begin}");
    let mut touches = 0;
    wait::until(&what, wait::PATIENCE, || {
        touches += 1;
        let touch = format!("touched={touches}");
        let touch = ["annotate", resource, &touch, "--overwrite"];
        operated.api().kubectl(&touch).expect_success();
        let said = condition(operated, resource, type_);
        said.starts_with(begin).then_some(said)
    })
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_topic_that_cannot_be_read_says_which_field_is_wrong_until_it_is_mended() {
    let operated = Operated::start();
    operated.api().apply(CLUSTER, &[]).expect_success();
    let _broker = operated.start_broker("main");
    let topic = manifest::topic("flights", &["partitions: 2"]);
    operated.apply_and_wait(&topic, "topic/flights");
    let id = [
        "get",
        "topic",
        "flights",
        "--output",
        "jsonpath={.status.topicId}",
    ];
    let id_before = operated.api().kubectl(&id).expect_success();

    loosen(&operated, "topics");
    apply_with_typo(&operated, &topic, "topic/flights");
    let said = wait_for(&operated, "topic/flights", "Accepted", "False InvalidSpec ");
    assert!(
        said.contains("spec") && said.contains("unknown field `partitoins`"),
        "{said}"
    );
    wait_for(&operated, "topic/flights", "Ready", "False NotAccepted");
    // The others go on.
    let other = manifest::topic("other", &["partitions: 1"]);
    operated.apply_and_wait(&other, "topic/other");

    operated.api().apply(&topic, &[]).expect_success();
    wait_for(&operated, "topic/flights", "Accepted", "True Valid");
    operated.wait_until_ready("topic/flights");
    assert_eq!(operated.api().kubectl(&id).expect_success(), id_before);
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_cluster_that_cannot_be_read_says_which_field_is_wrong_and_its_brokers_go_on() {
    let operated = Operated::start();
    operated.api().apply(CLUSTER, &[]).expect_success();
    let _broker = operated.start_broker("main");
    wait_for(&operated, "brokercluster/main", "Ready", "True");

    loosen(&operated, "brokerclusters");
    apply_with_typo(&operated, CLUSTER, "brokercluster/main");
    let said = wait_for(
        &operated,
        "brokercluster/main",
        "Ready",
        "False InvalidSpec ",
    );
    assert!(said.contains("unknown field `partitoins`"), "{said}");
    assert!(condition(&operated, "brokercluster/main", "Available").starts_with("True"));
    let topic = manifest::topic("flights", &["partitions: 2"]);
    operated.apply_and_wait(&topic, "topic/flights");

    operated.api().apply(CLUSTER, &[]).expect_success();
    wait_for(&operated, "brokercluster/main", "Ready", "True");
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_new_operator_runs_the_controller_of_a_cluster_that_it_cannot_read() {
    let mut operated = Operated::start();
    operated.api().apply(CLUSTER, &[]).expect_success();
    let broker = operated.start_broker("main");
    let topic = manifest::topic("flights", &["partitions: 2"]);
    operated.apply_and_wait(&topic, "topic/flights");
    loosen(&operated, "brokerclusters");
    apply_with_typo(&operated, CLUSTER, "brokercluster/main");
    operated.kill_operator();
    operated.restart_operator();
    wait_for(
        &operated,
        "brokercluster/main",
        "Ready",
        "False InvalidSpec ",
    );
    wait::until("a controller with its broker", wait::PATIENCE, || {
        let listed = broker.taffrail(&["get", "brokers", "-o", "json"]);
        let is_heard = listed.stderr.is_empty() && listed.stdout.contains(r#""state": "ONLINE""#);
        is_heard.then_some(())
    });
    // What topics get that do not say is not known: none is changed before it is.
    let more = manifest::topic("flights", &["partitions: 3"]);
    operated.api().apply(&more, &[]).expect_success();
    wait_for(
        &operated,
        "topic/flights",
        "Ready",
        "Unknown ClusterUnavailable ",
    );

    operated.api().apply(CLUSTER, &[]).expect_success();
    wait_for(&operated, "brokercluster/main", "Ready", "True");
    operated.wait_until_ready("topic/flights");
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_group_that_cannot_be_read_says_which_field_is_wrong_and_keeps_its_policy() {
    let operated = Operated::start();
    operated.api().apply(CLUSTER, &[]).expect_success();
    let broker = operated.start_broker("main");
    let group = manifest::group("billing", &["delivery: AtMostOnce"]);
    operated.apply_and_wait(&group, "consumergroup/billing");

    loosen(&operated, "consumergroups");
    apply_with_typo(&operated, &group, "consumergroup/billing");
    let resource = "consumergroup/billing";
    let said = wait_for(&operated, resource, "Accepted", "False InvalidSpec ");
    assert!(said.contains("unknown field `partitoins`"), "{said}");
    let delivery = "jsonpath={.status.effective.delivery}";
    let delivery = ["get", resource, "--output", delivery];
    assert_eq!(
        operated.api().kubectl(&delivery).expect_success(),
        "AtMostOnce"
    );
    // Topics still end: a group says nothing of them.
    let topic = manifest::topic("flights", &["partitions: 1"]);
    operated.apply_and_wait(&topic, "topic/flights");
    let serves = || {
        let topics = ["get", "topics", "--output", "json"];
        let list = broker.taffrail(&topics).expect_success();
        list.contains(r#""name": "flights""#)
    };
    wait::until("the topic is served", wait::PATIENCE, || {
        serves().then_some(())
    });
    let delete = ["delete", "topic", "flights"];
    operated.api().kubectl(&delete).expect_success();
    wait::until("the topic is out of service", wait::PATIENCE, || {
        (!serves()).then_some(())
    });
    let said = condition(&operated, resource, "Accepted");
    assert!(said.starts_with("False InvalidSpec "), "{said}");

    operated.api().apply(&group, &[]).expect_success();
    wait_for(&operated, resource, "Accepted", "True Valid");
}
