//! What can be asked of the controller, and its answers.

mod moves;

use taffrail_core::{
    BrokerNumber, DeletionPolicy, ErrorCode, PartitionIndex, TopicId, TopicSpec, rules::Violation,
};
use thiserror::Error;

pub use moves::{MoveError, MoveRequest, PlannedMove};

/// A change that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Create or change a topic.
    Apply {
        name: String,
        spec: TopicSpec,
        dry_run: bool,
        /// Used should the topic be new and no other have it.
        wanted_id: Option<TopicId>,
        /// Used otherwise, should the topic be new.
        new_id: TopicId,
    },
    /// Move replicas.
    Move { what: MoveRequest, dry_run: bool },
    /// End a topic.
    Delete {
        name: String,
        /// `None`: as the topic's spec says.
        policy: Option<DeletionPolicy>,
    },
}

/// What became of an accepted topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// It is new, or was adopted. Its partitions are placed as soon as there are brokers.
    Created,
    /// It changed.
    Configured,
    /// Nothing to do.
    Unchanged,
}

/// The answer to an accepted topic. With a dry run: what would happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What became of it.
    pub outcome: ApplyOutcome,
    /// Its identity, persisted (unless it was a dry run of a new topic).
    pub topic_id: TopicId,
    /// Of a dry run: where partitions would go that are not placed yet, the first replica leading. None, if there are not enough brokers just now.
    pub placement: Vec<(PartitionIndex, Vec<BrokerNumber>)>,
}

/// The answer to an ended topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// No active topic has the name, and no deletion is under way.
    Gone,
    /// It is no longer served; its data stays on the brokers and can be adopted.
    Retained,
    /// The same, though it was to be deleted if empty: a record is left, or a broker cannot say that there is none.
    NotEmpty,
    /// Its data is being deleted. Ask again to know when it is done.
    Deleting {
        /// Replicas that have not confirmed yet.
        pending: usize,
    },
}

impl Deleted {
    /// Is the data going, or gone, as opposed to retained?
    pub const fn data_deleted(self) -> bool {
        !matches!(self, Self::Retained | Self::NotEmpty)
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// The name or spec breaks rules.
    #[error("{}", join(.0))]
    Invalid(Vec<Violation>),
    /// It will never fit.
    #[error(
        "{replicas} replicas do not fit {brokers} brokers; lower replicas, or give the cluster more brokers"
    )]
    MoreReplicasThanBrokers {
        /// What is in force for the spec.
        replicas: u32,
        /// Wanted in the cluster.
        brokers: u32,
    },
    /// Data of an ended topic of this name is on the brokers.
    #[error(
        "data of an earlier topic {name} was retained; set adoption: ByName to continue it, or adoption: Fresh to start empty beside it"
    )]
    RetainedDataExists {
        /// The topic's name.
        name: String,
    },
    /// The topic is the cluster's own.
    #[error("topic {name} is the cluster's own and stays as long as the cluster")]
    InternalTopic {
        /// The topic's name.
        name: String,
    },
    /// Replicas cannot be moved so.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// Topics are resources.
    #[error("topics of this cluster are Kubernetes resources; run: {kubectl}")]
    ManagedByKubernetes {
        /// What to type.
        kubectl: String,
    },
    /// Topics that are closing have to be waited for, and many do already.
    #[error("too many requests wait for topics that are being deleted; ask again in a moment")]
    TooManyWaiting,
    /// Another controller is in office, or none.
    #[error("this controller is not in office; ask again for the active one")]
    NotActive,
    /// The store cannot be written. Of several objects some may be: whoever asks again gets the rest.
    #[error(
        "the metadata store does not take changes, and a part of this one may be in force; ask again: {0}"
    )]
    StoreUnavailable(String),
}

impl ApplyError {
    /// The stable code.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) => ErrorCode::InvalidSpec,
            Self::MoreReplicasThanBrokers { .. } => ErrorCode::NotEnoughBrokers,
            Self::RetainedDataExists { .. } => ErrorCode::RetainedDataExists,
            Self::InternalTopic { .. } => ErrorCode::InternalTopic,
            Self::Move(error) => error.code(),
            Self::ManagedByKubernetes { .. } => ErrorCode::ManagedByKubernetes,
            Self::TooManyWaiting => ErrorCode::ResourceExhausted,
            Self::NotActive => ErrorCode::NotActive,
            Self::StoreUnavailable(_) => ErrorCode::ControllerUnavailable,
        }
    }

    /// The reason that a Topic's condition `Accepted=False` gives.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "InvalidSpec",
            Self::MoreReplicasThanBrokers { .. } => "NotEnoughBrokers",
            Self::RetainedDataExists { .. } => "RetainedDataExists",
            Self::InternalTopic { .. } | Self::Move(_) | Self::ManagedByKubernetes { .. } => {
                "NotAllowed"
            }
            Self::TooManyWaiting | Self::NotActive | Self::StoreUnavailable(_) => {
                "ClusterUnavailable"
            }
        }
    }

    /// The rules broken, if that is why.
    pub fn violations(&self) -> &[Violation] {
        match self {
            Self::Invalid(violations) => violations,
            _ => &[],
        }
    }
}

fn join(violations: &[Violation]) -> String {
    let texts: Vec<_> = violations.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
