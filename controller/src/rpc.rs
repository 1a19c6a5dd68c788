//! The controller on the wire: sessions of brokers, and the Admin calls that brokers forward.

mod admin;
mod session;
mod standby;

use std::future::Future;

use taffrail_api::{
    listen::{self, Limit},
    transport,
    v1::{admin_server::AdminServer, controller_server::ControllerServer},
};
use tokio::net::TcpListener;
use tonic::transport::Server;

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

/// Brokers of several clusters, each with a session and perhaps the one before.
const CONNECTIONS_MAX: usize = 1_024;
/// Brokers say little, but for what they hold when they register. Larger windows would be memory that strangers can make a controller hold.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;
/// A session, and calls that the broker passes on.
const STREAMS_PER_CONNECTION_MAX: u32 = 64;

/// Room for the brokers' connections on a port.
pub const CONNECTIONS: Limit = Limit {
    connections_max: CONNECTIONS_MAX,
    what: "brokers",
};

/// A server for the port that brokers dial.
pub fn server() -> Server {
    transport::server()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
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
    server()
        .add_service(sessions)
        .add_service(admin)
        .serve_with_incoming_shutdown(listen::sessions(listener, CONNECTIONS), ended)
        .await?;
    Ok(())
}
