//! Consumer groups: who is in, which partitions each member reads, and how far it has come.
//!
//! ```text
//! member       one consumer of a group, and what it holds
//! membership   joining, staying, leaving: events in
//! assignor     who is to read which partition: one pure function
//! reconcile    from what members hold to what they are to hold, one owner at a time
//! offsets      how far partitions were read; commits and resets
//! policy       what a ConsumerGroup declares
//! lag          how far it is behind, and when it loses data
//! stored       what outlives a coordinator
//! ```
//!
//! An assignment is a target: a member gives up what it lost before another one gets it (KIP-848), and nobody else stops.

mod assignor;
mod lag;
mod member;
mod membership;
mod offsets;
mod policy;
mod reconcile;
mod stored;
#[cfg(test)]
mod tests;

pub use assignor::{AssignmentStrategy, Reader, Topic, assign};
pub use lag::{HORIZON_MS, History, Lag, LogState, Retention, Sight, lag};
pub use member::{Member, Profile, Subscription};
pub use membership::{Catalog, Expired, Group, GroupState, Join, Now, Refusal};
pub use offsets::{Commit, Committed};
pub use policy::{Delivery, GroupPolicy, OutOfRange, StartFrom};
pub use stored::{StoredGroup, StoredMember};
