//! Replies out of the bytes of a connection (RFC 5531 section 11).
//!
//! `rpc::RecordReader` serves peers that are not trusted, and copies each record. Here a reply is a slice of
//! the input, and of a READ's only the head is kept: the generator shall use little of the processor.

use bytes::{Buf as _, Bytes, BytesMut};

use super::error::Error;

/// The longest reply: 1 MiB of data, or a page of a directory, and its headers.
const MAX_BYTES: usize = (1 << 20) + (64 << 10);
/// As much of a READ's reply as is looked at: a verifier may have 400 bytes, the attributes have 88.
const HEAD_BYTES: usize = 640;
const LAST_FRAGMENT: u32 = 0x8000_0000;

/// The replies of a connection.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// What the connection brought.
    pub(super) input: BytesMut,
    /// Fragments of a reply that has several.
    fragments: BytesMut,
    /// The head of a reply, and how many of its bytes are still to be dropped.
    dropping: Option<(Bytes, usize)>,
}

impl Records {
    /// The next reply that has arrived. `is_head_enough` says by the xid whether the end of a long one may be
    /// dropped.
    ///
    /// # Errors
    /// [`Error::Protocol`].
    pub(super) fn next(
        &mut self,
        is_head_enough: impl Fn(u32) -> bool,
    ) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some((head, left)) = &mut self.dropping {
                let dropped = self.input.len().min(*left);
                self.input.advance(dropped);
                *left -= dropped;
                if *left > 0 {
                    return Ok(None);
                }
                let head = std::mem::take(head);
                self.dropping = None;
                return Ok(Some(head));
            }
            let Some(mark) = self.input.first_chunk() else { return Ok(None) };
            let mark = u32::from_be_bytes(*mark);
            let is_last = mark & LAST_FRAGMENT != 0;
            let length = (mark & !LAST_FRAGMENT) as usize;
            if self.fragments.len() + length > MAX_BYTES {
                return Err(Error::Protocol("a reply that is too long, or no reply of RPC"));
            }
            let whole = is_last && self.fragments.is_empty();
            if whole && length > HEAD_BYTES && self.input.len() >= 4 + HEAD_BYTES {
                let xid = self.input[4..].first_chunk().map_or(0, |xid| u32::from_be_bytes(*xid));
                if is_head_enough(xid) {
                    self.input.advance(4);
                    // A copy, so that the input's memory is free for the next reply.
                    let head = Bytes::copy_from_slice(&self.input[..HEAD_BYTES]);
                    self.input.advance(HEAD_BYTES);
                    self.dropping = Some((head, length - HEAD_BYTES));
                    continue;
                }
            }
            if self.input.len() < 4 + length {
                return Ok(None);
            }
            self.input.advance(4);
            let fragment = self.input.split_to(length);
            if whole {
                return Ok(Some(fragment.freeze()));
            }
            self.fragments.extend_from_slice(&fragment);
            if is_last {
                return Ok(Some(std::mem::take(&mut self.fragments).freeze()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(last: bool, bytes: &[u8]) -> Vec<u8> {
        let mark = u32::try_from(bytes.len()).unwrap() | if last { LAST_FRAGMENT } else { 0 };
        [&mark.to_be_bytes(), bytes].concat()
    }

    #[test]
    fn fragments_are_put_together() {
        let bytes = [record(false, b"ab"), record(true, b"cd"), record(true, b"efgh")].concat();
        let (mut records, mut replies) = (Records::default(), Vec::new());
        for byte in bytes {
            records.input.extend_from_slice(&[byte]);
            replies.extend(records.next(|_| false).unwrap());
        }
        assert_eq!(replies, ["abcd", "efgh"]);
    }

    #[test]
    fn the_end_of_long_replies_is_dropped() {
        let long = [&7_u32.to_be_bytes()[..], &[1; 100_000]].concat();
        let bytes = [record(true, &long), record(true, b"after")].concat();
        let (mut records, mut replies) = (Records::default(), Vec::new());
        for part in bytes.chunks(1000) {
            records.input.extend_from_slice(part);
            while let Some(reply) = records.next(|xid| xid == 7).unwrap() {
                replies.push(reply);
            }
            assert!(records.input.len() < 2000);
        }
        assert_eq!(replies.len(), 2);
        assert_eq!((replies[0].len(), &replies[1][..]), (HEAD_BYTES, &b"after"[..]));
    }

    #[test]
    fn other_protocols_are_refused() {
        let mut records = Records::default();
        records.input.extend_from_slice(b"HTTP/1.1 400 Bad Request");
        assert!(matches!(records.next(|_| false), Err(Error::Protocol(_))));
    }
}
