//! Compiles the protos with protox, so that no protoc needs to be installed.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

const FILES: &[&str] = &[
    "taffrail/v1/common.proto",
    "taffrail/v1/broker.proto",
    "taffrail/v1/gateway.proto",
    "taffrail/v1/admin.proto",
    "taffrail/v1/controller.proto",
    "taffrail/v1/replication.proto",
    "taffrail/v1/store.proto",
    "taffrail/v1/groups.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("taffrail.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".taffrail.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
