//! A model of how replication and metadata work together: one partition, three brokers, two controllers that may both believe to be in office, and a
//! store with compare-and-swap. A checker walks through every order of events of a small configuration and looks at the invariants in each state.
//!
//! ```text
//! invariants   what must hold, in the words of the architecture
//! mutant       one broken rule each: the model must catch it
//! config       which faults, how many; the named configurations
//! state        brokers, controllers, store, messages on their way, what an observer remembers
//! action       what can happen
//! rules        what each role does when it happens
//! allowed      which actions a state allows
//! first_state  where a configuration begins
//! system       the interface of the checker
//! explore      runs the checker and says what it found
//! ```
#![forbid(unsafe_code)]

mod action;
mod allowed;
mod config;
mod explore;
mod first_state;
mod invariants;
mod mutant;
mod rules;
mod state;
mod system;

pub use config::{Config, NAMES};
pub use explore::{Exploration, Found, Limits};
pub use invariants::Invariant;
pub use mutant::{Mutant, Mutants};
