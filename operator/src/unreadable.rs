//! Resources that the API server accepts and the operator cannot read: their status says what is wrong, and everything else goes on with what was
//! last read.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp,
};
use kube::{Resource, core::object::HasStatus};
use serde::{Serialize, de::DeserializeOwned};
use taffrail_crds::{
    BrokerCluster, BrokerClusterStatus, ConsumerGroup, ConsumerGroupStatus, Topic, TopicStatus,
};
use tokio::time::sleep;

use crate::{
    cluster,
    context::Context,
    error::OperatorError,
    group, topic,
    watch::{Invalid, Watched},
};

/// After a status that could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// A resource whose status can say that it cannot be read.
pub(crate) trait Refusable:
    Watched + Resource<Scope = NamespaceResourceScope> + HasStatus
{
    /// The status of a resource that cannot be read for this reason. What is not known now stays as it was.
    fn refused(&self, reason: &str, now: Timestamp) -> Self::Status;
    /// Its conditions.
    fn conditions(status: &Self::Status) -> &[Condition];
}

impl Refusable for Topic {
    fn refused(&self, reason: &str, now: Timestamp) -> TopicStatus {
        topic::refused_status(self, message(reason), now)
    }

    fn conditions(status: &TopicStatus) -> &[Condition] {
        &status.conditions
    }
}

impl Refusable for ConsumerGroup {
    fn refused(&self, reason: &str, now: Timestamp) -> ConsumerGroupStatus {
        group::refused_status(self, message(reason), now)
    }

    fn conditions(status: &ConsumerGroupStatus) -> &[Condition] {
        &status.conditions
    }
}

impl Refusable for BrokerCluster {
    fn refused(&self, reason: &str, now: Timestamp) -> BrokerClusterStatus {
        cluster::refused_status(self, message(reason), now)
    }

    fn conditions(status: &BrokerClusterStatus) -> &[Condition] {
        &status.conditions
    }
}

fn message(reason: &str) -> String {
    format!("{reason}; correct this field and apply the resource again")
}

/// Says it of every resource of a kind until the operator is stopped.
pub(crate) async fn run<K>(context: Arc<Context>)
where
    K: Refusable,
    K::Status: Clone + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync,
{
    let mut changed = context.unreadable.changed();
    loop {
        let mut has_failed = false;
        for invalid in context.unreadable.of::<K>() {
            if let Err(error) = tell::<K>(&invalid, &context).await {
                tracing::warn!(%error, "cannot say that a resource cannot be read; trying again");
                has_failed = true;
            }
        }
        tokio::select! {
            () = context.stop.cancelled() => return,
            _ = changed.changed() => {}
            () = sleep(RETRY), if has_failed => {}
        }
    }
}

async fn tell<K>(invalid: &Invalid, context: &Context) -> Result<(), OperatorError>
where
    K: Refusable,
    K::Status: Clone + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync,
{
    let Some(mut object) = K::stand_in(invalid.metadata.clone()) else {
        return Ok(());
    };
    let before: K::Status = serde_json::from_value(invalid.status.clone()).unwrap_or_default();
    *object.status_mut() = Some(before.clone());
    let status = object.refused(&invalid.reason, Timestamp::now());
    if status == before {
        return Ok(());
    }
    context.writer.status(&object, &status, "status").await?;
    let (before, after) = (K::conditions(&before), K::conditions(&status));
    context.events.turned(&object, before, after).await;
    Ok(())
}
