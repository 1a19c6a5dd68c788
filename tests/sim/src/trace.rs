//! What happened: the last events for whoever reads a failure, and a digest of all of them.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// Events of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    shown: usize,
    last: VecDeque<(u64, String)>,
    digest: DefaultHasher,
    events: u64,
}

impl Trace {
    pub(crate) fn new(shown: usize) -> Self {
        Self {
            shown,
            last: VecDeque::with_capacity(shown),
            // Its keys are fixed.
            digest: DefaultHasher::new(),
            events: 0,
        }
    }

    pub(crate) fn note(&mut self, at_us: u64, what: String) {
        at_us.hash(&mut self.digest);
        what.hash(&mut self.digest);
        self.events += 1;
        if self.last.len() == self.shown {
            self.last.pop_front();
        }
        if self.shown > 0 {
            self.last.push_back((at_us, what));
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn last(&self) -> Vec<String> {
        let line = |(at_us, what): &(u64, String)| {
            format!("{:>3}.{:06} {what}", at_us / 1_000_000, at_us % 1_000_000)
        };
        self.last.iter().map(line).collect()
    }
}
