//! Consumer groups: the leader of a partition of `__offsets` coordinates the groups whose names are hashed to it.
//!
//! ```text
//! coordinators   which partitions this broker coordinates; where requests go
//! coordinator    one partition's: events in, records and answers out
//! event          what members and others ask
//! load           from the log back to groups
//! unloaded       partitions whose groups cannot be read
//! hosted         a group and the connections of its members
//! write          records on their way to the log, and who is answered once they are durable
//! records        the records of `__offsets`
//! policies       what is declared of groups
//! limits         what members and policies may say
//! catalog        topics and patterns, as groups see them
//! reports        what coordinators say of their groups, for the controller
//! stepped        coordinators without tasks, for the simulation
//! ```
//!
//! Nothing is answered before what it follows from is durable on the in-sync replicas: whatever a member was told, the next coordinator knows.

mod catalog;
mod coordinator;
pub(crate) mod coordinators;
pub(crate) mod event;
mod hosted;
pub(crate) mod limits;
mod load;
mod policies;
pub(crate) mod records;
pub(crate) mod reports;
#[cfg(feature = "sim")]
pub(crate) mod stepped;
mod unloaded;
mod write;

pub(crate) use coordinators::Coordinators;
pub(crate) use policies::Policies;
pub(crate) use records::{member_id, not_empty};
#[cfg(feature = "sim")]
pub use stepped::{CoordinatorView, GroupView};
