//! Calls of which each has a number of its own, and so a name that no other call has.

use std::borrow::Cow;
use std::fmt;

use crate::bench::call::Call;
use crate::bench::fault::Fault;
use crate::bench::reply::Reply;
use crate::bench::source::{Source, Verdict, expect};
use crate::xdr::DecodeError;

/// Makes a call of its number.
type Make = Box<dyn Fn(u64) -> Call + Send>;

/// Numbered calls, up to a limit.
pub(in crate::bench) struct Numbered {
    make: Make,
    next: u64,
    limit: u64,
    /// The status that is expected.
    status: u32,
}

impl Numbered {
    /// Calls without end that succeed.
    pub(in crate::bench) fn new(make: impl Fn(u64) -> Call + Send + 'static) -> Self {
        Self { make: Box::new(make), next: 0, limit: u64::MAX, status: 0 }
    }

    /// The same, where every call has to fail with `status`.
    pub(in crate::bench) fn failing(self, status: u32) -> Self {
        Self { status, ..self }
    }

    /// The same, with no call until [`Numbered::allow`].
    pub(in crate::bench) fn limited(self) -> Self {
        Self { limit: 0, ..self }
    }

    /// The next calls are those up to number `limit`.
    pub(in crate::bench) fn allow(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// The number of the next call.
    pub(in crate::bench) fn position(&self) -> u64 {
        self.next
    }
}

impl fmt::Debug for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Numbered").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Source for Numbered {
    fn next(&mut self, _slot: usize, ended: bool) -> Option<Cow<'_, Call>> {
        if ended || self.next >= self.limit {
            return None;
        }
        let call = (self.make)(self.next);
        self.next += 1;
        Some(Cow::Owned(call))
    }

    fn reply(&mut self, _slot: usize, reply: Result<Reply, Fault>) -> Result<Verdict, DecodeError> {
        Ok(expect(reply, self.status))
    }
}
