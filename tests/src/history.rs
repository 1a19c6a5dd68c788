//! What was acknowledged against what is read: the promise of a log.

use std::collections::{BTreeMap, HashMap};

/// A record's place.
pub type Place = (u32, u64);

/// Everything that producers were told.
#[derive(Debug, Default, Clone)]
pub struct Acknowledged {
    records: BTreeMap<Place, String>,
}

impl Acknowledged {
    /// Notes that `value` was acknowledged at this place.
    ///
    /// # Panics
    /// If another value was acknowledged there.
    pub fn note(&mut self, partition: u32, offset: u64, value: impl Into<String>) {
        let value = value.into();
        let before = self.records.insert((partition, offset), value.clone());
        assert!(
            before.as_ref().is_none_or(|before| *before == value),
            "two records were acknowledged at partition {partition}, offset {offset}: {before:?} and {value:?}"
        );
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// None yet?
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Checks that `read` has everything that was acknowledged, at its place, and that each partition's offsets have no gap.
    ///
    /// # Panics
    /// If the log broke its promise.
    pub fn check(&self, read: &Read) {
        read.check_offsets();
        for ((partition, offset), value) in &self.records {
            let found = read.records.get(&(*partition, *offset));
            assert_eq!(
                found,
                Some(value),
                "what was acknowledged at partition {partition}, offset {offset} is not there"
            );
        }
    }
}

/// Everything that a consumer was given.
#[derive(Debug, Default, Clone)]
pub struct Read {
    records: BTreeMap<Place, String>,
}

impl Read {
    /// Notes a record.
    ///
    /// # Panics
    /// If its place was read before.
    pub fn note(&mut self, partition: u32, offset: u64, value: impl Into<String>) {
        let before = self.records.insert((partition, offset), value.into());
        assert!(
            before.is_none(),
            "partition {partition}, offset {offset} was read twice"
        );
    }

    /// Notes a record of a reader that started at offset 0 of each partition and goes on without gap or repetition.
    ///
    /// # Panics
    /// If it skipped records or went back.
    pub fn note_next(&mut self, partition: u32, offset: u64, value: impl Into<String>) {
        let mut last = self.records.range((partition, 0)..=(partition, u64::MAX));
        let next = last.next_back().map_or(0, |((_, offset), _)| offset + 1);
        assert_eq!(
            offset, next,
            "the next record of partition {partition} has another offset than the one that follows"
        );
        self.note(partition, offset, value);
    }

    /// Forgets what was read from these offsets on, of each partition.
    pub fn cut(&mut self, ends: &[u64]) {
        let is_before = |(partition, offset): &Place| *offset < ends[*partition as usize];
        self.records.retain(|place, _| is_before(place));
    }

    /// All of them: partition by partition, in the order of offsets.
    pub fn records(&self) -> impl Iterator<Item = (Place, &str)> {
        self.records
            .iter()
            .map(|(place, value)| (*place, value.as_str()))
    }

    /// Checks that no value is there twice, where each was sent once.
    ///
    /// # Panics
    /// At one that is.
    pub fn check_once(&self) {
        let mut seen = HashMap::new();
        for (place, value) in self.records() {
            let before = seen.insert(value, place);
            assert_eq!(
                before, None,
                "{value:?} is stored twice, the second time at {place:?}"
            );
        }
    }

    /// Checks that another reader was given the same.
    ///
    /// # Panics
    /// At the first record that differs.
    pub fn check_same(&self, other: &Self) {
        let places = self.records.keys().chain(other.records.keys());
        let differs = places
            .filter(|place| self.records.get(place) != other.records.get(place))
            .min();
        assert_eq!(
            differs,
            None,
            "two readers were given different records at this place: {:?} and {:?}",
            differs.and_then(|place| self.records.get(place)),
            differs.and_then(|place| other.records.get(place))
        );
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// None yet?
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The values, whatever their place, counted.
    pub fn values(&self) -> HashMap<&str, usize> {
        let mut values = HashMap::new();
        for value in self.records.values() {
            *values.entry(value.as_str()).or_default() += 1;
        }
        values
    }

    /// Each partition's offsets follow each other without gaps.
    fn check_offsets(&self) {
        let mut next: HashMap<u32, u64> = HashMap::new();
        for (partition, offset) in self.records.keys() {
            let expected = next.entry(*partition).or_insert(*offset);
            assert_eq!(offset, expected, "a gap in partition {partition}");
            *expected += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(records: &[(u32, u64, &str)]) -> Read {
        let mut read = Read::default();
        for (partition, offset, value) in records {
            read.note(*partition, *offset, *value);
        }
        read
    }

    #[test]
    fn what_was_acknowledged_and_read_holds() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.note(0, 1, "b");
        acknowledged.check(&read(&[(0, 0, "a"), (0, 1, "b"), (1, 7, "c"), (1, 8, "d")]));
    }

    #[test]
    #[should_panic(expected = "is not there")]
    fn a_lost_record_is_found() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.note(0, 1, "b");
        acknowledged.check(&read(&[(0, 0, "a")]));
    }

    #[test]
    #[should_panic(expected = "a gap in partition 0")]
    fn a_gap_is_found() {
        Acknowledged::default().check(&read(&[(0, 0, "a"), (0, 2, "c")]));
    }

    #[test]
    #[should_panic(expected = "has another offset")]
    fn a_reader_that_goes_back_is_found() {
        let mut read = Read::default();
        read.note_next(0, 0, "a");
        read.note_next(1, 0, "a");
        read.note_next(0, 1, "b");
        read.note_next(0, 1, "b");
    }

    #[test]
    #[should_panic(expected = "two readers were given different records")]
    fn a_record_that_was_replaced_is_found() {
        read(&[(0, 0, "a"), (0, 1, "b")]).check_same(&read(&[(0, 0, "a"), (0, 1, "c")]));
    }

    #[test]
    #[should_panic(expected = "two records were acknowledged")]
    fn two_records_at_one_offset_are_found() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.note(0, 0, "a");
        acknowledged.note(0, 0, "b");
    }
}
