//! What a power cut may have taken: with `pageCache` records count that only the kernel has. Remembered until a controller knows.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use taffrail_core::TopicPartition;

use super::{
    framed::{self, Kind},
    parse_partition_dir_name, partition_dir_name,
};
use crate::error::BrokerError;

const KIND: Kind = Kind {
    name: "boot",
    format: 1,
};

/// The boot file: `boot <id of the kernel's run>`, then a line for each replica: `<topic id>-<partition>`.
///
/// Invariant: the run of the kernel changes and replicas leave the file only after a controller has taken in a process that reported them. So another
/// crash before, or a clean stop, hides nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boot {
    path: PathBuf,
    /// Empty: not known.
    id: String,
    may_lack: BTreeSet<TopicPartition>,
}

impl Boot {
    /// Of the data directory at `data_dir`. Nothing is known if there is no file.
    pub(crate) fn load(data_dir: &Path) -> Result<Self, BrokerError> {
        let path = data_dir.join("boot");
        let (id, may_lack) = match framed::read(&path, KIND)? {
            None => Default::default(),
            Some(payload) => parse(&payload).ok_or_else(|| BrokerError::Unreadable {
                path: path.clone(),
                reason: "it does not begin with a boot id, or a line is not a partition".to_owned(),
            })?,
        };
        Ok(Self { path, id, may_lack })
    }

    /// Is `now` the run of the kernel under which a controller last took this volume in?
    pub(crate) fn is_same(&self, now: &str) -> bool {
        !now.is_empty() && self.id == now
    }

    /// May this replica have less than it once reported?
    pub(crate) fn may_lack(&self, id: TopicPartition) -> bool {
        self.may_lack.contains(&id)
    }

    /// These may lack records too. Durable when this returns. Blocking.
    pub(crate) fn note(
        &mut self,
        may_lack: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<(), BrokerError> {
        let mut next = self.clone();
        next.may_lack.extend(may_lack);
        self.replace(next)
    }

    /// A controller has taken in a process that said so, under this run of the kernel. Durable when this returns. Blocking.
    pub(crate) fn confirm(&mut self, now: &str) -> Result<(), BrokerError> {
        let next = Self {
            path: self.path.clone(),
            id: now.to_owned(),
            may_lack: BTreeSet::new(),
        };
        self.replace(next)
    }

    fn replace(&mut self, next: Self) -> Result<(), BrokerError> {
        if *self == next {
            return Ok(());
        }
        let mut text = format!("boot {}\n", next.id);
        for id in &next.may_lack {
            let _ = writeln!(text, "{}", partition_dir_name(*id));
        }
        framed::replace(&next.path, KIND, text.as_bytes())?;
        *self = next;
        Ok(())
    }
}

fn parse(payload: &[u8]) -> Option<(String, BTreeSet<TopicPartition>)> {
    let mut lines = std::str::from_utf8(payload).ok()?.lines();
    let id = lines.next()?.strip_prefix("boot ")?;
    let may_lack: Option<_> = lines.map(parse_partition_dir_name).collect();
    Some((id.to_owned(), may_lack?))
}

#[cfg(test)]
mod tests {
    use taffrail_core::{PartitionIndex, TopicId};

    use super::*;

    const ID: TopicPartition = TopicPartition {
        topic: TopicId::from_bytes([7; 16]),
        partition: PartitionIndex(3),
    };

    #[test]
    fn what_may_be_missing_is_remembered_until_a_controller_knows() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut boot = Boot::load(dir.path()).expect("none is fine");
        assert!(!boot.is_same("b1") && !boot.is_same(""), "nothing is known");
        boot.confirm("b1").expect("saves");
        let mut after_power_cut = Boot::load(dir.path()).expect("loads");
        assert!(!after_power_cut.is_same("b2"));
        after_power_cut.note([ID]).expect("saves");
        let mut again = Boot::load(dir.path()).expect("loads");
        assert!(
            again.may_lack(ID) && !again.is_same("b2"),
            "nobody was told"
        );
        again.confirm("b2").expect("saves");
        let later = Boot::load(dir.path()).expect("loads");
        assert!(!later.may_lack(ID) && later.is_same("b2"));
    }

    #[test]
    fn a_file_that_is_none_is_an_error() {
        let dir = tempfile::tempdir().expect("temp dir");
        for bad in ["", "b1\n", "boot b1\nlost+found\n"] {
            framed::replace(&dir.path().join("boot"), KIND, bad.as_bytes()).expect("writes");
            assert!(Boot::load(dir.path()).is_err(), "{bad:?}");
        }
    }
}
