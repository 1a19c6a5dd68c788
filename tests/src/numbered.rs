//! Records that are numbered within their key: what is lost, invented, doubled or out of order shows.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::Read;

/// What was sent of each key.
#[derive(Debug, Default, Clone)]
pub struct Numbered {
    sent: BTreeMap<String, u64>,
}

impl Numbered {
    /// The next value of a key.
    pub fn next(&mut self, key: &str) -> String {
        let number = self.sent.entry(key.to_owned()).or_default();
        let value = format!("{key} {number}");
        *number += 1;
        value
    }

    /// Checks that all that was read was sent, that each key stays in its partition, and that its records come in the order in which they were sent, those that a retry
    /// repeats aside. Gives the number of those.
    ///
    /// # Panics
    /// If the log broke its promise.
    pub fn check(&self, read: &Read) -> usize {
        let mut next: BTreeMap<&str, u64> = BTreeMap::new();
        let mut home: BTreeMap<&str, u32> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut repeated = 0;
        for ((partition, offset), value) in read.records() {
            let place = format!("partition {partition}, offset {offset}");
            let (key, number) = self.parse(value, &place);
            let at_home = *home.entry(key).or_insert(partition);
            assert_eq!(partition, at_home, "{value:?} is in another partition");
            if !seen.insert((key, number)) {
                repeated += 1;
                continue;
            }
            // Records that were given up leave gaps.
            let next = next.entry(key).or_default();
            assert!(number >= *next, "{value:?} at {place} comes late");
            *next = number + 1;
        }
        repeated
    }

    /// The value's key and number.
    fn parse<'a>(&self, value: &'a str, place: &str) -> (&'a str, u64) {
        let parts = value.rsplit_once(' ');
        let parsed = parts.and_then(|(key, number)| Some((key, number.parse().ok()?)));
        let sent = parsed.filter(|(key, number)| {
            let sent = self.sent.get(*key);
            sent.is_some_and(|sent| number < sent)
        });
        sent.unwrap_or_else(|| panic!("{value:?} at {place} was never sent"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Numbered {
        let mut sent = Numbered::default();
        for key in ["a", "a", "a", "b"] {
            sent.next(key);
        }
        sent
    }

    fn read(values: &[(u32, &str)]) -> Read {
        let mut read = Read::default();
        for (offset, (partition, value)) in values.iter().enumerate() {
            read.note(*partition, offset as u64, *value);
        }
        read
    }

    #[test]
    fn repetitions_of_retries_are_counted() {
        let read = read(&[
            (0, "a 0"),
            (0, "a 1"),
            (1, "b 0"),
            (0, "a 0"),
            (0, "a 1"),
            (0, "a 2"),
        ]);
        assert_eq!(sent().check(&read), 2);
    }

    #[test]
    #[should_panic(expected = "comes late")]
    fn a_record_that_was_overtaken_is_found() {
        sent().check(&read(&[(0, "a 0"), (0, "a 2"), (0, "a 1")]));
    }

    #[test]
    #[should_panic(expected = "was never sent")]
    fn an_invented_record_is_found() {
        sent().check(&read(&[(0, "b 0"), (0, "b 1")]));
    }

    #[test]
    #[should_panic(expected = "is in another partition")]
    fn a_key_that_moved_is_found() {
        sent().check(&read(&[(0, "a 0"), (1, "a 1")]));
    }
}
