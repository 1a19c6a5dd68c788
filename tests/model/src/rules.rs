//! What each role does: leaders, followers, brokers that crash and restart, controllers.

mod broker;
mod election;
mod fetch;
mod isr;
mod leader;
mod office;
mod page_cache;
mod producer;
mod registration;
pub(crate) mod topic;
