//! Flags and environment variables of the binary; they win over the file.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

use crate::{config::BrokerConfig, error::BrokerError, logging::LogFormat};

/// Stores partitions and serves them over gRPC.
#[derive(Debug, Parser)]
#[command(name = "taffrail-broker", version)]
pub struct Args {
    /// A TOML file with settings; flags and environment variables win over it
    #[arg(long, env = "TAFFRAIL_BROKER_CONFIG")]
    config: Option<PathBuf>,
    /// Everything this broker keeps
    #[arg(long, env = "TAFFRAIL_BROKER_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// What people call this broker, such as the pod's name
    #[arg(long, env = "TAFFRAIL_BROKER_NAME")]
    name: Option<String>,
    /// Where it stands, for placement over racks; empty: it is not known
    #[arg(long, env = "TAFFRAIL_BROKER_RACK")]
    rack: Option<String>,
    /// Where clients are served
    #[arg(long, env = "TAFFRAIL_BROKER_CLIENT_LISTEN")]
    client_listen: Option<SocketAddr>,
    /// HOST:PORT as clients should dial it, if that is not the address listened on
    #[arg(long, env = "TAFFRAIL_BROKER_CLIENT_ADVERTISED")]
    client_advertised: Option<String>,
    /// Where brokers that follow this one are served
    #[arg(long, env = "TAFFRAIL_BROKER_REPLICATION_LISTEN")]
    replication_listen: Option<SocketAddr>,
    /// HOST:PORT as other brokers should dial it, if that is not the address listened on
    #[arg(long, env = "TAFFRAIL_BROKER_REPLICATION_ADVERTISED")]
    replication_advertised: Option<String>,
    /// Where /metrics, /livez and /readyz are served
    #[arg(long, env = "TAFFRAIL_BROKER_HTTP_LISTEN")]
    http_listen: Option<SocketAddr>,
    /// HOST:PORT of a controller; may be given several times, and a DNS name may stand for several
    #[arg(
        long = "controller",
        env = "TAFFRAIL_BROKER_CONTROLLERS",
        value_delimiter = ','
    )]
    controllers: Vec<String>,
    /// Stop when standard input ends: for a parent that must not leave this process behind
    #[arg(long)]
    pub stop_with_stdin: bool,
    /// How log lines look
    #[arg(long, env = "TAFFRAIL_BROKER_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged, such as info or taffrail_broker=debug,info; PUT /log-level changes it at run time
    #[arg(long, env = "TAFFRAIL_BROKER_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

impl Args {
    /// The settings: the file's, overruled by flags and environment variables.
    ///
    /// # Errors
    /// The file cannot be read or makes no sense.
    pub fn into_config(self) -> Result<BrokerConfig, BrokerError> {
        let mut config = match &self.config {
            Some(path) => BrokerConfig::from_file(path)?,
            None => BrokerConfig::default(),
        };
        set(&mut config.data_dir, self.data_dir);
        set(&mut config.name, self.name);
        set(&mut config.client_listen, self.client_listen);
        config.rack = self.rack.or(config.rack).filter(|rack| !rack.is_empty());
        config.client_advertised = self.client_advertised.or(config.client_advertised);
        set(&mut config.replication_listen, self.replication_listen);
        config.replication_advertised = self
            .replication_advertised
            .or(config.replication_advertised);
        config.http_listen = self.http_listen.or(config.http_listen);
        if !self.controllers.is_empty() {
            config.controllers = self.controllers;
        }
        config.check()?;
        Ok(config)
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_rack_is_none() {
        let rack_of = |rack: &str| {
            let args = Args::parse_from(["taffrail-broker", "--rack", rack]);
            args.into_config().expect("valid").rack
        };
        assert_eq!(rack_of("zone-1").as_deref(), Some("zone-1"));
        assert_eq!(rack_of(""), None);
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("broker.toml");
        std::fs::write(&path, "name = \"from-file\"\ndata_dir = \"/from/file\"\n").expect("writes");
        let path = path.to_str().expect("utf-8");
        let args = [
            "taffrail-broker",
            "--config",
            path,
            "--name",
            "from-flag",
            "--replication-listen",
            "127.0.0.1:7",
            "--replication-advertised",
            "b-0:7",
            "--controller",
            "a:1",
            "--controller",
            "b:2",
        ];
        let config = Args::parse_from(args).into_config().expect("valid");
        assert_eq!(config.name, "from-flag");
        assert_eq!(config.data_dir, PathBuf::from("/from/file"));
        assert_eq!(config.controllers, ["a:1", "b:2"]);
        assert_eq!(config.replication_listen.port(), 7);
        assert_eq!(config.replication_advertised.as_deref(), Some("b-0:7"));
    }
}
