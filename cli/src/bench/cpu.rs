//! CPU time of this process, user and system, all threads.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time used so far.
pub(super) fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
