//! Written bytes of one chunk that are not stored yet, exact to the byte.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// Below this many bytes a piece is copied: a small piece must not hold the large buffer that it came in.
const COPIED: usize = 16 * 1024;
/// Up to this many bytes pieces that touch become one.
const JOINED: usize = 256 * 1024;
/// What a piece costs beside its bytes.
const OVERHEAD: usize = 96;

/// Pieces of a chunk by where they begin; they do not overlap.
#[derive(Clone, Debug, Default)]
pub(super) struct DirtyRanges {
    pieces: BTreeMap<u32, Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    /// As it came, and how many bytes the buffer has that it lies in.
    Shared(Bytes, usize),
    /// Copied; grows while what is written next begins where it ends.
    Own(BytesMut),
}

impl Piece {
    fn new(data: &Bytes) -> Self {
        if data.len() < COPIED {
            Self::Own(BytesMut::from(data.as_ref()))
        } else {
            Self::Shared(data.clone(), data.len())
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes, _) => bytes,
            Self::Own(bytes) => bytes,
        }
    }

    fn len(&self) -> u32 {
        self.bytes().len() as u32
    }

    /// This with only so many of its bytes left, which must not hold a buffer that is much larger.
    fn kept(self) -> Self {
        match self {
            Self::Shared(bytes, whole) if bytes.len() < whole / 2 => {
                Self::Own(BytesMut::from(bytes.as_ref()))
            }
            other => other,
        }
    }

    /// Gives up what lies before `at`.
    fn without_head(self, at: u32) -> Self {
        self.split(at).1
    }

    /// What lies before `at`, and the rest.
    fn split(self, at: u32) -> (Self, Self) {
        let at = at as usize;
        let (head, rest) = match self {
            Self::Shared(mut bytes, whole) => {
                let rest = bytes.split_off(at);
                (Self::Shared(bytes, whole), Self::Shared(rest, whole))
            }
            // Parts of one buffer would each hold all of it.
            Self::Own(bytes) => {
                let (head, rest) = bytes.split_at(at);
                (Self::Own(BytesMut::from(head)), Self::Own(BytesMut::from(rest)))
            }
        };
        (head.kept(), rest.kept())
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Shared(bytes, _) => bytes,
            Self::Own(bytes) => bytes.freeze(),
        }
    }
}

impl DirtyRanges {
    /// How much memory this takes, roughly.
    pub(super) fn memory(&self) -> usize {
        self.pieces.values().map(|piece| piece.bytes().len() + OVERHEAD).sum()
    }

    /// The most that a write of `length` bytes adds to [`DirtyRanges::memory`].
    pub(super) fn most(length: usize) -> usize {
        length + 2 * OVERHEAD
    }

    /// Where the last piece ends.
    pub(super) fn end(&self) -> u32 {
        self.pieces.last_key_value().map_or(0, |(at, piece)| at + piece.len())
    }

    /// Puts `data` at `at`, over what is there.
    pub(super) fn write(&mut self, at: u32, data: &Bytes) {
        if data.is_empty() {
            return;
        }
        self.clear(at..at + data.len() as u32);
        if data.len() < COPIED
            && let Some((before, Piece::Own(piece))) = self.pieces.range_mut(..at).next_back()
            && before + piece.len() as u32 == at
            && piece.len() + data.len() <= JOINED
        {
            piece.extend_from_slice(data);
            return;
        }
        self.pieces.insert(at, Piece::new(data));
    }

    /// Forgets what lies in `range`.
    fn clear(&mut self, range: Range<u32>) {
        if let Some((&at, piece)) = self.pieces.range(..range.start).next_back()
            && at + piece.len() > range.start
            && let Some(piece) = self.pieces.remove(&at)
        {
            let (head, rest) = piece.split(range.start - at);
            self.pieces.insert(at, head);
            let end = range.start + rest.len();
            if end > range.end {
                let rest = rest.without_head(range.end - range.start);
                self.pieces.insert(range.end, rest);
            }
        }
        while let Some((&at, _)) = self.pieces.range(range.clone()).next() {
            let Some(piece) = self.pieces.remove(&at) else { break };
            if at + piece.len() > range.end {
                self.pieces.insert(range.end, piece.without_head(range.end - at));
            }
        }
    }

    /// Forgets what lies from `end` on.
    pub(super) fn cut(&mut self, end: u32) {
        drop(self.pieces.split_off(&end));
        if let Some((&at, piece)) = self.pieces.last_key_value()
            && at + piece.len() > end
            && let Some(piece) = self.pieces.remove(&at)
        {
            self.pieces.insert(at, piece.split(end - at).0);
        }
    }

    /// Puts `newer` over this.
    pub(super) fn absorb(&mut self, newer: Self) {
        for (at, piece) in newer.pieces {
            self.clear(at..at + piece.len());
            self.pieces.insert(at, piece);
        }
    }

    /// Makes every piece one that can be shared.
    pub(super) fn freeze(&mut self) {
        let pieces = std::mem::take(&mut self.pieces);
        let frozen = |(at, piece): (u32, Piece)| {
            let whole = match &piece {
                Piece::Shared(_, whole) => *whole,
                Piece::Own(bytes) => bytes.len(),
            };
            (at, Piece::Shared(piece.into_bytes(), whole))
        };
        self.pieces = pieces.into_iter().map(frozen).collect();
    }

    /// The pieces, from the first; those that are not frozen are copied.
    fn frozen(&self) -> impl Iterator<Item = (u32, Bytes)> {
        self.pieces.iter().map(|(&at, piece)| match piece {
            Piece::Shared(bytes, _) => (at, bytes.clone()),
            Piece::Own(bytes) => (at, Bytes::copy_from_slice(bytes)),
        })
    }

