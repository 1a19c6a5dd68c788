//! Removal of a whole partition: only ever on an explicit order. Or out of the way, with all that it has.

use std::path::Path;

use super::PartitionLog;
use crate::{
    disk::Disk,
    error::{AtPath, LogError},
    names,
    shared::NO_GENERATION,
};

impl PartitionLog {
    /// Removes the log and its directory. What readers hold stays good until they let it go.
    ///
    /// # Errors
    /// The disk's; call [`delete_dir`] to go on.
    pub fn delete(self) -> Result<(), LogError> {
        self.abandon();
        delete_dir(&*self.home.disk, &self.home.dir)
    }

    /// Closes the log as a crash would and gives its directory another place on the same disk: see [`set_aside_dir`].
    ///
    /// # Errors
    /// The disk's.
    pub fn set_aside(self, to: &Path) -> Result<(), LogError> {
        self.abandon();
        set_aside_dir(&*self.home.disk, &self.home.dir, to)
    }

    /// Syncs and upkeeps that are out find that they count for nothing any more; those under way are waited for.
    fn abandon(&self) {
        *self.shared.upkeep() = NO_GENERATION;
        self.shared.sync_state().generation = NO_GENERATION;
        for job in &self.jobs {
            job.cancel();
        }
    }
}

/// Gives a partition's directory another place on the same disk, with all that is in it, at once and durably. No error if there is nothing.
///
/// # Errors
/// The disk's.
pub fn set_aside_dir(disk: &dyn Disk, dir: &Path, to: &Path) -> Result<(), LogError> {
    let place = to.parent().unwrap_or(to);
    disk.create_dir(place).at("create", place)?;
    match disk.rename(dir, to) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.at("move", dir)?,
    }
    let parent = dir.parent().unwrap_or(dir);
    for changed in [place, parent, place.parent().unwrap_or(place)] {
        disk.sync_dir(changed).at("sync", changed)?;
    }
    Ok(())
}

/// Removes a partition's directory, or what is left of it after a removal that was interrupted. The identity goes last, so that until the
/// end it is known whose remains they are. No error if there is nothing.
///
/// # Errors
/// The disk's.
pub fn delete_dir(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    let listed = match disk.list(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        listed => listed.at("list", dir)?,
    };
    for name in listed.iter().filter(|name| *name != names::IDENTITY) {
        let path = dir.join(name);
        disk.remove(&path).at("remove", &path)?;
    }
    if listed.iter().any(|name| name == names::IDENTITY) {
        disk.sync_dir(dir).at("sync", dir)?;
        let path = dir.join(names::IDENTITY);
        disk.remove(&path).at("remove", &path)?;
    }
    disk.remove_dir(dir).at("remove", dir)?;
    let parent = dir.parent().unwrap_or(dir);
    disk.sync_dir(parent).at("sync", parent)
}
