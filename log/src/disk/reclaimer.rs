//! Gives the room of large files back piece by piece. A disk that takes back a whole segment at once (ext4 mounted with `discard`) answers no write for 5 to 40 ms
//! meanwhile, and producers wait for it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        OnceLock,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

/// What the disk takes back at a time: 1 to 2 ms of its work.
const PIECE_BYTES: u64 = 2 << 20;
/// Between two pieces: 400 MB/s at most.
const PAUSE: Duration = Duration::from_millis(5);
/// With more files than these to give back there are no pauses: room is wanted soon.
const UNHURRIED_FILES_MAX: usize = 16;
/// How often to ask whether those who read a removed file are done.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A thread of its own, once there is a large file to give back.
#[derive(Debug, Default)]
pub(super) struct Reclaimer {
    /// `None`: the system starts no thread, and closing a file gives back its room.
    removed: OnceLock<Option<Sender<File>>>,
}

impl Reclaimer {
    /// Takes a file whose name went, by [`removable`] before it did.
    pub(super) fn give_back(&self, file: File) {
        // A name that it has elsewhere, or as on NFS until it is closed: it stays.
        if !file.metadata().is_ok_and(|metadata| metadata.nlink() == 0) {
            return;
        }
        let removed = self.removed.get_or_init(|| {
            let (sender, removed) = channel();
            thread::Builder::new()
                .name("reclaimer".to_owned())
                .spawn(move || reclaim(&removed))
                .is_ok()
                .then_some(sender)
        });
        if let Some(removed) = removed {
            // It ends when this is dropped only.
            let _ = removed.send(file);
        }
    }
}

/// A file that is worth giving back piece by piece, if it is one.
pub(super) fn removable(path: &Path) -> Option<File> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() <= PIECE_BYTES {
        return None;
    }
    OpenOptions::new().write(true).open(path).ok()
}

/// Says that `file` is being used, for as long as it is open: it is not cut then, whichever process removes it.
pub(super) fn hold(file: &File) -> io::Result<()> {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        // It was removed between the two calls, and is cut by now.
        Err(rustix::io::Errno::WOULDBLOCK) => Err(io::ErrorKind::NotFound.into()),
        // A file system without such locks: nothing can be cut there either.
        _ => Ok(()),
    }
}

fn reclaim(removed: &Receiver<File>) {
    let mut used = Vec::new();
    loop {
        let next = if used.is_empty() {
            removed.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            removed.recv_timeout(LOOK_AGAIN)
        };
        match next {
            Ok(file) => used.push(file),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        used.extend(removed.try_iter());
        let free: Vec<_> = used.extract_if(.., |file| is_free(file)).collect();
        let pause = if free.len() > UNHURRIED_FILES_MAX {
            Duration::ZERO
        } else {
            PAUSE
        };
        for file in free {
            // Closing it gives back what is left.
            let _ = cut(&file, pause);
        }
    }
}

/// Is nobody using a file any more? Nobody can begin to: it has no name.
fn is_free(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

fn cut(file: &File, pause: Duration) -> io::Result<()> {
    let mut bytes = file.metadata()?.len();
    while bytes > PIECE_BYTES {
        bytes -= PIECE_BYTES;
        file.set_len(bytes)?;
        thread::sleep(pause);
    }
    Ok(())
}
