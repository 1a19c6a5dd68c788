//! ConsumerGroups: their policy reaches members, their status says how they fare, and what becomes of their offsets is theirs to say.

mod gone;
mod nothing;
mod plan;
mod risk;
mod writes;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use taffrail_tests::{
    flights,
    manifest::{self, CLUSTER},
    operated::{Broker, Operated, start},
    process::Process,
    programs, wait,
};
use taffrail_xtask::workspace_root;

/// A member that is lost is given up soon.
const SOON: &str = "assignment: {sessionTimeout: 3s}";

/// An operator, a broker, and a topic of three partitions with records in it.
fn start_with_flights() -> (Operated, Broker) {
    let (operated, broker) = start();
    let topic = manifest::topic("flights", &["partitions: 3"]);
    operated.apply_and_wait(&topic, "topic/flights");
    produce(&broker);
    (operated, broker)
}

fn produce(broker: &Broker) {
    let file = flights::file();
    broker
        .taffrail(&["produce", "flights", &file.to_string_lossy()])
        .expect_success();
}

/// Applies a group and waits until its coordinator knows of it, and so has its policy.
fn declare(operated: &Operated, spec: &[&str]) {
    let group = manifest::group("billing", spec);
    operated.apply_and_wait(&group, "consumergroup/billing");
    until_status(operated, "a word of the coordinator", |status| {
        status["state"].is_string()
    });
}

fn status(operated: &Operated) -> Value {
    operated.api().get(&["consumergroup", "billing"])["status"].clone()
}

fn until_status(operated: &Operated, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
    wait::until(what, wait::PATIENCE, || {
        let status = status(operated);
        holds(&status).then_some(status)
    })
}

