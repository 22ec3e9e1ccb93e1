//! How content lies in a bucket.
//!
//! Chunk `n` of a content is the object `<prefix>/<content id>/<last − n>`, with `last − n` in thirteen
//! hexadecimal digits: a listing of the content's folder begins with its last chunk. An object is the chunk's
//! bytes, as far as they were written, and a trailer:
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 8 | `trunkfs1` |
//! | 4 | size of the content's chunks |
//! | 4 | bytes of the chunk that belong to the content; what the object lacks of them is zeros |
//! | 16 | random, new at every change |
//!
//! So no two states of an object are ever the same, and neither are their entity tags: a conditional request
//! that was held up on its way for however long is refused. For the same reason an object of a content that
//! lives is never deleted: what a truncate cuts off becomes an object of a trailer alone. A content has as
//! many bytes as its last chunk with any says; it is missing where it has no object at all.
//!
//! The objects of a content do not go all at once. While one of several is removed there is the object
//! `-removed` beside them, made before the first goes and deleted after the last: who misses a chunk looks
//! for it, and only then knows a hole.

use std::ops::Range;

use bytes::Bytes;
use object_store::path::Path;
use uuid::Uuid;

use crate::types::ContentId;

/// Bytes of a trailer.
pub(super) const TRAILER: usize = 32;
const MAGIC: [u8; 8] = *b"trunkfs1";
/// The number that chunk numbers are taken from: 52 bits, so that a chunk of one block reaches every offset.
const LAST: u64 = (1 << 52) - 1;
/// The name beside a content's chunks while it is being removed: '-' comes before every digit.
const REMOVAL: &str = "-removed";
/// Digits of a chunk's name.
const DIGITS: usize = 13;

/// What stands at the end of every object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Bytes of a chunk of this content.
    pub(super) chunk_size: u32,
    /// Bytes of the chunk that belong to the content.
    pub(super) length: u32,
    /// Random.
    pub(super) nonce: Uuid,
}

impl Trailer {
    pub(super) fn encode(self) -> Bytes {
        let mut bytes = Vec::with_capacity(TRAILER);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.chunk_size.to_be_bytes());
        bytes.extend_from_slice(&self.length.to_be_bytes());
        bytes.extend_from_slice(self.nonce.as_bytes());
        bytes.into()
    }

    /// The trailer that ends an object; `None` where the object is not one of ours.
    pub(super) fn decode(object: &[u8]) -> Option<Self> {
        let bytes = object.last_chunk::<TRAILER>()?;
        let word = |at: usize| bytes[at..at + 4].try_into().map(u32::from_be_bytes).ok();
        if bytes[..8] != MAGIC {
            return None;
        }
        let nonce = Uuid::from_slice(&bytes[16..]).ok()?;
        Some(Self { chunk_size: word(8)?, length: word(12)?, nonce })
    }
}

/// Where contents lie in a bucket.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Without slashes at its ends; may be empty.
    prefix: String,
}

impl Layout {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.trim_matches('/').to_owned() }
    }

    /// The key of a chunk.
    pub(super) fn chunk(&self, id: ContentId, number: u64) -> Path {
        Path::from(format!("{}{:0DIGITS$x}", self.folder(id), LAST.saturating_sub(number)))
    }

    /// The key of an object beside the contents.
    pub(super) fn beside(&self, name: &str) -> Path {
        Path::from(format!("{}{name}", self.root()))
    }

    /// What the keys of a content's chunks begin with.
    pub(super) fn folder(&self, id: ContentId) -> String {
        format!("{}{id}/", self.root())
    }

    /// The object that says that a content is being removed. In a listing it stands before all chunks.
    pub(super) fn removal(&self, id: ContentId) -> Path {
        Path::from(format!("{}{REMOVAL}", self.folder(id)))
    }

    /// What the keys of all contents begin with.
    pub(super) fn root(&self) -> String {
        if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) }
    }

    /// What every key of the contents after `id` is greater than, and no key of `id`.
    pub(super) fn after(&self, id: ContentId) -> String {
        // '0' is the character after '/'.
        format!("{}{id}0", self.root())
    }

    /// The number of the chunk that a key of `folder` names; `None` for other keys.
    pub(super) fn number(key: &Path) -> Option<u64> {
        let name = key.filename().filter(|name| name.len() == DIGITS)?;
        LAST.checked_sub(u64::from_str_radix(name, 16).ok()?)
    }

    /// The content that a folder is of; `None` for other folders.
    pub(super) fn content(folder: &Path) -> Option<ContentId> {
        let name = folder.filename()?;
        let id = ContentId(Uuid::try_parse(name).ok()?);
        // One spelling alone, or a removal would look for another.
        (id.to_string() == name).then_some(id)
    }
}

