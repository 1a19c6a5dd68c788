//! The controller in this process, and the port where brokers find it.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use taffrail_api::v1::BrokerStatus;
use taffrail_controller::{
    ControllerConfig, ControllerError, ControllerHandle, Environment, FileStore, Mode,
};
use taffrail_core::{ErrorCode, TopicDefaults};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use super::{
    failures::{controller_failure, store_failure},
    listen::ANY_LOOPBACK,
};
use crate::{
    connect::join_failure,
    failure::{Failure, Outcome},
};

/// A controller that serves brokers.
pub(super) struct Control {
    controller: ControllerHandle,
    address: SocketAddr,
    serving: JoinHandle<Result<(), ControllerError>>,
    stop_serving: oneshot::Sender<()>,
}

impl Control {
    /// Starts it over the files of `dir`, on any free port of the loopback.
    ///
    /// # Errors
    /// The files are another's or cannot be read.
    pub(super) async fn start(dir: &Path, name: String, defaults: TopicDefaults) -> Outcome<Self> {
        let store = FileStore::open(dir.to_owned()).map_err(|error| store_failure(&error))?;
        let config = ControllerConfig::new(name, Mode::Embedded, defaults);
        let controller = taffrail_controller::start(store, config, Environment::system())
            .await
            .map_err(|error| controller_failure(&error))?;
        // There are no resources here, and nobody else says so: brokers need not wait for them.
        controller.set_groups(BTreeMap::new()).await;
        let listener = TcpListener::bind(ANY_LOOPBACK)
            .await
            .map_err(|error| controller_failure(&error.into()))?;
        let address = listener
            .local_addr()
            .map_err(|error| controller_failure(&error.into()))?;
        let (stop_serving, stopped) = oneshot::channel();
        let serving = tokio::spawn(taffrail_controller::serve(
            controller.clone(),
            listener,
            async {
                // An error means that the embedded cluster was dropped, which is the end as well.
                let _ = stopped.await;
            },
        ));
        Ok(Self {
            controller,
            address,
            serving,
            stop_serving,
        })
    }

    /// Where brokers find it.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who has registered.
    pub(super) fn brokers(&self) -> Vec<BrokerStatus> {
        self.controller.brokers()
    }

    /// Resolves when it cannot go on.
    pub(super) async fn failed(&self) -> Failure {
        self.controller.deposed().await;
        Failure::of(
            ErrorCode::StaleController,
            "another process took over the cluster's metadata",
        )
        .hint("stop it, or use another --data-dir")
    }

    /// Ends all sessions, then the service.
    ///
    /// # Errors
    /// Serving failed.
    pub(super) async fn stop(self) -> Outcome {
        self.controller.stop().await;
        // An error means that serving ended before.
        let _ = self.stop_serving.send(());
        let served = self.serving.await.map_err(|error| join_failure(&error))?;
        served.map_err(|error| controller_failure(&error))
    }
}
