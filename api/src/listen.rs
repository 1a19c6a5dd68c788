//! How ports accept connections, so that strangers cannot take all the room that there is.

mod bind;
mod brief;
mod guarded;
mod sessions;

pub use bind::bind;
pub use brief::{BriefListener, Peer};
pub use guarded::{Gate, Guard, Guarded, Limit, accept};
pub use sessions::{Admission, Awaited, sessions};
