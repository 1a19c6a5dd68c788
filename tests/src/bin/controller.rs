//! A controller over files, in a process of its own, so that a test can kill it. Arguments: folder, address, how many brokers are wanted.
#![forbid(unsafe_code)]

use std::{env, io, path::PathBuf};

use taffrail_controller::{ControllerConfig, Environment, FileStore, Mode};
use taffrail_core::TopicDefaults;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
    let arguments: Vec<String> = env::args().collect();
    let [_, folder, address, brokers] = arguments.as_slice() else {
        panic!("arguments: FOLDER ADDRESS BROKERS");
    };
    let store = FileStore::open(PathBuf::from(folder)).expect("the store can be opened");
    let defaults = TopicDefaults {
        brokers_wanted: brokers.parse().expect("a number of brokers"),
        ..TopicDefaults::default()
    };
    let config = ControllerConfig::new("tests", Mode::Embedded, defaults);
    let controller = taffrail_controller::start(store, config, Environment::system())
        .await
        .expect("the controller starts");
    let listener = TcpListener::bind(address)
        .await
        .expect("the address is free");
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be caught");
    let stopping = controller.clone();
    let stopped = async move {
        terminate.recv().await;
        stopping.stop().await;
    };
    taffrail_controller::serve(controller, listener, stopped)
        .await
        .expect("serving goes on");
}
