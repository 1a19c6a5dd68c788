//! Key -> last offset, in bounded memory: hashes instead of keys, and no allocation for each.

use std::hash::{BuildHasher as _, RandomState};

use taffrail_core::Offset;

/// Two halves of a hash, and the offset after that of the last record.
const WORDS: usize = 3;
const SLOT_BYTES: usize = 8 * WORDS;
const SLOTS_MIN: u64 = 16;

/// A key's 128 bits: two keyed hashes of 64 bits. Nobody who does not know the random keys can find two keys of one hash, and by chance there are none: a
/// billion of them come to 2^-69.
pub(super) type KeyHash = [u64; 2];

/// Three quarters of the slots, and for half as many keys again as slots were asked for, all of them.
const fn used_max(slots: u64) -> u64 {
    slots - slots.div_ceil(4)
}

/// Open addressing. Invariant: `used <= used_max`, which is three quarters of the slots.
#[derive(Debug)]
pub(super) struct OffsetMap {
    /// Zeros that nobody touched take no memory.
    words: Vec<u64>,
    slots: u64,
    used: u64,
    used_max: u64,
    keys: [RandomState; 2],
}

impl OffsetMap {
    /// Of at most `bytes` bytes, and no more than so many keys need.
    pub(super) fn new(bytes: usize, keys: u64) -> Self {
        let wanted = keys.saturating_add(keys / 2).max(SLOTS_MIN);
        let slots = wanted.min((bytes / SLOT_BYTES) as u64).max(SLOTS_MIN);
        Self {
            words: vec![0; slots as usize * WORDS],
            slots,
            used: 0,
            used_max: used_max(slots),
            keys: [RandomState::new(), RandomState::new()],
        }
    }

    /// Holds these and nothing else, whatever room they need: one batch's, of which there are no more than its records.
    pub(super) fn hold(&mut self, keys: &[(KeyHash, Offset)]) {
        let count = keys.len() as u64;
        self.slots = (count + count / 2).max(SLOTS_MIN);
        self.words = vec![0; self.slots as usize * WORDS];
        self.used = 0;
        self.used_max = used_max(self.slots);
        for (key, offset) in keys {
            let has_room = self.put(*key, *offset);
            debug_assert!(has_room, "there are as many slots as it takes");
        }
    }

    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        [self.keys[0].hash_one(key), self.keys[1].hash_one(key)]
    }

    /// The key has a record at `offset`, which is greater than all before. False: there is no room for another key.
    pub(super) fn put(&mut self, key: KeyHash, offset: Offset) -> bool {
        let at = self.find(key);
        if self.words[at + 2] == 0 {
            if self.used == self.used_max {
                return false;
            }
            self.used += 1;
            self.words[at..at + 2].copy_from_slice(&key);
        }
        self.words[at + 2] = offset.0 + 1;
        true
    }

    /// The key's last record, as far as it was put here.
    pub(super) fn last(&self, key: KeyHash) -> Option<Offset> {
        let after = self.words[self.find(key) + 2];
        after.checked_sub(1).map(Offset)
    }

    /// The slot of the key, or the free one where it would be.
    fn find(&self, key: KeyHash) -> usize {
        let mut slot = ((u128::from(key[0]) * u128::from(self.slots)) >> 64) as usize;
        loop {
            let at = slot * WORDS;
            if self.words[at + 2] == 0 || self.words[at..at + 2] == key {
                return at;
            }
            slot = (slot + 1) % self.slots as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn it_knows_the_last_offset_of_every_key() {
        let mut map = OffsetMap::new(1 << 20, 10_000);
        let mut expected = HashMap::new();
        for offset in 0..10_000_u64 {
            let key = (offset * 7_919 % 1_500).to_string();
            assert!(map.put(map.hash(key.as_bytes()), Offset(offset)));
            expected.insert(key, Offset(offset));
        }
        for (key, offset) in expected {
            assert_eq!(map.last(map.hash(key.as_bytes())), Some(offset));
        }
        assert_eq!(map.last(map.hash(b"never put")), None);
    }

    #[test]
    fn it_has_room_for_as_many_keys_as_it_was_made_for() {
        for keys in 0..3_000_u64 {
            let mut map = OffsetMap::new(1 << 20, keys);
            let has_room = (0..keys).all(|n| map.put([n << 50, n], Offset(n)));
            assert!(has_room, "{keys} keys");
        }
    }

    #[test]
    fn it_takes_no_more_memory_than_it_was_given() {
        let mut map = OffsetMap::new(24_000, u64::MAX);
        assert_eq!(map.words.capacity() * 8, 24_000);
        let keys = (0..).map_while(|n: u64| {
            let hash = map.hash(&n.to_be_bytes());
            map.put(hash, Offset(n)).then_some(n)
        });
        let keys = keys.count() as u64;
        assert_eq!(keys, 750);
        let known = map.hash(&3_u64.to_be_bytes());
        assert!(map.put(known, Offset(9_999)), "known keys need no room");
        assert_eq!(map.last(known), Some(Offset(9_999)));
        assert_eq!(map.last(map.hash(&keys.to_be_bytes())), None);
    }
}
