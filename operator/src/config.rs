//! What the operator is told.

use std::net::SocketAddr;

use clap::{ArgAction, Parser};

use crate::logging::LogFormat;

/// Runs Taffrail clusters on Kubernetes: watches BrokerCluster and Topic resources, and is the controller of their brokers.
#[derive(Debug, Clone, Parser)]
#[command(name = "taffrail-operator", version)]
pub struct OperatorConfig {
    /// A namespace to watch; may be given several times, or separated by commas. None: all namespaces.
    #[arg(
        long = "watch-namespace",
        env = "TAFFRAIL_OPERATOR_WATCH_NAMESPACES",
        value_delimiter = ','
    )]
    pub watch_namespaces: Vec<String>,
    /// The operator's own namespace, where its Lease is.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// This process among the operator's, for the Lease.
    #[arg(long, env = "POD_NAME", default_value = "taffrail-operator")]
    pub identity: String,
    /// The Lease that says which operator is active.
    #[arg(
        long,
        env = "TAFFRAIL_OPERATOR_LEASE",
        default_value = "taffrail-operator"
    )]
    pub lease: String,
    /// Where brokers find the operators, as host:port; a DNS name may stand for several.
    #[arg(
        long,
        env = "TAFFRAIL_OPERATOR_CONTROLLER_ADDRESS",
        default_value = "taffrail-operator:9642"
    )]
    pub controller_address: String,
    /// The image of brokers whose BrokerCluster names none.
    #[arg(long, env = "TAFFRAIL_OPERATOR_BROKER_IMAGE", default_value = concat!("taffrail:", env!("CARGO_PKG_VERSION")))]
    pub broker_image: String,
    /// Whether each cluster of brokers gets a NetworkPolicy. If not, those that are there are deleted.
    #[arg(
        long,
        env = "TAFFRAIL_OPERATOR_NETWORK_POLICIES",
        action = ArgAction::Set,
        default_value_t = true
    )]
    pub network_policies: bool,
    /// Where brokers connect.
    #[arg(
        long,
        env = "TAFFRAIL_OPERATOR_CONTROLLER_LISTEN",
        default_value = "[::]:9642"
    )]
    pub controller_listen: SocketAddr,
    /// Where /metrics, /livez and /readyz are served.
    #[arg(
        long,
        env = "TAFFRAIL_OPERATOR_HTTP_LISTEN",
        default_value = "[::]:9644"
    )]
    pub http_listen: SocketAddr,
    /// How a log line looks.
    #[arg(
        long,
        env = "TAFFRAIL_OPERATOR_LOG_FORMAT",
        value_enum,
        default_value = "json"
    )]
    pub log_format: LogFormat,
    /// What is logged, such as info or taffrail_operator=debug,info. Can be changed by PUT /log-level.
    #[arg(long, env = "TAFFRAIL_OPERATOR_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

impl OperatorConfig {
    /// The namespaces to watch; `None` stands for all.
    pub(crate) fn scopes(&self) -> Vec<Option<String>> {
        let mut names: Vec<_> = self
            .watch_namespaces
            .iter()
            .filter(|n| !n.is_empty())
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        if names.is_empty() {
            vec![None]
        } else {
            names.into_iter().map(Some).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_namespace_means_all() {
        let config = OperatorConfig::parse_from(["taffrail-operator"]);
        assert_eq!(config.scopes(), [None]);
    }

    #[test]
    fn a_namespace_is_watched_once() {
        let config =
            OperatorConfig::parse_from(["taffrail-operator", "--watch-namespace", "b,a,b"]);
        assert_eq!(
            config.scopes(),
            [Some("a".to_owned()), Some("b".to_owned())]
        );
    }
}
