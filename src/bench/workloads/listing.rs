//! A directory, page by page; each slot goes through it on its own, again and again.

use std::borrow::Cow;

use bytes::Bytes;

use crate::bench::call::Call;
use crate::bench::fault::Fault;
use crate::bench::reply::{Reply, Results};
use crate::bench::source::{Source, Verdict};
use crate::xdr::DecodeError;

/// Entries that a page shall have.
const PAGE_ENTRIES: u32 = 1000;
/// Bytes of an entry in READDIR's reply: file number, a name of 5 to 8 bytes, cookie and link.
const ENTRY_BYTES: u32 = 32;
/// Bytes that READDIRPLUS adds: attributes and the longest handle, each with a boolean.
const PLUS_BYTES: u32 = 88 + 72;
/// Attributes of the directory, verifier and end of a page.
const HEAD_BYTES: u32 = 108;

/// READDIR or READDIRPLUS.
#[derive(Debug)]
pub(in crate::bench) struct Listing {
    directory: Bytes,
    /// READDIRPLUS.
    plus: bool,
    /// Entries that the directory has, besides `.` and `..`.
    entries: u64,
    slots: Vec<Position>,
}

/// Where a slot is.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    cookie: u64,
    verifier: u64,
    seen: u64,
}

impl Listing {
    pub(in crate::bench) fn new(directory: Bytes, plus: bool, entries: u64, depth: usize) -> Self {
        Self { directory, plus, entries, slots: vec![Position::default(); depth] }
    }

    /// The page's call.
    pub(super) fn page(directory: &Bytes, plus: bool, cookie: u64, verifier: u64) -> Call {
        let names = HEAD_BYTES + PAGE_ENTRIES * ENTRY_BYTES;
        if plus {
            let all = names + PAGE_ENTRIES * PLUS_BYTES;
            Call::readdirplus(directory, cookie, verifier, names, all)
        } else {
            Call::readdir(directory, cookie, verifier, names)
        }
    }

    /// Takes a page: its verifier, its number of entries besides `.` and `..`, its last cookie and whether it
    /// is the directory's last.
    pub(super) fn read(
        results: &mut Results,
        plus: bool,
    ) -> Result<(u64, u64, Option<u64>, bool), DecodeError> {
        results.attributes()?;
        let verifier = results.hyper()?;
        let (mut entries, mut cookie) = (0, None);
        while let Some(entry) = results.entry(plus)? {
            cookie = Some(entry.cookie);
            entries += u64::from(!matches!(&entry.name[..], b"." | b".."));
        }
        Ok((verifier, entries, cookie, results.is_end()?))
    }
}

impl Source for Listing {
    fn next(&mut self, slot: usize, ended: bool) -> Option<Cow<'_, Call>> {
        let Position { cookie, verifier, .. } = *self.slots.get(slot).filter(|_| !ended)?;
        Some(Cow::Owned(Self::page(&self.directory, self.plus, cookie, verifier)))
    }

    fn reply(&mut self, slot: usize, reply: Result<Reply, Fault>) -> Result<Verdict, DecodeError> {
        let Some(position) = self.slots.get_mut(slot) else { return Ok(Verdict::DONE) };
        let Position { seen, .. } = std::mem::take(position);
        let mut results = match reply.and_then(Reply::succeeded) {
            Ok(results) => results,
            Err(fault) => return Ok(Verdict::Failed(fault)),
        };
        let (verifier, entries, cookie, is_end) = Self::read(&mut results, self.plus)?;
        let seen = seen + entries;
        Ok(match cookie {
            _ if is_end && seen != self.entries => {
                Verdict::Failed(Fault::Reply("listing: entries are missing or doubled"))
            }
            None if !is_end => Verdict::Failed(Fault::Reply("listing: an empty page")),
            Some(cookie) if !is_end => {
                *position = Position { cookie, verifier, seen };
                Verdict::Done { bytes: 0, entries }
            }
            Some(_) | None => Verdict::Done { bytes: 0, entries },
        })
    }
}
