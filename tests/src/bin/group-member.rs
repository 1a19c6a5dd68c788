//! A member of a consumer group in a process of its own, so that a test can kill it and have it stand still. Says what it works on, and when by the clock that all
//! processes share. Arguments: brokers' addresses with commas between, topic, group, what it promises.
#![forbid(unsafe_code)]

use std::{
    env,
    io::{self, Write as _},
    time::Duration,
};

use taffrail_client::{Client, ClientConfig, ClientError, DeliveryMode, Group, GroupEvent};
use taffrail_core::ErrorCode;
use taffrail_tests::members::{SESSION_TIMEOUT, now_us};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::timeout,
};

/// What a member works on a batch.
const WORK: Duration = Duration::from_millis(2);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = env::args().collect();
    let [_, brokers, topic, group, promise] = arguments.as_slice() else {
        panic!("arguments: BROKERS TOPIC GROUP PROMISE");
    };
    let delivery = match promise.as_str() {
        "AtLeastOnce" => DeliveryMode::AtLeastOnce,
        "AtMostOnce" => DeliveryMode::AtMostOnce,
        other => panic!("{other} is no promise"),
    };
    let mut told_to_end = signal(SignalKind::terminate()).expect("signals can be waited for");
    let client = Client::connect(ClientConfig {
        bootstrap: brokers.split(',').map(str::to_owned).collect(),
        ..ClientConfig::default()
    });
    let client = client.await.expect("the cluster serves");
    let joining = client
        .group(group)
        .topic(topic)
        .delivery(delivery)
        .session_timeout(SESSION_TIMEOUT)
        .commit_interval(Duration::from_millis(200));
    let mut member = joining.join().await.expect("joins");
    loop {
        tokio::select! {
            _ = told_to_end.recv() => break,
            () = work(&mut member) => {}
        }
    }
    // Others may begin before this process has ended.
    say(&format!("left {}", now_us()));
    match member.close().await {
        // It was given up before it could commit: others work on that again.
        Err(ClientError::Refused(why)) if why.code == ErrorCode::NotAssigned => {}
        left => left.expect("leaves"),
    }
}

async fn work(member: &mut Group) {
    let GroupEvent::Batch(batch) = member.next().await.expect("a group goes on") else {
        return;
    };
    let (partition, first, next) = (batch.partition(), batch.first_offset(), batch.next_offset());
    say(&format!("begin {} {partition} {first} {next}", now_us()));
    // Nothing is waited for: it works.
    let _ = timeout(WORK, std::future::pending::<()>()).await;
    say(&format!("end {}", now_us()));
}

fn say(line: &str) {
    writeln!(io::stdout(), "{line}").expect("somebody listens");
}
