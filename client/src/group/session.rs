//! The member's side of its stream to the coordinator: joins, stays, commits, leaves, and comes back when the stream breaks. A task of its own, so that heartbeats go
//! on while the application processes a batch.

use std::{sync::Arc, time::Duration};

use taffrail_api::{
    WireError,
    status::from_status,
    v1::{self, member_request::Request},
};
use taffrail_core::ErrorCode;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

use super::{
    coordinator::{groups, reach, routed},
    event::Loss,
    settings::SharedSettings,
    standing::{Joining, Shared},
    stream::MemberStream,
};
use crate::{backoff::Backoff, client::Client, connections::Connections, error::ClientError};

/// A coordinator that says nothing for so long after a join is asked anew where it is.
pub(super) const JOIN_PATIENCE: Duration = Duration::from_secs(10);

/// Why a stream is over.
#[derive(Debug)]
pub(super) enum Ended {
    /// The member left.
    Left,
    /// The member's life is over. It begins another one.
    Lost,
    /// It broke. The member comes back with what it has.
    Broken(ClientError),
}

/// Owned by a task.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    connections: Connections,
    settings: SharedSettings,
    shared: Arc<Shared>,
    backoff: Backoff,
    /// Streams that failed since the last one that was a member's.
    attempts: u32,
    /// It was a member once: what is refused later is a coordinator's trouble, not a mistake in the settings.
    was_member: bool,
}

impl Session {
    pub(super) fn new(client: Client, settings: SharedSettings, shared: Arc<Shared>) -> Self {
        Self {
            connections: client.connections().separate(),
            backoff: client.backoff(),
            client,
            settings,
            shared,
            attempts: 0,
            was_member: false,
        }
    }

    /// Until the member has left, or there is no way on.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            () = self.stay() => {}
            () = expire(&shared) => {}
        }
        shared.commits.lose();
    }

    async fn stay(&mut self) {
        loop {
            match self.wish() {
                Wish::Leave => return,
                Wish::Wait => {
                    self.shared.wake.notified().await;
                    continue;
                }
                Wish::Join => {}
            }
            match self.attend().await {
                Ok(Ended::Left) => return,
                Ok(Ended::Lost) => self.shared.commits.lose(),
                Ok(Ended::Broken(error)) | Err(error) => {
                    if self.is_final(&error) {
                        self.shared.fail(error);
                        return;
                    }
                    tracing::debug!(group = self.settings.group, %error, attempts = self.attempts, "the group's coordinator is to be found again");
                    self.shared.standing().trouble = Some(error);
                }
            }
            self.attempts += 1;
            sleep(self.backoff.pause(self.attempts)).await;
        }
    }

    /// What there is to do without a stream.
    fn wish(&self) -> Wish {
        let standing = self.shared.standing();
        let is_away = standing.out_since.is_some();
        if standing.leaving.is_some() {
            Wish::Leave
        } else if is_away && standing.loss == Some(Loss::TooSlow) && standing.told.is_none() {
            Wish::Wait
        } else {
            Wish::Join
        }
    }

    fn is_final(&self, error: &ClientError) -> bool {
        match error.code() {
            ErrorCode::InvalidRequest => true,
            _ => !self.was_member && !error.is_retriable(),
        }
    }

    /// One stream, from join to end.
    async fn attend(&mut self) -> Result<Ended, ClientError> {
        let group = &self.settings.group;
        let leader = self.client.coordinator(group, self.attempts > 0).await?;
        let reached = reach(&self.connections, &leader, self.attempts).await?;
        let joining = self.shared.standing().begin_join();
        let (requests, receiver) = mpsc::unbounded_channel();
        let join = Request::Join(self.settings.join(&joining));
        // Nobody has closed it.
        let _ = requests.send(v1::MemberRequest {
            request: Some(join),
        });
        let sent = Instant::now();
        let stream = routed(&reached, UnboundedReceiverStream::new(receiver));
        let mut client = groups(&reached);
        let opened = timeout(JOIN_PATIENCE, client.join(stream)).await;
        let ended = match opened {
            Ok(Ok(answers)) => {
                let stream = MemberStream::new(Arc::clone(&self.shared), joining, requests, sent);
                self.follow(stream, answers.into_inner()).await
            }
            Ok(Err(status)) => self.refused(joining, from_status(&status)),
            Err(_elapsed) => Ended::Broken(silent()),
        };
        if matches!(ended, Ended::Broken(_)) {
            self.connections.forget(&reached.address);
        }
        Ok(ended)
    }

    async fn follow(
        &mut self,
        mut stream: MemberStream,
        mut answers: Streaming<v1::MemberResponse>,
    ) -> Ended {
        loop {
            if let Some(ended) = stream.speak(&self.settings, self.backoff) {
                return ended;
            }
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => {
                        if let Err(error) = stream.hear(answer, &self.settings) {
                            return self.refused(stream.joining(), error);
                        }
                        if stream.is_member() {
                            self.attempts = 0;
                            self.was_member = true;
                        }
                    }
                    // However the coordinator takes it.
                    Ok(None) | Err(_) if stream.is_leaving() => return stream.left(),
                    Ok(None) => {
                        let error = WireError::new(ErrorCode::LeaderUnreachable, "the coordinator ended the stream");
                        return Ended::Broken(error.into());
                    }
                    Err(status) => return self.refused(stream.joining(), from_status(&status)),
                },
                () = self.shared.wake.notified() => {}
                () = sleep_until(stream.next_at(&self.settings)) => {}
            }
        }
    }

    fn refused(&self, joining: Joining, error: WireError) -> Ended {
        if error.code != ErrorCode::UnknownMember {
            return Ended::Broken(error.into());
        }
        tracing::info!(group = self.settings.group, member = %joining.member, "the coordinator does not know this member any more; it joins as a new one");
        self.shared.lose(joining.life, Loss::Forgotten);
        Ended::Lost
    }
}

/// What there is to do without a stream.
enum Wish {
    Join,
    /// The application is away; nobody is there who would process anything.
    Wait,
    Leave,
}

pub(super) fn silent() -> ClientError {
    WireError::new(ErrorCode::TimedOut, "the coordinator does not answer").into()
}

/// Ends lives in time, whatever the session waits for. Never returns.
async fn expire(shared: &Shared) {
    let mut changes = shared.changes();
    loop {
        let until = shared.standing().valid_until;
        let Some(until) = until else {
            // The sender lives as long as `shared`.
            let _ = changes.changed().await;
            continue;
        };
        sleep_until(until).await;
        shared.expire(Instant::now());
    }
}
