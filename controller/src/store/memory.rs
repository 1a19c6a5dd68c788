//! A store in memory, for tests and simulation: with injected conflicts, unknown outcomes and outages.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::future::{BoxFuture, FutureExt as _, ready};
use taffrail_api::v1;

use super::{ObjectName, Snapshot, Store, StoreError, Version, Versioned};

/// What the next puts run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None.
    Nothing,
    /// Somebody else was faster: the object's version moves on, its value stays.
    Conflict,
    /// Written, but the answer is lost.
    UnknownWritten,
    /// Not written, and the answer is lost.
    UnknownLost,
    /// Not reachable.
    Unavailable,
}

/// A store in memory. Clones are the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    version: u64,
    root: Option<Versioned<v1::ClusterMetadata>>,
    maps: BTreeMap<String, Versioned<v1::PartitionMap>>,
    brokers: BTreeMap<u32, Versioned<v1::StoredBroker>>,
    faults: VecDeque<Fault>,
    puts: u64,
}

impl MemoryStore {
    /// Queues faults: each put takes one.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// Forgets faults that no put has met.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Puts tried so far.
    pub fn puts(&self) -> u64 {
        self.state().puts
    }

    /// What is stored.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            root: state.root.clone(),
            maps: state.maps.values().cloned().collect(),
            brokers: state.brokers.values().cloned().collect(),
        }
    }

    /// Puts back what `snapshot` holds, as a restored backup does. Versions go on, as they must.
    pub fn restore(&self, snapshot: Snapshot) {
        let mut state = self.state();
        state.version += 1;
        let version = Version(state.version.to_string());
        let renew = |v: &mut Version| v.clone_from(&version);
        state.root = snapshot.root.map(|mut root| {
            renew(&mut root.version);
            root
        });
        state.maps = snapshot
            .maps
            .into_iter()
            .map(|mut map| {
                renew(&mut map.version);
                (map.value.name.clone(), map)
            })
            .collect();
        state.brokers = snapshot
            .brokers
            .into_iter()
            .map(|mut broker| {
                renew(&mut broker.version);
                (broker.value.number, broker)
            })
            .collect();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put<T>(
        &mut self,
        object: ObjectName,
        expected: Option<&Version>,
        slot: impl Fn(&mut Self) -> Option<&mut Versioned<T>>,
        insert: impl FnOnce(&mut Self, Version),
    ) -> Result<Version, StoreError> {
        self.puts += 1;
        let fault = self.faults.pop_front().unwrap_or(Fault::Nothing);
        if fault == Fault::Unavailable {
            return Err(StoreError::Unavailable("injected outage".into()));
        }
        self.version += 1;
        let next = Version(self.version.to_string());
        if fault == Fault::Conflict
            && let Some(found) = slot(self)
        {
            found.version.clone_from(&next);
        }
        let current = slot(self).map(|found| found.version.clone());
        if current.as_ref() != expected {
            return Err(StoreError::Conflict { object });
        }
        let unknown = StoreError::Unknown {
            object,
            cause: "injected time-out".into(),
        };
        if fault == Fault::UnknownLost {
            return Err(unknown);
        }
        insert(self, next.clone());
        if fault == Fault::UnknownWritten {
            return Err(unknown);
        }
        Ok(next)
    }
}

impl Store for MemoryStore {
    fn load(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        ready(Ok(self.snapshot())).boxed()
    }

    fn put_root<'a>(
        &'a self,
        expected: Option<&'a Version>,
        value: &'a v1::ClusterMetadata,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        let value = value.clone();
        let result = self.state().put(
            ObjectName::Root,
            expected,
            |s| s.root.as_mut(),
            |s, version| s.root = Some(Versioned { version, value }),
        );
        ready(result).boxed()
    }

    fn put_map<'a>(
        &'a self,
        expected: Option<&'a Version>,
        value: &'a v1::PartitionMap,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        let (name, value) = (value.name.clone(), value.clone());
        let result = self.state().put(
            ObjectName::Map(name.clone()),
            expected,
            |s| s.maps.get_mut(&name),
            |s, version| {
                s.maps.insert(name.clone(), Versioned { version, value });
            },
        );
        ready(result).boxed()
    }

    fn put_broker<'a>(
        &'a self,
        expected: Option<&'a Version>,
        value: &'a v1::StoredBroker,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        let (number, value) = (value.number, value.clone());
        let result = self.state().put(
            ObjectName::Broker(number),
            expected,
            |s| s.brokers.get_mut(&number),
            |s, version| {
                s.brokers.insert(number, Versioned { version, value });
            },
        );
        ready(result).boxed()
    }
}
