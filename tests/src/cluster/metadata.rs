//! What the controller knows, asked at its own port.

use std::{net::SocketAddr, sync::Mutex, time::Duration};

use taffrail_api::v1::{
    BrokerStatus, ListBrokersRequest, ListPartitionsRequest, PartitionStatus,
    admin_client::AdminClient,
};
use tokio::time::timeout;

use crate::wait;

/// A controller that does not answer within this is not the one to ask now.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks each time.
#[derive(Debug, Clone, Copy)]
pub struct Metadata {
    /// One of them is in office, if any is.
    controllers: [Option<SocketAddr>; 2],
}

impl Metadata {
    pub(super) const fn of(controllers: [Option<SocketAddr>; 2]) -> Self {
        Self { controllers }
    }

    /// All brokers that ever registered; none while the controller is away.
    pub async fn brokers(self) -> Option<Vec<BrokerStatus>> {
        let asked = self.ask(async |url| {
            let mut admin = AdminClient::connect(url).await.ok()?;
            let answer = admin.list_brokers(ListBrokersRequest {}).await.ok()?;
            Some(answer.into_inner().brokers)
        });
        asked.await
    }

    /// A topic's partitions, by number; none while the controller is away.
    pub async fn partitions(self, topic: &str) -> Option<Vec<PartitionStatus>> {
        let asked = self.ask(async |url| {
            let mut admin = AdminClient::connect(url).await.ok()?;
            let request = ListPartitionsRequest {
                topics: vec![topic.to_owned()],
            };
            let answer = admin.list_partitions(request).await.ok()?;
            Some(answer.into_inner().partitions)
        });
        let mut partitions = asked.await?;
        partitions.sort_by_key(|partition| partition.partition);
        Some(partitions)
    }

    /// As [`Self::brokers`], once the controller answers.
    ///
    /// # Panics
    /// If it does not.
    pub async fn known_brokers(self) -> Vec<BrokerStatus> {
        wait::until_async("word of brokers", wait::PATIENCE, || self.brokers()).await
    }

    /// As [`Self::partitions`], once the controller answers and the topic has some.
    ///
    /// # Panics
    /// If that does not come.
    pub async fn known_partitions(self, topic: &str) -> Vec<PartitionStatus> {
        wait::until_async("word of partitions", wait::PATIENCE, || async {
            let partitions = self.partitions(topic).await?;
            (!partitions.is_empty()).then_some(partitions)
        })
        .await
    }

    /// The index of the broker that leads a partition, once one does.
    ///
    /// # Panics
    /// If none comes to lead it.
    pub async fn leader(self, topic: &str, partition: usize) -> usize {
        wait::until_async("a leader", wait::PATIENCE, || async {
            let number = self.partitions(topic).await?.get(partition)?.leader?;
            self.index_if_told(number).await
        })
        .await
    }

    /// The indexes of the brokers that have a partition, are in sync, and do not lead it.
    ///
    /// # Panics
    /// If the controller is away for long.
    pub async fn followers(self, topic: &str, partition: usize) -> Vec<usize> {
        wait::until_async("followers", wait::PATIENCE, || async {
            let partitions = self.partitions(topic).await?;
            let status = partitions.get(partition)?;
            let mut found = Vec::new();
            for number in status.isr.iter().filter(|n| Some(**n) != status.leader) {
                found.push(self.index_if_told(*number).await?);
            }
            Some(found)
        })
        .await
    }

    /// Waits until a broker is not in the in-sync set of a partition.
    ///
    /// # Panics
    /// If it stays there.
    pub async fn until_left_behind(self, topic: &str, partition: usize, index: usize) {
        wait::until_async("the end of being in sync", wait::PATIENCE, || async {
            let followers = self.followers(topic, partition).await;
            (!followers.contains(&index)).then_some(())
        })
        .await;
    }

