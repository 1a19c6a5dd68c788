//! Which actions a state allows.

mod broker;
mod controller;
mod topic;
