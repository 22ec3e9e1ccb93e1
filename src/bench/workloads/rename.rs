//! Each slot gives its own file one new name after the other.

use std::borrow::Cow;

use bytes::Bytes;

use crate::bench::call::Call;
use crate::bench::fault::Fault;
use crate::bench::reply::Reply;
use crate::bench::source::{Source, Verdict, expect};
use crate::xdr::DecodeError;

/// RENAMEs within a directory.
#[derive(Debug)]
pub(in crate::bench) struct Rename {
    directory: Bytes,
    /// The number of the present name of each slot's file, and of the last name that was tried.
    files: Vec<(u64, u64)>,
}

impl Rename {
    /// For the files that [`Rename::name`] names by slot and number 0.
    pub(in crate::bench) fn new(directory: Bytes, depth: usize) -> Self {
        Self { directory, files: vec![(0, 0); depth] }
    }

    pub(in crate::bench) fn name(slot: usize, number: u64) -> String {
        format!("renamed-{slot}-{number}")
    }
}

impl Source for Rename {
    fn next(&mut self, slot: usize, ended: bool) -> Option<Cow<'_, Call>> {
        let (present, tried) = self.files.get_mut(slot).filter(|_| !ended)?;
        *tried += 1;
        let (from, to) = (Self::name(slot, *present), Self::name(slot, *tried));
        Some(Cow::Owned(Call::rename(&self.directory, &from, &to)))
    }

    fn reply(&mut self, slot: usize, reply: Result<Reply, Fault>) -> Result<Verdict, DecodeError> {
        let verdict = expect(reply, 0);
        if let (Verdict::DONE, Some((present, tried))) = (verdict, self.files.get_mut(slot)) {
            *present = *tried;
        }
        Ok(verdict)
    }
}
