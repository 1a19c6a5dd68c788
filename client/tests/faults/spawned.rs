//! What a client does, a task may do: the futures are `Send`, also where they borrow. This is checked when it is compiled.

use std::time::Duration;

use taffrail_client::{
    Client, ClientConfig, Consumer, Group, GroupBuilder, PartitionIndex, Producer, Record, Start,
};
use taffrail_core::TopicSpec;

fn spawnable(_: impl Future + Send + 'static) {}

#[test]
fn whatever_a_client_does_can_be_spawned() {
    // Never called: there is no broker here.
    let _ = |client: Client| {
        let (asked, admin) = (client.clone(), client.admin());
        spawnable(Client::connect(ClientConfig::default()));
        spawnable(async move { asked.metadata(&["flights".to_owned()]).await.is_ok() });
        spawnable(async move {
            let latest = ("flights".to_owned(), PartitionIndex(0), Start::Latest);
            client.offsets(&[latest]).await.is_ok()
        });
        let (topics, groups) = (admin.clone(), admin);
        spawnable(async move {
            let names = &["flights".to_owned()][..];
            let spec = TopicSpec::default();
            topics.apply_topic("flights", &spec, true).await.is_ok()
                && topics.delete_topic("flights").await.is_ok()
                && topics.list_topics(names).await.is_ok()
                && topics.list_brokers().await.is_ok()
                && topics.last_heard(names).await.is_ok()
        });
        spawnable(async move {
            let name = "billing".to_owned();
            groups.list_groups().await.is_ok()
                && groups.describe_group(&name).await.is_ok()
                && groups.reset_group(&name, &[]).await.is_ok()
                && groups.delete_group(&name).await.is_ok()
        });
    };
    let _ = |producer: Producer, mut consumer: Consumer, joining: GroupBuilder| {
        spawnable(async move {
            let sent = producer.send("flights", Record::default()).await;
            sent.is_ok() && producer.flush().await.is_ok() && producer.close().await.is_ok()
        });
        spawnable(async move {
            let all = [("flights", PartitionIndex(0), Start::Earliest)];
            consumer.assign(all).await.is_ok()
                && consumer.next_batch().await.is_ok()
                && consumer.poll(Duration::ZERO).await.is_ok()
        });
        spawnable(joining.join());
    };
    let _ = |mut group: Group| {
        spawnable(async move {
            group.next().await.is_ok()
                && group.next_batch().await.is_ok()
                && group.commit().await.is_ok()
                && group.close().await.is_ok()
        });
    };
}
