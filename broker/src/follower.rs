//! Following: one session with each broker that leads a partition of which this one holds a replica.
//!
//! ```text
//! positions    where this broker's replicas stand, for the sessions with their leaders
//! ```

pub(crate) mod positions;
