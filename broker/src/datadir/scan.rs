//! Every partition directory, opened in parallel on threads of their own.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use taffrail_core::{
    ClusterId, Durability, TopicPartition,
    replica::{self, FoundLog, Standing},
};
use taffrail_log::{Disk, LogConfig, LogError, PartitionLog, read_identity};

use super::{DataDir, roster::Roster};
use crate::error::BrokerError;

/// Recovery reads a lot: several partitions at a time keep the disk busy.
const OPENING_THREADS: usize = 8;

/// A partition directory.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: TopicPartition,
    pub(crate) topic_name: String,
    pub(crate) log: Result<PartitionLog, LogError>,
    /// The log has the mark of a clean stop.
    pub(crate) clean_stop: bool,
}

impl Found {
    /// What the replica may claim. `same_boot`: whatever was written and not synced is still there.
    pub(crate) fn standing(&self, durability: Durability, same_boot: bool) -> Standing {
        let log = match &self.log {
            Ok(_) => FoundLog::Whole,
            Err(LogError::Lost { .. } | LogError::NoIdentity { .. }) => FoundLog::Missing,
            Err(_) => FoundLog::Damaged,
        };
        let found = replica::Found {
            log,
            clean_stop: self.clean_stop,
            durability,
            same_boot,
        };
        found.standing()
    }
}

/// Opens all of them. Everything an opened log holds is durable. What the roster names and is not there is found too, as lost; what is there joins the
/// roster.
pub(crate) fn open_all(
    dir: &DataDir,
    roster: &mut Roster,
    disk: &Arc<dyn Disk>,
    cluster: Option<ClusterId>,
    config_of: impl Fn(TopicPartition) -> LogConfig + Sync,
) -> Result<Vec<Found>, BrokerError> {
    let paths = dir.partition_dirs()?;
    let (next, found) = (
        AtomicUsize::new(0),
        Mutex::new(Vec::with_capacity(paths.len())),
    );
    thread::scope(|scope| {
        for _ in 0..OPENING_THREADS.min(paths.len()) {
            scope.spawn(|| {
                while let Some((id, path)) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let opened = open(*id, path, disk, cluster, config_of(*id));
                    found
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(opened);
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let found = found.into_iter().filter_map(Result::transpose);
    let mut found = found.collect::<Result<Vec<_>, _>>()?;
    found.extend(lost(dir, roster, &found));
    let there = found.iter().filter(|f| !f.topic_name.is_empty());
    roster.add(there.map(|f| (f.id, f.topic_name.as_str().into())))?;
    Ok(found)
}

/// What is in the roster and was not found.
fn lost(dir: &DataDir, roster: &Roster, found: &[Found]) -> Vec<Found> {
    let there: HashSet<_> = found.iter().map(|f| f.id).collect();
    let gone = roster.partitions().filter(|(id, _)| !there.contains(id));
    gone.map(|(id, topic)| {
        let path = dir.partition(id);
        let error = if path.exists() {
            LogError::NoIdentity { dir: path }
        } else {
            LogError::Lost { dir: path }
        };
        tracing::error!(%topic, partition = %id.partition, %error, "a partition is lost; it is not made anew");
        Found {
            id,
            topic_name: topic.to_string(),
            log: Err(error),
            clean_stop: false,
        }
    })
    .collect()
}

/// `None`: a directory that was never completed, and that holds nothing.
pub(crate) fn open(
    id: TopicPartition,
    path: &Path,
    disk: &Arc<dyn Disk>,
    cluster: Option<ClusterId>,
    config: LogConfig,
) -> Result<Option<Found>, BrokerError> {
    let identity = match read_identity(&**disk, path) {
        Ok(identity) => identity,
        Err(LogError::NoIdentity { dir }) => {
            tracing::warn!(path = %dir.display(), "an incomplete partition directory; left alone");
            return Ok(None);
        }
        Err(error) => {
            return Ok(Some(Found {
                id,
                topic_name: String::new(),
                log: Err(error),
                clean_stop: false,
            }));
        }
    };
    if let Some(expected) = cluster.filter(|c| *c != identity.cluster) {
        return Err(BrokerError::ForeignPartition {
            path: path.to_owned(),
            found: identity.cluster.to_string(),
            expected: expected.to_string(),
        });
    }
    let (log, clean_stop) = match open_log(path, disk, config) {
        Ok((log, clean_stop)) => (Ok(log), clean_stop),
        Err(error) => {
            tracing::error!(topic = %identity.topic_name, partition = %id.partition, %error, "cannot open the partition");
            (Err(error), false)
        }
    };
    Ok(Some(Found {
        id,
        topic_name: identity.topic_name,
        log,
        clean_stop,
    }))
}

/// The log, and whether it had the mark of a clean stop.
fn open_log(
    path: &Path,
    disk: &Arc<dyn Disk>,
    config: LogConfig,
) -> Result<(PartitionLog, bool), LogError> {
    let opened = PartitionLog::open(Arc::clone(disk), path, config)?;
    let (mut log, recovery) = (opened.log, opened.recovery);
    if !recovery.clean_stop {
        tracing::info!(path = %path.display(), scanned_bytes = recovery.scanned_bytes, torn = ?recovery.torn,
            indexes_rebuilt = recovery.indexes_rebuilt, log_end = %log.log_end(), "recovered after a crash");
    }
    // What a crash of the process left in the page cache is not durable before this.
    let token = log.sync_token();
    token.sync()?;
    log.synced(&token)?;
    Ok((log, recovery.clean_stop))
}
