//! Shares a topic's records with the other members of a group: `cargo run -p taffrail-client --example group -- events billing`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use taffrail_client::{Client, ClientConfig, GroupEvent};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let topic = args.next().unwrap_or_else(|| "events".to_owned());
    let name = args.next().unwrap_or_else(|| "billing".to_owned());
    let client = Client::connect(ClientConfig::new("127.0.0.1:9640")).await?;
    let mut group = client.group(name).topic(topic).join().await?;
    loop {
        let event = tokio::select! {
            event = group.next() => event?,
            _ = tokio::signal::ctrl_c() => break,
        };
        match event {
            GroupEvent::Batch(batch) => {
                for record in batch.records()? {
                    let record = record?;
                    println!("{} {:?} {:?}", record.offset, record.key, record.value);
                }
            }
            changed => println!("{changed:?}"),
        }
    }
    // Commits what was processed, and lets others go on at once.
    group.close().await?;
    Ok(())
}
