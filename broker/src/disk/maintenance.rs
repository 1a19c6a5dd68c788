//! What has to be done every now and then.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    handle::DiskHandle,
    space::{Pressure, Space},
};
use crate::config::DiskSettings;

/// How often leaders look for followers that lag, and ask the controller again for what was not answered.
pub(crate) const REPLICAS_INTERVAL_MS: u64 = 300;

/// Tells the disk threads what is due, until the broker stops.
pub(crate) async fn run(
    disk: DiskHandle,
    space: Arc<Space>,
    settings: DiskSettings,
    stop: CancellationToken,
) {
    let mut look = every(settings.space_interval_ms);
    let mut expire = every(settings.expire_interval_ms);
    let mut checkpoint = every(settings.checkpoint_interval_ms);
    let mut compact = every(settings.compaction_interval_ms);
    let mut sync = every(settings.background_sync_interval_ms);
    let mut replicas = every(REPLICAS_INTERVAL_MS);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = look.tick() => {
                let space = Arc::clone(&space);
                // A panic in it is reported by the runtime; the next look is in a moment.
                if let Ok(Pressure::Trim) = tokio::task::spawn_blocking(move || space.look()).await {
                    disk.expire();
                }
            }
            _ = expire.tick() => disk.expire(),
            _ = checkpoint.tick() => disk.checkpoint(),
            _ = compact.tick() => disk.compact(),
            _ = sync.tick() => disk.sync_in_background(),
            _ = replicas.tick() => disk.tick(),
        }
    }
}

pub(super) fn every(ms: u64) -> tokio::time::Interval {
    let period: Duration = DiskSettings::interval(ms);
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
