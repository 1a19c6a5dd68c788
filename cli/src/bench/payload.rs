//! What is sent: random bytes, drawn once, since drawing them for each record would be most of what is measured.

/// Records begin at this many different places of the random bytes.
const PLACES: usize = 4_096;
/// A record that is looked for carries its run and its number.
pub(super) const MARK_BYTES: usize = 16;

/// A source of values of one size.
#[derive(Debug, Clone)]
pub(super) struct Payload {
    random: Vec<u8>,
    size: usize,
    run: u64,
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
        }
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
}
