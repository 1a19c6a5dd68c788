//! The test harness and the tests that need processes or a cluster.
#![forbid(unsafe_code)]
