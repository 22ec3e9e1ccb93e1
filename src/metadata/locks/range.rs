//! Ranges of bytes, and their forms on the wire.

/// A range of bytes of a file, both ends included. The last byte of any file is [`LockRange::END`]; a range
/// that ends there reaches to the end, however far the file grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockRange {
    first: u64,
    last: u64,
}

/// The range begins beyond the last byte that a file can have (NLM4_FBIG).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a range of bytes begins beyond 2^63 - 1")]
pub struct RangeTooLarge;

impl LockRange {
    /// The last byte that a file can have.
    pub const END: u64 = i64::MAX as u64;
    /// Every byte of a file.
    pub const WHOLE: Self = Self { first: 0, last: Self::END };

    /// The bytes from `first` to `last`; `None` where that is none, or beyond [`LockRange::END`].
    #[must_use]
    pub fn new(first: u64, last: u64) -> Option<Self> {
        (first <= last && last <= Self::END).then_some(Self { first, last })
    }

    /// The range of NLM version 4 (XNFS 14.1, nlm4_lock): a length of 0, and one that reaches beyond the last
    /// byte, go to the end.
    ///
    /// # Errors
    /// Where the offset is beyond the last byte.
    pub fn from_wire(offset: u64, length: u64) -> Result<Self, RangeTooLarge> {
        if offset > Self::END {
            return Err(RangeTooLarge);
        }
        let last = match length {
            0 => Self::END,
            length => offset.saturating_add(length - 1).min(Self::END),
        };
        Ok(Self { first: offset, last })
    }

    /// The range of NLM versions 1 and 3 (XNFS 10.2, nlm_lock): lengths of 0 and of all ones go to the end.
    #[must_use]
    pub fn from_wire_32(offset: u32, length: u32) -> Self {
        let first = u64::from(offset);
        let last = match length {
            0 | u32::MAX => Self::END,
            length => first + u64::from(length) - 1,
        };
        Self { first, last }
    }

    /// Offset and length as version 4 writes them; 0 is to the end.
    #[must_use]
    pub fn to_wire(self) -> (u64, u64) {
        let length = if self.last == Self::END { 0 } else { self.last - self.first + 1 };
        (self.first, length)
    }

    /// Offset and length as versions 1 and 3 write them: what lies beyond their 32 bits is shown as their
    /// last byte.
    #[must_use]
    pub fn to_wire_32(self) -> (u32, u32) {
        let offset = u32::try_from(self.first).unwrap_or(u32::MAX);
        let length = self.last - self.first + 1;
        let length = match self.last {
            Self::END => 0,
            // All ones mean the end, as 0 does.
            _ => u32::try_from(length).ok().filter(|length| *length != u32::MAX).unwrap_or(0),
        };
        (offset, length)
    }

    /// Its first byte.
    #[must_use]
    pub fn first(self) -> u64 {
        self.first
    }

    /// Its last byte.
    #[must_use]
    pub fn last(self) -> u64 {
        self.last
    }

    /// Whether the two have a byte in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether the two overlap or one begins behind the other's last byte.
    #[must_use]
    pub fn touches(self, other: Self) -> bool {
        self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }

    /// The least range that holds both.
    #[must_use]
    pub(super) fn hull(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// Whether every byte of `other` is in it.
    #[must_use]
    pub fn holds(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = LockRange::END;

    fn range(first: u64, last: u64) -> LockRange {
        LockRange::new(first, last).unwrap()
    }

    #[test]
    fn ranges_of_version_4_go_over_the_wire_and_back() {
        for (wire, expected, back) in [
            ((0, 0), (0, END), (0, 0)),
            ((0, 1), (0, 0), (0, 1)),
            ((10, 20), (10, 29), (10, 20)),
            ((10, 0), (10, END), (10, 0)),
            ((10, u64::MAX), (10, END), (10, 0)),
            ((END, 1), (END, END), (END, 0)),
            ((END, 2), (END, END), (END, 0)),
            ((END - 1, 1), (END - 1, END - 1), (END - 1, 1)),
            ((0, END), (0, END - 1), (0, END)),
        ] {
            let found = LockRange::from_wire(wire.0, wire.1);
            assert_eq!(found, Ok(range(expected.0, expected.1)), "{wire:?}");
            assert_eq!(found.unwrap().to_wire(), back, "{wire:?}");
        }
        assert_eq!(LockRange::from_wire(END + 1, 1), Err(RangeTooLarge));
        assert_eq!(LockRange::from_wire(u64::MAX, 0), Err(RangeTooLarge));
    }

    #[test]
    fn ranges_of_version_3_go_over_the_wire_and_back() {
        for (wire, expected, back) in [
            ((0, 0), (0, END), (0, 0)),
            ((7, u32::MAX), (7, END), (7, 0)),
            ((u32::MAX, u32::MAX), (u64::from(u32::MAX), END), (u32::MAX, 0)),
            ((u32::MAX, 1), (u64::from(u32::MAX), u64::from(u32::MAX)), (u32::MAX, 1)),
            ((5, 5), (5, 9), (5, 5)),
        ] {
            let found = LockRange::from_wire_32(wire.0, wire.1);
            assert_eq!(found, range(expected.0, expected.1), "{wire:?}");
            assert_eq!(found.to_wire_32(), back, "{wire:?}");
        }
        // A holder beyond 32 bits.
        assert_eq!(range(1 << 40, (1 << 40) + 9).to_wire_32(), (u32::MAX, 10));
        assert_eq!(range(0, 1 << 40).to_wire_32(), (0, 0));
        assert_eq!(range(0, u64::from(u32::MAX) - 1).to_wire_32(), (0, 0));
    }

    #[test]
    fn neighbours_touch_and_do_not_overlap() {
        assert!(range(0, 4).overlaps(range(4, 9)));
        assert!(!range(0, 4).overlaps(range(5, 9)));
        assert!(range(0, 4).touches(range(5, 9)));
        assert!(range(5, 9).touches(range(0, 4)));
        assert!(!range(0, 4).touches(range(6, 9)));
        assert!(range(0, END).touches(range(END, END)));
        assert!(range(0, 9).holds(range(9, 9)));
        assert!(!range(0, 9).holds(range(9, 10)));
    }
}
