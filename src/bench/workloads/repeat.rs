//! The same calls over and over.

use std::borrow::Cow;

use crate::bench::call::Call;
use crate::bench::fault::Fault;
use crate::bench::reply::Reply;
use crate::bench::source::{Source, Verdict, expect};
use crate::xdr::DecodeError;

/// Encoded calls, in turn.
#[derive(Debug)]
pub(in crate::bench) struct Repeat {
    calls: Vec<Call>,
    next: usize,
}

impl Repeat {
    pub(in crate::bench) fn new(calls: Vec<Call>) -> Self {
        Self { calls, next: 0 }
    }
}

impl Source for Repeat {
    fn next(&mut self, _slot: usize, ended: bool) -> Option<Cow<'_, Call>> {
        if ended {
            return None;
        }
        let call = self.calls.get(self.next)?;
        self.next = (self.next + 1) % self.calls.len();
        Some(Cow::Borrowed(call))
    }

    fn reply(&mut self, _slot: usize, reply: Result<Reply, Fault>) -> Result<Verdict, DecodeError> {
        Ok(expect(reply, 0))
    }
}
