//! What brokers and controllers say when they fail, in the words of the command line.

use taffrail_broker::BrokerError;
use taffrail_controller::{ControllerError, StoreError};
use taffrail_core::ErrorCode;

use crate::failure::{Exit, Failure};

pub(super) fn broker_failure(error: &BrokerError) -> Failure {
    match error {
        BrokerError::DataDirInUse { .. } => data_in_use(error),
        error => Failure::of(error.code(), error.to_string()),
    }
}

pub(super) fn controller_failure(error: &ControllerError) -> Failure {
    match error {
        ControllerError::Store(error) => store_failure(error),
        ControllerError::Contended => Failure::of(ErrorCode::StaleController, error.to_string()),
        ControllerError::RootVanished | ControllerError::Invalid { .. } => {
            Failure::of(ErrorCode::StorageError, error.to_string())
        }
        ControllerError::Serve(_) | ControllerError::Listen(_) => {
            Failure::new(Exit::Failed, "IO", error.to_string())
        }
    }
}

pub(super) fn store_failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Locked { .. } => data_in_use(error),
        StoreError::NewerFormat { .. } => {
            Failure::of(ErrorCode::UnsupportedVersion, error.to_string())
        }
        StoreError::Unreadable { .. } => Failure::of(ErrorCode::StorageError, error.to_string()),
        error => Failure::new(Exit::Failed, "IO", error.to_string()),
    }
}

fn data_in_use(error: &dyn std::error::Error) -> Failure {
    Failure::of(ErrorCode::DataInUse, error.to_string())
        .hint("one process at a time: stop the other one, or use another --data-dir")
}
