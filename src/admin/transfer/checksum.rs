//! Checksums of contents: of all bytes, or of the data between holes. `backup` documents their form.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::admin::dump::hex;

/// Zeros throughout so many bytes become a hole of a file, and count in no [`Coverage::Data`].
pub(super) const HOLE: usize = 64 << 10;
/// From this size on holes are looked for, and the data alone is summed up.
pub(in crate::admin) const LARGE: u64 = 64 << 20;
/// A block of data.
const GRID: usize = HOLE;
const ZEROS: &[u8; GRID] = &[0; GRID];

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) struct Sum(pub(in crate::admin) [u8; 32]);

impl Serialize for Sum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom(format!("{text:?} is not a SHA-256 checksum"));
        let mut sum = [0; 32];
        if text.len() != 2 * sum.len() || !text.is_ascii() {
            return Err(wrong());
        }
        for (at, byte) in sum.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(sum))
    }
}

/// Which bytes a checksum covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Coverage {
    /// All of them, zeros of holes included.
    All,
    /// The blocks that have a byte other than zero, with their offsets, and the length.
    Data,
}

impl Coverage {
    /// The coverage for a content of `size` bytes that has no checksum yet.
    pub(in crate::admin) fn of_size(size: u64) -> Self {
        if size < LARGE { Self::All } else { Self::Data }
    }
}

/// The checksum of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Checksum {
    /// See [`Coverage::All`].
    All(Sum),
    /// See [`Coverage::Data`].
    Data(Sum),
}

impl Checksum {
    pub(in crate::admin) fn coverage(self) -> Coverage {
        match self {
            Self::All(_) => Coverage::All,
            Self::Data(_) => Coverage::Data,
        }
    }
}

/// A checksum in the making.
#[derive(Debug)]
pub(super) struct Hasher {
    coverage: Coverage,
    digest: Sha256,
    /// The block that the last bytes are of, as far as it came in parts.
    block: Block,
}

#[derive(Debug, Default)]
struct Block {
    start: u64,
    bytes: Vec<u8>,
}

impl Hasher {
    pub(super) fn new(coverage: Coverage) -> Self {
        Self { coverage, digest: Sha256::new(), block: Block::default() }
    }

    pub(super) fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// Adds the bytes at `at`. Those before come first; between them are zeros, which [`Coverage::All`] wants
    /// added too.
    pub(super) fn add(&mut self, at: u64, data: &[u8]) {
        match self.coverage {
            Coverage::All => self.digest.update(data),
            Coverage::Data => self.add_data(at, data),
        }
    }

    fn add_data(&mut self, mut at: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let within = (at % GRID as u64) as usize;
            let (part, rest) = data.split_at(data.len().min(GRID - within));
            let start = at - within as u64;
            if start != self.block.start {
                self.end_block();
                self.block.start = start;
            }
            if part.len() == GRID {
                self.add_block(start, part);
            } else {
                self.block.bytes.resize(within, 0);
                self.block.bytes.extend_from_slice(part);
            }
            (at, data) = (at + part.len() as u64, rest);
        }
    }

    fn end_block(&mut self) {
        let bytes = std::mem::take(&mut self.block.bytes);
        self.add_block(self.block.start, &bytes);
        self.block.bytes = bytes;
        self.block.bytes.clear();
    }

    fn add_block(&mut self, start: u64, bytes: &[u8]) {
        if bytes == &ZEROS[..bytes.len()] {
            return;
        }
        self.digest.update(start.to_le_bytes());
        self.digest.update(bytes);
        self.digest.update(&ZEROS[bytes.len()..]);
    }

    /// The checksum of a content of `length` bytes.
    pub(super) fn finish(mut self, length: u64) -> Checksum {
        match self.coverage {
            Coverage::All => Checksum::All(Sum(self.digest.finalize().into())),
            Coverage::Data => {
                self.end_block();
                self.digest.update(length.to_le_bytes());
                Checksum::Data(Sum(self.digest.finalize().into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_64_hexadecimal_digits() {
        let text = serde_json::to_string(&Sum([0x0f; 32])).unwrap();
        assert_eq!(serde_json::from_str::<Sum>(&text).unwrap(), Sum([0x0f; 32]));
        for wrong in ["", "0f", &"é".repeat(32), &"g".repeat(64)] {
            assert!(serde_json::from_str::<Sum>(&format!("{wrong:?}")).is_err(), "{wrong}");
        }
    }

    fn sum(parts: &[(u64, &[u8])], length: u64) -> Checksum {
        let mut hasher = Hasher::new(Coverage::Data);
        parts.iter().for_each(|(at, data)| hasher.add(*at, data));
        hasher.finish(length)
    }

    /// As `contents.list` is documented, for a program that has never seen this one.
    #[test]
    fn the_sum_of_data_is_the_documented_one() {
        let last = 1_u64 << 44;
        let mut expected = Sha256::new();
        for (block, byte) in [(0, b'a'), (last, b'b')] {
            let mut bytes = vec![0; 64 << 10];
            bytes[5] = byte;
            expected.update(u64::to_le_bytes(block));
            expected.update(bytes);
        }
        expected.update((last + 6).to_le_bytes());
        let found = sum(&[(5, b"a"), (last + 5, b"b")], last + 6);
        assert_eq!(found, Checksum::Data(Sum(expected.finalize().into())));
    }

    #[test]
    fn the_sum_of_data_does_not_depend_on_how_it_comes() {
        let grid = GRID as u64;
        let mut bytes = vec![0; 5 * GRID + 100];
        for at in [0, GRID - 1, GRID, 3 * GRID + 7, 5 * GRID + 99] {
            bytes[at] = at as u8 | 1;
        }
        let length = bytes.len() as u64;
        let whole = sum(&[(0, &bytes)], length);
        for step in [1, 7, 4096, GRID - 1, GRID, GRID + 1] {
            let parts = bytes.chunks(step).enumerate();
            let parts: Vec<_> =
                parts.map(|(number, part)| ((number * step) as u64, part)).collect();
            assert_eq!(sum(&parts, length), whole, "{step}");
        }
        let at = |from: usize, to: usize| (from as u64, &bytes[from..to]);
        let sparse = [
            at(0, 1),
            at(GRID - 2, GRID + 1),
            at(3 * GRID, 3 * GRID + 8),
            at(5 * GRID + 90, 5 * GRID + 100),
        ];
        assert_eq!(sum(&sparse, length), whole);
        assert_ne!(sum(&sparse, length + 1), whole, "the length counts");
        let moved: Vec<_> = sparse.iter().map(|(at, data)| (at + grid, *data)).collect();
        assert_ne!(sum(&moved, length), whole, "offsets count");
        assert_ne!(sum(&sparse[1..], length), whole);
        assert_ne!(sum(&[], 0), sum(&[], 1));
    }
}
