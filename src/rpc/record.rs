//! Record marking (RFC 5531 section 11): bytes in, records out, without I/O.

use bytes::buf::Limit;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// The longest record, in bytes: a WRITE of wtmax (1 MiB) and 8 KiB of headers.
pub const MAX_RECORD_BYTES: usize = (1 << 20) + (8 << 10);
/// How much of an unfinished record is kept without a grant of memory, in bytes.
pub const FREE_BYTES: usize = 16 << 10;
/// The most fragments of one record that bring nothing. The record's length bounds the others, however short.
const MAX_EMPTY_FRAGMENTS: u32 = 1024;
const LAST_FRAGMENT: u32 = 0x8000_0000;
const MARK_BYTES: usize = 4;
/// An unfinished record's memory grows to this multiple of the bytes that have arrived.
const GROWTH: usize = 4;

/// The peer does not keep to record marking, or to this server's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The record is longer than [`MAX_RECORD_BYTES`].
    #[error("the record marker claims more than {MAX_RECORD_BYTES} bytes")]
    TooLong,
    /// The record has too many empty fragments.
    #[error("the record has more than {MAX_EMPTY_FRAGMENTS} empty fragments")]
    TooManyFragments,
}

/// What a step came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Record(Bytes),
    /// All input is used up, and the record under way is not complete.
    Hungry,
    /// The record under way needs more memory than [`FREE_BYTES`] and what was granted:
    /// [`RecordReader::granted`] must be called with the next step, or more, before it goes on.
    Grow {
        /// The next step, in bytes.
        step: usize,
        /// All that the record may still need, the step included.
        rest: usize,
    },
}

/// Puts one connection's records together. Its buffer grows with the bytes that have arrived,
/// whatever lengths the marks claim, and is gone between records.
#[derive(Debug, Default)]
pub struct RecordReader {
    /// A mark of which not all four bytes are there.
    mark: [u8; MARK_BYTES],
    mark_bytes: usize,
    /// Bytes of the fragment under way that are still to come; `None` between fragments.
    fragment: Option<usize>,
    last: bool,
    /// Whether a fragment has begun.
    begun: bool,
    empty_fragments: u32,
    record: BytesMut,
    /// Bytes of memory that the record may take; none up to [`FREE_BYTES`].
    granted: usize,
}

impl RecordReader {
    /// Takes from `input` what the next record needs.
    ///
    /// # Errors
    /// [`RecordError`]; the connection is of no more use.
    pub fn step(&mut self, input: &mut BytesMut) -> Result<Step, RecordError> {
        loop {
            let Some(left) = self.fragment else {
                if !self.take_mark(input)? {
                    return Ok(Step::Hungry);
                }
                continue;
            };
            if self.last && self.record.is_empty() && input.len() >= left {
                // The usual case: a copy of its own size, so that a call which keeps a slice keeps no
                // other call's bytes.
                let record = Bytes::copy_from_slice(&input[..left]);
                input.advance(left);
                self.reset();
                return Ok(Step::Record(record));
            }
            let taken = left.min(input.len());
            let needed = self.record.len() + taken;
            if needed > self.granted.max(FREE_BYTES) {
                let longest = self.longest();
                let step = (needed * GROWTH).min(longest) - self.granted;
                return Ok(Step::Grow { step, rest: longest - self.granted });
            }
            self.make_room(taken);
            self.record.extend_from_slice(&input[..taken]);
            input.advance(taken);
            self.fragment = Some(left - taken);
            if let Some(step) = self.end_of_fragment() {
                return Ok(step);
            }
        }
    }

    /// The record under way may take `bytes` more.
    pub fn granted(&mut self, bytes: usize) {
        self.granted += bytes;
    }

