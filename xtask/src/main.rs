//! Everything CI does, callable by hand.
#![forbid(unsafe_code)]

fn main() {}
