use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use taffrail_crds::BrokerCluster;
use tokio::time::advance;

use super::*;
use crate::engines::Engines;

fn cluster() -> ClusterKey {
    ClusterKey {
        namespace: "streams".to_owned(),
        name: "main".to_owned(),
    }
}

/// That what was handed over last had this strategy.
fn status(strategy: &str) -> Value {
    json!({
        "cluster": "streams/main", "groupName": "billing",
        "effective": { "mode": "Partitioned", "objectives": {}, "assignment": { "strategy": strategy } },
    })
}

fn group(metadata: &Value, spec: &Value, status: &Value) -> ConsumerGroup {
    let mut value = json!({
        "apiVersion": "taffrail.dev/v1alpha1", "kind": "ConsumerGroup",
        "metadata": { "name": "billing", "namespace": "streams" },
        "spec": spec, "status": status,
    });
    let more = metadata.as_object().expect("fields").clone();
    value["metadata"]
        .as_object_mut()
        .expect("fields")
        .extend(more);
    serde_json::from_value(value).expect("valid")
}

fn strategy_of(wanted: Option<WantedGroup>) -> Option<String> {
    wanted.map(|wanted| format!("{:?}", wanted.policy.strategy))
}

/// With a spec that says Range.
fn declared_of(group: &ConsumerGroup, is_valid: bool) -> Option<WantedGroup> {
    let policy = if is_valid {
        Ok(group.spec.effective(ToOwned::to_owned))
    } else {
        Err(())
    };
    declared(group, &cluster(), "billing", policy)
}

#[test]
fn a_group_says_what_its_spec_says_and_a_paused_or_invalid_one_what_it_said_before() {
    let spec = json!({ "assignment": { "strategy": "Range" } });
    let paused = json!({ "annotations": { "taffrail.dev/paused": "true" } });
    let before = status("RoundRobin");
    for (metadata, status, is_valid, says) in [
        (json!({}), &Value::Null, true, Some("Range")),
        (json!({}), &before, true, Some("Range")),
        (json!({}), &before, false, Some("RoundRobin")),
        (json!({}), &Value::Null, false, None),
        (paused.clone(), &before, true, Some("RoundRobin")),
        (paused, &Value::Null, true, None),
    ] {
        let found = strategy_of(declared_of(&group(&metadata, &spec, status), is_valid));
        assert_eq!(found.as_deref(), says, "{metadata} {status} {is_valid}");
    }
}

#[test]
fn what_another_cluster_or_name_was_told_says_nothing_here() {
    let mut elsewhere = status("RoundRobin");
    elsewhere["cluster"] = json!("streams/other");
    assert_eq!(
        declared_of(&group(&json!({}), &json!({}), &elsewhere), false),
        None
    );
    let mut renamed = status("RoundRobin");
    renamed["groupName"] = json!("other");
    assert_eq!(
        declared_of(&group(&json!({}), &json!({}), &renamed), false),
        None
    );
}

#[test]
fn a_group_that_is_to_be_forgotten_is_declared_even_if_it_was_never_valid() {
    let ending = json!({
        "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["taffrail.dev/offsets"],
    });
    let spec = json!({ "deletionPolicy": "Delete" });
    for (status, is_valid) in [
        (Value::Null, true),
        (Value::Null, false),
        (status("Range"), false),
    ] {
        let wanted = declared_of(&group(&ending, &spec, &status), is_valid);
        assert!(wanted.expect("declared").forget, "{status} {is_valid}");
    }
    let retained = group(&ending, &json!({}), &Value::Null);
    assert!(!declared_of(&retained, true).expect("declared").forget);
}

#[test]
fn a_resource_that_cannot_be_read_keeps_what_it_said_before() {
    let invalid = |status: Value| Invalid {
        metadata: ObjectMeta::default(),
        status,
        reason: "spec: unknown field".to_owned(),
    };
    let (key, name, wanted) = remembered(&invalid(status("Range"))).expect("remembered");
    assert_eq!((key, &*name), (cluster(), "billing"));
    assert_eq!(strategy_of(Some(wanted)).as_deref(), Some("Range"));
    assert!(remembered(&invalid(Value::Null)).is_none());
}

