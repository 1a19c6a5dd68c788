//! What the controller wants done, and what it says.

use taffrail_api::{WireError, v1};
use taffrail_core::BrokerNumber;

use super::{RequestId, SessionId, draft::Write};
use crate::{
    request::{Applied, ApplyError, Deleted, PlannedMove},
    view::Loss,
};

/// What the controller wants done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Read the store. `attempts`: failures since the last success, to back off by.
    Load {
        attempts: u32,
    },
    /// Put these one after another, and stop at the first that fails.
    Write(Vec<Write>),
    Send(SessionId, v1::ControllerMessage),
    /// End the session, after what was sent before.
    Close(SessionId),
    Answer(RequestId, Answer),
    /// From now on requests and sessions are served.
    InOffice {
        epoch: u64,
    },
    /// Another controller is in office. Nothing follows.
    Deposed,
    /// The store makes no sense, or others keep changing it. Nothing follows.
    Fail(Failure),
    /// Something that a person may want to know.
    Note(Note),
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Apply(Result<Applied, ApplyError>),
    Delete(Result<Deleted, ApplyError>),
    Move(Result<Vec<PlannedMove>, ApplyError>),
}

/// Why a controller cannot take office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    RootVanished,
    Contended,
    Invalid { object: String, reason: String },
}

/// Something that a person may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// A map that the root lists was gone; an empty one took its place until brokers report.
    MapVanished(String),
    Registered {
        broker: BrokerNumber,
        name: String,
        incarnation: String,
    },
    Refused(WireError),
    OlderVolume(BrokerNumber),
    Repaired {
        broker: BrokerNumber,
        partitions: usize,
    },
    InDoubt {
        broker: BrokerNumber,
        partitions: usize,
    },
    Strays {
        broker: BrokerNumber,
        topics: String,
    },
    /// An election may have lost records.
    MayLack(Loss),
    /// A broker obeyed a later controller than the store knows, or another one of its epoch: the store is old.
    StoreIsOld {
        broker_epoch: u64,
    },
    LivenessChanged {
        broker: BrokerNumber,
        state: &'static str,
    },
}
