//! What the real broker keeps in small files of its data directory: on a new volume nothing.

use std::{collections::BTreeMap, sync::Arc};

use taffrail_core::{BrokerUuid, TopicPartition};

use crate::{cluster::known::Known, datadir::identity::Identity};

/// The small files. What is in here has been synced.
#[derive(Debug, Clone)]
pub struct Durable {
    pub(super) identity: Identity,
    pub(super) known: Known,
    pub(super) roster: BTreeMap<TopicPartition, Arc<str>>,
}

impl Durable {
    /// A new volume.
    pub fn new(uuid: BrokerUuid) -> Self {
        Self {
            identity: Identity::simulated(uuid),
            known: Known::default(),
            roster: BTreeMap::new(),
        }
    }
}
