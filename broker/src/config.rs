//! What a broker is told: a TOML file, flags and environment variables all end here.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use taffrail_core::settings::{SETTINGS, SHUTDOWN_TIMEOUT_MS};

use crate::error::BrokerError;

pub use taffrail_core::settings::{CLIENT_PORT, HTTP_PORT, REPLICATION_PORT};

/// A broker's settings. As TOML the fields have these names; an unknown one is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerConfig {
    /// Everything this broker keeps.
    pub data_dir: PathBuf,
    /// What people call it: the pod's name.
    pub name: String,
    /// Where it stands, for placement over racks.
    pub rack: Option<String>,
    /// Where clients are served.
    pub client_listen: SocketAddr,
    /// `HOST:PORT` as clients should dial it. Absent: the address listened on.
    pub client_advertised: Option<String>,
    /// Where brokers that follow this one are served.
    pub replication_listen: SocketAddr,
    /// `HOST:PORT` as other brokers should dial it. Absent: the address listened on.
    pub replication_advertised: Option<String>,
    /// Where /metrics, /livez and /readyz are served. Absent: nowhere.
    pub http_listen: Option<SocketAddr>,
    /// `HOST:PORT` of every controller; a DNS name may stand for several.
    pub controllers: Vec<String>,
    /// `NAMESPACE/NAME` of the cluster, for controllers that run several behind one port. Absent: the controller has only one.
    pub cluster: Option<String>,
    /// How long a stop may take before what is left is cut off, in milliseconds.
    pub shutdown_timeout_ms: u64,
    /// An in-sync replica that has been behind its leader for longer leaves the in-sync set, in milliseconds.
    pub replica_lag_ms_max: u64,
    /// What a stranger may ask for.
    pub limits: Limits,
    /// How the disk is used.
    pub disk: DiskSettings,
    /// How records get from one broker to another.
    pub replication: ReplicationSettings,
    /// What consumer groups get that do not say otherwise.
    pub groups: GroupSettings,
}

/// Limits on everything that can be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections on the client port.
    pub connections_max: usize,
    /// Calls that are open, besides the few that each connection may have in any case.
    pub calls_max: usize,
    /// Bytes of messages that are not with their reader yet, besides the little that each connection may have in any case.
    pub intake_bytes_max: usize,
    /// Bytes of batches between the network and the disk, over all streams.
    pub queue_bytes_max: usize,
    /// The same for one stream.
    pub stream_queue_bytes_max: usize,
    /// Produce requests of one stream that wait for their answer.
    pub produce_requests_max: usize,
    /// Fetch requests of one stream that wait for their answer.
    pub fetch_requests_max: usize,
    /// Partitions or topics named by one request.
    pub partitions_per_request_max: usize,
    /// Records of one Publish.
    pub publish_records_max: usize,
    /// Bytes a batch may have once it is decompressed, where the broker decodes it.
    pub decompressed_bytes_max: usize,
    /// Batches that are decompressed at a time.
    pub decompressions_max: usize,
    /// Longest wait a request may ask for, in milliseconds.
    pub request_timeout_ms_max: u32,
}

/// How the disk is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskSettings {
    /// Threads that sync, so that many files can be synced at a time.
    pub sync_threads: usize,
    /// Produce is refused with `DISK_FULL` below this much free space.
    pub free_bytes_min: u64,
    /// Size of the file that is given up to keep deletes and metadata possible on a full disk.
    pub ballast_bytes: u64,
    /// How often free space is looked at, in milliseconds.
    pub space_interval_ms: u64,
    /// How often old segments are looked for, in milliseconds.
    pub expire_interval_ms: u64,
    /// How often recovery points are written, in milliseconds.
    pub checkpoint_interval_ms: u64,
    /// How often `pageCache` topics are synced, in milliseconds.
    pub background_sync_interval_ms: u64,
    /// How often logs are looked for that compaction is due for, in milliseconds.
    pub compaction_interval_ms: u64,
    /// What compaction may read and write a second, over all logs; 0: no limit.
    pub compaction_bytes_per_s_max: u64,
    /// The memory in which compaction keeps track of keys, 32 bytes for each: with more keys one pass becomes several.
    pub compaction_map_bytes: usize,
    /// How often a sealed segment is read to compare its checksum, in milliseconds; 0: never.
    pub scrub_interval_ms: u64,
}

