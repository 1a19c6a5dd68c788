//! How ports accept connections, so that strangers cannot take all the room that there is.

mod brief;
mod sessions;

pub use brief::{BriefListener, Peer};
pub use sessions::{Admission, Connection, Limit, sessions};