#[test]
fn a_group_that_is_refused_where_it_was_accepted_keeps_what_it_said_before() {
    let broker_cluster: BrokerCluster = serde_json::from_value(json!({
        "apiVersion": "taffrail.dev/v1alpha1", "kind": "BrokerCluster",
        "metadata": { "name": "main", "namespace": "streams" },
        "spec": { "brokers": 1, "storage": { "size": "1Gi" } },
    }))
    .expect("valid");
    let engines = Engines::default();
    engines.note(Arc::new(broker_cluster));
    let named =
        |cluster: &str| json!({ "clusterRef": { "name": cluster, "namespace": "streams" } });
    let foreign = json!({ "namespace": "shop" });
    let strays = |all: &[Arc<ConsumerGroup>]| -> Vec<_> {
        let owners = owners(all, &engines);
        strayed(all, &owners)
            .map(|(cluster, name, wanted)| (cluster, name, strategy_of(Some(wanted))))
            .collect()
    };
    let kept = [(cluster(), "billing".to_owned(), Some("Range".to_owned()))];
    let moved = Arc::new(group(&json!({}), &named("other"), &status("Range")));
    assert_eq!(strays(std::slice::from_ref(&moved)), kept);
    let not_allowed = Arc::new(group(&foreign, &named("main"), &status("Range")));
    assert_eq!(strays(&[not_allowed]), kept);
    let owner = Arc::new(group(&json!({ "uid": "b" }), &json!({}), &Value::Null));
    assert_eq!(strays(&[moved, owner]), [], "the name is another's");
    let well = Arc::new(group(&json!({}), &named("main"), &status("Range")));
    assert_eq!(strays(&[well]), []);
    let never = Arc::new(group(&foreign, &named("main"), &Value::Null));
    assert_eq!(strays(&[never]), []);
}

fn office(controller_epoch: u64) -> Office {
    Office {
        cluster_id: "first".to_owned(),
        controller_epoch,
    }
}

fn groups(names: &[&str], forget: bool) -> Groups {
    let wanted = WantedGroup {
        forget,
        ..WantedGroup::default()
    };
    let all = names
        .iter()
        .map(|name| ((*name).to_owned(), wanted.clone()));
    all.collect()
}

#[tokio::test(start_paused = true)]
async fn each_controller_is_told_everything_once_and_then_what_changed() {
    let declared = Declared::default();
    let both = groups(&["a", "b"], false);
    let news = |epoch, groups: &Groups| declared.news(&cluster(), &office(epoch), groups);
    // Also that there is nothing: what brokers remember may be older.
    assert_eq!(news(1, &Groups::new()), Some(vec![]));
    assert_eq!(news(1, &both), Some(vec!["a".to_owned(), "b".to_owned()]));
    declared.note(&cluster(), &office(1), both.clone());
    assert_eq!(news(1, &both), None);
    assert_eq!(news(1, &groups(&["a"], false)), Some(vec!["b".to_owned()]));
    assert!(news(2, &both).is_some(), "another controller");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_made_again_is_told_everything_again() {
    let declared = Declared::default();
    let both = groups(&["a", "b"], false);
    declared.note(&cluster(), &office(1), both.clone());
    let again = Office {
        cluster_id: "second".to_owned(),
        ..office(1)
    };
    let all = Some(vec!["a".to_owned(), "b".to_owned()]);
    assert_eq!(declared.news(&cluster(), &again, &both), all);
    declared.keep(&BTreeSet::from([&cluster()]));
    assert_eq!(declared.news(&cluster(), &office(1), &both), None);
    // One whose controller is gone was told nothing.
    declared.keep(&BTreeSet::new());
    assert_eq!(declared.news(&cluster(), &office(1), &both), all);
}

#[tokio::test(start_paused = true)]
async fn a_picture_is_believed_when_it_is_newer_than_the_word_to_forget() {
    let declared = Declared::default();
    declared.note(&cluster(), &office(1), groups(&["a"], true));
    assert!(!declared.is_to_forget(&cluster(), "a"));
    advance(PICTURE_AGE).await;
    declared.note(&cluster(), &office(1), groups(&["a"], true));
    assert!(declared.is_to_forget(&cluster(), "a"));
    assert!(!declared.is_to_forget(&cluster(), "b"));
    // Another controller begins with another picture.
    declared.note(&cluster(), &office(2), groups(&["a"], true));
    assert!(!declared.is_to_forget(&cluster(), "a"));
    advance(PICTURE_AGE).await;
    declared.note(&cluster(), &office(2), groups(&["a"], false));
    assert!(
        !declared.is_to_forget(&cluster(), "a"),
        "it is not any more"
    );
}
