//! The controllers of clusters whose resource cannot be read. Nothing else is done for these: what is there stays as it is.

use std::{sync::Arc, time::Duration};

use taffrail_crds::BrokerCluster;
use tokio::time::sleep;

use super::start;
use crate::{
    context::Context,
    engines::ClusterKey,
    watch::{Invalid, Watched as _},
};

/// After a controller that did not start.
const RETRY: Duration = Duration::from_secs(5);

/// Sees to them until the operator is stopped.
pub(crate) async fn run(context: Arc<Context>) {
    let mut unreadable = context.unreadable.changed();
    // A controller lost its office.
    let mut engines = context.engines.changed();
    loop {
        let mut has_failed = false;
        for invalid in context.unreadable.of::<BrokerCluster>() {
            has_failed |= !see_to(invalid, &context).await;
        }
        tokio::select! {
            () = context.stop.cancelled() => return,
            _ = unreadable.changed() => {}
            _ = engines.changed() => {}
            () = sleep(RETRY), if has_failed => {}
        }
    }
}

/// False if its controller did not start.
async fn see_to(invalid: Invalid, context: &Arc<Context>) -> bool {
    if invalid.metadata.deletion_timestamp.is_some() {
        return true;
    }
    let Some(cluster) = BrokerCluster::stand_in(invalid.metadata) else {
        return true;
    };
    let key = ClusterKey::of(&cluster);
    context.engines.note_stand_in(Arc::new(cluster));
    let started = start::ensure(&key, None, context).await;
    if let Err(error) = &started {
        tracing::error!(cluster = %key, %error, "controller did not start");
    }
    started.is_ok()
}