    /// Whether a record has begun and is not complete.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.mark_bytes > 0 || self.fragment.is_some() || self.begun
    }

    /// Where to read the rest of a large fragment to, past the input buffer, as far as memory is granted;
    /// `None` where the next bytes are no such thing. After reading, [`RecordReader::step`] is called with an
    /// empty input.
    pub fn direct(&mut self) -> Option<Limit<&mut BytesMut>> {
        let left = self.fragment?;
        let space = left.min(self.granted.saturating_sub(self.record.len()));
        if left < FREE_BYTES || space == 0 {
            return None;
        }
        self.make_room(space);
        Some((&mut self.record).limit(space))
    }

    /// Notes that `bytes` were read to where [`RecordReader::direct`] said.
    pub fn read_directly(&mut self, bytes: usize) {
        self.fragment = self.fragment.map(|left| left.saturating_sub(bytes));
    }

    /// Reads the next fragment's mark; `false` where the input ends before.
    fn take_mark(&mut self, input: &mut BytesMut) -> Result<bool, RecordError> {
        let taken = (MARK_BYTES - self.mark_bytes).min(input.len());
        self.mark[self.mark_bytes..self.mark_bytes + taken].copy_from_slice(&input[..taken]);
        input.advance(taken);
        self.mark_bytes += taken;
        if self.mark_bytes < MARK_BYTES {
            return Ok(false);
        }
        self.mark_bytes = 0;
        let mark = u32::from_be_bytes(self.mark);
        let length = usize::try_from(mark & !LAST_FRAGMENT).map_err(|_| RecordError::TooLong)?;
        if length > MAX_RECORD_BYTES - self.record.len() {
            return Err(RecordError::TooLong);
        }
        self.begun = true;
        self.empty_fragments += u32::from(length == 0);
        if self.empty_fragments > MAX_EMPTY_FRAGMENTS {
            return Err(RecordError::TooManyFragments);
        }
        self.last = mark & LAST_FRAGMENT != 0;
        self.fragment = Some(length);
        Ok(true)
    }

    /// Ends a fragment that is complete; a step where that ends the record, or where input is wanted.
    fn end_of_fragment(&mut self) -> Option<Step> {
        if self.fragment != Some(0) {
            return Some(Step::Hungry);
        }
        self.fragment = None;
        self.last.then(|| {
            let record = self.record.split().freeze();
            self.reset();
            Step::Record(record)
        })
    }

    /// How long the record under way may become.
    fn longest(&self) -> usize {
        match self.last {
            true => self.record.len() + self.fragment.unwrap_or(0),
            false => MAX_RECORD_BYTES,
        }
    }

    /// Makes room for `more` bytes, growing to a multiple of the bytes that are there, within what is
    /// granted.
    fn make_room(&mut self, more: usize) {
        let needed = self.record.len() + more;
        if needed > self.record.capacity() {
            let bound = self.granted.max(FREE_BYTES);
            let target = (needed * GROWTH).min(bound).max(needed);
            self.record.reserve(target - self.record.len());
        }
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(length: usize, last: bool) -> BytesMut {
        let mark = u32::try_from(length).unwrap() | if last { LAST_FRAGMENT } else { 0 };
        BytesMut::from(&mark.to_be_bytes()[..])
    }

    fn fragment(bytes: &[u8], last: bool) -> BytesMut {
        let mut fragment = marked(bytes.len(), last);
        fragment.extend_from_slice(bytes);
        fragment
    }

    #[test]
    fn records_come_whole_however_the_bytes_arrive() {
        let mut stream = fragment(b"ab", false);
        stream.unsplit(fragment(b"", false));
        stream.unsplit(fragment(b"cdefg", true));
        stream.unsplit(fragment(b"", true));
        stream.unsplit(fragment(b"hi", true));
        for piece in 1..stream.len() {
            let mut reader = RecordReader::default();
            let mut records = Vec::new();
            for bytes in stream.chunks(piece) {
                let mut input = BytesMut::from(bytes);
                loop {
                    match reader.step(&mut input).unwrap() {
                        Step::Record(record) => records.push(record),
                        Step::Hungry => break,
                        Step::Grow { step, .. } => panic!("{step} bytes for nothing"),
                    }
                }
                assert!(input.is_empty());
            }
            assert_eq!(records, ["abcdefg", "", "hi"], "in pieces of {piece}");
            assert!(!reader.is_partial());
        }
    }

    #[test]
    fn marks_beyond_the_bound_are_refused() {
        let mut reader = RecordReader::default();
        assert_eq!(reader.step(&mut marked(0x7fff_ffff, true)), Err(RecordError::TooLong));
        let mut reader = RecordReader::default();
        assert_eq!(reader.step(&mut fragment(b"1", false)), Ok(Step::Hungry));
        assert_eq!(reader.step(&mut marked(MAX_RECORD_BYTES, true)), Err(RecordError::TooLong));
        let mut reader = RecordReader::default();
        for _ in 0..MAX_EMPTY_FRAGMENTS {
            assert_eq!(reader.step(&mut marked(0, false)), Ok(Step::Hungry));
        }
        assert_eq!(reader.step(&mut marked(0, false)), Err(RecordError::TooManyFragments));
    }

    #[test]
    fn memory_grows_with_what_arrived() {
        let mut reader = RecordReader::default();
        let mut input = marked(MAX_RECORD_BYTES, true);
        input.extend_from_slice(&[7; 1000]);
        assert_eq!(reader.step(&mut input), Ok(Step::Hungry));
        assert!(reader.record.capacity() <= GROWTH * 1000);
        assert!(reader.direct().is_none());
        let mut input = BytesMut::from(&[7; FREE_BYTES][..]);
        let mut arrived = 1000 + FREE_BYTES;
        let mut granted = 0;
        loop {
            let step = reader.step(&mut input).unwrap();
            let Step::Grow { step, rest } = step else {
                assert!(step == Step::Record(Bytes::from(vec![7; MAX_RECORD_BYTES])));
                break;
            };
            assert_eq!(rest, MAX_RECORD_BYTES - granted);
            granted += step;
            assert!(granted <= GROWTH * arrived, "{granted} for {arrived}");
            if !input.is_empty() {
                assert_eq!(input.len(), FREE_BYTES, "nothing is taken before memory is granted");
            }
            assert!(reader.direct().is_none());
            reader.granted(step);
            assert_eq!(reader.step(&mut input), Ok(Step::Hungry));
            while let Some(mut space) = reader.direct() {
                let bytes = space.remaining_mut();
                space.put_bytes(7, bytes);
                reader.read_directly(bytes);
                arrived += bytes;
                assert!(reader.record.capacity() <= 2 * granted, "{}", reader.record.capacity());
            }
            assert!(arrived <= granted);
            let more = FREE_BYTES.min(MAX_RECORD_BYTES - arrived);
            input = BytesMut::from(&vec![7; more][..]);
            arrived += more;
        }
        assert_eq!(granted, MAX_RECORD_BYTES);
    }

    #[test]
    fn a_record_of_many_fragments_may_take_the_longest() {
        let mut reader = RecordReader::default();
        let mut input = fragment(&[7; FREE_BYTES], false);
        assert_eq!(reader.step(&mut input), Ok(Step::Hungry));
        let mut input = fragment(b"1", false);
        let step = GROWTH * (FREE_BYTES + 1);
        assert_eq!(reader.step(&mut input), Ok(Step::Grow { step, rest: MAX_RECORD_BYTES }));
        // More than the step may be granted.
        reader.granted(MAX_RECORD_BYTES);
        assert_eq!(reader.step(&mut input), Ok(Step::Hungry));
        let mut input = fragment(&[7; 100], true);
        let Ok(Step::Record(record)) = reader.step(&mut input) else { panic!("it is complete") };
        assert_eq!(record.len(), FREE_BYTES + 101);
    }
}
