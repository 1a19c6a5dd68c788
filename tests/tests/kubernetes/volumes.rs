//! Volumes that grow with `storage.size`, where their StorageClass allows it. Where KUBEBUILDER_ASSETS is without kube-controller-manager, this module is skipped.

use taffrail_tests::{operated::Operated, wait};

fn cluster(size: &str) -> String {
    format!(
        "apiVersion: taffrail.dev/v1alpha1\nkind: BrokerCluster\nmetadata: {{name: main}}\n\
         spec:\n  brokers: 1\n  storage: {{size: {size}, storageClassName: ours}}\n"
    )
}

/// A class whose volumes are there already: one, for the first broker.
fn storage(expands: bool) -> String {
    format!(
        "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: ours}}\n\
         provisioner: kubernetes.io/no-provisioner\nallowVolumeExpansion: {expands}\n---\n\
         apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: ours-0}}\nspec:\n  \
         capacity: {{storage: 1Gi}}\n  accessModes: [ReadWriteOnce]\n  storageClassName: ours\n  \
         hostPath: {{path: /nowhere}}\n  claimRef: {{namespace: default, name: data-main-0}}\n"
    )
}

fn read(operated: &Operated, object: &str, path: &str) -> String {
    let path = format!("jsonpath={{{path}}}");
    operated
        .api()
        .kubectl(&["get", object, "--output", &path])
        .stdout
}

fn wait_for(operated: &Operated, object: &str, path: &str, value: &str) {
    let what = format!("{object}: {path} = {value}");
    wait::until(&what, wait::PATIENCE, || {
        (read(operated, object, path) == value).then_some(())
    });
}

const CLAIM: &str = "pvc/data-main-0";
const REQUESTED: &str = ".spec.resources.requests.storage";
const PROGRESSING: &str = r#".status.conditions[?(@.type=="Progressing")].reason"#;

/// A cluster whose only volume is bound.
fn start(expands: bool) -> Operated {
    let operated = Operated::start();
    let api = operated.api();
    api.apply(&storage(expands), &[]).expect_success();
    api.apply(&cluster("1Gi"), &[]).expect_success();
    wait_for(&operated, CLAIM, ".status.phase", "Bound");
    wait_for(&operated, CLAIM, ".status.capacity.storage", "1Gi");
    operated
}

#[test]
#[ignore = "needs etcd, kube-apiserver and kube-controller-manager: cargo xtask ci"]
fn volumes_grow_and_pods_go_on() {
    let operated = start(true);
    let pod = read(&operated, "pod/main-0", ".metadata.uid");
    assert!(!pod.is_empty());
    operated.api().apply(&cluster("2Gi"), &[]).expect_success();
    wait_for(&operated, CLAIM, REQUESTED, "2Gi");
    let template = ".spec.volumeClaimTemplates[0].spec.resources.requests.storage";
    wait_for(&operated, "statefulset/main", template, "2Gi");
    wait_for(
        &operated,
        "brokercluster/main",
        PROGRESSING,
        "ExpandingVolumes",
    );
    // What the driver would say when it is done.
    let done = r#"{"status": {"capacity": {"storage": "2Gi"}}}"#;
    let patch = ["patch", CLAIM, "--subresource=status", "--type=merge"];
    operated
        .api()
        .kubectl(&[&patch[..], &["--patch", done]].concat())
        .expect_success();
    wait::until("the end of the expansion", wait::PATIENCE, || {
        let reason = read(&operated, "brokercluster/main", PROGRESSING);
        (!reason.is_empty() && reason != "ExpandingVolumes").then_some(())
    });
    wait_for(&operated, "statefulset/main", ".status.replicas", "1");
    assert_eq!(read(&operated, "pod/main-0", ".metadata.uid"), pod);
}

#[test]
#[ignore = "needs etcd, kube-apiserver and kube-controller-manager: cargo xtask ci"]
fn a_class_that_does_not_allow_it_is_said() {
    let operated = start(false);
    operated.api().apply(&cluster("2Gi"), &[]).expect_success();
    wait_for(
        &operated,
        "brokercluster/main",
        PROGRESSING,
        "ExpandingVolumes",
    );
    let message = r#".status.conditions[?(@.type=="Progressing")].message"#;
    let said = wait::until("the reason", wait::PATIENCE, || {
        let said = read(&operated, "brokercluster/main", message);
        said.contains("data-main-0").then_some(said)
    });
    assert!(said.contains("allowVolumeExpansion"), "{said}");
    assert_eq!(read(&operated, CLAIM, REQUESTED), "1Gi");
}
