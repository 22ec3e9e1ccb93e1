//! Writing XDR.

use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::types::FilePages;

/// From this size on, opaque data is shared with its owner instead of copied.
const SHARE_FROM: usize = 2048;

/// A message as a run of byte strings, to be written with one vectored write, and the data of one READ that
/// lies in a file.
#[derive(Clone, Debug, Default)]
pub struct Message {
    segments: Vec<Bytes>,
    /// They follow so many segments.
    pages: Option<(usize, FilePages)>,
}

/// A part of a message.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    Bytes(&'a [u8]),
    Pages(&'a FilePages),
}

impl Part<'_> {
    /// How many bytes it has.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no part is empty")]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Pages(pages) => pages.len(),
        }
    }
}

impl Message {
    /// The byte strings in order; none is empty. READ's data may be missing, see [`Self::parts`].
    #[must_use]
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// The parts in order; none is empty.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let (before, pages) =
            self.pages.as_ref().map_or((0, None), |(at, pages)| (*at, Some(pages)));
        let (head, tail) = self.segments.split_at(before);
        let bytes = |segment| Part::Bytes(segment);
        let head = head.iter().map(Bytes::as_ref).map(bytes);
        head.chain(pages.map(Part::Pages)).chain(tail.iter().map(Bytes::as_ref).map(bytes))
    }

    /// Bytes in all.
    #[must_use]
    pub fn len(&self) -> usize {
        let pages = self.pages.as_ref().map_or(0, |(_, pages)| pages.len());
        self.segments.iter().map(Bytes::len).sum::<usize>() + pages
    }

    /// Whether the message has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The message's parts behind `self`'s.
    #[must_use]
    pub fn chain(mut self, other: Self) -> Self {
        let before = self.segments.len();
        self.segments.extend(other.segments);
        self.pages = self.pages.or(other.pages.map(|(at, pages)| (before + at, pages)));
        self
    }
}

/// Writes XDR items behind each other.
#[derive(Debug, Default)]
pub struct Encoder {
    done: Vec<Bytes>,
    pages: Option<(usize, FilePages)>,
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
        self.end_segment(length);
        self.done.push(bytes);
        self.pad(length);
    }

    /// Variable-length opaque data that lies in a file. A message has such data once.
    pub fn file_opaque(&mut self, pages: FilePages) {
        let length = pages.len();
        self.length(length);
        self.end_segment(length);
        self.pages = Some((self.done.len(), pages));
        self.pad(length);
    }

    /// Ends a segment before data of so many bytes.
    fn end_segment(&mut self, length: usize) {
        let head = self.tail.split().freeze();
        self.done_bytes += head.len() + length;
        self.done.push(head);
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
        Message { segments: self.done, pages: self.pages }
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
    use crate::types::{Bounds, FairPermits};

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

    #[test]
    fn data_in_a_file_lies_between_the_bytes() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &[7; 4097]).unwrap();
        let permit = FairPermits::new(1, Bounds::CALLS).try_acquire(1).unwrap();
        let file = std::sync::Arc::new(file.into());
        let pages = FilePages::of(&file, 0, 4097, permit).unwrap();
        let mut encoder = Encoder::new();
        encoder.u32(1);
        encoder.file_opaque(pages);
        encoder.u32(2);
        assert_eq!(encoder.len(), 4 + 4 + 4100 + 4);
        let mut head = Encoder::new();
        head.u32(0);
        let message = head.finish().chain(encoder.finish());
        assert_eq!(message.len(), 4 + 4 + 4 + 4100 + 4);
        let parts: Vec<_> = message.parts().collect();
        let [first, second, Part::Pages(pages), Part::Bytes(tail)] = parts[..] else {
            panic!("{parts:?}");
        };
        assert_eq!((first.len(), second.len(), pages.len()), (4, 8, 4097));
        assert_eq!(*tail, [0, 0, 0, 0, 0, 0, 2]);
    }
}
