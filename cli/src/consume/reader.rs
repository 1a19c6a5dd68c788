//! Batches of a topic, to where it ended or for ever.

use std::collections::BTreeMap;

use taffrail_client::{
    Client, ConsumedBatch, Consumer, ConsumerConfig, Offset, PartitionIndex, Start,
};

use crate::{
    connect::{self, client_failure},
    failure::Outcome,
};

/// When reading is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Where the topic ended when reading began.
    End,
    /// Never: new records are waited for.
    Stopped,
}

/// Reads some partitions of one topic.
pub(crate) struct Reader {
    consumer: Consumer,
    /// Ends that are not reached yet, by partition; `None`: there are none.
    ends: Option<BTreeMap<u32, u64>>,
}

impl Reader {
    /// Begins to read each partition at its offset in `starts`.
    ///
    /// # Errors
    /// The topic or its leaders cannot be found.
    pub(crate) async fn open(
        client: &Client,
        topic: &str,
        mut starts: BTreeMap<u32, u64>,
        until: Until,
        config: ConsumerConfig,
    ) -> Outcome<Self> {
        let ends = match until {
            Until::Stopped => None,
            Until::End => {
                // Of these only: what another partition has to say is not ours.
                let partitions: Vec<u32> = starts.keys().copied().collect();
                let mut ends = connect::offsets(client, topic, &partitions, Start::Latest).await?;
                ends.retain(|partition, end| {
                    starts.get(partition).is_some_and(|start| start < end)
                });
                starts.retain(|partition, _| ends.contains_key(partition));
                Some(ends)
            }
        };
        let mut consumer = client.consumer(config);
        if !starts.is_empty() {
            let from = starts.into_iter().map(|(partition, offset)| {
                let start = Start::Offset(Offset(offset));
                (topic.to_owned(), PartitionIndex(partition), start)
            });
            let assigned = consumer.assign(from).await;
            assigned.map_err(|error| client_failure(&error))?;
        }
        Ok(Self { consumer, ends })
    }

    /// The next batch; `None` when reading is over.
    ///
    /// Cancel safe: a batch that was not returned comes again.
    ///
    /// # Errors
    /// A partition cannot be read.
    pub(crate) async fn next(&mut self) -> Outcome<Option<ConsumedBatch>> {
        loop {
            if self.ends.as_ref().is_some_and(BTreeMap::is_empty) {
                return Ok(None);
            }
            let next = self.consumer.next_batch().await;
            let batch = next.map_err(|error| client_failure(&error))?;
            let Some(ends) = &mut self.ends else {
                return Ok(Some(batch));
            };
            let partition = batch.partition().0;
            let Some(end) = ends.get(&partition) else {
                continue; // written after reading began
            };
            if batch.next_offset().0 >= *end {
                ends.remove(&partition);
            }
            return Ok(Some(batch));
        }
    }
}
