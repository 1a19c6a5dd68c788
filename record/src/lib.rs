//! Kafka record batches (magic 2): codec, checksums, compressions.
#![forbid(unsafe_code)]
