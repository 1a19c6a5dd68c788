//! What a BrokerCluster says of its pods reaches them, and goes when it is taken back.

use taffrail_tests::{operated::Operated, wait};

const CLUSTER: &str = "apiVersion: taffrail.dev/v1alpha1
kind: BrokerCluster
metadata: {name: main}
spec:
  brokers: 1
  storage: {size: 1Gi}
";

const POD_TEMPLATE: &str = "  podTemplate:
    labels: {team: streams}
    imagePullSecrets: [{name: registry}]
    tolerations: [{key: brokers, operator: Exists, effect: NoSchedule}]
    affinity:
      nodeAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: In, values: [nvme]}]}]
";

fn wait_for(operated: &Operated, path: &str, value: &str) {
    let path = format!("jsonpath={{.spec.template{path}}}");
    let args = ["get", "statefulset/main", "--output", &path];
    let what = format!("{path} = {value:?}");
    wait::until(&what, wait::PATIENCE, || {
        let answer = operated.api().kubectl(&args);
        (answer.code == Some(0) && answer.stdout == value).then_some(())
    });
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_pod_template_reaches_the_pods_and_goes_when_it_is_taken_back() {
    let operated = Operated::start();
    let with = format!("{CLUSTER}{POD_TEMPLATE}");
    operated
        .api()
        .apply(&with, &["--validate=strict"])
        .expect_success();
    let terms = ".spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key";
    let paths = [
        (".metadata.labels.team", "streams"),
        (".spec.imagePullSecrets[0].name", "registry"),
        (".spec.tolerations[0].key", "brokers"),
        (terms, "disk"),
    ];
    for (path, value) in paths {
        wait_for(&operated, path, value);
    }
    operated.api().apply(CLUSTER, &[]).expect_success();
    for (path, _) in paths {
        wait_for(&operated, path, "");
    }
}