/// How records get from one broker to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplicationSettings {
    /// Connections on the replication port.
    pub connections_max: usize,
    /// Bytes of batches on their way between this broker and one that it follows, or that follows it; one batch always may be.
    pub window_bytes: usize,
    /// What replicas of this broker that are not in sync may fetch a second, all together; 0: no limit. Those in sync are never held back.
    pub catch_up_bytes_per_s_max: u64,
}

/// What consumer groups get that do not say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupSettings {
    /// Not heard of for this long, a member is given up, in milliseconds.
    pub session_timeout_ms: u64,
    /// Offsets of a group that nobody was in for this long are forgotten, in milliseconds.
    pub offset_retention_ms: u64,
    /// Members of one group.
    pub members_max: usize,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            data_dir: PathBuf::from("taffrail-data/broker-0"),
            name: "broker-0".into(),
            rack: None,
            client_listen: SocketAddr::new(local, CLIENT_PORT),
            client_advertised: None,
            replication_listen: SocketAddr::new(local, REPLICATION_PORT),
            replication_advertised: None,
            http_listen: Some(SocketAddr::new(local, HTTP_PORT)),
            controllers: vec!["127.0.0.1:9642".into()],
            cluster: None,
            shutdown_timeout_ms: SHUTDOWN_TIMEOUT_MS,
            replica_lag_ms_max: 10_000,
            limits: Limits::default(),
            disk: DiskSettings::default(),
            replication: ReplicationSettings::default(),
            groups: GroupSettings::default(),
        }
    }
}

impl Default for ReplicationSettings {
    fn default() -> Self {
        Self {
            // Each follower has one, and another one while it dials anew.
            connections_max: 128,
            // Bandwidth times latency: 700 MB/s for the 20 ms that a busy writer takes.
            window_bytes: 16 << 20,
            // A terabyte in three hours; a quarter of what a 10 Gbit/s network carries goes on serving beside it.
            catch_up_bytes_per_s_max: 100_000_000,
        }
    }
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            session_timeout_ms: 45_000,
            // 30 days.
            offset_retention_ms: 720 * 3_600_000,
            members_max: 1_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A member of a group has two. An idle connection takes some 70 KB.
            connections_max: 5_000,
            calls_max: 4_000,
            // A message of the largest size beside another large one, or three of the largest batches.
            intake_bytes_max: 64 << 20,
            // Bandwidth times latency: 700 MB/s for the 20 ms that a large sync takes, twice.
            queue_bytes_max: 32 << 20,
            stream_queue_bytes_max: 16 << 20,
            produce_requests_max: 1_024,
            fetch_requests_max: 16,
            partitions_per_request_max: 10_000,
            publish_records_max: 10_000,
            decompressed_bytes_max: 64 << 20,
            decompressions_max: 4,
            request_timeout_ms_max: 300_000,
        }
    }
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            sync_threads: 8,
            free_bytes_min: 256 << 20,
            ballast_bytes: 16 << 20,
            space_interval_ms: 1_000,
            expire_interval_ms: 5_000,
            checkpoint_interval_ms: 30_000,
            background_sync_interval_ms: 1_000,
            // As Kafka's log.cleaner.backoff.ms.
            compaction_interval_ms: 15_000,
            // A gigabyte in half a minute, read twice and written; a fifth of what a small cloud volume can do stays free beside producers.
            compaction_bytes_per_s_max: 100_000_000,
            // Two million keys; with all buffers, compaction stays below 128 MiB.
            compaction_map_bytes: 64 << 20,
            // 256 MiB a minute at most.
            scrub_interval_ms: 60_000,
        }
    }
}

