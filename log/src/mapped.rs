//! Which segments of a log are mapped, so that they do not become many: a process may have some 65,000 mappings, over all logs.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::segment::Segment;

/// Mapping a file again costs microseconds, so few are enough: readers of a log are at its end or go through it.
const MAPPED_MAX: usize = 8;

/// The segments that were read last, the least recently read first. Does not keep those that have expired.
#[derive(Debug, Default)]
pub(crate) struct Mapped(Mutex<VecDeque<Weak<Segment>>>);

impl Mapped {
    /// Notes a read. The mapping that was not used for longest goes if they are too many; what readers hold of it stays good.
    pub(crate) fn used(&self, segment: &Arc<Segment>) {
        let is_it = |other: &Weak<Segment>| std::ptr::eq(other.as_ptr(), Arc::as_ptr(segment));
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.back().is_some_and(is_it) {
            return;
        }
        recent.retain(|other| !is_it(other));
        recent.push_back(Arc::downgrade(segment));
        if recent.len() > MAPPED_MAX
            && let Some(oldest) = recent.pop_front().and_then(|oldest| oldest.upgrade())
        {
            oldest.unmap();
        }
    }
}
