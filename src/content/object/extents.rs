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
pub(super) struct Extents {
    pieces: BTreeMap<u32, Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    /// As it came.
    Shared(Bytes),
    /// Copied; grows while what is written next begins where it ends.
    Own(BytesMut),
}

impl Piece {
    fn new(data: &Bytes) -> Self {
        if data.len() < COPIED {
            Self::Own(BytesMut::from(data.as_ref()))
        } else {
            Self::Shared(data.clone())
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }

    fn len(&self) -> u32 {
        self.bytes().len() as u32
    }

    /// Gives up what lies before `at`.
    fn drop_head(&mut self, at: u32) {
        match self {
            Self::Shared(bytes) => drop(bytes.split_to(at as usize)),
            Self::Own(bytes) => drop(bytes.split_to(at as usize)),
        }
    }

    /// Gives up what lies from `at` on.
    fn drop_tail(&mut self, at: u32) {
        match self {
            Self::Shared(bytes) => bytes.truncate(at as usize),
            Self::Own(bytes) => bytes.truncate(at as usize),
        }
    }

    /// Keeps what lies before `at` and returns the rest.
    fn split_off(&mut self, at: u32) -> Self {
        match self {
            Self::Shared(bytes) => Self::Shared(bytes.split_off(at as usize)),
            Self::Own(bytes) => Self::Own(bytes.split_off(at as usize)),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes.freeze(),
        }
    }
}

impl Extents {
    /// How much memory this takes, roughly.
    pub(super) fn memory(&self) -> usize {
        self.pieces.values().map(|piece| piece.bytes().len() + OVERHEAD).sum()
    }

    /// The most that a write of `length` bytes adds to [`Extents::memory`].
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
        if let Some((&at, piece)) = self.pieces.range_mut(..range.start).next_back()
            && at + piece.len() > range.start
        {
            let mut rest = piece.split_off(range.start - at);
            let end = range.start + rest.len();
            if end > range.end {
                rest.drop_head(range.end - range.start);
                self.pieces.insert(range.end, rest);
            }
        }
        while let Some((&at, _)) = self.pieces.range(range.clone()).next() {
            let Some(mut piece) = self.pieces.remove(&at) else { break };
            if at + piece.len() > range.end {
                piece.drop_head(range.end - at);
                self.pieces.insert(range.end, piece);
            }
        }
    }

    /// Forgets what lies from `end` on.
    pub(super) fn cut(&mut self, end: u32) {
        drop(self.pieces.split_off(&end));
        if let Some((&at, piece)) = self.pieces.iter_mut().next_back()
            && at + piece.len() > end
        {
            piece.drop_tail(end - at);
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
        let frozen = |(at, piece): (u32, Piece)| (at, Piece::Shared(piece.into_bytes()));
        self.pieces = pieces.into_iter().map(frozen).collect();
    }

    /// The pieces, from the first; those that are not frozen are copied.
    fn frozen(&self) -> impl Iterator<Item = (u32, Bytes)> {
        self.pieces.iter().map(|(&at, piece)| match piece {
            Piece::Shared(bytes) => (at, bytes.clone()),
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
                    Piece::Shared(bytes) => bytes.slice(part),
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

    fn flat(extents: &Extents) -> Vec<Option<u8>> {
        let mut bytes = vec![None; SIZE];
        for (at, piece) in extents.frozen() {
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
        let (mut extents, mut model) = (Extents::default(), vec![None; SIZE]);
        for step in 0..3_000 {
            let length = random.random_range(1..if step % 5 == 0 { 20_000 } else { 900_usize });
            let at = random.random_range(0..SIZE - length);
            match random.random_range(0..40) {
                0 => {
                    extents.cut(at as u32);
                    model[at..].fill(None);
                }
                1 => extents.freeze(),
                2 => {
                    let mut newer = Extents::default();
                    let data = Bytes::from(vec![step as u8; length]);
                    newer.write(at as u32, &data);
                    extents.absorb(newer);
                    model[at..at + length].fill(Some(step as u8));
                }
                _ => {
                    extents.write(at as u32, &Bytes::from(vec![step as u8; length]));
                    model[at..at + length].fill(Some(step as u8));
                }
            }
            let range = at as u32..(at + length) as u32;
            assert_eq!(extents.covers(&range), model[at..at + length].iter().all(Option::is_some));
            for (start, bytes) in extents.within(&range) {
                let found = model[start as usize..start as usize + bytes.len()].iter();
                assert!(found.copied().eq(bytes.iter().map(|byte| Some(*byte))));
            }
            if step % 50 == 0 {
                assert_eq!(flat(&extents), model);
            }
        }
        let base = Bytes::from(vec![0xbb; 30_000]);
        let laid = extents.over(&base).concat();
        for (at, byte) in laid.iter().enumerate() {
            let below = if at < base.len() { 0xbb } else { 0 };
            assert_eq!(*byte, model[at].unwrap_or(below));
        }
        assert_eq!(laid.len(), base.len().max(extents.end() as usize));
    }

    #[test]
    fn small_writes_that_touch_become_one_piece() {
        let mut extents = Extents::default();
        for at in 0..1_000 {
            extents.write(at * 10, &Bytes::from_static(b"0123456789"));
        }
        assert_eq!(extents.pieces.len(), 1);
        assert!(extents.covers(&(0..10_000)));
        assert_eq!(extents.memory(), 10_000 + OVERHEAD);
    }
}
