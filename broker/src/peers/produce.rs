//! A produce stream to another broker.

use std::collections::HashMap;

use taffrail_api::{
    WireError,
    status::from_status,
    stream::{FrameReader, Route, produce},
    v1::{self, produce_response},
};
use taffrail_core::ErrorCode;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::partition::ack::{Outcome, Responder};

/// Requests on their way into the stream; each holds its room in the broker's queue.
const REQUESTS_MAX: usize = 64;

type Routed = (v1::ProduceRequest, Responder);

/// The way to one broker. Ends by itself when the stream breaks or nobody holds it.
#[derive(Debug, Clone)]
pub(crate) struct ProduceLink {
    requests: mpsc::Sender<Routed>,
}

impl ProduceLink {
    pub(crate) fn open(channel: Channel) -> Self {
        let (requests, routed) = mpsc::channel(REQUESTS_MAX);
        // Its owner is the link: the task ends when the last handle is dropped.
        tokio::spawn(run(channel, routed));
        Self { requests }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    pub(crate) async fn send(&self, request: v1::ProduceRequest, responder: Responder) {
        if let Err(mpsc::error::SendError((_, responder))) =
            self.requests.send((request, responder)).await
        {
            responder.answer(Err(broken("it just went away")));
        }
    }
}

async fn run(channel: Channel, mut routed: mpsc::Receiver<Routed>) {
    let (outgoing, requests) = mpsc::channel(REQUESTS_MAX);
    let mut pending: HashMap<u64, Responder> = HashMap::new();
    let reason = match produce(channel, Route::Direct, ReceiverStream::new(requests)).await {
        Ok(mut answers) => pass(&mut routed, &outgoing, &mut answers, &mut pending).await,
        Err(status) => from_status(&status).message,
    };
    // Before the link is seen to be closed: a request on the next link must find its chain broken.
    for responder in pending.into_values() {
        responder.answer(Err(broken(&reason)));
    }
    routed.close();
    while let Ok((_, responder)) = routed.try_recv() {
        responder.answer(Err(broken(&reason)));
    }
}

/// Passes requests and answers until the stream breaks; why it did.
async fn pass(
    routed: &mut mpsc::Receiver<Routed>,
    outgoing: &mpsc::Sender<v1::ProduceRequest>,
    answers: &mut FrameReader<v1::ProduceResponse>,
    pending: &mut HashMap<u64, Responder>,
) -> String {
    let mut next_id = 0;
    // Waits for room beside the answers: the other broker reads no requests while its answers are not taken.
    let mut held = None;
    loop {
        tokio::select! {
            request = routed.recv(), if held.is_none() => {
                let Some((mut request, responder)) = request else {
                    return "nobody routes any more".to_owned();
                };
                next_id += 1;
                request.request_id = next_id;
                pending.insert(next_id, responder);
                held = Some(request);
            }
            room = outgoing.reserve(), if held.is_some() => match (room, held.take()) {
                (Ok(room), Some(request)) => room.send(request),
                _ => return "the stream was closed".to_owned(),
            },
            answer = answers.next() => match answer {
                Ok(Some(answer)) => {
                    if let Some(responder) = pending.remove(&answer.request_id) {
                        responder.answer(outcome(answer));
                    }
                }
                Ok(None) => return "the leader closed the stream".to_owned(),
                Err(status) => return from_status(&status).message,
            },
        }
    }
}

fn outcome(answer: v1::ProduceResponse) -> Outcome {
    match answer.result {
        Some(produce_response::Result::Ack(ack)) => Ok(ack),
        Some(produce_response::Result::Error(error)) => Err(error.into()),
        None => Err(broken("its answer says nothing")),
    }
}

fn broken(reason: &str) -> WireError {
    WireError::new(
        ErrorCode::LeaderUnreachable,
        format!(
            "the way to the partition's leader broke: {reason}; whether the records were stored is not known"
        ),
    )
}
