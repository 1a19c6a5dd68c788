//! What is sent: random bytes, drawn once, since drawing them for each record would be most of what is measured; with keys if asked for.

/// Records begin at this many different places of the random bytes.
const PLACES: usize = 4_096;
/// A record that is looked for carries its run and its number.
pub(super) const MARK_BYTES: usize = 16;

/// A record's key.
pub(super) type Key = [u8; 8];

/// A source of values of one size.
#[derive(Debug, Clone)]
pub(super) struct Payload {
    random: Vec<u8>,
    size: usize,
    run: u64,
    keys: Option<u64>,
}

impl Payload {
    /// Values of `size` bytes.
    pub(super) fn new(size: u32) -> Self {
        let size = size as usize;
        let mut random = vec![0; size + PLACES];
        rand::fill(&mut random[..]);
        Self {
            random,
            size,
            run: rand::random(),
            keys: None,
        }
    }

    /// With one of so many keys for each record.
    #[must_use]
    pub(super) fn keys(mut self, keys: Option<u64>) -> Self {
        self.keys = keys;
        self
    }

    /// One of the keys, if there are any.
    pub(super) fn key(&self) -> Option<Key> {
        let keys = self.keys?;
        Some(rand::random_range(0..keys).to_be_bytes())
    }

    /// The value of record `index`.
    pub(super) fn value(&self, index: u64) -> &[u8] {
        let place = (index as usize).wrapping_mul(31) % PLACES;
        &self.random[place..place + self.size]
    }

    /// The value of record `index`, with a mark that tells which one it is.
    pub(super) fn marked(&self, index: u64) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.size);
        value.extend_from_slice(&self.run.to_be_bytes());
        value.extend_from_slice(&index.to_be_bytes());
        value.extend_from_slice(&self.random[MARK_BYTES..self.size]);
        value
    }

    /// Which record of this run it is, if it is one.
    pub(super) fn index_of(&self, value: &[u8]) -> Option<u64> {
        let (run, rest) = value.split_first_chunk::<8>()?;
        let index = rest.first_chunk::<8>()?;
        (u64::from_be_bytes(*run) == self.run).then(|| u64::from_be_bytes(*index))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn values_have_their_size_and_marks_are_found_again() {
        let payload = Payload::new(100);
        assert_eq!(payload.value(u64::MAX).len(), 100);
        let marked = payload.marked(7);
        assert_eq!(marked.len(), 100);
        assert_eq!(payload.index_of(&marked), Some(7));
        assert_eq!(Payload::new(100).index_of(&marked), None, "another run");
        assert_eq!(payload.index_of(b"short"), None);
    }

    #[test]
    fn there_are_as_many_keys_as_asked_for() {
        let payload = Payload::new(100).keys(Some(3));
        let drawn: BTreeSet<Key> = (0..1_000).filter_map(|_| payload.key()).collect();
        assert_eq!(drawn.len(), 3);
        assert_eq!(Payload::new(100).key(), None);
    }
}
