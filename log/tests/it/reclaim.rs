//! The room of large files that were removed.

use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use taffrail_core::Offset;
use taffrail_log::{
    Disk as _, LogConfig, PartitionLog, StdDisk,
    disk::{DiskFile, OpenMode},
};

use crate::common::{append, batch, identity, small, sync};

const MIB: u64 = 1 << 20;
/// What is given back at a time.
const PIECE: u64 = 2 * MIB;

/// A file, whatever becomes of its name.
struct Watched {
    file: File,
    bytes: u64,
}

impl Watched {
    fn new(path: &Path) -> Self {
        let file = File::open(path).expect("there");
        let bytes = file.metadata().expect("stat").len();
        assert!(bytes > 2 * PIECE, "{bytes}");
        Self { file, bytes }
    }

    fn bytes(&self) -> u64 {
        self.file.metadata().expect("stat").len()
    }

    fn is_whole(&self) -> bool {
        self.bytes() == self.bytes
    }

    /// Until all but its last piece went.
    fn wait_until_given_back(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.bytes() > PIECE {
            let given_back = self.bytes - self.bytes();
            assert_eq!(given_back % PIECE, 0, "whole pieces");
            assert!(Instant::now() < deadline, "{given_back} of {}", self.bytes);
            std::thread::park_timeout(Duration::from_millis(1));
        }
        assert_eq!((self.bytes - self.bytes()) % PIECE, 0, "whole pieces");
    }
}

fn file_of(dir: &Path, name: &str, bytes: u64) -> Watched {
    let path = dir.join(name);
    fs::write(&path, vec![b'x'; bytes as usize]).expect("written");
    Watched::new(&path)
}

fn first_byte(file: &dyn DiskFile, position: u64) -> u8 {
    let mut byte = [0];
    assert_eq!(file.read_at(&mut byte, position).expect("read"), 1);
    byte[0]
}

#[test]
fn a_removed_log_gives_its_room_back_in_pieces_once_nobody_reads_it() {
    let temporary = tempfile::tempdir().expect("directory");
    let dir = temporary.path().join("p");
    let config = LogConfig {
        segment_bytes: 8 * MIB,
        ..small()
    };
    let disk: Arc<StdDisk> = Arc::default();
    let mut log = PartitionLog::create(disk.clone(), &dir, &identity(), config).expect("create");
    for i in 0..15 {
        append(&mut log, batch(1, MIB as usize), i);
    }
    sync(&mut log);
    let segments = log.reader().segments();
    let [first, second] = [0, 1].map(|i| {
        let name = format!("{:020}.log", segments[i].base_offset.0);
        Watched::new(&dir.join(name))
    });
    let reader = log.reader();
    let read = reader.read(Offset::ZERO, 4 * MIB as usize, Offset(u64::MAX));
    let read = read.expect("read");
    let copies: Vec<Vec<u8>> = read.chunks.iter().map(|chunk| chunk.to_vec()).collect();
    drop(reader);

    log.delete().expect("deleted");
    assert!(!dir.exists());
    second.wait_until_given_back();
    // Files have their turns: whatever was to go before this one has gone.
    let last = file_of(temporary.path(), "last", 9 * MIB);
    disk.remove(&temporary.path().join("last"))
        .expect("removed");
    last.wait_until_given_back();
    assert!(first.is_whole(), "somebody has read from it");
    assert_eq!(read.chunks, copies);
    drop(read);
    first.wait_until_given_back();
}

#[test]
fn a_file_that_another_process_has_open_stays_whole() {
    let dir = tempfile::tempdir().expect("directory");
    let (disk, others) = (StdDisk::default(), StdDisk::default());
    let read = file_of(dir.path(), "read", 9 * MIB);
    let reader = others.open(&dir.path().join("read"), OpenMode::Read);
    let reader = reader.expect("open");
    let unread = file_of(dir.path(), "unread", 9 * MIB + 1);
    disk.remove(&dir.path().join("read")).expect("removed");
    disk.remove(&dir.path().join("unread")).expect("removed");
    unread.wait_until_given_back();
    assert!(read.is_whole());
    assert_eq!(first_byte(&*reader, 9 * MIB - 1), b'x');
    drop(reader);
    read.wait_until_given_back();
}

#[test]
fn a_file_whose_name_another_took_gives_its_room_back_and_one_with_two_names_does_not() {
    let dir = tempfile::tempdir().expect("directory");
    let path = |name| dir.path().join(name);
    let disk = StdDisk::default();
    let old = file_of(dir.path(), "log", 9 * MIB);
    let new = file_of(dir.path(), "clean", 7 * MIB);
    let twice = file_of(dir.path(), "twice", 7 * MIB);
    fs::hard_link(path("twice"), path("again")).expect("linked");
    disk.remove(&path("twice")).expect("removed");
    disk.rename(&path("clean"), &path("log")).expect("renamed");
    old.wait_until_given_back();
    assert!(new.is_whole() && twice.is_whole());
    let file = disk.open(&path("log"), OpenMode::Read).expect("open");
    assert_eq!(file.len().expect("stat"), 7 * MIB);
}
