//! Binary taffrail-operator.
#![forbid(unsafe_code)]

use anyhow::Context as _;
use clap::Parser as _;
use taffrail_operator::{OperatorConfig, logging, run};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = OperatorConfig::parse();
    let logs = logging::start(config.log_format, &config.log_level)?;
    let client = kube::Client::try_default()
        .await
        .context("cannot find a Kubernetes cluster; run in a pod, or set KUBECONFIG")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    run(config, client, logs, shutdown).await?;
    Ok(())
}
