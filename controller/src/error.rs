//! Why there is no controller.

use std::io;

use thiserror::Error;

use crate::store::StoreError;

/// Why a controller did not start, or cannot go on.
#[derive(Debug, Error)]
pub enum ControllerError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others kept changing the store.
    #[error("could not take office: other controllers keep changing the store")]
    Contended,
    /// There are maps or brokers, and no root to say whose.
    #[error(
        "the store has partition maps or brokers and no root; restore the root from a backup, for a new one would not own the data"
    )]
    RootVanished,
    /// An object of the store contradicts itself.
    #[error("{object} in the store makes no sense: {reason}; restore it from a backup")]
    Invalid {
        /// Which one.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The port cannot be used.
    #[error("cannot serve the controller: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// The address cannot be listened on.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
}
