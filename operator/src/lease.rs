//! Active or standby, by a Lease. A hint only: two operators that both believe to be active cannot both write, for every write of metadata
//! is a compare-and-swap on what the other one would have raised.

mod election;

use std::time::Duration;

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{Api, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::{Metrics, WriteLabels},
    writes::FIELD_MANAGER,
};
use election::{Move, Sighting};

/// How often the holder renews, and the others look.
const RENEW_INTERVAL: Duration = Duration::from_secs(5);
/// A Lease that nobody renewed for this long is anybody's.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for this long steps down, well before another one takes over.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// One look.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// After a look that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Where the Lease is and who we are.
pub(crate) struct LeaseLoop {
    pub(crate) api: Api<Lease>,
    pub(crate) name: String,
    pub(crate) identity: String,
    pub(crate) metrics: Metrics,
}

impl LeaseLoop {
    /// Keeps `active` and `reached` up to date until `stop` is cancelled, then gives the Lease back if `active` has ended.
    pub(crate) async fn run(
        self,
        active: watch::Sender<bool>,
        reached: watch::Sender<bool>,
        stop: CancellationToken,
    ) {
        let mut sighting = Sighting::default();
        let mut renewed: Option<Instant> = None;
        loop {
            let asked_at = Instant::now();
            let mut next_look = RETRY_INTERVAL;
            match timeout(CALL_TIMEOUT, self.step(&mut sighting)).await {
                Ok(Ok(holds)) => {
                    reached.send_replace(true);
                    next_look = RENEW_INTERVAL;
                    renewed = holds.then_some(asked_at);
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, lease = self.name, "cannot renew or read the lease");
                }
                Err(_) => tracing::warn!(
                    lease = self.name,
                    "the API server does not answer about the lease"
                ),
            }
            if renewed.is_some_and(|at| at.elapsed() >= RENEW_DEADLINE) {
                renewed = None;
            }
            self.publish(&active, renewed.is_some());
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(next_look) => {}
            }
        }
        if renewed.is_some() {
            self.release().await;
        }
    }

    fn publish(&self, active: &watch::Sender<bool>, holds: bool) {
        self.metrics.active.set(i64::from(holds));
        active.send_if_modified(|active| {
            let changed = *active != holds;
            if changed {
                tracing::info!(
                    lease = self.name,
                    identity = self.identity,
                    active = holds,
                    "lease changed hands"
                );
            }
            *active = holds;
            changed
        });
    }

    /// One look at the Lease, and one write if it is ours to write. True if we hold it now.
    async fn step(&self, sighting: &mut Sighting) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        sighting.look(lease.as_ref(), Instant::now());
        let wanted =
            match election::decide(lease.as_ref(), &self.identity, sighting, Instant::now()) {
                Move::Wait => return Ok(false),
                Move::Hold => election::held_by(
                    lease,
                    &self.name,
                    &self.identity,
                    LEASE_DURATION,
                    Timestamp::now(),
                ),
            };
        self.count();
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let written = if wanted.metadata.resource_version.is_some() {
            self.api.replace(&self.name, &params, &wanted).await
        } else {
            self.api.create(&params, &wanted).await
        };
        match written {
            Ok(_) => Ok(true),
            // Another one was faster. Not ours, unless the next look says so.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn release(&self) {
        let released = async {
            let Some(lease) = self.api.get_opt(&self.name).await? else {
                return Ok(());
            };
            if election::holder(&lease) != Some(self.identity.as_str()) {
                return Ok(());
            }
            self.count();
            let given = election::released(lease);
            self.api
                .replace(&self.name, &PostParams::default(), &given)
                .await?;
            Ok::<_, kube::Error>(())
        };
        match timeout(CALL_TIMEOUT, released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot give the lease back; the next operator waits for its end");
            }
            Err(_) => tracing::warn!(
                "cannot give the lease back in time; the next operator waits for its end"
            ),
        }
    }

    fn count(&self) {
        let labels = WriteLabels {
            kind: "Lease",
            reason: "renew",
        };
        self.metrics.writes.get_or_create(&labels).inc();
    }
}
