//! Where brokers say that they stand decides where replicas go.

use std::collections::BTreeMap;

use taffrail_core::TopicSpec;

use crate::{
    condition, controller,
    fake_broker::{FakeBroker, Volume},
    is_true, serve, until,
};

fn volume(id: u8, rack: &str) -> Volume {
    Volume {
        rack: rack.to_owned(),
        ..Volume::new(id)
    }
}

#[tokio::test]
async fn replicas_go_to_the_racks_that_brokers_registered_with() {
    let handle = controller(taffrail_controller::MemoryStore::default(), 3).await;
    let address = serve(&handle).await;
    let racks = ["cellar", "cellar", "attic"];
    let volumes = (1..).zip(racks).map(|(id, rack)| volume(id, rack));
    let mut brokers: Vec<_> = volumes.map(|v| FakeBroker::start(&address, v)).collect();
    for broker in &mut brokers {
        broker.registered().await;
    }
    let spec = TopicSpec {
        partitions: Some(12),
        replicas: Some(2),
        ..TopicSpec::default()
    };
    let applied = handle.apply_topic("flights", spec, false).await;
    applied.expect("valid");
    until(&handle, "ready", |view| is_true(view, "flights", "Ready")).await;

    let view = handle.view();
    let racks: BTreeMap<_, _> = view.brokers.iter().map(|b| (b.number, &*b.rack)).collect();
    for partition in &view.partitions["flights"] {
        let mut used: Vec<_> = partition.replicas.iter().map(|b| racks[b]).collect();
        used.sort_unstable();
        assert_eq!(used, ["attic", "cellar"], "{partition:?}");
    }
}

#[tokio::test]
async fn replicas_that_share_a_rack_while_another_is_free_are_said() {
    let handle = controller(taffrail_controller::MemoryStore::default(), 2).await;
    let address = serve(&handle).await;
    let mut brokers = Vec::new();
    for id in 1..=2 {
        let mut broker = FakeBroker::start(&address, volume(id, "cellar"));
        broker.registered().await;
        brokers.push(broker);
    }
    let spec = TopicSpec {
        replicas: Some(2),
        ..TopicSpec::default()
    };
    let applied = handle.apply_topic("flights", spec, false).await;
    applied.expect("valid");
    let placement = |reason: &'static str| {
        move |view: &taffrail_controller::View| {
            condition(view, "flights", "PlacementSatisfied").is_some_and(|c| c.1 == reason)
        }
    };
    until(&handle, "placed", |view| {
        view.brokers[0].leads + view.brokers[1].leads == 1
    })
    .await;
    until(&handle, "one rack", placement("TooFewRacks")).await;
    let _third = FakeBroker::start(&address, volume(3, "attic"));
    until(&handle, "skewed", placement("RackSkew")).await;
    let status = handle.topic_status("flights").expect("there");
    assert_eq!(
        status.leaders.iter().map(|led| led.partitions).sum::<u32>(),
        1
    );
}

#[tokio::test]
async fn a_broker_that_comes_back_in_another_rack_is_known_to_stand_there() {
    let handle = controller(taffrail_controller::MemoryStore::default(), 1).await;
    let address = serve(&handle).await;
    let mut broker = FakeBroker::start(&address, volume(1, "cellar"));
    broker.registered().await;
    let stands = |rack: &'static str| {
        move |view: &taffrail_controller::View| {
            view.brokers
                .first()
                .is_some_and(|broker| broker.rack == rack)
        }
    };
    until(&handle, "in the cellar", stands("cellar")).await;
    let moved = Volume {
        rack: "attic".to_owned(),
        ..broker.stop().await
    };
    let _broker = FakeBroker::start(&address, moved);
    until(&handle, "in the attic", stands("attic")).await;
}
