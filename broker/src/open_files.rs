//! How many files, connections included, this process has open and may have. A partition needs one or two, and one more for each of its segments that is being read.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// With fewer than these a broker warns when it starts.
pub(crate) const FEW: u64 = 16_384;

/// Raises the limit as far as the system lets it. Shells and service managers hand out 1,024, for the sake of programs that are older than `poll`.
pub(crate) fn raise_max() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Without, it is as it was, which the broker says when it starts.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// How many there may be.
pub(crate) fn max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many there are. `None`: the system does not say.
pub(crate) fn count() -> Option<u64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}