/// A range's part in one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The chunk.
    pub(super) number: u64,
    /// Within the chunk.
    pub(super) within: Range<u32>,
    /// Within the range.
    pub(super) at: usize,
}

impl Part {
    pub(super) fn len(&self) -> usize {
        (self.within.end - self.within.start) as usize
    }
}

/// Cuts `length` bytes from `offset` into the chunks they lie in.
pub(super) fn parts(chunk_size: u32, offset: u64, length: usize) -> impl Iterator<Item = Part> {
    let size = u64::from(chunk_size);
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == length {
            return None;
        }
        let position = offset + at as u64;
        let start = (position % size) as u32;
        let count = ((chunk_size - start) as usize).min(length - at);
        let part = Part { number: position / size, within: start..start + count as u32, at };
        at += count;
        Some(part)
    })
}

/// The chunk that holds the last of `length` bytes, and how many of them it holds. No bytes end in chunk 0.
pub(super) fn end_in(chunk_size: u32, length: u64) -> (u64, u32) {
    let size = u64::from(chunk_size);
    let number = length.saturating_sub(1) / size;
    (number, (length - number * size) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_survive() {
        let trailer = Trailer { chunk_size: 4 << 20, length: 77, nonce: Uuid::now_v7() };
        let mut object = b"data".to_vec();
        object.extend_from_slice(&trailer.encode());
        assert_eq!(Trailer::decode(&object), Some(trailer));
        assert_eq!(object.len(), 4 + TRAILER);
        assert_eq!(Trailer::decode(&object[..object.len() - 1]), None);
        assert_eq!(Trailer::decode(b"trunkfs1"), None);
    }

    #[test]
    fn keys_lead_back() {
        let id = ContentId::generate();
        for prefix in ["", "a", "/a/b/"] {
            let layout = Layout::new(prefix);
            for number in [0, 1, 1 << 40, LAST] {
                let key = layout.chunk(id, number);
                assert!(key.as_ref().starts_with(&layout.folder(id)), "{key}");
                assert_eq!(Layout::number(&key), Some(number));
            }
            assert!(layout.chunk(id, 1).as_ref() < layout.chunk(id, 0).as_ref());
            assert!(layout.chunk(id, 0).as_ref() < layout.after(id).as_str());
            let folder = Path::from(layout.folder(id));
            assert_eq!(Layout::content(&folder), Some(id));
        }
        assert_eq!(Layout::content(&Path::from(id.0.simple().to_string())), None);
        assert_eq!(Layout::number(&Path::from("x/marker")), None);
    }

    #[test]
    fn parts_cover_a_range_without_gaps() {
        let cut: Vec<_> = parts(100, 199, 102).collect();
        let expected = [(1, 99..100, 0), (2, 0..100, 1), (3, 0..1, 101)];
        let expected = expected.map(|(number, within, at)| Part { number, within, at });
        assert_eq!(cut, expected);
    }

    #[test]
    fn ends_lie_in_the_last_chunk() {
        for (length, end) in
            [(0, (0, 0)), (1, (0, 1)), (100, (0, 100)), (101, (1, 1)), (200, (1, 100))]
        {
            assert_eq!(end_in(100, length), end, "{length}");
        }
    }
}
