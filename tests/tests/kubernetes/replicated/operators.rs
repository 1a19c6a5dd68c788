//! Operators that stand still or die in the middle of an election.

use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    wait,
};

use super::{SOME, TOPIC, loaded};

/// A topic of so many partitions that they take several maps.
const WIDE: &str = "wide";
const WIDE_SPEC: [&str; 3] = ["partitions: 600", "replicas: 3", "minInSync: 2"];

/// Refuses every change of one map.
const FROZEN: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: frozen}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - apiGroups: [taffrail.dev]
      apiVersions: [v1alpha1]
      operations: [UPDATE]
      resources: [partitionmaps]
  validations:
  - {expression: "object.metadata.name != 'NAME'"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: frozen}
spec: {policyName: frozen, validationActions: [Deny]}
"#;

fn holder(cluster: &mut Cluster) -> String {
    let path = "jsonpath={.spec.holderIdentity}";
    let lease = ["get", "lease", "taffrail-operator", "--output", path];
    cluster.operated().api().kubectl(&lease).stdout
}

/// The versions of all maps.
fn maps(cluster: &mut Cluster) -> String {
    let path = "jsonpath={.items[*].metadata.resourceVersion}";
    let maps = ["get", "partitionmaps", "--output", path];
    cluster.operated().api().kubectl(&maps).stdout
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn an_operator_that_stands_still_when_a_leader_dies_is_replaced_and_does_no_harm_when_it_goes_on()
 {
    let (mut cluster, load) = loaded("duel", BROKERS).await;
    let mut second = cluster.operated().start_second_operator();
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.kill(leader);
    cluster.operated().stop_operator();
    load.more(SOME).await;
    assert_eq!(holder(&mut cluster), "operator-1");
    // It believes to be in office still, with a broker before it that it has to deal with.
    cluster.restart(leader);
    cluster.operated().continue_operator();
    wait::until("the first steps down", wait::PATIENCE, || {
        let metrics = cluster.operated().metrics();
        metrics.contains("taffrail_operator_active 0").then_some(())
    });
    cluster.until_online(leader).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    assert_eq!(holder(&mut cluster), "operator-1");
    assert!(!second.has_ended(), "{}", second.said());
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn an_election_whose_operator_dies_in_the_middle_is_held_by_the_next_one() {
    let (mut cluster, load) = loaded("mid-election", BROKERS).await;
    // The first dies before it could write.
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.kill(leader);
    cluster.kill_controller();
    cluster.operated().replace_operator();
    load.more(SOME).await;
    assert_eq!(holder(&mut cluster), "operator-1");
    assert_ne!(cluster.metadata().leader(TOPIC, 0).await, leader);
    cluster.restart(leader);
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;

    // The next one as soon as it has written.
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    let before = maps(&mut cluster);
    cluster.kill(leader);
    wait::until("the election", wait::PATIENCE, || {
        (maps(&mut cluster) != before).then_some(())
    });
    cluster.kill_controller();
    cluster.operated().replace_operator();
    load.more(SOME).await;
    assert_ne!(cluster.metadata().leader(TOPIC, 0).await, leader);
    cluster.restart(leader);
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}

/// The maps in the order in which they are written, and the version of each.
fn versions(cluster: &mut Cluster) -> Vec<(String, String)> {
    let list = cluster.operated().api().get(&["partitionmaps"]);
    let maps = list["items"].as_array().expect("a list").iter();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let meta = maps.map(|map| &map["metadata"]);
    let mut versions: Vec<_> = meta
        .map(|meta| (text(&meta["name"]), text(&meta["resourceVersion"])))
        .collect();
    versions.sort();
    versions
}

/// From here on the API server refuses changes of this map.
fn freeze(cluster: &mut Cluster, map: &str) {
    let policy = FROZEN.replace("NAME", map);
    let api = cluster.operated().api();
    api.apply(&policy, &[]).expect_success();
    let change = ["annotate", "partitionmap", map, "a=b", "--dry-run=server"];
    wait::until("the refusal", wait::PATIENCE, || {
        (api.kubectl(&change).code != Some(0)).then_some(())
    });
}

fn thaw(cluster: &mut Cluster) {
    let api = cluster.operated().api();
    for kind in [
        "validatingadmissionpolicybinding",
        "validatingadmissionpolicy",
    ] {
        api.kubectl(&["delete", kind, "frozen"]).expect_success();
    }
}

/// Waits until no partition of these topics is led by the broker with this number, nor has it in its in-sync set.
async fn until_without(cluster: &Cluster, number: u32) {
    for topic in [TOPIC, WIDE] {
        wait::until_async("other leaders", wait::PATIENCE, async || {
            let partitions = cluster.metadata().partitions(topic).await?;
            let mut all = partitions.iter();
            all.all(|p| p.leader.is_some_and(|l| l != number) && !p.isr.contains(&number))
                .then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn an_election_that_was_written_to_half_of_the_maps_is_ended_by_the_next_operator() {
    let (mut cluster, load) = loaded("between-maps", BROKERS).await;
    cluster.create(WIDE, &WIDE_SPEC);
    cluster.metadata().until_in_sync(WIDE, BROKERS).await;
    let before = versions(&mut cluster);
    let half = before.len() / 2;
    assert!(half >= 2, "{before:?}");
    freeze(&mut cluster, &before[half].0);
    let number = cluster.metadata().known_partitions(TOPIC).await[0].leader;
    let number = number.expect("somebody leads");
    let leader = cluster.metadata().index_of(number).await;
    cluster.kill(leader);
    let changed = wait::until("half of the election", wait::PATIENCE, || {
        let now = versions(&mut cluster);
        let changed: Vec<_> = now.iter().zip(&before).map(|(a, b)| a != b).collect();
        changed[half - 1].then_some(changed)
    });
    assert!(!changed[half..].contains(&true), "{changed:?}");
    cluster.kill_controller();
    thaw(&mut cluster);
    cluster.operated().replace_operator();
    until_without(&cluster, number).await;
    load.more(SOME).await;
    cluster.restart(leader);
    for topic in [TOPIC, WIDE] {
        cluster.metadata().until_in_sync(topic, BROKERS).await;
    }
    load.stop_and_check(&mut cluster).await;
}
