//! The custom resources as Rust types, and the YAML generated from them.
#![forbid(unsafe_code)]
