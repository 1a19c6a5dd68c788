//! What the operator's service account may do, and what it may not.

use serde_json::{Value, json};
use taffrail_tests::kube_api::{KubeApi, chart};

const OPERATOR: &str = "system:serviceaccount:taffrail-system:taffrail-operator";

/// In every namespace that it looks after. StatefulSets are deleted, and their pods left, to be made again with larger volumes.
const MUST: [&str; 44] = [
    "list brokerclusters.taffrail.dev",
    "watch brokerclusters.taffrail.dev",
    "list topics.taffrail.dev",
    "watch topics.taffrail.dev",
    "list consumergroups.taffrail.dev",
    "watch consumergroups.taffrail.dev",
    "patch brokerclusters.taffrail.dev/status",
    "patch topics.taffrail.dev/status",
    "patch brokers.taffrail.dev/status",
    "patch topics.taffrail.dev",
    "patch consumergroups.taffrail.dev/status",
    "patch consumergroups.taffrail.dev",
    "get clustermetadata.taffrail.dev",
    "create clustermetadata.taffrail.dev",
    "update clustermetadata.taffrail.dev",
    "list partitionmaps.taffrail.dev",
    "watch partitionmaps.taffrail.dev",
    "create partitionmaps.taffrail.dev",
    "update partitionmaps.taffrail.dev",
    "list brokers.taffrail.dev",
    "watch brokers.taffrail.dev",
    "create brokers.taffrail.dev",
    "update brokers.taffrail.dev",
    "watch statefulsets.apps",
    "create statefulsets.apps",
    "patch statefulsets.apps",
    "delete statefulsets.apps",
    "list persistentvolumeclaims",
    "patch persistentvolumeclaims",
    "watch services",
    "create services",
    "patch services",
    "watch configmaps",
    "create configmaps",
    "patch configmaps",
    "watch poddisruptionbudgets.policy",
    "create poddisruptionbudgets.policy",
    "patch poddisruptionbudgets.policy",
    "watch networkpolicies.networking.k8s.io",
    "get networkpolicies.networking.k8s.io",
    "create networkpolicies.networking.k8s.io",
    "patch networkpolicies.networking.k8s.io",
    "create events.events.k8s.io",
    "patch events.events.k8s.io",
];

/// Nowhere. `patch topics` and `patch consumergroups` are there for finalizers, which have no subresource of their own.
const MUST_NOT: [&str; 34] = [
    "get secrets",
    "list secrets",
    "create secrets",
    "get brokerclusters.taffrail.dev",
    "get topics.taffrail.dev",
    "get consumergroups.taffrail.dev",
    "list clustermetadata.taffrail.dev",
    "watch clustermetadata.taffrail.dev",
    "get partitionmaps.taffrail.dev",
    "get brokers.taffrail.dev",
    "create brokerclusters.taffrail.dev",
    "update brokerclusters.taffrail.dev",
    "patch brokerclusters.taffrail.dev",
    "delete brokerclusters.taffrail.dev",
    "create topics.taffrail.dev",
    "update topics.taffrail.dev",
    "delete topics.taffrail.dev",
    "create consumergroups.taffrail.dev",
    "update consumergroups.taffrail.dev",
    "delete consumergroups.taffrail.dev",
    "delete clustermetadata.taffrail.dev",
    "delete partitionmaps.taffrail.dev",
    "delete brokers.taffrail.dev",
    "delete persistentvolumeclaims",
    "delete configmaps",
    "delete networkpolicies.networking.k8s.io",
    "create pods",
    "delete pods",
    "create pods/exec",
    "list nodes",
    "get persistentvolumes",
    "create roles.rbac.authorization.k8s.io",
    "patch clusterroles.rbac.authorization.k8s.io",
    "impersonate users",
];

fn install(values: &[&str]) -> KubeApi {
    let api = KubeApi::start();
    for namespace in ["taffrail-system", "looked-after", "left-alone"] {
        api.kubectl(&["create", "namespace", namespace])
            .expect_success();
    }
    let chart = chart();
    let install = ["install", "taffrail", &chart];
    let args = [&install[..], &["--namespace", "taffrail-system"], values].concat();
    api.helm(&args).expect_success();
    api
}

/// Of these, such as `get secrets`, what the operator may do in this namespace.
fn allowed<'a>(api: &KubeApi, namespace: &str, asked: &[&'a str]) -> Vec<&'a str> {
    let questions: Vec<_> = asked
        .iter()
        .map(|asked| question(namespace, asked))
        .collect();
    let answers = api.ask(&questions);
    assert_eq!(answers.len(), asked.len());
    let both = asked.iter().zip(answers);
    both.filter(|(_, answer)| answer["status"]["allowed"] == true)
        .map(|(asked, _)| *asked)
        .collect()
}

/// What `kubectl auth can-i <asked>` asks: `<verb> <resource>[.<group>][/<subresource>]`.
fn question(namespace: &str, asked: &str) -> Value {
    let (verb, resource) = asked.split_once(' ').expect("a verb and a resource");
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": OPERATOR,
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {
                "namespace": namespace,
                "verb": verb,
                "group": group,
                "resource": resource,
                "subresource": subresource,
            },
        },
    })
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn it_may_do_what_it_must_and_neither_read_secrets_nor_write_what_users_write() {
    let api = install(&[]);
    assert_eq!(allowed(&api, "looked-after", &MUST), MUST);
    assert_eq!(allowed(&api, "looked-after", &MUST_NOT), [""; 0]);
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn with_watch_namespaces_it_has_rights_in_those_only() {
    let api = install(&["--set", "watchNamespaces={looked-after}"]);
    assert_eq!(allowed(&api, "looked-after", &MUST), MUST);
    assert_eq!(allowed(&api, "looked-after", &MUST_NOT), [""; 0]);
    for namespace in ["left-alone", "taffrail-system"] {
        assert_eq!(allowed(&api, namespace, &MUST), [""; 0], "{namespace}");
    }
    let lease = ["create leases.coordination.k8s.io"];
    assert_eq!(allowed(&api, "taffrail-system", &lease), lease);
    assert_eq!(allowed(&api, "looked-after", &lease), [""; 0]);
}
