//! Sends a hundred records and waits until the broker has them: `cargo run -p taffrail-client --example produce -- events`.

use taffrail_client::{Client, ClientConfig, ProducerConfig, Record};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let topic = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "events".to_owned());
    let client = Client::connect(ClientConfig::new("127.0.0.1:9640")).await?;
    let producer = client.producer(ProducerConfig::default());
    for i in 0..100 {
        let (key, value) = (format!("key-{}", i % 10), format!("event {i}"));
        let record = Record::new(&value).key(&key);
        // Waits only if the buffer is full; await the delivery to know where a record went.
        let _delivery = producer.send(&topic, record).await?;
    }
    producer.close().await?;
    Ok(())
}
