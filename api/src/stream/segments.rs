//! Several received slices, read as one.

use std::collections::VecDeque;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};

/// Received bytes in order. `copy_to_bytes` slices where it can: that is how prost reads a `bytes` field.
#[derive(Debug, Default)]
pub(super) struct Segments {
    slices: VecDeque<Bytes>,
    remaining: usize,
}

impl Segments {
    pub(super) fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.remaining += slice.len();
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
    fn bytes_within_a_slice_are_not_copied_and_bytes_across_are_joined() {
        let (first, second) = (Bytes::from(vec![1; 10]), Bytes::from(vec![2; 10]));
        let mut segments = Segments::default();
        segments.push(first.clone());
        segments.push(second.clone());
        assert_eq!(segments.copy_to_bytes(4).as_ptr(), first.as_ptr());
        assert_eq!(segments.copy_to_bytes(8)[..], [1, 1, 1, 1, 1, 1, 2, 2]);
        assert_eq!(segments.copy_to_bytes(8).as_ptr(), second[2..].as_ptr());
        assert_eq!(segments.remaining(), 0);
    }
}
