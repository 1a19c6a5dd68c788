//! Consumer groups: what is declared of them, and how they fare. Nothing of it is decided by: it is shown.
//!
//! ```text
//!   operator ── declared ──▶ state ──▶ brokers
//!   brokers ──▶ reports (what coordinators said) ─┐
//!   view (what partitions' leaders said) ─────────┴▶ look ──▶ GroupsView
//! ```

mod look;
mod reports;
pub(crate) mod task;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use taffrail_api::v1;
use taffrail_core::group::GroupPolicy;

/// What is declared of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WantedGroup {
    /// What holds for its members.
    pub policy: GroupPolicy,
    /// Its resource is being deleted, and its offsets are to go: the coordinator forgets the group as soon as it has no members.
    pub forget: bool,
}

/// By name.
pub type GroupsView = BTreeMap<String, v1::GroupStatus>;
