//! What the replicas of a compacted topic hold, side by side.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use taffrail_log::{StdDisk, inspect};

use super::{Cluster, replicas::folder};

/// The records of one replica by offset: key, and value unless it is a tombstone.
pub type Records = BTreeMap<u64, (String, Option<String>)>;

/// What a decompressed batch may have.
const BYTES_MAX: usize = 16 << 20;

impl Cluster {
    /// What a broker has of a partition, of records with keys. Nothing may be written meanwhile.
    ///
    /// # Panics
    /// If it has no such partition, or what it has cannot be read.
    pub fn records(&self, index: usize, topic: &str, partition: u32) -> Records {
        records(&folder(&self.volume(index), topic, partition).expect("it has the partition"))
    }
}

fn records(folder: &Path) -> Records {
    let mut all = Records::new();
    for base in inspect::segments(&StdDisk::default(), folder).expect("the folder is readable") {
        let batches = inspect::batches(Arc::new(StdDisk::default()), folder, base);
        for batch in batches.expect("the segment is readable") {
            let batch = batch.expect("the batch is sound").bytes;
            for record in taffrail_record::records(batch, BYTES_MAX).expect("the batch is sound") {
                let record = record.expect("the record is sound");
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is text");
                let key = text(&record.key.expect("every record has a key"));
                let value = record.value.as_deref().map(text);
                all.insert(record.offset.0, (key, value));
            }
        }
    }
    all
}

/// The last value of each key that has one.
pub fn newest(records: &Records) -> BTreeMap<String, String> {
    let mut newest = BTreeMap::new();
    for (key, value) in records.values() {
        match value {
            Some(value) => newest.insert(key.clone(), value.clone()),
            None => newest.remove(key),
        };
    }
    newest
}