impl BrokerConfig {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// The file cannot be read, or is no such TOML; the message names the line.
    pub fn from_file(path: &Path) -> Result<Self, BrokerError> {
        let text = std::fs::read_to_string(path).map_err(|source| BrokerError::Io {
            op: "read",
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|e| BrokerError::Config {
            reason: format!("{}: {e}", path.display()),
        })
    }

    /// Checks what no type can say.
    ///
    /// # Errors
    /// The first setting that makes no sense.
    pub fn check(&self) -> Result<(), BrokerError> {
        self.check_numbers()?;
        if self.name.is_empty() {
            return Err(BrokerError::config("name must not be empty".to_owned()));
        }
        if self.controllers.is_empty() {
            return Err(BrokerError::config(
                "controllers is empty; name at least one as HOST:PORT".to_owned(),
            ));
        }
        if self.cluster.is_some() && self.controller_origin().is_none() {
            return Err(BrokerError::config(
                "cluster must be written as NAMESPACE/NAME".to_owned(),
            ));
        }
        for (field, address) in [
            ("client_advertised", &self.client_advertised),
            ("replication_advertised", &self.replication_advertised),
        ] {
            if let Some(address) = address {
                taffrail_api::v1::Endpoint::parse(address)
                    .map_err(|e| BrokerError::config(format!("{field}: {}", e.message)))?;
            }
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), BrokerError> {
        let file = toml::Value::try_from(self).map_err(|e| BrokerError::config(e.to_string()))?;
        for setting in SETTINGS {
            if let Some(value) = number(&file, setting.name) {
                let checked = setting.check(value);
                checked.map_err(|error| BrokerError::config(error.to_string()))?;
            }
        }
        Ok(())
    }
}

/// The number of this name, `table.name` if it stands in a table.
fn number(file: &toml::Value, name: &str) -> Option<u64> {
    let value = name.split('.').try_fold(file, |at, part| at.get(part))?;
    u64::try_from(value.as_integer()?).ok()
}

impl BrokerConfig {
    /// What calls to the controller carry as their authority: `NAMESPACE.NAME`, a virtual host for each cluster behind one port.
    pub(crate) fn controller_origin(&self) -> Option<tonic::transport::Uri> {
        let (namespace, name) = self.cluster.as_ref()?.split_once('/')?;
        format!("http://{namespace}.{name}").parse().ok()
    }
}

impl DiskSettings {
    pub(crate) fn interval(ms: u64) -> Duration {
        Duration::from_millis(ms.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_survives_toml() {
        let config = BrokerConfig {
            rack: Some("a".into()),
            ..BrokerConfig::default()
        };
        let text = toml::to_string(&config).expect("serializes");
        assert_eq!(
            toml::from_str::<BrokerConfig>(&text).expect("parses"),
            config
        );
    }

    #[test]
    fn an_unknown_setting_is_refused_by_its_name() {
        let error = toml::from_str::<BrokerConfig>("retention = 5").expect_err("unknown");
        assert!(error.to_string().contains("retention"), "{error}");
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_refused() {
        let mut config = BrokerConfig::default();
        config.check().expect("the defaults are fine");
        config.controllers.clear();
        let error = config.check().expect_err("nobody to register with");
        assert!(error.to_string().contains("HOST:PORT"), "{error}");
    }
    #[test]
    fn every_number_has_bounds_and_only_numbers_have() {
        let mut names: Vec<String> = Vec::new();
        let file = toml::Table::try_from(BrokerConfig::default()).expect("serializes");
        for (name, value) in &file {
            match value {
                toml::Value::Integer(_) => names.push(name.clone()),
                toml::Value::Table(table) => {
                    names.extend(table.keys().map(|field| format!("{name}.{field}")));
                }
                _ => {}
            }
        }
        let mut bounded: Vec<_> = SETTINGS.iter().map(|s| s.name.to_owned()).collect();
        names.sort();
        bounded.sort();
        assert_eq!(names, bounded);
    }

    #[test]
    fn a_number_out_of_its_bounds_is_refused_by_its_name() {
        let mut config = BrokerConfig::default();
        config.limits.fetch_requests_max = 0;
        let error = config.check().expect_err("nothing could be read");
        let words = "limits.fetch_requests_max must be between 1 and";
        assert!(error.to_string().contains(words), "{error}");
    }
}
