//! Ids of idempotent producers: drawn here, without the control plane, so that producers can start while it is away.

use taffrail_api::v1::{InitProducerRequest, InitProducerResponse};

use crate::broker::Broker;

/// 63 random bits: that two producers of a partition draw the same is less likely than any fault that we guard against.
pub(super) fn init(broker: &Broker, _: InitProducerRequest) -> InitProducerResponse {
    broker.metrics.requests("init_producer").inc();
    InitProducerResponse {
        producer_id: ((broker.environment.random)() >> 1) as i64,
        producer_epoch: 0,
    }
}
