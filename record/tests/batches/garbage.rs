//! Whatever bytes come, nothing panics and nothing is made up.

use crate::made_up::{LIMIT_BYTES, build, compression, some_records};
use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::Index};
use taffrail_record::{BatchHeader, records, split, verify};

/// Feeds `bytes` to everything that reads batches. Bounded also in what it may return.
fn feed(bytes: &[u8]) {
    let _ = verify(bytes);
    let _ = BatchHeader::parse(bytes);
    let whole = Bytes::copy_from_slice(bytes);
    for item in split(&whole).flatten() {
        let _ = records(item.1, LIMIT_BYTES).map(Iterator::count);
    }
    if let Ok(mut borrowed) = records(whole, LIMIT_BYTES) {
        while let Some(Ok(record)) = borrowed.next_ref() {
            let _ = record.headers().count();
        }
    }
}

/// A header that leads to the records, whatever they are.
fn header_of(body: &[u8], compression: u8, count: u32) -> Vec<u8> {
    let mut batch = vec![0; 61];
    batch[8..12].copy_from_slice(&(49 + body.len() as i32).to_be_bytes());
    batch[16] = 2;
    batch[22] = compression;
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    batch.extend_from_slice(body);
    batch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in vec(any::<u8>(), 0..300)) {
        feed(&bytes);
    }

    #[test]
    fn arbitrary_records_behind_a_sound_header_do_not_panic(
        body in vec(any::<u8>(), 0..300), compression in 0..5u8, count in 1..i32::MAX as u32,
    ) {
        feed(&header_of(&body, compression, count));
    }

    #[test]
    fn small_numbers_as_records_do_not_panic(body in vec(0..12u8, 0..100), count in 1..10u32) {
        feed(&header_of(&body, 0, count));
    }
}

proptest! {
    #[test]
    fn a_sound_batch_with_changed_bytes_does_not_panic(
        sent in some_records(),
        compression in compression(),
        changes in vec((any::<Index>(), any::<u8>()), 1..6),
        cut in any::<Index>(),
    ) {
        let mut batch = build(compression, &sent).to_vec();
        for (at, byte) in changes {
            let at = at.index(batch.len());
            batch[at] = byte;
        }
        feed(&batch);
        batch.truncate(cut.index(batch.len()));
        feed(&batch);
    }
}
