//! Members that have nothing to read.

use taffrail_client::{Client, ClientConfig, Group};

use super::example;
use crate::{
    dev::{Dev, until},
    groups::{Follower, json},
};

async fn join(dev: &Dev, pattern: &str) -> Group {
    let config = ClientConfig {
        bootstrap: vec![dev.address().to_owned()],
        ..ClientConfig::default()
    };
    let client = Client::connect(config).await.expect("a broker answers");
    let joined = client.group("billing").pattern(pattern).join().await;
    joined.expect("it waits for such a topic")
}

#[test]
fn a_pattern_that_matches_nothing_is_marked_in_the_description() {
    let dev = Dev::start(&[]);
    let runtime = tokio::runtime::Runtime::new().expect("starts");
    let _member = runtime.block_on(join(&dev, "fligths.*"));
    let describe = ["groups", "describe", "billing"];
    let table = dev.ok(&describe);
    assert!(table.contains("fligths.* (no such topic)"), "{table}");
    let described = json(&dev, &describe);
    assert_eq!(described["usefulMembers"], 0, "{described}");
    assert_eq!(described["members"][0]["matchesNothing"], true);
    dev.ok(&["apply", "-f", &example("topic.yaml")]);
    let _other = runtime.block_on(join(&dev, "flights.*"));
    let table = dev.ok(&describe);
    assert_eq!(table.matches("(no such topic)").count(), 1, "{table}");
    assert_eq!(json(&dev, &describe)["usefulMembers"], 3);
}

#[test]
fn a_member_whose_topics_are_gone_says_that_there_is_nothing_to_read() {
    let dev = Dev::start(&["-f", &example("topic.yaml")]);
    let member = Follower::start(&dev, "member.jsonl");
    dev.ok_with(&["produce", "flights", "-"], b"one\n");
    until("it reads", || (member.seen().len() == 1).then_some(()));
    assert_eq!(member.said(), "");
    dev.ok(&["delete", "flights"]);
    until("it says so", || {
        let said = member.said();
        let is_said = said.contains("nothing to read") && said.contains("groups describe billing");
        is_said.then_some(())
    });
}
