//! The status of Broker resources: a summary for `kubectl get brokers`.

use std::{borrow::Cow, collections::BTreeMap};

use kube::{Api, ResourceExt as _, api::ListParams};
use taffrail_api::v1;
use taffrail_crds::{Broker, machine::BrokerStatus};
use tokio::time::timeout;

use crate::{context::Context, engines::ClusterKey, error::OperatorError, writes::API_TIMEOUT};

/// Writes what changed: a state at once, counts as the budget for summaries allows. True if some were held back.
pub(super) async fn write_statuses(
    key: &ClusterKey,
    seen: &[v1::BrokerStatus],
    context: &Context,
) -> Result<bool, OperatorError> {
    if seen.is_empty() {
        return Ok(false);
    }
    let api: Api<Broker> = Api::namespaced(context.client.clone(), &key.namespace);
    let all = ListParams::default();
    let listed = timeout(API_TIMEOUT, api.list(&all)).await;
    let listed = listed
        .unwrap_or_else(|elapsed| Err(kube::Error::Service(Box::new(elapsed))))
        .map_err(OperatorError::kube("list", format!("brokers of {key}")))?;
    let by_number: BTreeMap<u32, &v1::BrokerStatus> = seen.iter().map(|b| (b.number, b)).collect();
    let mut held_back = false;
    for broker in listed.iter().filter(|b| b.spec.cluster == key.name) {
        let Some(status) = by_number.get(&broker.spec.number).map(|b| summary(b)) else {
            continue;
        };
        let before = broker.status.clone().unwrap_or_default();
        if before == status {
            continue;
        }
        if before.state != status.state || context.writer.wait_for_summary(broker).is_zero() {
            tracing::debug!(
                broker = broker.name_any(),
                state = status.state,
                "broker status"
            );
            context.writer.status(broker, &status, "summary").await?;
        } else {
            held_back = true;
        }
    }
    Ok(held_back)
}

fn summary(broker: &v1::BrokerStatus) -> BrokerStatus {
    let state = match broker.state.as_str() {
        "ONLINE" => Cow::Borrowed("Online"),
        "SUSPECT" => Cow::Borrowed("Suspect"),
        "OFFLINE" => Cow::Borrowed("Offline"),
        other => Cow::Owned(other.to_owned()),
    };
    BrokerStatus {
        state: state.into_owned(),
        leads: broker.leads,
        follows: broker.follows,
        safe_to_stop: broker.safe_to_stop,
        stop_blocked_by: broker.stop_blocked_by.clone(),
    }
}
