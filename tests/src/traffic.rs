//! A producer that goes on through crashes, and remembers what it was told.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use taffrail_client::{
    Acks, Client, ClientConfig, Delivery, Producer, ProducerConfig, Record, RecordMetadata,
};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{history::Acknowledged, wait};

/// Sent and not answered yet, at most.
const IN_FLIGHT_MAX: usize = 1_000;

/// Connects.
///
/// # Panics
/// If that fails.
pub async fn connect(address: SocketAddr) -> Client {
    Client::connect(ClientConfig::new(address.to_string()))
        .await
        .expect("the cluster serves")
}

/// The offset of an acknowledged record.
///
/// # Panics
/// If it was sent with `Acks::None`.
pub fn offset_of(metadata: RecordMetadata) -> u64 {
    metadata.offset.expect("it was acknowledged").0
}

/// Numbered records into one topic, as fast as they are taken, until told to stop.
pub struct Traffic {
    acknowledged: Arc<Mutex<Acknowledged>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Traffic {
    /// Starts to send.
    pub fn start(client: &Client, topic: &'static str) -> Self {
        Self::start_with(client, topic, Acks::All)
    }

    /// The same, where so many replicas are waited for.
    pub fn start_with(client: &Client, topic: &'static str, acks: Acks) -> Self {
        let producer = client.producer(ProducerConfig {
            acks,
            delivery_timeout: Duration::from_mins(1),
            ..ProducerConfig::default()
        });
        let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(send(producer, topic, acknowledged.clone(), stop.clone()));
        Self {
            acknowledged,
            stop,
            task,
        }
    }

    /// Waits until `count` more records are acknowledged.
    ///
    /// # Panics
    /// If they are not within the tests' patience.
    pub async fn more(&self, count: usize) {
        let wanted = self.len() + count;
        wait::until_async("acknowledgements", wait::PATIENCE, || async {
            (self.len() >= wanted).then_some(())
        })
        .await;
    }

    /// Stops, waits for what is under way, and gives what was acknowledged.
    ///
    /// # Panics
    /// If sending panicked.
    pub async fn stop(self) -> Acknowledged {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("sending does not panic");
        self.acknowledged
            .lock()
            .expect("nobody panicked while noting")
            .clone()
    }

    fn len(&self) -> usize {
        self.acknowledged
            .lock()
            .expect("nobody panicked while noting")
            .len()
    }
}

async fn send(
    producer: Producer,
    topic: &'static str,
    acknowledged: Arc<Mutex<Acknowledged>>,
    stop: Arc<AtomicBool>,
) {
    let (sent, mut answers) = mpsc::channel::<(String, Delivery)>(IN_FLIGHT_MAX);
    let noting = tokio::spawn(async move {
        while let Some((value, delivery)) = answers.recv().await {
            // A record that was given up may or may not be there: nothing was promised.
            if let Ok(metadata) = delivery.await {
                acknowledged
                    .lock()
                    .expect("nobody panicked while noting")
                    .note(metadata.partition.0, offset_of(metadata), value);
            }
        }
    });
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let value = format!("record {number}");
        number += 1;
        if let Ok(delivery) = producer.send(topic, Record::new(&value)).await {
            sent.send((value, delivery))
                .await
                .expect("answers are noted");
        }
    }
    drop(sent);
    // What could not be delivered is in no answer.
    let _ = producer.close().await;
    noting.await.expect("noting does not panic");
}
