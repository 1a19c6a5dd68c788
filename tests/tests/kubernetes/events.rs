//! What the operator says in Events: what `kubectl describe` shows below a resource.

use taffrail_tests::{
    manifest,
    operated::{self, Operated},
    wait,
};

/// `<kind>/<name> <type> <action> <reason>`, sorted; one that was said again ends in `again`.
fn events(operated: &Operated) -> Vec<String> {
    let list = operated.api().get(&["events.events.k8s.io"]);
    let items = list["items"].as_array().expect("a list").iter();
    let ours = items.filter(|event| event["reportingController"] == "taffrail-operator");
    let mut said: Vec<_> = ours
        .map(|event| {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            let regarding = &event["regarding"];
            let about = |field: &str| regarding[field].as_str().unwrap_or_default().to_owned();
            assert!(!text("note").is_empty(), "an event without words: {event}");
            let again = if event["series"].is_null() {
                ""
            } else {
                " again"
            };
            format!(
                "{}/{} {} {} {}{again}",
                about("kind"),
                about("name"),
                text("type"),
                text("action"),
                text("reason")
            )
        })
        .collect();
    said.sort();
    said
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn what_turned_is_said_once_on_the_resource_that_it_is_about() {
    let (operated, _broker) = operated::start();
    operated.wait_until_ready("brokercluster/main");
    let topic = |more: &[&str]| manifest::topic("flights", &[&["partitions: 1"], more].concat());
    operated.apply_and_wait(&topic(&[]), "topic/flights");
    let second = manifest::topic("second", &["topicName: flights"]);
    operated.api().apply(&second, &[]).expect_success();
    let expected = [
        "BrokerCluster/main Normal SetAvailable BrokersServing",
        "BrokerCluster/main Normal SetReady AllBrokersOnline",
        "Topic/flights Normal SetAccepted Valid",
        "Topic/flights Normal SetReady AllPartitionsOnline",
        "Topic/second Warning SetAccepted NameConflict",
    ];
    wait::until("all events", wait::PATIENCE, || {
        let said = events(&operated);
        (said.len() >= expected.len()).then_some(())
    });
    for hours in [1, 2, 3] {
        let other = topic(&[&format!("retention: {{time: {hours}h}}")]);
        operated.api().apply(&other, &[]).expect_success();
        let effective = "jsonpath={.status.effective.retention.time}";
        wait::until("another look", wait::PATIENCE, || {
            let read = ["get", "topic", "flights", "--output", effective];
            let shown = operated.api().kubectl(&read).stdout;
            (shown == format!("{hours}h")).then_some(())
        });
    }
    assert_eq!(events(&operated), expected);
}
