//! Do the records of a batch add up to what its header says? Cheap enough for every batch that is appended.

use crate::{BatchError, BatchHeader, HEADER_BYTES, varint};

/// Length, attributes, timestamp, offset, key length, value length and header count take at least a byte each.
const RECORD_BYTES_MIN: usize = 7;
/// What follows the offset: key length, value length, header count.
const RECORD_TAIL_BYTES_MIN: usize = 3;

/// Checks that a batch is as a producer sends it: it has at least one record and as many as offsets, their offsets are consecutive from 0, and nothing follows them.
/// Looks at the first few bytes of each record only: keys, values and headers are the reader's. Allocates nothing.
///
/// Compressed records are not decompressed: only their count is held against `decompressed_bytes_max`.
///
/// `batch` is the one whose header `header` is, whole.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify_records(
    header: &BatchHeader,
    batch: &[u8],
    decompressed_bytes_max: usize,
) -> Result<(), BatchError> {
    if !header.is_whole() {
        return Err(BatchError::Count {
            count: header.record_count as i32,
            last_offset_delta: header.last_offset_delta as i32,
        });
    }
    let body = batch.get(HEADER_BYTES..).unwrap_or_default();
    let is_packed = header.attributes.compression() != crate::Compression::None;
    let room = if !is_packed {
        body.len()
    } else if body.is_empty() {
        0
    } else {
        decompressed_bytes_max
    };
    let max = room / RECORD_BYTES_MIN;
    if header.record_count as usize > max {
        return Err(BatchError::TooManyRecords {
            count: header.record_count,
            max,
        });
    }
    if is_packed {
        return Ok(());
    }
    walk(body, header.record_count)
}

fn walk(mut rest: &[u8], count: u32) -> Result<(), BatchError> {
    for index in 0..count {
        rest = step(rest, index).map_err(|reason| BatchError::Record { index, reason })?;
    }
    match rest.len() {
        0 => Ok(()),
        left => Err(BatchError::TrailingBytes(left)),
    }
}

/// What follows one record.
#[inline]
fn step(mut rest: &[u8], index: u32) -> Result<&[u8], &'static str> {
    let length = varint::read_i32(&mut rest).ok_or("its length is cut short")?;
    let length = usize::try_from(length).map_err(|_| "its length is negative")?;
    let Some((record, after)) = rest.split_at_checked(length) else {
        return Err("it goes beyond the end of the batch");
    };
    let (_attributes, mut fields) = record.split_first().ok_or("it is empty")?;
    varint::read_i64(&mut fields).ok_or("its timestamp is cut short")?;
    let offset_delta = varint::read_i32(&mut fields).ok_or("its offset is cut short")?;
    if i64::from(offset_delta) != i64::from(index) {
        return Err("its offset is not the next one");
    }
    if fields.len() < RECORD_TAIL_BYTES_MIN {
        return Err("its key is cut short");
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, Compression, NewRecord};

    fn batch(compression: Compression, records: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new(compression);
        for i in 0..records {
            builder.push(&NewRecord {
                value: Some(&[b'a'; 100]),
                timestamp_ms: i as i64 * 1_000,
                ..NewRecord::default()
            });
        }
        builder.build().expect("records").to_vec()
    }

    fn check(batch: &[u8], count: u32) -> Result<(), BatchError> {
        let mut header = BatchHeader::parse(batch).expect("a header");
        header.record_count = count;
        header.last_offset_delta = count.wrapping_sub(1);
        verify_records(&header, batch, 64 << 20)
    }

    #[test]
    fn what_the_builder_makes_adds_up() {
        for compression in Compression::ALL {
            for records in [1, 2, 63, 64, 65, 9_000] {
                assert_eq!(
                    check(&batch(compression, records), records as u32),
                    Ok(()),
                    "{records} {compression}"
                );
            }
        }
    }

    #[test]
    fn fewer_or_more_records_than_the_count_are_refused() {
        let batch = batch(Compression::None, 3);
        assert!(matches!(
            check(&batch, 2),
            Err(BatchError::TrailingBytes(_))
        ));
        assert!(matches!(
            check(&batch, 4),
            Err(BatchError::Record { index: 3, .. })
        ));
        assert!(matches!(
            check(&batch, i32::MAX as u32),
            Err(BatchError::TooManyRecords { .. })
        ));
    }

    #[test]
    fn a_batch_with_fewer_records_than_offsets_is_refused() {
        let batch = batch(Compression::None, 3);
        let header = BatchHeader::parse(&batch).expect("a header");
        for record_count in [0, 2] {
            let lacking = BatchHeader {
                record_count,
                ..header
            };
            let count = BatchError::Count {
                count: record_count as i32,
                last_offset_delta: 2,
            };
            assert_eq!(verify_records(&lacking, &batch, 1 << 20), Err(count));
        }
    }

    #[test]
    fn no_bytes_hold_no_record() {
        for compression in Compression::ALL {
            let mut batch = batch(compression, 100);
            batch.truncate(HEADER_BYTES);
            assert!(
                matches!(check(&batch, 1), Err(BatchError::TooManyRecords { .. })),
                "{compression}"
            );
        }
    }

    #[test]
    fn an_offset_that_is_not_the_next_one_is_refused() {
        let mut batch = batch(Compression::None, 2);
        // Length (two bytes), attributes, timestamp, offset.
        batch[HEADER_BYTES + 4] ^= 2;
        assert!(matches!(
            check(&batch, 2),
            Err(BatchError::Record { index: 0, .. })
        ));
    }

    #[test]
    fn compressed_records_are_bounded_by_what_they_may_decompress_to() {
        let batch = batch(Compression::Zstd, 100);
        let max = (64 << 20) / RECORD_BYTES_MIN as u32;
        assert_eq!(check(&batch, max), Ok(()));
        assert!(matches!(
            check(&batch, max + 1),
            Err(BatchError::TooManyRecords { .. })
        ));
    }
}
