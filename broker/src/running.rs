//! A broker that serves, and its one way to stop.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout_at},
};

use crate::{broker::Broker, disk::handle::DiskThreads, error::BrokerError};

/// For the controller to find other leaders and to store them.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(3);

/// Until when each part of a stop may take.
#[derive(Debug, Clone, Copy)]
struct StopTimes {
    handed_over: Instant,
    drained: Instant,
    /// And with that everything.
    closed: Instant,
}

impl StopTimes {
    /// Calls that do not end leave a quarter of the time to close the logs.
    fn within(limit: Duration, start: Instant) -> Self {
        let drained = limit.saturating_sub(limit / 4);
        Self {
            handed_over: start + drained.min(HAND_OVER_TIMEOUT),
            drained: start + drained,
            closed: start + limit,
        }
    }
}

/// A broker that serves. Dropping it cuts everything off; [`Self::stop`] stops it cleanly.
#[derive(Debug)]
pub struct RunningBroker {
    pub(crate) broker: Arc<Broker>,
    pub(crate) client_addr: SocketAddr,
    pub(crate) replication_addr: SocketAddr,
    pub(crate) http_addr: Option<SocketAddr>,
    pub(crate) tasks: JoinSet<Result<(), BrokerError>>,
    pub(crate) clients: tokio::task::JoinHandle<Result<(), BrokerError>>,
    pub(crate) threads: DiskThreads,
    pub(crate) _cut_off: CutOff,
}

/// Ends everything that a broker has begun, as a crash would, when it is dropped. After a clean stop there is nothing left to end.
#[derive(Debug)]
pub(crate) struct CutOff {
    pub(crate) broker: Arc<Broker>,
    pub(crate) clients: AbortHandle,
}

impl Drop for CutOff {
    fn drop(&mut self) {
        self.broker.draining.cancel();
        self.broker.stopped.cancel();
        self.clients.abort();
        self.broker.disk.cut_off();
    }
}

impl RunningBroker {
    /// Where clients are served.
    pub const fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// Where brokers that follow this one are served.
    pub const fn replication_addr(&self) -> SocketAddr {
        self.replication_addr
    }

    /// Where /metrics is served.
    pub const fn http_addr(&self) -> Option<SocketAddr> {
        self.http_addr
    }

    /// Resolves once the broker is recovered and registered.
    pub async fn ready(&self) {
        self.broker.membership.registered().await;
    }

    /// Resolves when the broker cannot go on: a controller refused it for good, a disk thread panicked, or a server failed. Stop it then.
    pub async fn failed(&mut self) -> BrokerError {
        loop {
            let ended = tokio::select! {
                Some(ended) = self.tasks.join_next() => ended,
                ended = &mut self.clients => ended,
                () = self.broker.disk.broken() => return BrokerError::DiskThread,
            };
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(error) => return BrokerError::Serve(format!("a task panicked: {error}")),
            }
        }
    }

    /// Lets the controller make others the leaders while this broker still serves. Without a controller, or one that answers, it stops nevertheless.
    async fn hand_over(&self, deadline: Instant) {
        if self.broker.controller().is_err() {
            return;
        }
        self.broker.stopping.cancel();
        let handed_over = self.broker.handed_over.cancelled();
        if timeout_at(deadline, handed_over).await.is_err() {
            tracing::warn!(
                "the controller did not say that others lead now; stopping nevertheless"
            );
        }
    }

    /// Gives leadership away, stops accepting, finishes what is under way, all within `shutdown_timeout_ms`: writes and syncs what is queued, leaves clean-stop
    /// marks.
    pub async fn stop(mut self) {
        let limit = Duration::from_millis(self.broker.config.shutdown_timeout_ms);
        let times = StopTimes::within(limit, Instant::now());
        tracing::info!("stopping");
        self.hand_over(times.handed_over).await;
        self.broker.draining.cancel();
        self.broker.streams.close();
        let drained = async {
            self.broker.streams.wait().await;
            if !self.clients.is_finished() {
                // Its failure was the reason to stop, or does not matter any more.
                let _ = (&mut self.clients).await;
            }
        };
        if timeout_at(times.drained, drained).await.is_err() {
            tracing::warn!("calls did not end in time and are cut off");
        }
        self.clients.abort();
        if let Ok(unclean) = timeout_at(times.closed, self.broker.disk.close()).await {
            let threads = self.threads;
            if let Err(error) = tokio::task::spawn_blocking(move || threads.join()).await {
                tracing::error!(%error, "disk threads did not end");
            }
            tracing::info!(unclean, "logs are closed");
        } else {
            tracing::error!(
                ?limit,
                "the disk hangs; the next start recovers what was not closed"
            );
        }
        self.broker.stopped.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::debug!(%error, "ended with an error while stopping");
            }
        }
        tracing::info!("stopped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_stop_has_one_deadline_and_leaves_time_to_close_the_logs() {
        let start = Instant::now();
        for limit in [0, 1_000, 20_000, 600_000].map(Duration::from_millis) {
            let times = StopTimes::within(limit, start);
            assert_eq!(times.closed - start, limit);
            assert_eq!(times.closed - times.drained, limit / 4);
            assert!(times.handed_over <= times.drained);
            assert!(times.handed_over - start <= HAND_OVER_TIMEOUT);
        }
    }
}
