//! The settings of a broker that a person may tune, with their bounds: what a broker refuses in its file, and what a BrokerCluster may say.

use thiserror::Error;

/// A broker's port for clients, where nothing else is said.
pub const CLIENT_PORT: u16 = 9640;
/// A broker's port for other brokers.
pub const REPLICATION_PORT: u16 = 9641;
/// A broker's port for /metrics, /livez and /readyz.
pub const HTTP_PORT: u16 = 9644;

/// One setting. All of them are numbers; what else a broker is told says who and where it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// As in the broker's file, with the table that it stands in.
    pub name: &'static str,
    /// The smallest value that makes sense.
    pub min: u64,
    /// The largest one.
    pub max: u64,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidSetting {
    /// There is none of this name, or it is not one to tune.
    #[error(
        "{name} is not a setting that can be changed here; docs/OPERATIONS.md lists those that can"
    )]
    Unknown {
        /// As written.
        name: String,
    },
    /// The value is out of its bounds.
    #[error("{name} must be between {min} and {max}")]
    OutOfRange {
        /// Of the setting.
        name: &'static str,
        /// The smallest value.
        min: u64,
        /// The largest one.
        max: u64,
    },
}

/// How long a stop may take, in milliseconds: the name of the setting.
pub const SHUTDOWN_TIMEOUT: &str = "shutdown_timeout_ms";
/// The same, where nobody says otherwise.
pub const SHUTDOWN_TIMEOUT_MS: u64 = 20_000;
/// How long a member of a group may be silent, in milliseconds: the name of the setting.
pub const SESSION_TIMEOUT: &str = "groups.session_timeout_ms";

/// What is counted in 32 bits.
const COUNT_MAX: u64 = u32::MAX as u64;
/// What a file can hold.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// Every setting that can be tuned.
pub const SETTINGS: &[Setting] = &[
    at_least(0, "replica_lag_ms_max", NUMBER_MAX),
    at_least(0, SHUTDOWN_TIMEOUT, NUMBER_MAX),
    at_least(1, "limits.connections_max", COUNT_MAX),
    at_least(0, "limits.calls_max", COUNT_MAX),
    at_least(1, "limits.intake_bytes_max", COUNT_MAX),
    at_least(1, "limits.queue_bytes_max", COUNT_MAX),
    at_least(1, "limits.stream_queue_bytes_max", COUNT_MAX),
    at_least(1, "limits.produce_requests_max", COUNT_MAX),
    at_least(1, "limits.fetch_requests_max", COUNT_MAX),
    at_least(0, "limits.partitions_per_request_max", COUNT_MAX),
    at_least(0, "limits.publish_records_max", COUNT_MAX),
    at_least(0, "limits.decompressed_bytes_max", NUMBER_MAX),
    at_least(1, "limits.decompressions_max", COUNT_MAX),
    at_least(0, "limits.request_timeout_ms_max", COUNT_MAX),
    at_least(1, "disk.sync_threads", COUNT_MAX),
    at_least(0, "disk.free_bytes_min", NUMBER_MAX),
    at_least(0, "disk.ballast_bytes", NUMBER_MAX),
    at_least(0, "disk.space_interval_ms", NUMBER_MAX),
    at_least(0, "disk.expire_interval_ms", NUMBER_MAX),
    at_least(0, "disk.checkpoint_interval_ms", NUMBER_MAX),
    at_least(0, "disk.background_sync_interval_ms", NUMBER_MAX),
    at_least(0, "disk.compaction_interval_ms", NUMBER_MAX),
    at_least(0, "disk.compaction_bytes_per_s_max", NUMBER_MAX),
    at_least(1 << 20, "disk.compaction_map_bytes", COUNT_MAX),
    at_least(0, "disk.scrub_interval_ms", NUMBER_MAX),
    at_least(1, "replication.connections_max", COUNT_MAX),
    at_least(1, "replication.window_bytes", COUNT_MAX),
    at_least(0, "replication.catch_up_bytes_per_s_max", NUMBER_MAX),
    at_least(3_000, SESSION_TIMEOUT, 1_800_000),
    at_least(1_000, "groups.offset_retention_ms", NUMBER_MAX),
    at_least(1, "groups.members_max", COUNT_MAX),
];

const fn at_least(min: u64, name: &'static str, max: u64) -> Setting {
    Setting { name, min, max }
}

impl Setting {
    /// Checks a value against the bounds.
    ///
    /// # Errors
    /// It is out of them.
    pub const fn check(&self, value: u64) -> Result<(), InvalidSetting> {
        let Self { name, min, max } = *self;
        if value < min || value > max {
            return Err(InvalidSetting::OutOfRange { name, min, max });
        }
        Ok(())
    }
}

/// Checks one setting by its name.
///
/// # Errors
/// There is none of this name, or the value is out of bounds.
pub fn check(name: &str, value: u64) -> Result<(), InvalidSetting> {
    let setting = SETTINGS.iter().find(|setting| setting.name == name);
    let unknown = || InvalidSetting::Unknown {
        name: name.to_owned(),
    };
    setting.ok_or_else(unknown)?.check(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_tuned_within_its_bounds_is_taken() {
        for (name, value, expected) in [
            ("disk.scrub_interval_ms", 0, None),
            ("limits.queue_bytes_max", 1 << 20, None),
            ("limits.queue_bytes_max", 0, Some("between 1 and")),
            ("limits.queue_bytes_max", 4 << 30, Some("and 4294967295")),
            ("queue_bytes_max", 1, Some("queue_bytes_max is not")),
            ("limits", 1, Some("limits is not")),
            ("client_listen", 1, Some("client_listen is not")),
            ("data_dir", 1, Some("data_dir is not")),
        ] {
            let said = check(name, value).err().map(|error| error.to_string());
            match (said, expected) {
                (None, None) => {}
                (Some(said), Some(words)) if said.contains(words) && said.contains(name) => {}
                (said, _) => panic!("{name} = {value}: {said:?}"),
            }
        }
    }
}
