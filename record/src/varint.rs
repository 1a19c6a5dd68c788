//! Zigzag varints, as protobuf's sint32 and sint64: what records are made of.

/// Longest encoding of a 32-bit value.
pub(crate) const VARINT_BYTES_MAX: usize = 5;
/// Longest encoding of a 64-bit value.
pub(crate) const VARLONG_BYTES_MAX: usize = 10;

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Bytes that [`write`] needs for `value`.
pub(crate) const fn len(value: i64) -> usize {
    // Seven bits a byte; zero takes one.
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes `value` at `at` and says where it ends. `out` must have room.
pub(crate) fn write(out: &mut [u8], at: usize, value: i64) -> usize {
    let mut rest = zigzag(value);
    let mut at = at;
    while rest >= 0x80 {
        out[at] = rest as u8 | 0x80;
        rest >>= 7;
        at += 1;
    }
    out[at] = rest as u8;
    at + 1
}

/// Reads a 32-bit value and moves `bytes` past it. `None`: cut short or too long.
#[inline]
pub(crate) fn read_i32(bytes: &mut &[u8]) -> Option<i32> {
    let value = read_unsigned(bytes, VARINT_BYTES_MAX)?;
    u32::try_from(value).ok()?;
    Some(unzigzag(value) as i32)
}

/// Reads a 64-bit value and moves `bytes` past it. `None`: cut short or too long.
#[inline]
pub(crate) fn read_i64(bytes: &mut &[u8]) -> Option<i64> {
    read_unsigned(bytes, VARLONG_BYTES_MAX).map(unzigzag)
}

#[inline]
fn read_unsigned(bytes: &mut &[u8], bytes_max: usize) -> Option<u64> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        *bytes = rest;
        return Some(u64::from(first));
    }
    // What most lengths take.
    if let Some((&second, rest)) = rest.split_first()
        && second < 0x80
    {
        *bytes = rest;
        return Some(u64::from(first & 0x7f) | u64::from(second) << 7);
    }
    let mut value = u64::from(first & 0x7f);
    for (i, &byte) in rest.iter().take(bytes_max - 1).enumerate() {
        let shift = 7 * (i + 1);
        // The tenth byte of a 64-bit value has one bit left.
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            *bytes = &rest[i + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: i64) -> Vec<u8> {
        let mut out = [0; VARLONG_BYTES_MAX];
        let end = write(&mut out, 0, value);
        out[..end].to_vec()
    }

    #[test]
    fn small_values_take_the_bytes_that_protobuf_gives_them() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (300, &[0xd8, 0x04]),
        ] {
            assert_eq!(written(value), bytes, "{value}");
        }
    }

    #[test]
    fn a_value_cut_short_is_refused() {
        assert_eq!(read_i64(&mut &[0x80, 0x80][..]), None);
        assert_eq!(read_i32(&mut &[][..]), None);
    }

    #[test]
    fn a_value_that_needs_more_bits_than_there_are_is_refused() {
        assert_eq!(read_i32(&mut &[0xff; 6][..]), None);
        assert_eq!(read_i32(&mut &[0xff, 0xff, 0xff, 0xff, 0x7f][..]), None);
        let too_long = [[0xff; 9].as_slice(), &[0x02]].concat();
        assert_eq!(read_i64(&mut &too_long[..]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_has_the_length_foretold(value: i64) {
            let bytes = written(value);
            prop_assert_eq!(bytes.len(), len(value));
            let mut rest = &bytes[..];
            prop_assert_eq!(read_i64(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn values_of_32_bits_come_back_as_such(value: i32) {
            prop_assert_eq!(read_i32(&mut &written(i64::from(value))[..]), Some(value));
        }
    }
}
