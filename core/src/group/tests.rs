//! Groups with members that do as they are told, late, or not at all.

mod directed;
mod histories;
mod policies;
mod world;
