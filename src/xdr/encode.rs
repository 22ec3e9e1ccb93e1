//! Writing XDR.

use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};

/// From this size on, opaque data is shared with its owner instead of copied.
const SHARE_FROM: usize = 2048;

/// A message as a run of byte strings, to be written with one vectored write.
#[derive(Clone, Debug, Default)]
pub struct Message {
    segments: Vec<Bytes>,
}

impl Message {
    /// The parts in order; none is empty.
    #[must_use]
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// Bytes in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }

    /// Whether the message has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The message's parts behind `self`'s.
    #[must_use]
    pub fn chain(mut self, other: Self) -> Self {
        self.segments.extend(other.segments);
        self
    }
}

/// Writes XDR items behind each other.
#[derive(Debug, Default)]
pub struct Encoder {
    done: Vec<Bytes>,
    tail: BytesMut,
    done_bytes: usize,
}

impl Encoder {
    /// An empty message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for further bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.tail.reserve(bytes);
    }

    /// Unsigned integer (RFC 4506 section 4.2).
    pub fn u32(&mut self, value: u32) {
        self.tail.put_u32(value);
    }

    /// Unsigned hyper integer (section 4.5).
    pub fn u64(&mut self, value: u64) {
        self.tail.put_u64(value);
    }

    /// Boolean (section 4.4).
    pub fn boolean(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// Fixed-length opaque data (section 4.9).
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
        self.pad(bytes.len());
    }

    /// Variable-length opaque data or a string (sections 4.10 and 4.11), copied.
    pub fn opaque(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.fixed(bytes);
    }

    /// Variable-length opaque data, shared where it is large.
    pub fn shared_opaque(&mut self, bytes: Bytes) {
        let length = bytes.len();
        if length < SHARE_FROM {
            self.opaque(&bytes);
            return;
        }
        self.length(length);
        let head = self.tail.split().freeze();
        self.done_bytes += head.len() + length;
        self.done.push(head);
        self.done.push(bytes);
        self.pad(length);
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.done_bytes + self.tail.len()
    }

    /// Whether nothing was written so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The message.
    #[must_use]
    pub fn finish(mut self) -> Message {
        if !self.tail.is_empty() {
            self.done.push(self.tail.freeze());
        }
        Message { segments: self.done }
    }

    fn length(&mut self, length: usize) {
        // No message of this server is near 4 GiB: every reply is bounded by rtmax.
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn pad(&mut self, length: usize) {
        self.tail.put_bytes(0, length.next_multiple_of(4) - length);
    }
}

/// For the codec of fixed-size types that nfsserve brings.
impl io::Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tail.put_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_data_is_shared() {
        let data = Bytes::from(vec![7; SHARE_FROM + 1]);
        let mut encoder = Encoder::new();
        encoder.u32(1);
        encoder.shared_opaque(data.clone());
        encoder.u32(2);
        assert_eq!(encoder.len(), 4 + 4 + SHARE_FROM + 4 + 4);
        let message = encoder.finish();
        assert_eq!(message.len(), 4 + 4 + SHARE_FROM + 4 + 4);
        assert_eq!(message.segments()[1].as_ptr(), data.as_ptr());
    }
}
