//! The fetch stream to one leader.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use taffrail_api::{
    WireError,
    status::from_status,
    stream::{self, FrameReader},
    v1,
};
use taffrail_core::BrokerNumber;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::connections::Connections;

#[derive(Debug)]
pub(super) struct FetchLane {
    pub(super) broker: BrokerNumber,
    pub(super) address: String,
    pub(super) answers: FrameReader<v1::FetchResponse>,
    /// Never more requests in it than there are partitions.
    requests: mpsc::UnboundedSender<v1::FetchRequest>,
    outstanding: HashMap<u64, Outstanding>,
}

#[derive(Debug)]
struct Outstanding {
    slots: Vec<usize>,
    since: Instant,
}

/// Opens a stream to the leader at `address`, or through another broker.
pub(super) async fn open(
    connections: Arc<Connections>,
    broker: BrokerNumber,
    address: String,
    attempts: u32,
) -> Result<FetchLane, WireError> {
    let reached = connections
        .leader(&address, attempts)
        .await
        .map_err(|error| WireError::new(error.code(), error.to_string()))?;
    let (requests, receiver) = mpsc::unbounded_channel();
    let stream = UnboundedReceiverStream::new(receiver);
    match stream::fetch(reached.channel, reached.route, stream).await {
        Ok(answers) => Ok(FetchLane {
            broker,
            address: reached.address,
            answers,
            requests,
            outstanding: HashMap::new(),
        }),
        Err(status) => {
            connections.forget(&reached.address);
            Err(from_status(&status))
        }
    }
}

impl FetchLane {
    /// Sends a request for these slots. If the stream is broken, reading the answers says so.
    pub(super) fn ask(&mut self, request: v1::FetchRequest, slots: Vec<usize>) {
        let outstanding = Outstanding {
            slots,
            since: Instant::now(),
        };
        self.outstanding.insert(request.request_id, outstanding);
        let _ = self.requests.send(request);
    }

    /// Answers may wait in the stream: they are not overdue.
    pub(super) fn not_read(&mut self, now: Instant) {
        for outstanding in self.outstanding.values_mut() {
            outstanding.since = now;
        }
    }

    /// Whose request was answered.
    pub(super) fn answered(&mut self, request_id: u64) -> Option<Vec<usize>> {
        Some(self.outstanding.remove(&request_id)?.slots)
    }

    /// Does a request wait for longer than `patience` allows for its slots?
    pub(super) fn is_silent(&self, now: Instant, patience: impl Fn(&[usize]) -> Duration) -> bool {
        self.outstanding
            .values()
            .any(|o| now.saturating_duration_since(o.since) > patience(&o.slots))
    }

    /// What will not be answered any more.
    pub(super) fn outstanding(self) -> impl Iterator<Item = (u64, Vec<usize>)> {
        self.outstanding.into_iter().map(|(id, o)| (id, o.slots))
    }
}
