//! Every partition on this broker.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use taffrail_core::TopicPartition;

use super::Partition;

/// Every partition on this broker, strays included.
#[derive(Debug, Default)]
pub(crate) struct PartitionTable(RwLock<BTreeMap<TopicPartition, Arc<Partition>>>);

impl PartitionTable {
    pub(crate) fn get(&self, id: TopicPartition) -> Option<Arc<Partition>> {
        self.read().get(&id).cloned()
    }

    pub(crate) fn insert(&self, partition: Arc<Partition>) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(partition.id, partition);
    }

    pub(crate) fn remove(&self, id: TopicPartition) -> Option<Arc<Partition>> {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Partition>> {
        self.read().values().cloned().collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<TopicPartition, Arc<Partition>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
