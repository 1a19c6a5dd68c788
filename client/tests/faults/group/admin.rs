//! Administration finds the coordinator.

use taffrail_client::{ErrorCode, GroupOffset, Offset, PartitionIndex};

use crate::{
    cluster::{Cluster, TOPIC_ID},
    coordinator::{at, committed},
};

#[tokio::test]
async fn the_coordinator_is_found_wherever_it_is_and_every_broker_is_asked_for_its_groups() {
    let cluster = Cluster::start(2, 1).await;
    let admin = cluster.client().await.admin();
    for broker in [0, 1] {
        cluster.state().coordinator.move_to(broker);
        let groups = admin.list_groups().await.expect("listed").groups;
        let names: Vec<_> = groups.iter().map(|group| &*group.group).collect();
        assert_eq!(names, [format!("of-broker-{broker}")]);
        let to = GroupOffset {
            topic: taffrail_core::TopicId::from_bytes(TOPIC_ID),
            partition: PartitionIndex(0),
            offset: Offset(7 + broker as u64),
        };
        admin.reset_group("billing", &[to]).await.expect("reset");
        let described = admin.describe_group("billing").await.expect("described");
        assert_eq!(described.group, "billing");
        let offset = described.offsets[0].committed.as_ref().map(|c| c.offset);
        assert_eq!(offset, Some(7 + broker as i64));
    }
    admin
        .delete_group("billing")
        .await
        .expect("nobody is in it");
}

#[tokio::test]
async fn a_group_with_members_is_not_deleted() {
    let cluster = Cluster::start(1, 1).await;
    let _member = super::member(&cluster).await;
    cluster
        .state()
        .coordinator
        .group
        .reset([(at(0), committed(1))]);
    let admin = cluster.client().await.admin();
    let error = admin.delete_group("billing").await.expect_err("refused");
    assert_eq!(error.code(), ErrorCode::GroupNotEmpty);
}
