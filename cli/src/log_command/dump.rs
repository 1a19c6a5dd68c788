//! The batches of partitions, as they lie in their files.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use taffrail_log::{
    PartitionIdentity, StdDisk,
    inspect::{self, BatchAt},
    read_identity,
};
use taffrail_record::records;

use super::log_failure;
use crate::{
    consume::{Printed, RecordOutput},
    failure::{Failure, Outcome},
    time::format_timestamp,
};

/// Largest batch after decompression.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// Prints all batches, and with `with_records` their records.
pub(super) fn run(partitions: &[PathBuf], with_records: bool) -> Outcome {
    let mut out = BufWriter::new(std::io::stdout());
    for dir in partitions {
        let identity =
            read_identity(&StdDisk::default(), dir).map_err(|error| log_failure(&error))?;
        writeln!(
            out,
            "{}/{} ({}, cluster {})",
            identity.topic_name,
            identity.partition,
            dir.display(),
            identity.cluster
        )?;
        let dumped = dump(dir, &identity, with_records, &mut out);
        out.flush()?; // what was readable is shown before what was not
        dumped?;
    }
    Ok(())
}

fn dump(
    dir: &Path,
    identity: &PartitionIdentity,
    with_records: bool,
    out: &mut dyn Write,
) -> Outcome {
    let segments =
        inspect::segments(&StdDisk::default(), dir).map_err(|error| log_failure(&error))?;
    for base in segments {
        writeln!(out, "segment {:020}.log", base.0)?;
        let batches = inspect::batches(Arc::new(StdDisk::default()), dir, base);
        for batch in batches.map_err(|error| log_failure(&error))? {
            let batch = batch.map_err(|error| log_failure(&error))?;
            print_batch(&batch, out)?;
            if with_records {
                print_records(&batch, identity, out)?;
            }
        }
    }
    Ok(())
}

fn print_batch(batch: &BatchAt, out: &mut dyn Write) -> Outcome {
    let header = &batch.header;
    // Of what compaction took only the offsets are left.
    let times = match header.record_count {
        0 => "none".to_owned(),
        _ => format!(
            "{} to {}",
            format_timestamp(header.base_timestamp_ms),
            format_timestamp(header.max_timestamp_ms)
        ),
    };
    writeln!(
        out,
        "  offset {}..{}  records {}  bytes {}  position {}  epoch {}  compression {}  times {times}",
        header.base_offset,
        header.last_offset(),
        header.record_count,
        header.total_bytes(),
        batch.position,
        header.leader_epoch,
        header.attributes.compression().name(),
    )?;
    Ok(())
}

fn print_records(batch: &BatchAt, identity: &PartitionIdentity, out: &mut dyn Write) -> Outcome {
    let unreadable =
        |error: &taffrail_record::BatchError| Failure::of(error.code(), error.to_string());
    let found = records(batch.bytes.clone(), DECOMPRESSED_BYTES_MAX);
    for record in found.map_err(|error| unreadable(&error))? {
        let record = record.map_err(|error| unreadable(&error))?;
        let printed = Printed {
            topic: &identity.topic_name,
            shows_topic: false,
            partition: identity.partition.0,
            offset: record.offset.0,
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: Vec::new(),
        };
        printed.write(RecordOutput::Text, out)?;
    }
    Ok(())
}
