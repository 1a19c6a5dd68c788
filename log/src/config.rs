//! What the owner of a log decides.

use std::time::Duration;

/// How a log rolls, indexes and forgets. Takes effect with the next append or expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment is sealed before an append that would make it larger. One append always fits into one segment, so a segment can be
    /// larger than this by one append.
    pub segment_bytes: u64,
    /// A segment is sealed before an append that comes this long after its first.
    pub segment_max_age: Duration,
    /// A segment goes when its last append is older than this; `None`: kept for ever.
    pub retention: Option<Duration>,
    /// The oldest segments go as long as at least this much stays; `None`: no limit.
    pub retention_bytes: Option<u64>,
    /// One index entry for at least this many bytes.
    pub index_interval_bytes: u32,
    /// Of each key only the last record is kept; `None`: all are.
    pub compaction: Option<CompactionConfig>,
}

/// What of a compacted log stays for a while, though it is not the last word on its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionConfig {
    /// A segment is not touched before its last append is this old.
    pub min_lag: Duration,
    /// A tombstone goes this long after everything before it of its key is gone. A follower that is away for longer begins anew.
    pub tombstone_retention: Duration,
}

impl Default for LogConfig {
    /// 256 MiB segments of at most a day, kept for ever.
    fn default() -> Self {
        Self {
            segment_bytes: 256 << 20,
            segment_max_age: Duration::from_hours(24),
            retention: None,
            retention_bytes: None,
            index_interval_bytes: 4096,
            compaction: None,
        }
    }
}
