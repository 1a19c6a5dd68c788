//! What a producer may choose, against a real broker: when a record counts as stored, and how batches are compressed.

use std::time::Duration;

use taffrail_client::{
    Acks, Client, Compression, ConsumerConfig, PartitionIndex, ProducerConfig, Record, Start,
};
use taffrail_tests::{dev::Dev, manifest, partitions, traffic, wait};

const TOPIC: &str = "choices";
const RECORDS: usize = 200;

/// Compresses well, and differs from record to record.
fn value(choice: &str, number: usize) -> String {
    format!("{choice} {number:04} {}", "la".repeat(200))
}

async fn send(client: &Client, choice: &str, config: ProducerConfig) {
    let acks = config.acks;
    let producer = client.producer(config);
    let mut deliveries = Vec::new();
    for number in 0..RECORDS {
        let value = value(choice, number);
        let sent = producer.send(TOPIC, Record::new(&value)).await;
        deliveries.push(sent.expect("there is room"));
    }
    producer.close().await.expect("all are taken");
    for delivery in deliveries {
        let offset = delivery.await.expect("taken").offset;
        assert_eq!(offset.is_some(), acks != Acks::None, "{choice}");
    }
}

async fn read(client: &Client, count: usize) -> Vec<String> {
    let mut consumer = client.consumer(ConsumerConfig::default());
    let start = (TOPIC, PartitionIndex(0), Start::Earliest);
    consumer.assign([start]).await.expect("there");
    let mut values = Vec::new();
    let reading = async {
        while values.len() < count {
            let records = consumer.poll(Duration::from_secs(1)).await.expect("read");
            let texts = records.into_iter().map(|r| r.value.expect("has one"));
            values.extend(texts.map(|v| String::from_utf8(v.to_vec()).expect("text")));
        }
    };
    let read = tokio::time::timeout(wait::PATIENCE, reading).await;
    read.expect("all records come");
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acks_and_every_compression_brings_each_record_once_and_in_order() {
    let dev = Dev::start("choices");
    dev.apply(&manifest::topic(TOPIC, &["partitions: 1"]));
    let client = traffic::connect(dev.address()).await;
    let mut sent = Vec::new();
    for acks in [Acks::None, Acks::Leader, Acks::All] {
        for compression in [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let choice = format!("{acks:?} {compression:?}");
            let config = ProducerConfig {
                acks,
                compression,
                linger: Duration::from_millis(5),
                ..ProducerConfig::default()
            };
            send(&client, &choice, config).await;
            sent.extend((0..RECORDS).map(|number| value(&choice, number)));
            // Without an acknowledgement records are on their way for a while; those of the next producer must not overtake them.
            assert_eq!(
                read(&client, sent.len()).await.len(),
                sent.len(),
                "{choice}"
            );
        }
    }
    assert!(read(&client, sent.len()).await == sent);

    let files = partitions::folders(dev.data_dir(), 0)
        .into_iter()
        .flat_map(|folder| partitions::files(&folder, "log"))
        .map(|file| std::fs::metadata(file).expect("it is there").len());
    let stored: u64 = files.sum();
    let plain = sent.iter().map(String::len).sum::<usize>() as u64;
    assert!(
        stored < plain / 2,
        "four of five were compressed: {stored} bytes stored of {plain}"
    );
}
