//! The file of leader epochs, whose table cuts diverged logs (KIP-101).

use std::path::Path;

use taffrail_core::{
    LeaderEpoch, Offset,
    replica::{EpochStart, EpochTable},
};

use crate::{
    disk::Disk,
    error::LogError,
    frame::{self, Fields, Kind},
    names,
};

const KIND: Kind = Kind {
    tag: *b"epch",
    version: 1,
};

/// Replaces the file.
pub(crate) fn write(table: &EpochTable, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    let starts = table.as_slice();
    let mut payload = Vec::with_capacity(starts.len() * 12);
    for start in starts {
        payload.extend_from_slice(&start.epoch.0.to_be_bytes());
        payload.extend_from_slice(&start.start.0.to_be_bytes());
    }
    frame::replace(disk, &dir.join(names::EPOCHS), KIND, &payload)
}

/// `None` if there is no such file.
pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<EpochTable>, LogError> {
    let path = dir.join(names::EPOCHS);
    let Some(payload) = frame::read(disk, &path, KIND)? else {
        return Ok(None);
    };
    parse(&payload).map(Some).ok_or(LogError::Unreadable {
        path,
        reason: "its epochs are not in order",
    })
}

fn parse(payload: &[u8]) -> Option<EpochTable> {
    let mut starts = Vec::new();
    let mut fields = Fields(payload);
    while fields.end().is_none() {
        let (epoch, start) = (LeaderEpoch(fields.u32()?), Offset(fields.u64()?));
        starts.push(EpochStart { epoch, start });
    }
    EpochTable::from_starts(starts)
}
