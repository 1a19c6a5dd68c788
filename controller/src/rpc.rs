//! The controller on the wire: sessions of brokers, and the Admin calls that brokers forward.

mod admin;
mod session;
mod standby;

use std::future::Future;

use taffrail_api::{
    transport,
    v1::{admin_server::AdminServer, controller_server::ControllerServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use crate::{error::ControllerError, handle::ControllerHandle};

pub use admin::AdminService;
pub use session::SessionService;
pub use standby::StandbyService;

impl ControllerHandle {
    /// The services to mount on a server: sessions and Admin.
    pub fn services(&self) -> (ControllerServer<SessionService>, AdminServer<AdminService>) {
        let limit = transport::CALL_MESSAGE_BYTES_MAX;
        (
            ControllerServer::new(SessionService::new(self.clone()))
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
            AdminServer::new(AdminService::new(self.clone()))
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
        )
    }
}

/// The service of a process that is not in office: every session is told so, and where the active controller was last known to be.
pub fn standby(hint: impl Into<String>) -> ControllerServer<StandbyService> {
    ControllerServer::new(StandbyService::new(hint.into()))
}

/// Serves sessions and Admin on `listener` until `shutdown` resolves or the controller is deposed or stopped.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    handle: ControllerHandle,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ControllerError> {
    let (sessions, admin) = handle.services();
    let ended = async {
        tokio::select! {
            () = shutdown => {}
            () = handle.deposed() => {}
        }
    };
    transport::server()
        .add_service(sessions)
        .add_service(admin)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), ended)
        .await?;
    Ok(())
}
