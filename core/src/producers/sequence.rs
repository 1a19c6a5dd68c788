//! Sequence numbers: one for each record of a producer in a partition, from 0 to `i32::MAX` and then from 0 again, as Kafka's.

/// The number after those of `records` records from `base` on. `base` is not negative.
pub const fn sequence_after(base: i32, records: u32) -> i32 {
    const ROUND: u64 = 1 << 31;
    ((base as u64 + records as u64) % ROUND) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_follows_the_greatest_number() {
        assert_eq!(sequence_after(5, 3), 8);
        assert_eq!(sequence_after(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 10), 8);
    }
}
