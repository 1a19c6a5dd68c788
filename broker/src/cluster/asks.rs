//! What this broker asks of the controller as a leader, on its way to the session.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use taffrail_api::{convert, v1};
use taffrail_core::{
    BrokerNumber, Incarnation, LeaderEpoch, TopicPartition,
    replica::{IsrChange, IsrRequest, ShrinkReason},
};
use tokio::sync::Notify;

use super::view::topic_id_bytes;

/// Runs of members that have caught up, in the epoch in which they did.
pub(crate) type Confirmations =
    BTreeMap<(TopicPartition, BrokerNumber), (LeaderEpoch, Incarnation)>;

/// Everything that waits to be sent, in one message.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// One is under way for a partition at most: the newest counts.
    pub(crate) requests: BTreeMap<TopicPartition, IsrRequest>,
    pub(crate) confirmations: Confirmations,
}

impl Waiting {
    /// `None`: there is nothing to send.
    pub(crate) fn into_wire(self) -> Option<v1::IsrRequests> {
        if self.requests.is_empty() && self.confirmations.is_empty() {
            return None;
        }
        let requests = self.requests.into_iter();
        let confirmations = self.confirmations.into_iter();
        Some(v1::IsrRequests {
            requests: requests
                .map(|(id, request)| to_wire(id, &request))
                .collect(),
            confirmations: confirmations
                .map(|((id, broker), (epoch, incarnation))| v1::Confirmation {
                    topic_id: topic_id_bytes(id.topic),
                    partition: id.partition.0,
                    leader_epoch: convert::epoch_to_wire(epoch),
                    run: Some(run(broker, incarnation)),
                })
                .collect(),
        })
    }
}

fn to_wire(id: TopicPartition, request: &IsrRequest) -> v1::IsrRequest {
    let change = match request.change {
        IsrChange::Expand {
            broker,
            incarnation,
        } => v1::isr_request::Change::Expand(run(broker, incarnation)),
        IsrChange::Shrink { broker, reason } => {
            let reason = match reason {
                ShrinkReason::Lagging => v1::ShrinkReason::Lagging,
                ShrinkReason::LostData => v1::ShrinkReason::LostData,
            };
            v1::isr_request::Change::Shrink(v1::IsrLeaver {
                broker: broker.0,
                reason: reason.into(),
            })
        }
    };
    v1::IsrRequest {
        topic_id: topic_id_bytes(id.topic),
        partition: id.partition.0,
        leader_epoch: convert::epoch_to_wire(request.leader_epoch),
        partition_epoch: request.partition_epoch.0,
        change: Some(change),
    }
}

fn run(broker: BrokerNumber, incarnation: Incarnation) -> v1::BrokerRun {
    v1::BrokerRun {
        broker: broker.0,
        incarnation: Some(incarnation.into()),
    }
}

/// Filled by the owner of the logs, emptied by the session. What gets lost on the way is asked again by the leader's decisions.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    waiting: Mutex<Waiting>,
    pub(crate) news: Notify,
}

impl Asks {
    pub(crate) fn ask(&self, partition: TopicPartition, request: IsrRequest) {
        self.lock().requests.insert(partition, request);
        self.news.notify_one();
    }

    pub(crate) fn confirm(
        &self,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        broker: BrokerNumber,
        incarnation: Incarnation,
    ) {
        let confirmation = (epoch, incarnation);
        let mut waiting = self.lock();
        waiting
            .confirmations
            .insert((partition, broker), confirmation);
        drop(waiting);
        self.news.notify_one();
    }

    pub(crate) fn take(&self) -> Waiting {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
