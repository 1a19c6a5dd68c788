//! The roster: which partitions this data directory has made. A partition that is in it and has no directory was lost, and is not made anew.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use taffrail_core::TopicPartition;

use super::{
    framed::{self, Kind},
    parse_partition_dir_name, partition_dir_name,
};
use crate::error::BrokerError;

const KIND: Kind = Kind {
    name: "roster",
    format: 1,
};

/// The roster file, one line per partition: `<topic id>-<partition> <topic name>`.
///
/// Invariant: a partition is in the file, durably, before a record is taken for it; it leaves the file after its directory was removed by order.
#[derive(Debug, Clone)]
pub(crate) struct Roster {
    path: PathBuf,
    made: BTreeMap<TopicPartition, Arc<str>>,
}

impl Roster {
    /// Of the data directory at `data_dir`. Empty if there is no file: the directory is new, or of a release without rosters.
    pub(crate) fn load(data_dir: &Path) -> Result<Self, BrokerError> {
        let path = data_dir.join("roster");
        let made = match framed::read(&path, KIND)? {
            None => BTreeMap::new(),
            Some(payload) => parse(&payload).ok_or_else(|| BrokerError::Unreadable {
                path: path.clone(),
                reason: "a line is not a partition and a topic".to_owned(),
            })?,
        };
        Ok(Self { path, made })
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = (TopicPartition, &Arc<str>)> {
        self.made.iter().map(|(id, topic)| (*id, topic))
    }

    /// Durable when this returns. Blocking.
    pub(crate) fn add(
        &mut self,
        made: impl IntoIterator<Item = (TopicPartition, Arc<str>)>,
    ) -> Result<(), BrokerError> {
        let before = self.made.clone();
        self.made.extend(made);
        if self.made.len() == before.len() {
            return Ok(());
        }
        self.save().inspect_err(|_| self.made = before)
    }

    /// Durable when this returns. Blocking.
    pub(crate) fn remove(&mut self, id: TopicPartition) -> Result<(), BrokerError> {
        match self.made.remove(&id) {
            Some(_) => self.save(),
            None => Ok(()),
        }
    }

    fn save(&self) -> Result<(), BrokerError> {
        let mut text = String::new();
        for (id, topic) in &self.made {
            let _ = writeln!(text, "{} {topic}", partition_dir_name(*id));
        }
        framed::replace(&self.path, KIND, text.as_bytes())
    }
}

fn parse(payload: &[u8]) -> Option<BTreeMap<TopicPartition, Arc<str>>> {
    let line = |line: &str| {
        let (name, topic) = line.split_once(' ')?;
        Some((parse_partition_dir_name(name)?, topic.into()))
    };
    std::str::from_utf8(payload)
        .ok()?
        .lines()
        .map(line)
        .collect()
}

#[cfg(test)]
mod tests {
    use taffrail_core::{PartitionIndex, TopicId};

    use super::*;

    fn id(partition: u32) -> TopicPartition {
        TopicPartition {
            topic: TopicId::from_bytes([7; 16]),
            partition: PartitionIndex(partition),
        }
    }

    #[test]
    fn what_was_made_is_in_the_file_until_it_is_removed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut roster = Roster::load(dir.path()).expect("none is fine");
        let made = [0, 1, 12].map(|n| (id(n), Arc::from("flights")));
        roster.add(made.clone()).expect("saves");
        roster.remove(id(1)).expect("saves");
        let loaded = Roster::load(dir.path()).expect("loads");
        let found: Vec<_> = loaded
            .partitions()
            .map(|(id, t)| (id, Arc::clone(t)))
            .collect();
        assert_eq!(found, [made[0].clone(), made[2].clone()]);
    }

    #[test]
    fn what_could_not_be_written_is_written_by_the_next_try() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inside = dir.path().join("inside");
        let mut roster = Roster::load(&inside).expect("none is fine");
        let made = || [(id(0), Arc::from("flights"))];
        assert!(roster.add(made()).is_err(), "there is no such directory");
        std::fs::create_dir(&inside).expect("made");
        roster.add(made()).expect("saves");
        let loaded = Roster::load(&inside).expect("loads");
        assert_eq!(loaded.partitions().count(), 1);
    }

    #[test]
    fn a_file_that_is_no_roster_is_an_error() {
        let dir = tempfile::tempdir().expect("temp dir");
        framed::replace(&dir.path().join("roster"), KIND, b"lost+found\n").expect("writes");
        assert!(Roster::load(dir.path()).is_err());
    }
}
