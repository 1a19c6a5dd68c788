//! Several received slices, read as one.

use std::collections::VecDeque;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};

/// Neighbours below this are joined.
const JOIN_BYTES_MAX: usize = 1 << 10;

/// Received bytes in order. `copy_to_bytes` slices where it can: that is how prost reads a `bytes` field.
#[derive(Debug, Default)]
pub(super) struct Segments {
    slices: VecDeque<Bytes>,
    remaining: usize,
}

impl Segments {
    pub(super) fn push(&mut self, slice: Bytes) {
        if slice.is_empty() {
            return;
        }
        self.remaining += slice.len();
        // A message in frames of single bytes must not take a slice for each of them.
        if slice.len() < JOIN_BYTES_MAX
            && let Some(last) = self.slices.pop_back_if(|last| last.len() < JOIN_BYTES_MAX)
        {
            let mut joined = BytesMut::from(last);
            joined.extend_from_slice(&slice);
            self.slices.push_back(joined.freeze());
        } else {
            self.slices.push_back(slice);
        }
    }
}

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.slices.front().map_or(&[], |s| &s[..])
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "advanced past the end");
        self.remaining -= count;
        while count > 0 {
            let Some(front) = self.slices.front_mut() else {
                return;
            };
            let step = count.min(front.len());
            front.advance(step);
            if front.is_empty() {
                self.slices.pop_front();
            }
            count -= step;
        }
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        assert!(len <= self.remaining, "read past the end");
        if let Some(front) = self.slices.front_mut()
            && front.len() >= len
        {
            let slice = front.split_to(len);
            if front.is_empty() {
                self.slices.pop_front();
            }
            self.remaining -= len;
            return slice;
        }
        let mut joined = BytesMut::with_capacity(len);
        joined.put(self.take(len));
        joined.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_slices_are_joined_and_large_ones_are_left_alone() {
        let mut segments = Segments::default();
        for i in 0..10_000 {
            segments.push(Bytes::from(vec![i as u8]));
        }
        assert!(segments.slices.len() <= 10, "{}", segments.slices.len());
        let all = segments.copy_to_bytes(10_000);
        assert!(all.iter().enumerate().all(|(i, byte)| *byte == i as u8));
        let (small, large) = (Bytes::from(vec![1; 10]), Bytes::from(vec![2; 100_000]));
        segments.push(small);
        segments.push(large.clone());
        segments.advance(10);
        assert_eq!(segments.chunk().as_ptr(), large.as_ptr());
    }

    #[test]
    fn bytes_within_a_slice_are_not_copied_and_bytes_across_are_joined() {
        let (first, second) = (Bytes::from(vec![1; 2_000]), Bytes::from(vec![2; 2_000]));
        let mut segments = Segments::default();
        segments.push(first.clone());
        segments.push(second.clone());
        assert_eq!(segments.copy_to_bytes(1_994).as_ptr(), first.as_ptr());
        assert_eq!(segments.copy_to_bytes(8)[..], [1, 1, 1, 1, 1, 1, 2, 2]);
        assert_eq!(segments.copy_to_bytes(1_998).as_ptr(), second[2..].as_ptr());
        assert_eq!(segments.remaining(), 0);
    }
}
