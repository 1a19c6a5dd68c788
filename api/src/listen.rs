//! How ports accept connections, so that strangers cannot take all the room that there is.

mod bind;
mod brief;
mod sessions;

pub use bind::bind;
pub use brief::{BriefListener, Peer};
pub use sessions::{Admission, Connection, Limit, sessions};
