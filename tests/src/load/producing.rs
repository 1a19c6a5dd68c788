//! The producer's side.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use taffrail_client::{Acks, Client, Delivery, ProducerConfig, Record};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::Ledger;
use crate::wait;

/// Enough for every partition of a test.
const KEYS: u64 = 100;
/// Sent and not answered yet, at most.
const IN_FLIGHT_MAX: usize = 2_000;
/// A constant load that leaves most of a small machine to the cluster.
pub(super) const PERIOD: Duration = Duration::from_millis(2);
/// Tests wait several times while nothing can be delivered, each time for as long as it takes; what does not come after all is found there.
const DELIVERY_TIMEOUT: Duration = wait::PATIENCE.saturating_mul(5);

/// Sends until told to stop, and waits for what is under way.
pub(super) async fn send(
    client: Client,
    (acks, period): (Acks, Duration),
    topic: String,
    ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
) {
    let producer = client.producer(ProducerConfig {
        acks,
        delivery_timeout: DELIVERY_TIMEOUT,
        ..ProducerConfig::default()
    });
    let (sent, answers) = mpsc::channel(IN_FLIGHT_MAX);
    let noting = tokio::spawn(note(answers, ledger.clone()));
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        ticks.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("key-{}", number % KEYS);
        let value = {
            let mut ledger = ledger.lock().expect("nobody panicked with it");
            ledger.sent.next(&key)
        };
        match producer.send(&topic, Record::new(&value).key(&key)).await {
            Ok(delivery) => sent
                .send((value, delivery))
                .await
                .expect("answers are noted"),
            Err(error) => failed(&ledger, &value, &error.to_string()),
        }
    }
    drop(sent);
    // What could not be delivered is in no answer, and is noted.
    let _ = producer.close().await;
    noting.await.expect("noting does not panic");
}

async fn note(mut answers: mpsc::Receiver<(String, Delivery)>, ledger: Arc<Mutex<Ledger>>) {
    while let Some((value, delivery)) = answers.recv().await {
        match delivery.await {
            Ok(metadata) => {
                let partition = metadata.partition.0;
                let offset = metadata.offset.map(|offset| offset.0);
                let mut ledger = ledger.lock().expect("nobody panicked with it");
                ledger.acknowledged(partition, offset, value);
            }
            Err(error) => failed(&ledger, &value, &error.to_string()),
        }
    }
}

fn failed(ledger: &Mutex<Ledger>, value: &str, error: &str) {
    let mut ledger = ledger.lock().expect("nobody panicked with it");
    ledger.failures.push(format!("{value}: {error}"));
}
