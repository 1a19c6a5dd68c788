//! Taffrail on the command line, and the whole of it on a laptop.
#![forbid(unsafe_code)]

fn main() {}