    /// The parts of `range` that are here, each with where it begins.
    pub(super) fn within(&self, range: &Range<u32>) -> Vec<(u32, Bytes)> {
        let first =
            self.pieces.range(..=range.start).next_back().map_or(range.start, |(at, _)| *at);
        let mut found = Vec::new();
        for (&at, piece) in self.pieces.range(first..range.end) {
            let (start, end) = (at.max(range.start), (at + piece.len()).min(range.end));
            if start < end {
                let part = (start - at) as usize..(end - at) as usize;
                let bytes = match piece {
                    Piece::Shared(bytes, _) => bytes.slice(part),
                    Piece::Own(bytes) => Bytes::copy_from_slice(&bytes[part]),
                };
                found.push((start, bytes));
            }
        }
        found
    }

    /// Whether all of `range` is here.
    pub(super) fn covers(&self, range: &Range<u32>) -> bool {
        let mut reached = range.start;
        let first = self.pieces.range(..=reached).next_back().map_or(reached, |(at, _)| *at);
        for (&at, piece) in self.pieces.range(first..range.end) {
            if at > reached {
                return false;
            }
            reached = reached.max(at + piece.len());
        }
        reached >= range.end
    }

    /// This laid over `base`, as segments without gaps: what neither has is zeros.
    pub(super) fn over(&self, base: &Bytes) -> Vec<Bytes> {
        let mut segments = Vec::new();
        let mut reached = 0;
        for (at, bytes) in self.frozen() {
            fill(&mut segments, base, reached..at);
            reached = at + bytes.len() as u32;
            segments.push(bytes);
        }
        fill(&mut segments, base, reached..reached.max(base.len() as u32));
        segments
    }
}

/// Adds `range` of `base`, and zeros beyond its end.
fn fill(segments: &mut Vec<Bytes>, base: &Bytes, range: Range<u32>) {
    let (start, end) = (range.start as usize, range.end as usize);
    let stored = base.len().clamp(start, end);
    if start < stored {
        segments.push(base.slice(start..stored));
    }
    if stored < end {
        segments.push(vec![0; end - stored].into());
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    const SIZE: usize = 60_000;

    fn flat(ranges: &DirtyRanges) -> Vec<Option<u8>> {
        let mut bytes = vec![None; SIZE];
        for (at, piece) in ranges.frozen() {
            for (place, byte) in bytes[at as usize..].iter_mut().zip(&piece) {
                assert_eq!(*place, None, "pieces overlap");
                *place = Some(*byte);
            }
        }
        bytes
    }

    #[test]
    fn random_writes_match_a_vector() {
        let mut random = StdRng::seed_from_u64(7);
        let (mut ranges, mut model) = (DirtyRanges::default(), vec![None; SIZE]);
        for step in 0..3_000 {
            let length = random.random_range(1..if step % 5 == 0 { 20_000 } else { 900_usize });
            let at = random.random_range(0..SIZE - length);
            match random.random_range(0..40) {
                0 => {
                    ranges.cut(at as u32);
                    model[at..].fill(None);
                }
                1 => ranges.freeze(),
                2 => {
                    let mut newer = DirtyRanges::default();
                    let data = Bytes::from(vec![step as u8; length]);
                    newer.write(at as u32, &data);
                    ranges.absorb(newer);
                    model[at..at + length].fill(Some(step as u8));
                }
                _ => {
                    ranges.write(at as u32, &Bytes::from(vec![step as u8; length]));
                    model[at..at + length].fill(Some(step as u8));
                }
            }
            let range = at as u32..(at + length) as u32;
            assert_eq!(ranges.covers(&range), model[at..at + length].iter().all(Option::is_some));
            for (start, bytes) in ranges.within(&range) {
                let found = model[start as usize..start as usize + bytes.len()].iter();
                assert!(found.copied().eq(bytes.iter().map(|byte| Some(*byte))));
            }
            if step % 50 == 0 {
                assert_eq!(flat(&ranges), model);
            }
        }
        let base = Bytes::from(vec![0xbb; 30_000]);
        let laid = ranges.over(&base).concat();
        for (at, byte) in laid.iter().enumerate() {
            let below = if at < base.len() { 0xbb } else { 0 };
            assert_eq!(*byte, model[at].unwrap_or(below));
        }
        assert_eq!(laid.len(), base.len().max(ranges.end() as usize));
    }

    /// What is left of a large write keeps no more than twice its bytes in memory.
    #[test]
    fn what_was_written_over_is_given_back() {
        let mut ranges = DirtyRanges::default();
        let mut buffers = Vec::new();
        for at in 0..64 {
            let data = Bytes::from(vec![at as u8; 256 << 10]);
            ranges.write(at * (16 << 10), &data);
            buffers.push(data);
        }
        ranges.cut(1 << 20);
        // A buffer with one owner can be taken back.
        let held: usize = buffers
            .into_iter()
            .filter_map(|buffer| buffer.try_into_mut().err())
            .map(|buffer| buffer.len())
            .sum();
        assert!(held <= 2 * ranges.memory(), "{held} bytes held for {}", ranges.memory());
    }

    #[test]
    fn small_writes_that_touch_become_one_piece() {
        let mut ranges = DirtyRanges::default();
        for at in 0..1_000 {
            ranges.write(at * 10, &Bytes::from_static(b"0123456789"));
        }
        assert_eq!(ranges.pieces.len(), 1);
        assert!(ranges.covers(&(0..10_000)));
        assert_eq!(ranges.memory(), 10_000 + OVERHEAD);
    }
}
