//! Runs the state machine: clock, channels and the store around it.

use crate::{
    config::{ControllerConfig, Environment},
    error::ControllerError,
    handle::ControllerHandle,
    store::Store,
};

/// Takes office and starts to run. Resolves once every map is claimed.
///
/// # Errors
/// The store fails, makes no sense, or others keep taking office.
pub async fn start(
    _store: impl Store,
    _config: ControllerConfig,
    _environment: Environment,
) -> Result<ControllerHandle, ControllerError> {
    Err(ControllerError::Contended)
}
