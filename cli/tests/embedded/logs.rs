//! What `taffrail dev` says on standard error.

use std::fs;

use crate::{dev::Dev, example};

#[test]
fn what_of_a_manifest_flags_decide_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let manifest = fs::read_to_string(example("brokercluster.yaml")).expect("readable");
    let fields =
        "  listeners: { client: { port: 9000 } }\n  brokerConfig: { disk.sync_threads: 2 }\n";
    let file = dir.path().join("cluster.yaml");
    fs::write(&file, manifest + fields).expect("writable");
    let mut dev = Dev::start(&["-f", file.to_str().expect("text")]);
    let said = dev.terminate().stderr;
    for line in [
        "brokercluster/main: spec.listeners.client.port is left out: use --listen IP:PORT\n",
        "brokercluster/main: spec.brokerConfig is left out: use --broker-config FILE\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
}
