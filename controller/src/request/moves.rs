//! Moving replicas: what is asked for, what is planned, and why not.

use taffrail_core::{BrokerNumber, ErrorCode};
use thiserror::Error;

/// What is to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveRequest {
    /// A partition of a topic, or all of them, to these brokers, the preferred leader first.
    To {
        /// The topic's name.
        topic: String,
        /// `None`: every partition.
        partition: Option<u32>,
        /// As many as the topic has replicas.
        brokers: Vec<BrokerNumber>,
    },
    /// Every replica of this broker to the best other one.
    Off(BrokerNumber),
    /// Replicas and preferred leaders evenly over all brokers that are there.
    Balance,
    /// Everything that moves back to where it came from.
    Cancel {
        /// Of these topics; of all, if there are none.
        topics: Vec<String>,
    },
}

/// A partition that moves, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMove {
    /// The topic's name.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// The replicas without this move.
    pub from: Vec<BrokerNumber>,
    /// The replicas after it.
    pub to: Vec<BrokerNumber>,
    /// What has to be copied, over all copies.
    pub bytes: u64,
}

/// Why replicas cannot be moved so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MoveError {
    /// No active topic has the name.
    #[error("there is no topic {0:?}; taffrail get topics lists them")]
    UnknownTopic(String),
    /// Its partitions end before.
    #[error(
        "topic {topic} has no partition {partition}, or it is not placed yet; it has {partitions}, numbered from 0"
    )]
    UnknownPartition {
        /// The topic's name.
        topic: String,
        /// What was asked for.
        partition: u32,
        /// How many are placed.
        partitions: u32,
    },
    /// No broker has this number.
    #[error("there is no broker {0}; taffrail get brokers lists them")]
    UnknownBroker(BrokerNumber),
    /// The broker could not copy anything.
    #[error("broker {0} is not there; start it, or name another one")]
    BrokerAway(BrokerNumber),
    /// A broker is named twice.
    #[error("broker {0} is named twice; every replica is on a broker of its own")]
    NamedTwice(BrokerNumber),
    /// The number of replicas is the topic's.
    #[error(
        "topic {topic} has {replicas} replicas, and {named} brokers are named; name {replicas}, or change replicas in the topic's spec"
    )]
    OtherCount {
        /// The topic's name.
        topic: String,
        /// What its spec says.
        replicas: u32,
        /// What was asked for.
        named: usize,
    },
    /// The store may be older than what brokers know that have not come yet.
    #[error(
        "too few of the brokers that hold {topic}/{partition} have reported since the controller started, its leader among them; start them, and ask again"
    )]
    TooEarly {
        /// The topic's name.
        topic: String,
        /// Its partition.
        partition: u32,
    },
    /// The new volume of a broker has not taken over yet from the one that is gone: both would hold the partition.
    #[error(
        "{topic}/{partition} would be twice on one broker, whose volume was replaced and has not taken over from the former one yet; ask again in a moment, or name other brokers"
    )]
    NotReplaced {
        /// The topic's name.
        topic: String,
        /// Its partition.
        partition: u32,
    },
    /// Every other broker that is there has a replica already.
    #[error(
        "no broker is left to take the replica of {topic}/{partition} from broker {broker}; add a broker, or lower replicas of the topic"
    )]
    NowhereToGo {
        /// The topic's name.
        topic: String,
        /// Its partition.
        partition: u32,
        /// Where it should not stay.
        broker: BrokerNumber,
    },
}

impl MoveError {
    /// The stable code.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic(_) => ErrorCode::UnknownTopic,
            Self::UnknownPartition { .. } => ErrorCode::UnknownPartition,
            Self::UnknownBroker(_) | Self::NamedTwice(_) | Self::OtherCount { .. } => {
                ErrorCode::InvalidRequest
            }
            Self::BrokerAway(_)
            | Self::NowhereToGo { .. }
            | Self::TooEarly { .. }
            | Self::NotReplaced { .. } => ErrorCode::NotEnoughBrokers,
        }
    }
}
