//! Producer and Consumer for Rust services.
#![forbid(unsafe_code)]
