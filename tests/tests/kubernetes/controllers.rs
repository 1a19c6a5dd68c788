//! What Kubernetes' own controllers make of our objects. Where KUBEBUILDER_ASSETS is without kube-controller-manager, this module is skipped.

use taffrail_tests::{manifest, operated::Operated, wait};

#[test]
#[ignore = "needs etcd, kube-apiserver and kube-controller-manager: cargo xtask ci"]
fn pods_are_made_at_once_and_all_but_the_volumes_goes_with_the_cluster() {
    let operated = Operated::start();
    operated.apply_cluster(&manifest::CLUSTER.replace("brokers: 1", "brokers: 3"));
    let api = operated.api();
    let count = |kind| {
        let ours = "--selector=app.kubernetes.io/name=taffrail-broker";
        let list = api.get(&[kind, ours]);
        list["items"].as_array().expect("a list").len()
    };
    // None of them becomes ready here: in order, the first one would be waited for.
    wait::until("three pods and their claims", wait::PATIENCE, || {
        (count("pods") == 3 && count("pvc") == 3).then_some(())
    });
    api.kubectl(&["delete", "brokercluster", "main"])
        .expect_success();
    let companions = "statefulsets,services,configmaps,poddisruptionbudgets,networkpolicies";
    wait::until("the end of pods and companions", wait::PATIENCE, || {
        (count(companions) == 0 && count("pods") == 0).then_some(())
    });
    assert_eq!(count("pvc"), 3);
}
