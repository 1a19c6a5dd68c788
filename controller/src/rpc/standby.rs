//! What a controller that is not in office answers.

use taffrail_api::v1::{
    BrokerMessage, ControllerMessage, NotActive, controller_message::Message,
    controller_server::Controller,
};
use tokio_stream::{Once, once};
use tonic::{Request, Response, Status, Streaming, async_trait};

/// Answers every session with `NotActive`.
#[derive(Debug, Clone)]
pub struct StandbyService {
    hint: String,
}

impl StandbyService {
    pub(crate) const fn new(hint: String) -> Self {
        Self { hint }
    }
}

#[async_trait]
impl Controller for StandbyService {
    type SessionStream = Once<Result<ControllerMessage, Status>>;

    async fn session(
        &self,
        _: Request<Streaming<BrokerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let hint = self.hint.clone();
        Ok(Response::new(once(Ok(ControllerMessage {
            message: Some(Message::NotActive(NotActive { hint })),
        }))))
    }
}
