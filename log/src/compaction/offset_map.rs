//! Key -> last offset, in bounded memory: hashes instead of keys, and no allocation for each.

use std::{
    hash::{BuildHasher as _, RandomState},
    hint::black_box,
};

use taffrail_core::Offset;

/// Two halves of a hash, and the offset after that of the last record.
const WORDS: usize = 3;
const SLOT_BYTES: usize = 8 * WORDS;
const SLOTS_MIN: u64 = 16;
/// With how many a map begins that may have more.
const SLOTS_FIRST: u64 = 16 << 10;
/// When it is full it becomes so many times as large: meanwhile it takes a quarter more memory.
const GROWTH: u64 = 4;

/// A key's 128 bits: two keyed hashes of 64 bits. Nobody who does not know the random keys can find two keys of one hash, and by chance there are none: a
/// billion of them come to 2^-69.
pub(super) type KeyHash = [u64; 2];

/// Three quarters of the slots, and for half as many keys again as slots were asked for, all of them.
const fn used_max(slots: u64) -> u64 {
    slots - slots.div_ceil(4)
}

/// Open addressing. Grows with its keys: what is looked up a million times stays in a processor's cache for longer.
///
/// Invariant: `used <= used_max`, which is three quarters of the slots.
#[derive(Debug)]
pub(super) struct OffsetMap {
    words: Vec<u64>,
    slots: u64,
    slots_max: u64,
    used: u64,
    used_max: u64,
    keys: [RandomState; 2],
}

impl OffsetMap {
    /// Of at most `bytes` bytes, and no more than so many keys need.
    pub(super) fn new(bytes: usize, keys: u64) -> Self {
        let wanted = keys.saturating_add(keys / 2);
        let mut map = Self {
            words: Vec::new(),
            slots: 0,
            slots_max: wanted.min((bytes / SLOT_BYTES) as u64).max(SLOTS_MIN),
            used: 0,
            used_max: 0,
            keys: [RandomState::new(), RandomState::new()],
        };
        map.clear(SLOTS_FIRST.min(map.slots_max));
        map
    }

    /// Holds these and nothing else, whatever room they need: one batch's, of which there are no more than its records.
    pub(super) fn hold(&mut self, keys: &[(KeyHash, Offset)]) {
        let count = keys.len() as u64;
        self.slots_max = (count + count / 2).max(SLOTS_MIN);
        self.clear(self.slots_max);
        for (key, offset) in keys {
            let has_room = self.put(*key, *offset);
            debug_assert!(has_room, "there are as many slots as it takes");
        }
    }

    fn clear(&mut self, slots: u64) {
        self.words = vec![0; slots as usize * WORDS];
        self.slots = slots;
        self.used = 0;
        self.used_max = used_max(slots);
    }

    /// More slots, with the same keys. False: it has as many as it may have.
    fn grow(&mut self) -> bool {
        if self.slots == self.slots_max {
            return false;
        }
        let (old, used) = (std::mem::take(&mut self.words), self.used);
        self.clear((self.slots * GROWTH).min(self.slots_max));
        for slot in old.chunks_exact(WORDS).filter(|slot| slot[2] != 0) {
            let at = self.find([slot[0], slot[1]]);
            self.words[at..at + WORDS].copy_from_slice(slot);
        }
        self.used = used;
        true
    }

    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        [self.keys[0].hash_one(key), self.keys[1].hash_one(key)]
    }

    /// The key has a record at `offset`, which is greater than all before. False: there is no room for another key.
    pub(super) fn put(&mut self, key: KeyHash, offset: Offset) -> bool {
        let mut at = self.find(key);
        if self.words[at + 2] == 0 {
            if self.used == self.used_max {
                if !self.grow() {
                    return false;
                }
                at = self.find(key);
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

    /// Brings what will be looked up into the processor's cache. It waits for many places in memory at once, but for one after the other where what it does next
    /// depends on what it finds.
    pub(super) fn fetch(&self, keys: impl Iterator<Item = KeyHash>) {
        let words = keys.map(|key| self.words[self.home(key) * WORDS]);
        black_box(words.fold(0, |all, word| all ^ word));
    }

    /// Where the key is looked for first.
    fn home(&self, key: KeyHash) -> usize {
        ((u128::from(key[0]) * u128::from(self.slots)) >> 64) as usize
    }

    /// The slot of the key, or the free one where it would be.
    fn find(&self, key: KeyHash) -> usize {
        let mut slot = self.home(key);
        loop {
            let at = slot * WORDS;
            if self.words[at + 2] == 0 || self.words[at..at + 2] == key {
                return at;
            }
            slot += 1;
            if slot == self.slots as usize {
                slot = 0;
            }
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
    fn it_grows_up_to_the_memory_that_it_was_given_and_keeps_what_it_knows() {
        let bytes = 10 * SLOTS_FIRST as usize * SLOT_BYTES;
        let mut map = OffsetMap::new(bytes, u64::MAX);
        let hash = |n: u64| [n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n];
        let mut sizes = vec![map.slots];
        let fitted = (0..).take_while(|n| {
            let fits = map.put(hash(*n), Offset(*n));
            if sizes.last() != Some(&map.slots) {
                sizes.push(map.slots);
            }
            fits
        });
        let fitted = fitted.count() as u64;
        let max = 10 * SLOTS_FIRST;
        assert_eq!(sizes, [SLOTS_FIRST, 4 * SLOTS_FIRST, max]);
        assert_eq!(fitted, used_max(max));
        assert_eq!(map.words.len() * 8, bytes);
        assert!((0..fitted).all(|n| map.last(hash(n)) == Some(Offset(n))));
    }

    #[test]
    fn it_takes_no_more_memory_than_it_was_given() {
        let mut map = OffsetMap::new(24_000, u64::MAX);
        let keys = (0..).map_while(|n: u64| {
            let hash = map.hash(&n.to_be_bytes());
            map.put(hash, Offset(n)).then_some(n)
        });
        let keys = keys.count() as u64;
        assert_eq!(keys, 750);
        assert_eq!(map.words.capacity() * 8, 24_000);
        let known = map.hash(&3_u64.to_be_bytes());
        assert!(map.put(known, Offset(9_999)), "known keys need no room");
        assert_eq!(map.last(known), Some(Offset(9_999)));
        assert_eq!(map.last(map.hash(&keys.to_be_bytes())), None);
    }
}
