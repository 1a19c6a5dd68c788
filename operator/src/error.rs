//! What goes wrong in the operator itself. What is wrong with a resource is in its status.

use std::{io, net::SocketAddr};

use taffrail_controller::ControllerError;
use thiserror::Error;

/// Why the operator, or one look at one resource, failed.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// A port is taken.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The API server refused, or cannot be reached.
    #[error("cannot {action} {object}: {source}")]
    Kube {
        /// Such as `apply`.
        action: &'static str,
        /// Kind and name.
        object: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// The Lease is lost and what ran under it does not end: the process must.
    #[error("the work of a lost lease did not end in time; ending the process")]
    Stuck,
    /// A cluster's controller did not start.
    #[error("the controller of {cluster} did not start: {source}")]
    Controller {
        /// Namespace and name.
        cluster: String,
        /// Why.
        source: ControllerError,
    },
}

impl OperatorError {
    /// An API server's answer to `action` on `object`.
    pub(crate) fn kube(
        action: &'static str,
        object: impl Into<String>,
    ) -> impl FnOnce(kube::Error) -> Self {
        let object = object.into();
        move |source| Self::Kube {
            action,
            object,
            source: Box::new(source),
        }
    }
}
