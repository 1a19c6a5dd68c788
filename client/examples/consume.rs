//! Prints a topic's records from the first on and follows it: `cargo run -p taffrail-client --example consume -- events`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use taffrail_client::{Client, ClientConfig, ConsumerConfig, PartitionIndex, Start};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let topic = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "events".to_owned());
    let client = Client::connect(ClientConfig::new("127.0.0.1:9640")).await?;
    let mut consumer = client.consumer(ConsumerConfig::default());
    let start = (topic, PartitionIndex(0), Start::Earliest);
    consumer.assign([start]).await?;
    loop {
        for record in consumer.poll(Duration::from_secs(1)).await? {
            println!("{} {:?} {:?}", record.offset, record.key, record.value);
        }
    }
}
