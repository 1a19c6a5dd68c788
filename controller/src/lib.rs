//! The metadata engine: placement, topics, broker registry, on a store.
//!
//! ```text
//!   brokers ──Session──▶ rpc ──commands──▶ driver ──events──▶ state (pure: decides)
//!   brokers ──Admin────▶ rpc                 │  ◀──effects──    │
//!   operator ──────────▶ handle              ▼                  └─ invariants, placement
//!                                          store: FileStore, MemoryStore, or Kubernetes (in the operator)
//! ```
//! Nothing is said to a broker before it is persisted; every write is a compare-and-swap; what went wrong is read again first.
#![forbid(unsafe_code)]

mod config;
mod driver;
mod error;
mod groups;
mod handle;
mod invariants;
mod placement;
mod request;
mod rpc;
#[cfg(feature = "sim")]
pub mod sim;
mod state;
pub mod store;
mod view;
mod writes;

pub use config::{ControllerConfig, Environment, Mode};
pub use driver::start;
pub use error::ControllerError;
pub use groups::{GroupsView, WantedGroup};
pub use handle::ControllerHandle;
pub use request::{
    Applied, ApplyError, ApplyOutcome, Deleted, MoveError, MoveRequest, PlannedMove,
};
pub use rpc::{AdminService, CONNECTIONS, SessionService, StandbyService, serve, server, standby};
pub use store::{FileStore, MemoryStore, Snapshot, Store, StoreError, Version, Versioned};
pub use view::{Loss, View};
pub use writes::{WriteCount, WriteReason};
