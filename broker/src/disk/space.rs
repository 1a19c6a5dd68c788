//! The ladder of a full disk: trim what may be trimmed, then refuse produce while fetch goes on, then recover when there is room.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use taffrail_api::WireError;
use taffrail_core::ErrorCode;
use taffrail_log::Disk;

use crate::datadir::ballast::Ballast;

/// Free space, and whether produce is refused for the lack of it.
#[derive(Debug)]
pub(crate) struct Space {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    ballast: Ballast,
    free_bytes_min: u64,
    full: AtomicBool,
    /// A write found no room, whatever the file system says of itself.
    reported: AtomicBool,
    free_bytes: AtomicU64,
    total_bytes: AtomicU64,
}

/// What a look at the free space asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pressure {
    None,
    /// Expire now, before produce has to be refused and while it is.
    Trim,
}

impl Space {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        ballast: Ballast,
        free_bytes_min: u64,
    ) -> Self {
        Self {
            disk,
            path,
            ballast,
            free_bytes_min,
            full: AtomicBool::new(false),
            reported: AtomicBool::new(false),
            free_bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
        }
    }

    /// May batches be written?
    pub(crate) fn check(&self) -> Result<(), WireError> {
        if !self.is_full() {
            return Ok(());
        }
        Err(WireError::new(
            ErrorCode::DiskFull,
            format!(
                "the broker's disk has {} bytes left and takes no more records until there are {}; lower retentions or grow the volume",
                self.free_bytes(),
                self.free_bytes_min
            ),
        ))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.total_bytes.load(Ordering::Relaxed)
    }

    /// A write found no room.
    pub(crate) fn report_full(&self) {
        self.reported.store(true, Ordering::Release);
        self.set_full(true);
    }

    /// Looks at the free space. Blocking.
    pub(crate) fn look(&self) -> Pressure {
        let space = match self.disk.space(&self.path) {
            Ok(space) => space,
            Err(error) => {
                tracing::warn!(%error, "cannot read the free space");
                return Pressure::None;
            }
        };
        self.free_bytes
            .store(space.available_bytes, Ordering::Relaxed);
        self.total_bytes.store(space.total_bytes, Ordering::Relaxed);
        // Hysteresis: a quarter more than the limit must be free before a full disk counts as having room.
        let needed = if self.is_full() {
            self.free_bytes_min + self.free_bytes_min / 4
        } else {
            self.free_bytes_min
        };
        let reported = self.reported.swap(false, Ordering::AcqRel);
        let full = reported || space.available_bytes < needed;
        self.set_full(full);
        if full || space.available_bytes < 2 * self.free_bytes_min {
            Pressure::Trim
        } else {
            Pressure::None
        }
    }

    fn set_full(&self, full: bool) {
        if self.full.swap(full, Ordering::AcqRel) == full {
            if !full {
                self.keep_ballast();
            }
            return;
        }
        if full {
            tracing::error!(
                free_bytes = self.free_bytes(),
                free_bytes_min = self.free_bytes_min,
                "the disk is full: produce is refused until there is room, fetch goes on"
            );
            if let Err(error) = self.ballast.give_up() {
                tracing::warn!(%error, "cannot give up the ballast");
            }
        } else {
            tracing::info!(
                free_bytes = self.free_bytes(),
                "the disk has room again: produce is accepted"
            );
            self.keep_ballast();
        }
    }

    fn keep_ballast(&self) {
        if let Err(error) = self.ballast.take() {
            tracing::debug!(%error, "no room for the ballast yet");
        }
    }
}
