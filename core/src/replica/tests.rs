//! What no single file shows: the rules one by one, and all of them together in small worlds.

mod controller;
mod directed;
mod electing;
mod following;
mod histories;
mod leading;
mod world;
