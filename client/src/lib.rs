//! Producer, Consumer and Group for Rust services.
//!
//! ```text
//!  Producer::send ─> batch of the partition ─> lane of its leader ══ one gRPC stream ══> broker
//!        Delivery <── one completion for all records of a batch <── acknowledgement
//!
//!  Consumer::next_batch <─ batches, whole and uncopied <══ one gRPC stream for each leader ══ broker
//! ```
//!
//! ```text
//! client        connect; metadata, offsets
//! config        settings of clients, producers, consumers
//! producer      batching, order, retries, back-pressure
//! consumer      assign, read, seek, pause
//! group         reading together with others: assignments, commits
//! admin         topics, partitions, brokers, groups
//! record        records on their way in and out
//! metadata      topics, leaders, addresses
//! connections   channels to brokers, straight or through another one
//! backoff       pauses between retries
//! error         what can go wrong
//! ```
#![forbid(unsafe_code)]

mod admin;
mod backoff;
mod client;
mod config;
mod connections;
mod consumer;
mod error;
mod group;
mod metadata;
mod producer;
mod record;

pub use admin::{Admin, Applied, ApplyOutcome, GroupList, GroupOffset};
pub use client::Client;
pub use config::{Acks, ClientConfig, Compression, ConsumerConfig, ProducerConfig};
pub use consumer::{BatchRecords, ConsumedBatch, Consumer, Start};
pub use error::{ClientError, FlushError, ProduceError};
pub use group::{
    Commit, DeliveryMode, Group, GroupBuilder, GroupEvent, GroupPartition, Loss, OutOfRange,
};
pub use metadata::{Broker, Metadata, Partition, Topic};
pub use producer::{Delivery, Producer, TopicProducer};
pub use record::{ConsumedRecord, Header, Record, RecordMetadata};
pub use taffrail_core::{ErrorCode, MemberId, Offset, PartitionIndex};
