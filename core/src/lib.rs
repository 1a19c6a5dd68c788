//! Taffrail's decisions: types, rules and state machines. No I/O, no clock, no async.
//!
//! ```text
//! ids          who is who: topics, partitions, brokers, epochs, offsets
//! error        every error's stable code, and whether to retry
//! quantity     sizes (50Gi) and durations (168h) as Kubernetes writes them
//! rules        every validation rule, once, with its message
//! settings     what of a broker can be tuned, within which bounds
//! topic        what a user wants of a topic, and what is in force
//! assignment   who holds a partition, who leads it
//! group        which member of a consumer group reads which partition
//! replica      what leaders, followers and electors decide
//! producers    which batches of a producer a partition has
//! ```
#![forbid(unsafe_code)]

pub mod assignment;
pub mod error;
pub mod group;
pub mod ids;
pub mod producers;
pub mod quantity;
pub mod replica;
pub mod rules;
pub mod settings;
pub mod topic;

pub use assignment::{Assignment, PartitionFault};
pub use error::ErrorCode;
pub use ids::{
    BrokerNumber, BrokerUuid, ClusterId, ControllerStamp, Incarnation, LeaderEpoch, Offset,
    PartitionEpoch, PartitionIndex, TopicId, TopicPartition,
};
pub use topic::{
    Adoption, Cleanup, DeletionPolicy, Durability, TopicConfig, TopicDefaults, TopicSpec,
    UncleanElection,
};
