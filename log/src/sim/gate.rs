//! Operations that take as long as a test wants.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// Syncs of files, and removals, of paths that contain a part wait while it is shut.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Debug, Default)]
struct State {
    path_part: Option<String>,
    waiting: usize,
}

/// A slow disk: opens the gate when it is dropped.
#[derive(Debug)]
pub struct Held(pub(super) Arc<Gate>);

impl Held {
    /// How many operations wait.
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().path_part = None;
        self.0.opened.notify_all();
    }
}

impl Gate {
    pub(super) fn shut(&self, path_part: &str) {
        self.lock().path_part = Some(path_part.to_owned());
    }

    pub(super) fn pass(&self, path: &Path) {
        let path = path.to_string_lossy();
        let mut state = self.lock();
        state.waiting += 1;
        while state
            .path_part
            .as_ref()
            .is_some_and(|part| path.contains(part))
        {
            state = self
                .opened
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
