//! How soon a thread runs that has something to do.

use std::{io, mem::size_of};

/// The shortest that Linux grants.
const SLICE_NS: u64 = 100_000;

/// Asks the kernel to let the calling thread, and those that it starts from now on, run as soon as they have something to do: a thread that wakes goes before
/// one with a longer time slice. It gets no larger share of a processor for it. Otherwise whoever computes next to a broker is let run on for up to a tick of the
/// clock, 4 ms, each time that a write is done or a request arrives.
///
/// # Errors
/// The system's. Kernels before Linux 6.12 take it and do nothing.
pub fn ask_for_short_time_slices() -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        // As it is: somebody may have wanted another one.
        sched_policy: libc::SCHED_OTHER.cast_unsigned(),
        sched_flags: libc::SCHED_FLAG_KEEP_POLICY as u64,
        // As it is.
        sched_nice: rustix::process::nice(0)?,
        sched_priority: 0,
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes from the address, which are those of `attributes`. Nothing of this process's memory changes.
    let asked = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if asked == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    /// As the kernel says, in nanoseconds. `None`: it does not say.
    fn slice_ns() -> Option<u64> {
        let sched = fs::read_to_string("/proc/thread-self/sched").ok()?;
        let line = sched
            .lines()
            .find(|line| line.starts_with("se.slice") || line.starts_with("slice"))?;
        line.split(':').nth(1)?.trim().parse().ok()
    }

    #[test]
    fn a_thread_and_those_it_starts_get_short_slices_and_keep_their_niceness() {
        let of_children = thread::spawn(|| {
            let nice = rustix::process::nice(3).expect("anybody may be nicer");
            ask_for_short_time_slices().expect("anybody may ask");
            let child = thread::spawn(|| (rustix::process::nice(0), slice_ns()));
            let kept = rustix::process::nice(0) == Ok(nice);
            (nice, kept, slice_ns(), child.join())
        });
        let (nice, kept, slice, child) = of_children.join().expect("does not panic");
        let (childs_nice, childs_slice) = child.expect("does not panic");
        assert!(kept, "it is as nice as it was");
        assert_eq!(childs_nice, Ok(nice));
        if slice_ns().is_some() {
            assert_eq!((slice, childs_slice), (Some(SLICE_NS), Some(SLICE_NS)));
        }
    }

    #[test]
    fn a_policy_that_somebody_chose_stays() {
        let policy = thread::spawn(|| {
            let none = libc::sched_param { sched_priority: 0 };
            // SAFETY: the kernel reads the parameter and changes nothing of this process's memory.
            let chosen = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const none) };
            assert_eq!(chosen, 0, "anybody may");
            let _ = ask_for_short_time_slices();
            // SAFETY: it only asks.
            unsafe { libc::sched_getscheduler(0) }
        });
        assert_eq!(policy.join().expect("does not panic"), libc::SCHED_BATCH);
    }
}
