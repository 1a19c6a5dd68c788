//! The rules of CONTRIBUTING.md that a machine can check. A rule that is written down is a test, or is deleted.
#![forbid(unsafe_code)]

mod crates;
mod documents;
mod sources;
mod tree;
