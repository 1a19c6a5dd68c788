//! Looks at the groups beside the controller, whose decisions must not wait for it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use taffrail_api::v1;
use taffrail_core::BrokerNumber;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{GroupsView, WantedGroup, look::Groups};
use crate::view::View;

/// How often groups are looked at: as often as their coordinators speak of them.
const INTERVAL: Duration = Duration::from_secs(2);
/// Heartbeats that wait during a look: of many brokers, for minutes.
const WORDS_MAX: usize = 4_096;

/// What the task is told.
pub(crate) enum Tell {
    /// Everything that is declared.
    Declared(BTreeMap<String, WantedGroup>),
    /// A registered broker's word.
    Said {
        from: BrokerNumber,
        reports: Vec<v1::GroupReport>,
        told_all: Vec<v1::ToldAll>,
    },
}

/// Milliseconds since the epoch.
pub(crate) type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Begins to look, until nobody tells anything any more.
pub(crate) fn spawn(
    view: watch::Receiver<Arc<View>>,
    wall_clock: WallClock,
) -> (mpsc::Sender<Tell>, watch::Receiver<Arc<GroupsView>>) {
    let (tell, told) = mpsc::channel(WORDS_MAX);
    let (seen, seen_by) = watch::channel(Arc::default());
    // Owned by whoever holds the sender: it ends when that is gone.
    tokio::spawn(run(view, wall_clock, told, seen));
    (tell, seen_by)
}

async fn run(
    view: watch::Receiver<Arc<View>>,
    wall_clock: WallClock,
    mut told: mpsc::Receiver<Tell>,
    seen: watch::Sender<Arc<GroupsView>>,
) {
    let mut groups = Groups::default();
    let mut look = interval(INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            tell = told.recv() => match tell {
                None => return,
                Some(Tell::Declared(declared)) => groups.declare(&declared),
                Some(Tell::Said { from, reports, told_all }) => {
                    groups.hear(from, &reports, wall_clock());
                    groups.told_all(from, &told_all);
                }
            },
            _ = look.tick() => {
                let (picture, now_ms) = (Arc::clone(&view.borrow()), wall_clock());
                let looked = spawn_blocking(move || {
                    let seen = groups.look(&picture, now_ms);
                    (groups, seen)
                });
                let Ok((back, next)) = looked.await else {
                    tracing::error!("looking at the groups failed; how they fare is not known from now on");
                    return;
                };
                groups = back;
                seen.send_if_modified(|seen| {
                    let is_news = **seen != next;
                    if is_news {
                        *seen = Arc::new(next);
                    }
                    is_news
                });
            }
        }
    }
}
