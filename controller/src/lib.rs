//! The metadata engine: placement, topics, broker registry, on a store.
#![forbid(unsafe_code)]
