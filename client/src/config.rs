//! Settings. The defaults suit a service that values latency; bulk loads want a linger of some milliseconds and larger batches.

use std::time::Duration;

use taffrail_core::producers::BATCHES_REMEMBERED;
pub use taffrail_record::Compression;

use crate::error::ProduceError;

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Some brokers' addresses, `host:port`, with or without `http://`. The others are learned from them.
    pub bootstrap: Vec<String>,
    /// How long a call may take, retries included.
    pub call_timeout: Duration,
    /// How long a topic that is not there is waited for: it may just have been created.
    pub unknown_topic_wait: Duration,
    /// Pause before the first retry; it doubles with each one.
    pub backoff_min: Duration,
    /// Longest pause before a retry.
    pub backoff_max: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            bootstrap: vec!["127.0.0.1:9640".to_owned()],
            call_timeout: Duration::from_secs(30),
            unknown_topic_wait: Duration::from_secs(3),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(2),
        }
    }
}

impl ClientConfig {
    /// The defaults with this address.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: vec![bootstrap.into()],
            ..Self::default()
        }
    }
}

/// When a record counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// As many replicas as the topic's `minInSync` asks for have it, durably under the topic's setting.
    #[default]
    All,
    /// The leader has it, durably under the topic's setting.
    Leader,
    /// A broker has taken it. Deliveries know no offset.
    None,
}

/// How to produce.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// When a record counts as delivered.
    pub acks: Acks,
    /// Store each record once, however often it has to be sent: records are numbered, and brokers know those that they have. `None`: with
    /// `Acks::All`. With other acks it is not possible, for they do not say that a record is there to stay: asked for, it is an error of the first `send`.
    pub idempotence: Option<bool>,
    /// How long a record waits for company. Zero: it leaves at once, with whatever came while earlier requests were under way.
    pub linger: Duration,
    /// A batch leaves when it has this many bytes before compression. The topic's limit holds too; a larger record travels alone.
    pub batch_bytes: usize,
    /// How batches are compressed.
    pub compression: Compression,
    /// From `send` to the acknowledgement, retries included. A record that takes longer fails.
    pub delivery_timeout: Duration,
    /// How long one request may stay unanswered before its connection is given up.
    pub request_timeout: Duration,
    /// Requests under way for one partition. Order is kept whatever it is. At least 1; at most 16 with idempotence, for brokers remember as many.
    pub in_flight_max: usize,
    /// Records not yet acknowledged take at most this much memory; `send` waits for room. At least twice `batch_bytes`.
    pub buffer_bytes: usize,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotence: None,
            linger: Duration::ZERO,
            batch_bytes: 256 << 10,
            compression: Compression::None,
            delivery_timeout: Duration::from_mins(2),
            request_timeout: Duration::from_secs(30),
            in_flight_max: 16,
            buffer_bytes: 64 << 20,
        }
    }
}

impl ProducerConfig {
    /// The nearest settings that make sense.
    pub(crate) fn sensible(mut self) -> Self {
        self.batch_bytes = self
            .batch_bytes
            .clamp(1 << 10, taffrail_api::transport::BATCH_BYTES_MAX);
        self.buffer_bytes = self.buffer_bytes.max(2 * self.batch_bytes);
        self.in_flight_max = self.in_flight_max.max(1);
        if self.is_idempotent() {
            self.in_flight_max = self.in_flight_max.min(BATCHES_REMEMBERED);
        }
        self
    }

    pub(crate) fn is_idempotent(&self) -> bool {
        self.idempotence.unwrap_or(true) && self.acks == Acks::All
    }

    pub(crate) const fn check(&self) -> Result<(), ProduceError> {
        match (self.idempotence, self.acks) {
            (Some(true), Acks::Leader | Acks::None) => Err(ProduceError::Settings(
                "idempotence needs Acks::All; set that, or leave idempotence unset",
            )),
            _ => Ok(()),
        }
    }
}

/// What fits one HTTP/2 frame, with room for what is said about the batches: an answer that spans frames has to be joined by a copy.
const ANSWER_BYTES: u32 = taffrail_api::transport::ANSWER_FRAME_BYTES_MAX - (64 << 10);

/// How to consume.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// How long a broker waits for `min_bytes` before it answers with less.
    pub max_wait: Duration,
    /// A broker answers once it has this much; 1: at once.
    pub min_bytes: u32,
    /// Most that a broker sends at once. While one answer is read, the next is under way: this is also what is prefetched.
    pub max_bytes: u32,
    /// Most of one partition in an answer.
    pub partition_max_bytes: u32,
    /// Batches are fetched and handed out no faster than this, as they are stored (compressed): for reading old data beside others. `None`: as fast as
    /// they come. A larger batch is followed by a longer pause.
    pub bytes_per_s_max: Option<u64>,
    /// How long an answer may be overdue before its connection is given up.
    pub request_timeout: Duration,
    /// Largest size of one batch after decompression: bounds what a malicious batch can cost.
    pub decompressed_bytes_max: usize,
    /// Verify each batch's checksum.
    pub verify_checksums: bool,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: ANSWER_BYTES,
            partition_max_bytes: ANSWER_BYTES,
            bytes_per_s_max: None,
            request_timeout: Duration::from_secs(30),
            decompressed_bytes_max: 64 << 20,
            verify_checksums: true,
        }
    }
}