/// The reason of a condition.
fn reason(resource: &Value, type_: &str) -> String {
    let conditions = resource["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let condition = conditions.find(|condition| condition["type"] == type_);
    condition.map_or_else(String::new, |c| {
        c["reason"].as_str().unwrap_or_default().to_owned()
    })
}

/// A member of the group that goes on until it is stopped.
fn member(operated: &Operated, broker: &Broker, name: &str) -> Process {
    let consume = ["consume", "flights", "--group", "billing", "--follow"];
    consuming(operated, broker, name, &consume)
}

fn consuming(operated: &Operated, broker: &Broker, name: &str, consume: &[&str]) -> Process {
    Process::start(
        Command::new(programs::path("taffrail"))
            .env("TAFFRAIL_SERVER", broker.address().to_string())
            .args(consume),
        &operated.api().dir().path().join(format!("{name}.log")),
    )
}

/// Reads what there is as a member that leaves then; how many records there were.
fn consume(broker: &Broker) -> usize {
    let consume = ["consume", "flights", "--group", "billing"];
    let printed = broker.taffrail(&consume).expect_success();
    printed.lines().count()
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn what_a_group_declares_holds_for_members_that_say_something_else() {
    let (operated, broker) = start_with_flights();
    declare(
        &operated,
        &["topics: [{name: flights}]", "startFrom: {position: Latest}"],
    );
    // A member of a group without a resource begins where it says.
    let other = ["consume", "flights", "--group", "audit"];
    let all = broker.taffrail(&other).expect_success().lines().count();
    assert!(all > 0);
    assert_eq!(consume(&broker), 0);
    produce(&broker);
    assert_eq!(consume(&broker), all);
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn the_example_is_accepted_without_a_word() {
    let (operated, _broker) = start();
    let example = workspace_root().join("examples/consumergroup.yaml");
    let example = example.to_string_lossy();
    let apply = ["apply", "--validate=strict", "-f", &example];
    let answer = operated.api().kubectl(&apply);
    assert_eq!(answer.stderr, "");
    answer.expect_success();
    operated.wait_until_ready("consumergroup/billing");
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_status_shows_members_lag_and_who_is_lost() {
    let (operated, broker) = start_with_flights();
    declare(&operated, &["topics: [{name: flights}]", SOON]);
    let empty = status(&operated);
    assert_eq!(
        (&empty["state"], &empty["members"]),
        (&"Empty".into(), &0.into())
    );
    assert_eq!(reason(&empty, "Consuming"), "NoMembers");
    for (type_, expected) in [
        ("Accepted", "Valid"),
        ("Ready", "Coordinated"),
        ("WithinLagObjective", "NoObjective"),
        ("DataSafe", "HeadroomOK"),
        ("Balanced", "Stable"),
    ] {
        assert_eq!(reason(&empty, type_), expected, "{empty}");
    }
    assert_eq!(empty["coordinator"], "main-0");
    assert_eq!(empty["usefulMembers"], 3);
    let mut members = ["one", "two"].map(|name| member(&operated, &broker, name));
    let both = until_status(
        &operated,
        "two members that have read everything",
        |status| {
            status["members"] == 2 && status["lag"]["records"] == 0 && status["state"] == "Stable"
        },
    );
    assert_eq!(
        both["partitionsPerMember"],
        serde_json::json!({ "min": 1, "max": 2 })
    );
    until_status(&operated, "that they consume", |status| {
        reason(status, "Consuming") == "Progressing"
    });
    let metrics = operated.metrics();
    let sample = r#"taffrail_operator_group_members{cluster="default/main",group="billing"} 2"#;
    assert!(metrics.contains(sample), "{metrics}");
    for member in &mut members {
        member.kill();
    }
    produce(&broker);
    let alone = until_status(&operated, "that nobody reads", |status| {
        status["members"] == 0 && status["lag"]["records"] != 0
    });
    let worst = alone["lag"]["worst"].as_str().unwrap_or_default();
    assert!(worst.starts_with("flights/"), "{alone}");
    until_status(&operated, "that nobody consumes", |status| {
        reason(status, "Consuming") == "NoMembers"
    });
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn the_second_claimant_of_a_name_waits_until_it_is_free() {
    let (operated, _broker) = start_with_flights();
    declare(&operated, &[]);
    let second = manifest::group("other", &["groupName: billing"]);
    operated.api().apply(&second, &[]).expect_success();
    let accepted = || reason(&operated.api().get(&["cg", "other"])["status"], "Accepted");
    wait::until("the refusal", wait::PATIENCE, || {
        (accepted() == "NameConflict").then_some(())
    });
    operated.wait_until_ready("consumergroup/billing");
    let delete = ["delete", "consumergroup", "billing"];
    operated.api().kubectl(&delete).expect_success();
    operated.wait_until_ready("consumergroup/other");
    assert_eq!(accepted(), "Valid");
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_group_that_cannot_be_says_why_and_keeps_what_it_said_before() {
    let (operated, broker) = start_with_flights();
    let latest = "startFrom: {position: Latest}";
    declare(&operated, &["topics: [{pattern: 'fl.*'}]", latest]);
    let unclosed = manifest::group("billing", &["topics: [{pattern: 'fl('}]"]);
    operated.api().apply(&unclosed, &[]).expect_success();
    let said = until_status(&operated, "the refusal", |status| {
        reason(status, "Accepted") == "InvalidSpec"
    });
    let message = said["conditions"][0]["message"].to_string();
    assert!(
        message.contains("fl(") && message.contains("unclosed group"),
        "{message}"
    );
    assert_eq!(said["effective"]["startFrom"]["position"], "Latest");
    assert_eq!(
        consume(&broker),
        0,
        "the policy that holds is the last one that could be"
    );
    let shared = manifest::group("shared", &["mode: Shared"]);
    let refused = operated.api().apply(&shared, &[]).expect_failure();
    assert!(refused.contains("comes in a later release"), "{refused}");
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_deleted_group_leaves_its_offsets_unless_it_says_otherwise() {
    let (operated, broker) = start_with_flights();
    let knows = || broker.taffrail(&["groups", "describe", "billing"]).code == Some(0);
    let delete = ["delete", "consumergroup", "billing", "--timeout=60s"];
    declare(&operated, &[]);
    assert!(consume(&broker) > 0);
    operated.api().kubectl(&delete).expect_success();
    assert_eq!(consume(&broker), 0, "it goes on where it was");
    declare(&operated, &["deletionPolicy: Delete", SOON]);
    operated.api().kubectl(&delete).expect_success();
    assert!(!knows());
    assert!(consume(&broker) > 0, "it begins anew");
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_group_with_members_ends_when_the_last_one_has_left() {
    let (operated, broker) = start_with_flights();
    declare(&operated, &["deletionPolicy: Delete", SOON]);
    let mut member = member(&operated, &broker, "one");
    until_status(&operated, "the member", |status| status["members"] == 1);
    let watch = ["get", "cg", "billing", "--watch", "--output-watch-events"];
    let watch = Process::start(
        operated.api().kubectl_command().args(watch),
        &operated.api().dir().path().join("watch.log"),
    );
    wait::until("the watch", wait::PATIENCE, || {
        watch.said().contains("ADDED").then_some(())
    });
    let delete = ["delete", "consumergroup", "billing", "--wait=false"];
    operated.api().kubectl(&delete).expect_success();
    let ending = until_status(&operated, "its end", |status| {
        reason(status, "Ready") == "Deleting"
    });
    let message = ending["conditions"][1]["message"].to_string();
    assert!(message.contains("stop its members"), "{ending}");
    // Longer than a controller's picture is believed to be old.
    let begun = Instant::now();
    wait::until("some time with the member", wait::PATIENCE, || {
        (begun.elapsed() >= Duration::from_secs(10)).then_some(())
    });
    assert_eq!(reason(&status(&operated), "Ready"), "Deleting");
    assert!(!watch.said().contains("DELETED"), "{}", watch.said());
    member.kill();
    wait::until("its end is seen", wait::PATIENCE, || {
        watch.said().contains("DELETED").then_some(())
    });
    let get = ["get", "consumergroup", "billing", "--ignore-not-found"];
    wait::until("the resource is gone", wait::PATIENCE, || {
        operated
            .api()
            .kubectl(&get)
            .expect_success()
            .is_empty()
            .then_some(())
    });
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_group_whose_cluster_is_gone_goes_too() {
    let (operated, _broker) = start_with_flights();
    declare(&operated, &["deletionPolicy: Delete"]);
    let delete = |what: &[&str]| {
        let delete = [&["delete", "--timeout=60s"], what].concat();
        operated.api().kubectl(&delete).expect_success();
    };
    delete(&["brokercluster", "main"]);
    until_status(&operated, "that the cluster is gone", |status| {
        reason(status, "Accepted") == "ClusterNotFound"
    });
    delete(&["consumergroup", "billing"]);
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_paused_group_keeps_its_policy_also_with_another_operator() {
    let (mut operated, broker) = start_with_flights();
    declare(&operated, &["startFrom: {position: Latest}"]);
    let annotate = ["annotate", "cg", "billing", "taffrail.dev/paused=true"];
    operated.api().kubectl(&annotate).expect_success();
    until_status(&operated, "the pause", |status| {
        reason(status, "Ready") == "Paused"
    });
    let other = manifest::group("billing", &["startFrom: {position: Earliest}"]);
    operated.api().apply(&other, &[]).expect_success();
    until_status(&operated, "the generation is seen", |status| {
        status["observedGeneration"] == 2
    });
    operated.kill_operator();
    operated.restart_operator();
    // Another one is looked after: what is declared was handed over.
    let audit = manifest::group("audit", &[]);
    operated.apply_and_wait(&audit, "consumergroup/audit");
    assert_eq!(consume(&broker), 0);
    let resume = ["annotate", "cg", "billing", "taffrail.dev/paused-"];
    operated.api().kubectl(&resume).expect_success();
    until_status(&operated, "the policy", |status| {
        status["effective"]["startFrom"]["position"] == "Earliest"
    });
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_topic_of_the_groups_namespace_is_read_by_the_name_that_clients_use() {
    let (operated, _broker) = start();
    let api = operated.api();
    let opened = CLUSTER.replace(
        "  brokers: 1",
        "  brokers: 1\n  topicNamespaces: {from: All}",
    );
    api.apply(&opened, &[]).expect_success();
    api.kubectl(&["create", "namespace", "shop"])
        .expect_success();
    let of_cluster = "clusterRef: {name: main, namespace: default}";
    let in_shop = ["--namespace", "shop"];
    let names = "topics: [{name: orders}, {name: payments}]";
    let group = manifest::group("billing", &[of_cluster, names]);
    api.apply(&group, &in_shop).expect_success();
    let topic = manifest::topic("orders", &[of_cluster]);
    api.apply(&topic, &in_shop).expect_success();
    // `payments` is nobody's resource here.
    wait::until("the names", wait::PATIENCE, || {
        let status = api.get(&[&["cg", "billing"], &in_shop[..]].concat())["status"].clone();
        let names = [
            &status["effective"]["topics"][0]["name"],
            &status["effective"]["topics"][1]["name"],
        ];
        (status["groupName"] == "shop.billing" && names == ["shop.orders", "payments"])
            .then_some(())
    });
}
