//! One session for each broker: the first message registers, the rest are heartbeats up and metadata down.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use taffrail_api::{
    listen::Admission,
    status::to_status,
    v1::{
        BrokerMessage, ControllerMessage, Register, broker_message::Message,
        controller_server::Controller,
    },
};
use taffrail_core::ErrorCode;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::handle::{Command, ControllerHandle};

/// How long a new session may take to register.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
/// Updates waiting for one broker. A broker that lags further is told to start again with a full update.
pub(crate) const OUTBOX_MESSAGES_MAX: usize = 64;

/// Serves the Controller service.
#[derive(Debug, Clone)]
pub struct SessionService {
    handle: ControllerHandle,
}

impl SessionService {
    pub(crate) const fn new(handle: ControllerHandle) -> Self {
        Self { handle }
    }
}

/// Messages to one broker. Ends when the controller ends the session.
#[derive(Debug)]
pub struct Outgoing {
    messages: ReceiverStream<ControllerMessage>,
    /// Dropped with the stream, which is how the receiving side learns that the session is over.
    _open: oneshot::Sender<()>,
}

impl Stream for Outgoing {
    type Item = Result<ControllerMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages.poll_next_unpin(cx).map(|next| next.map(Ok))
    }
}

#[async_trait]
impl Controller for SessionService {
    type SessionStream = Outgoing;

    async fn session(
        &self,
        request: Request<Streaming<BrokerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let admission = request.extensions().get::<Admission>().cloned();
        let (outbox, messages) = mpsc::channel(OUTBOX_MESSAGES_MAX);
        let (open, over) = oneshot::channel();
        // Its owner is the call: the task ends with the stream of either side, or with the controller.
        tokio::spawn(receive(
            self.handle.commands.clone(),
            request.into_inner(),
            admission.unwrap_or_default(),
            outbox,
            over,
        ));
        Ok(Response::new(Outgoing {
            messages: ReceiverStream::new(messages),
            _open: open,
        }))
    }
}

/// Passes on what one broker says, until it says no more.
async fn receive(
    commands: mpsc::Sender<Command>,
    mut incoming: Streaming<BrokerMessage>,
    admission: Admission,
    outbox: mpsc::Sender<ControllerMessage>,
    mut over: oneshot::Receiver<()>,
) {
    let register = match timeout(REGISTER_TIMEOUT, first(&mut incoming)).await {
        Ok(Ok(register)) => register,
        Ok(Err(status)) => {
            tracing::debug!(%status, "a session ended before it registered");
            return;
        }
        Err(_) => {
            tracing::debug!("a session did not register in time");
            return;
        }
    };
    // A registration is answered once maps are written, which may take longer than a stranger's connection lives.
    admission.admit();
    let (session, number) = oneshot::channel();
    let opened = Command::SessionOpened {
        register: Box::new(register),
        outbox,
        session,
    };
    if commands.send(opened).await.is_err() {
        return;
    }
    let Ok(session) = number.await else { return };
    loop {
        let message = tokio::select! {
            message = incoming.message() => message,
            _ = &mut over => break,
        };
        let Ok(Some(BrokerMessage {
            message: Some(message),
        })) = message
        else {
            break;
        };
        let command = match message {
            Message::Heartbeat(heartbeat) => Command::Heartbeat {
                session,
                heartbeat: Box::new(heartbeat),
            },
            Message::DeleteDone(done) => Command::DeleteDone { session, done },
            Message::IsrRequests(requests) => Command::IsrRequests { session, requests },
            Message::Stopping(_) => Command::Stopping { session },
            // A session registers once. Another registration is another session.
            Message::Register(_) => break,
        };
        if commands.send(command).await.is_err() {
            return;
        }
    }
    // An error means that the controller is gone, and the session with it.
    let _ = commands.send(Command::SessionClosed { session }).await;
}

async fn first(incoming: &mut Streaming<BrokerMessage>) -> Result<Register, Status> {
    match incoming.message().await?.and_then(|m| m.message) {
        Some(Message::Register(register)) => Ok(register),
        _ => Err(to_status(
            ErrorCode::InvalidRequest,
            "the first message of a session must be Register",
        )),
    }
}
