//! One table between `ErrorCode` and gRPC, and the error as it travels.

use prost::Message as _;
use taffrail_core::ErrorCode;
use thiserror::Error;
use tonic::{Code, Status, metadata::MetadataMap};

use crate::v1;

/// The trailer that carries the code's name on calls that end with an error.
pub const ERROR_CODE_TRAILER: &str = "taffrail-error-code";

/// An error as it crosses process boundaries: what went wrong, whether to retry, what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{code}: {message}")]
pub struct WireError {
    /// Stable across releases.
    pub code: ErrorCode,
    /// May the same request succeed later?
    pub retriable: bool,
    /// What happened and what to do about it.
    pub message: String,
}

impl WireError {
    /// An error of `code`, retriable as the code is.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            retriable: code.is_retriable(),
            message: message.into(),
        }
    }

    /// A request that makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }
}

/// The gRPC code that generic tools see.
pub const fn grpc_code(code: ErrorCode) -> Code {
    use ErrorCode as E;
    match code {
        E::Internal | E::UnreadableGroup | E::StorageError => Code::Internal,
        E::InvalidRequest
        | E::CorruptBatch
        | E::BatchTooLarge
        | E::RecordTooLarge
        | E::UnsupportedCompression
        | E::InvalidSpec => Code::InvalidArgument,
        E::UnknownTopic | E::UnknownPartition | E::UnknownGroup => Code::NotFound,
        E::NotLeader
        | E::StaleLeaderEpoch
        | E::NotYetKnown
        | E::StaleController
        | E::BrokerFenced
        | E::OutOfOrderSequence
        | E::ProducerFenced
        | E::UnknownMember
        | E::NotAssigned
        | E::InstanceIdInUse => Code::Aborted,
        E::OffsetOutOfRange => Code::OutOfRange,
        E::DiskFull | E::Throttled | E::ResourceExhausted => Code::ResourceExhausted,
        E::PartitionOffline
        | E::NotEnoughReplicas
        | E::ShuttingDown
        | E::NotActive
        | E::NotEnoughBrokers
        | E::ControllerUnavailable
        | E::LeaderUnreachable
        | E::NotCoordinator => Code::Unavailable,
        E::TimedOut => Code::DeadlineExceeded,
        E::ForeignCluster
        | E::UnsupportedVersion
        | E::ManagedByKubernetes
        | E::RetainedDataExists
        | E::UnknownProducer
        | E::InternalTopic
        | E::GroupNotEmpty
        | E::AddressInUse
        | E::DataInUse => Code::FailedPrecondition,
        E::NameConflict => Code::AlreadyExists,
    }
}

/// What a status without our details means: sent by a proxy, by tonic itself, or made here from a broken connection.
const fn code_of_foreign_status(code: Code) -> ErrorCode {
    match code {
        Code::InvalidArgument => ErrorCode::InvalidRequest,
        Code::Unimplemented => ErrorCode::UnsupportedVersion,
        Code::DeadlineExceeded | Code::Cancelled => ErrorCode::TimedOut,
        Code::ResourceExhausted | Code::OutOfRange => ErrorCode::ResourceExhausted,
        Code::Unavailable => ErrorCode::LeaderUnreachable,
        _ => ErrorCode::Internal,
    }
}

/// A status with the code's name in the trailer and the whole error in the details.
pub fn to_status(code: ErrorCode, message: impl Into<String>) -> Status {
    WireError::new(code, message).into()
}

/// The error that a status carries. A connection that broke is `LEADER_UNREACHABLE`.
pub fn from_status(status: &Status) -> WireError {
    if let Ok(error) = v1::Error::decode(status.details())
        && error.code != 0
    {
        return error.into();
    }
    let named = status
        .metadata()
        .get(ERROR_CODE_TRAILER)
        .and_then(|v| v.to_str().ok())
        .and_then(ErrorCode::from_name);
    let broken_connection = std::error::Error::source(status).is_some();
    let code = named.unwrap_or_else(|| {
        if broken_connection {
            ErrorCode::LeaderUnreachable
        } else {
            code_of_foreign_status(status.code())
        }
    });
    WireError::new(code, describe(status))
}

fn describe(status: &Status) -> String {
    let mut text = if status.message().is_empty() {
        status.code().description().to_owned()
    } else {
        status.message().to_owned()
    };
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let detail = error.to_string();
        if !text.contains(&detail) {
            text.push_str(": ");
            text.push_str(&detail);
        }
        cause = error.source();
    }
    text
}

impl From<WireError> for Status {
    fn from(error: WireError) -> Self {
        let mut metadata = MetadataMap::new();
        metadata.insert(
            ERROR_CODE_TRAILER,
            tonic::metadata::MetadataValue::from_static(error.code.name()),
        );
        let (code, message) = (grpc_code(error.code), error.message.clone());
        let details = v1::Error::from(error).encode_to_vec();
        Self::with_details_and_metadata(code, message, details.into(), metadata)
    }
}

impl From<&Status> for WireError {
    fn from(status: &Status) -> Self {
        from_status(status)
    }
}

impl From<WireError> for v1::Error {
    fn from(error: WireError) -> Self {
        Self {
            code: i32::from(error.code.number()),
            retriable: error.retriable,
            message: error.message,
        }
    }
}

impl From<v1::Error> for WireError {
    /// A code that a newer peer made up is `INTERNAL`, retriable as the peer says.
    fn from(error: v1::Error) -> Self {
        let code = u16::try_from(error.code)
            .ok()
            .and_then(ErrorCode::from_number);
        Self {
            code: code.unwrap_or(ErrorCode::Internal),
            retriable: error.retriable,
            message: error.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proto_names_and_numbers_every_code_as_core_does() {
        for code in ErrorCode::ALL {
            let wire = v1::ErrorCode::try_from(i32::from(code.number())).expect("in the proto");
            assert_eq!(wire.as_str_name(), code.name());
        }
        let next = ErrorCode::ALL.len() as i32 + 1;
        assert!(
            v1::ErrorCode::try_from(next).is_err(),
            "{next} is in the proto and not in core"
        );
    }

    #[test]
    fn every_error_survives_the_way_through_a_status() {
        for code in ErrorCode::ALL {
            let status = to_status(*code, "what to do");
            assert_eq!(status.code(), grpc_code(*code));
            assert_eq!(
                status
                    .metadata()
                    .get(ERROR_CODE_TRAILER)
                    .expect("trailer")
                    .as_bytes(),
                code.name().as_bytes()
            );
            assert_eq!(from_status(&status), WireError::new(*code, "what to do"));
        }
    }

    #[test]
    fn a_status_of_somebody_else_gets_the_nearest_code() {
        let error = from_status(&Status::unavailable("connection refused"));
        assert_eq!(error.code, ErrorCode::LeaderUnreachable);
        assert!(error.retriable);
        assert_eq!(
            from_status(&Status::unimplemented("")).code,
            ErrorCode::UnsupportedVersion
        );
    }

    #[test]
    fn a_code_of_a_newer_peer_keeps_its_message_and_retriability() {
        let error: WireError = v1::Error {
            code: 9_999,
            retriable: true,
            message: "new".into(),
        }
        .into();
        assert_eq!((error.code, error.retriable), (ErrorCode::Internal, true));
    }
}