    /// Waits until the leader of a partition has so many records more than its followers are known to have.
    ///
    /// # Panics
    /// If it does not come to that.
    pub async fn until_ahead(self, topic: &str, partition: usize, records: usize) {
        wait::until_async(
            "records that only the leader has",
            wait::PATIENCE,
            || async {
                let partitions = self.partitions(topic).await?;
                let status = partitions.get(partition)?;
                let ahead = status.log_end_offset - status.high_watermark;
                (ahead >= records as i64).then_some(())
            },
        )
        .await;
    }

    /// Waits until a broker is not in any in-sync set of the topic.
    ///
    /// # Panics
    /// If it stays there.
    pub async fn until_out_of_sync(self, topic: &str, index: usize) {
        self.until(topic, "the end of being in sync", |numbers, partition| {
            let is_in = |number: &u32| numbers.get(*number as usize) == Some(&Some(index));
            !partition.isr.iter().any(is_in)
        })
        .await;
    }

    /// Waits until nobody serves any partition of the topic.
    ///
    /// # Panics
    /// If somebody goes on.
    pub async fn until_offline(self, topic: &str) {
        self.until(topic, "the end of serving", |_, partition| {
            partition.state == "OFFLINE"
        })
        .await;
    }

    /// Waits until every partition of the topic has a leader and `replicas` replicas, all of them in sync.
    ///
    /// # Panics
    /// If that does not come.
    pub async fn until_in_sync(self, topic: &str, replicas: usize) {
        self.until(topic, "all replicas in sync", |_, partition| {
            partition.leader.is_some()
                && partition.replicas.len() == replicas
                && partition.isr.len() == replicas
        })
        .await;
    }

    /// Waits until a partition's replicas are these and nothing of it moves.
    ///
    /// # Panics
    /// If that does not come.
    pub async fn until_moved(self, topic: &str, partition: u32, to: &[u32]) {
        self.until(topic, "the end of the move", |_, status| {
            status.partition != partition
                || (status.replicas == to && status.adding.is_empty() && status.removing.is_empty())
        })
        .await;
    }

    /// Waits until a condition holds for every partition of a topic. The condition gets the indexes of brokers by number.
    async fn until(
        self,
        topic: &str,
        what: &str,
        holds: impl Fn(&[Option<usize>], &PartitionStatus) -> bool,
    ) {
        let last = Mutex::new(Vec::new());
        let asked = wait::until_async(what, 2 * wait::PATIENCE, || async {
            let numbers = by_number(&self.brokers().await?);
            let partitions = self.partitions(topic).await?;
            let held = !partitions.is_empty() && partitions.iter().all(|p| holds(&numbers, p));
            *last.lock().expect("nobody panicked with it") = partitions;
            held.then_some(())
        });
        // The panic of the wait would not say how far it came.
        let waited = timeout(wait::PATIENCE, asked).await;
        assert!(waited.is_ok(), "{what} did not come: {last:#?}");
    }

    /// The index of the broker with this number.
    ///
    /// # Panics
    /// If the controller does not come to know it.
    pub async fn index_of(self, number: u32) -> usize {
        let what = format!("word of broker {number}");
        wait::until_async(&what, wait::PATIENCE, || self.index_if_told(number)).await
    }

    async fn index_if_told(self, number: u32) -> Option<usize> {
        let numbers = by_number(&self.brokers().await?);
        *numbers.get(number as usize)?
    }

    /// The answer of the controller that is in office; the others refuse.
    async fn ask<T>(self, question: impl AsyncFn(String) -> Option<T>) -> Option<T> {
        for address in self.controllers.into_iter().flatten() {
            let asked = timeout(ANSWER_TIMEOUT, question(format!("http://{address}")));
            if let Ok(Some(answer)) = asked.await {
                return Some(answer);
            }
        }
        None
    }
}

/// The index that is in the name of the broker with each number.
fn by_number(brokers: &[BrokerStatus]) -> Vec<Option<usize>> {
    let most = brokers.iter().map(|b| b.number as usize + 1).max();
    let mut numbers = vec![None; most.unwrap_or(0)];
    for broker in brokers {
        let index = broker.name.strip_prefix("broker-");
        numbers[broker.number as usize] = index.and_then(|index| index.parse().ok());
    }
    numbers
}
