//! The Helm chart: linted, rendered, and installed into the API server.

use taffrail_tests::kube_api::{KubeApi, chart};
use taffrail_xtask::workspace_root;

#[test]
#[ignore = "needs etcd, kube-apiserver and helm: cargo xtask ci"]
fn it_is_linted_installed_upgraded_and_uninstalled_but_for_the_crds() {
    let api = KubeApi::start();
    let chart = chart();
    let said = api.helm(&["lint", "--strict", &chart]).expect_success();
    assert!(said.contains("0 chart(s) failed"), "{said}");
    let namespaced = ["--namespace", "taffrail-system"];
    let with = |args: &[&str]| api.helm(&[args, &namespaced].concat());
    with(&["install", "taffrail", &chart, "--create-namespace"]).expect_success();
    let again = with(&["upgrade", "taffrail", &chart]);
    again.expect_success();
    with(&["uninstall", "taffrail"]).expect_success();
    let crds = api.kubectl(&["get", "crd", "topics.taffrail.dev"]);
    crds.expect_success();
}

#[test]
#[ignore = "needs etcd, kube-apiserver and helm: cargo xtask ci"]
fn restricted_pod_security_has_nothing_against_its_pods() {
    let api = KubeApi::start();
    let crds = workspace_root().join("crds/yaml");
    api.kubectl(&["apply", "--server-side", "-f", &crds.to_string_lossy()])
        .expect_success();
    api.kubectl(&["create", "namespace", "strict"])
        .expect_success();
    api.kubectl(&[
        "label",
        "namespace",
        "strict",
        "pod-security.kubernetes.io/warn=restricted",
    ])
    .expect_success();
    let rendered = api
        .helm(&["template", "taffrail", &chart(), "--namespace", "strict"])
        .expect_success();
    let answer = api.apply(
        &rendered,
        &[
            "--namespace",
            "strict",
            "--server-side",
            "--force-conflicts",
        ],
    );
    assert!(
        !answer.stderr.contains("would violate"),
        "{}",
        answer.stderr
    );
    answer.expect_success();
}
