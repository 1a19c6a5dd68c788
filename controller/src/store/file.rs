//! Objects as files of one directory: replaced atomically, fsynced before a put answers, owned by one process.
//!
//! ```text
//! DIR/lock          held (flock) while the store is open
//! DIR/root          the root
//! DIR/map-00000     a partition map, by its name
//! DIR/broker-7      a broker, by its number
//! DIR/*.tmp         a put that did not finish: removed when the store is opened
//! ```

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::{BoxFuture, FutureExt as _};
use prost::Message;
use rustix::fs::{FlockOperation, flock};
use taffrail_api::v1;

use super::{ObjectName, Snapshot, Store, StoreError, Version, Versioned, codec};

const ROOT: &str = "root";
const LOCK: &str = "lock";
const MAP_PREFIX: &str = "map-";
const BROKER_PREFIX: &str = "broker-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// A store in a directory, for one process at a time. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct FileStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// Puts and loads, one at a time; holds the lock file.
    lock: Mutex<File>,
}

impl FileStore {
    /// Opens the store in `dir`, which is made if need be, and locks it until the last clone is gone.
    ///
    /// # Errors
    /// Another process has it, or the directory cannot be used.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
        let path = dir.join(LOCK);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error("open", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|e| {
            if e == rustix::io::Errno::WOULDBLOCK {
                StoreError::Locked { path: dir.clone() }
            } else {
                io_error("lock", &path)(e.into())
            }
        })?;
        remove_unfinished(&dir)?;
        let lock = Mutex::new(lock);
        Ok(Self {
            inner: Arc::new(Inner { dir, lock }),
        })
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let inner = Arc::clone(&self.inner);
        async move {
            let task = tokio::task::spawn_blocking(move || {
                let _one_at_a_time = inner.lock.lock().unwrap_or_else(PoisonError::into_inner);
                work(&inner.dir)
            });
            task.await
                .unwrap_or_else(|e| Err(StoreError::Unavailable(e.into())))
        }
        .boxed()
    }

    fn put<T: Message + Default + Clone + 'static>(
        &self,
        name: ObjectName,
        expected: Option<&Version>,
        value: &T,
    ) -> BoxFuture<'static, Result<Version, StoreError>> {
        let (expected, value) = (expected.cloned(), value.clone());
        self.run(move |dir| put(dir, name, expected.as_ref(), &value))
    }
}

impl Store for FileStore {
    fn load(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        self.run(load)
    }

    fn put_root<'a>(
        &'a self,
        expected: Option<&'a Version>,
        value: &'a v1::ClusterMetadata,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        self.put(ObjectName::Root, expected, value)
    }

    fn put_map<'a>(
        &'a self,
        expected: Option<&'a Version>,
        value: &'a v1::PartitionMap,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        self.put(ObjectName::Map(value.name.clone()), expected, value)
    }

    fn put_broker<'a>(
        &'a self,
        expected: Option<&'a Version>,
        value: &'a v1::StoredBroker,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        self.put(ObjectName::Broker(value.number), expected, value)
    }
}

fn load(dir: &Path) -> Result<Snapshot, StoreError> {
    let mut snapshot = Snapshot::default();
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let entry = entry.map_err(io_error("list", dir))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = entry.path();
        let is_whole = !name.ends_with(TEMPORARY_SUFFIX);
        if name == ROOT {
            snapshot.root = read(&path)?;
        } else if is_whole && name.starts_with(MAP_PREFIX) {
            snapshot.maps.extend(read(&path)?);
        } else if is_whole && name.starts_with(BROKER_PREFIX) {
            snapshot.brokers.extend(read(&path)?);
        }
    }
    Ok(snapshot)
}

fn put<T: Message + Default>(
    dir: &Path,
    name: ObjectName,
    expected: Option<&Version>,
    value: &T,
) -> Result<Version, StoreError> {
    let path = dir.join(file_name(&name));
    let current = read::<T>(&path)?.map(|found| found.version);
    if current.as_ref() != expected {
        return Err(StoreError::Conflict { object: name });
    }
    let number = match &current {
        None => 1,
        Some(version) => 1 + version.0.parse::<u64>().unwrap_or_default(),
    };
    let temporary = dir.join(format!("{}{TEMPORARY_SUFFIX}", file_name(&name)));
    write(&temporary, &codec::encode(number, value)).map_err(io_error("write", &temporary))?;
    // From here on a crash may leave the old value or the new one.
    fs::rename(&temporary, &path)
        .and_then(|()| sync_dir(dir))
        .map_err(|e| StoreError::Unknown {
            object: name,
            cause: e.into(),
        })?;
    Ok(Version(number.to_string()))
}

fn file_name(name: &ObjectName) -> String {
    match name {
        ObjectName::Root => ROOT.to_owned(),
        // Map names begin with the prefix: see `state::cluster`.
        ObjectName::Map(name) => name.clone(),
        ObjectName::Broker(number) => format!("{BROKER_PREFIX}{number}"),
    }
}

fn read<T: Message + Default>(path: &Path) -> Result<Option<Versioned<T>>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("read", path)(e)),
    };
    let (version, value) = codec::decode(path, &bytes)?;
    Ok(Some(Versioned {
        version: Version(version.to_string()),
        value,
    }))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What a crash left half written was never answered.
fn remove_unfinished(dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let path = entry.map_err(io_error("list", dir))?.path();
        if path.to_string_lossy().ends_with(TEMPORARY_SUFFIX) {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
