//! READ and WRITE of one file for each connection.

use std::borrow::Cow;

use bytes::Bytes;

use super::random::Random;
use crate::bench::call::{Call, Stability};
use crate::bench::fault::Fault;
use crate::bench::reply::{Reply, Results};
use crate::bench::source::{Source, Verdict};
use crate::bench::workload::Order;
use crate::xdr::DecodeError;

/// Bytes of unstable WRITEs of a connection before a COMMIT.
const COMMIT_BYTES: u64 = 16 << 20;

/// Offsets of blocks of a file.
#[derive(Debug)]
struct Offsets {
    order: Order,
    block: u64,
    blocks: u64,
    next: u64,
    random: Random,
}

impl Offsets {
    fn new(order: Order, block: u64, file_bytes: u64, connection: usize) -> Self {
        let blocks = (file_bytes / block.max(1)).max(1);
        Self { order, block, blocks, next: 0, random: Random::new(connection) }
    }

    fn next(&mut self) -> u64 {
        match self.order {
            Order::Sequential => {
                let block = self.next;
                self.next = (self.next + 1) % self.blocks;
                block * self.block
            }
            Order::Random => self.random.below(self.blocks) * self.block,
        }
    }
}

/// READs of a file.
#[derive(Debug)]
pub(in crate::bench) struct Reads {
    file: Bytes,
    file_bytes: u64,
    count: u32,
    offsets: Offsets,
    /// Whether the slot's READ reaches the end of the file.
    reaches_end: Vec<bool>,
}

impl Reads {
    pub(in crate::bench) fn new(
        file: Bytes,
        file_bytes: u64,
        count: u32,
        order: Order,
        (connection, depth): (usize, usize),
    ) -> Self {
        let offsets = Offsets::new(order, count.into(), file_bytes, connection);
        Self { file, file_bytes, count, offsets, reaches_end: vec![false; depth] }
    }
}

/// The verdict on a READ's results.
pub(super) fn read(
    results: &mut Results,
    count: u32,
    reaches_end: bool,
) -> Result<Verdict, DecodeError> {
    results.attributes()?;
    let (read, is_end) = (results.word()?, results.word()? != 0);
    Ok(if read != count {
        Verdict::Failed(Fault::Reply("READ: another count"))
    } else if is_end != reaches_end {
        Verdict::Failed(Fault::Reply("READ: a wrong end of the file"))
    } else {
        Verdict::Done { bytes: count.into(), entries: 0 }
    })
}

impl Source for Reads {
    fn next(&mut self, slot: usize, ended: bool) -> Option<Cow<'_, Call>> {
        let reaches_end = self.reaches_end.get_mut(slot).filter(|_| !ended)?;
        let offset = self.offsets.next();
        *reaches_end = offset + u64::from(self.count) >= self.file_bytes;
        Some(Cow::Owned(Call::read(&self.file, offset, self.count)))
    }

    fn reply(&mut self, slot: usize, reply: Result<Reply, Fault>) -> Result<Verdict, DecodeError> {
        let reaches_end = self.reaches_end.get(slot).copied().unwrap_or_default();
        match reply.and_then(Reply::succeeded) {
            Ok(mut results) => read(&mut results, self.count, reaches_end),
            Err(fault) => Ok(Verdict::Failed(fault)),
        }
    }
}

/// The verifier of a server's WRITEs and COMMITs: another one means that it may have lost data (RFC 1813
/// section 3.3.7).
#[derive(Debug, Default)]
pub(super) struct WriteVerifier(Option<u64>);

impl WriteVerifier {
    /// The verdict on a WRITE's results.
    pub(super) fn write(
        &mut self,
        results: &mut Results,
        count: usize,
        stability: Stability,
    ) -> Result<Verdict, DecodeError> {
        results.changes()?;
        let (written, committed) = (results.word()?, results.word()?);
        let is_same = self.is_same(results.hyper()?);
        Ok(if written as usize != count {
            Verdict::Failed(Fault::Reply("WRITE: another count"))
        } else if committed < stability as u32 {
            Verdict::Failed(Fault::Reply("WRITE: less stable than asked for"))
        } else if !is_same {
            Verdict::Failed(Fault::Reply("WRITE: another verifier"))
        } else {
            Verdict::Done { bytes: written.into(), entries: 0 }
        })
    }

    /// The verdict on a COMMIT's results, which is a part of an operation or stands beside them.
    pub(super) fn commit(
        &mut self,
        results: &mut Results,
        success: Verdict,
    ) -> Result<Verdict, DecodeError> {
        results.changes()?;
        let other = Verdict::Failed(Fault::Reply("COMMIT: another verifier"));
        Ok(if self.is_same(results.hyper()?) { success } else { other })
    }

    fn is_same(&mut self, verifier: u64) -> bool {
        self.0.replace(verifier).is_none_or(|before| before == verifier)
    }
}

/// WRITEs of a file. After each 16 MiB of unstable ones, and at the end, there is a COMMIT.
#[derive(Debug)]
pub(in crate::bench) struct Writes {
    file: Bytes,
    data: Bytes,
    stability: Stability,
    offsets: Offsets,
    verifier: WriteVerifier,
    /// Whether the slot's call is a COMMIT.
    commits: Vec<bool>,
    in_flight: usize,
    /// Bytes that were written and not committed.
    uncommitted: u64,
}

impl Writes {
    pub(in crate::bench) fn new(
        file: Bytes,
        file_bytes: u64,
        data: Bytes,
        (order, stability): (Order, Stability),
        (connection, depth): (usize, usize),
    ) -> Self {
        let offsets = Offsets::new(order, data.len() as u64, file_bytes, connection);
        let commits = vec![false; depth];
        let verifier = WriteVerifier::default();
        Self { file, data, stability, offsets, verifier, commits, in_flight: 0, uncommitted: 0 }
    }
}

impl Source for Writes {
    fn next(&mut self, slot: usize, ended: bool) -> Option<Cow<'_, Call>> {
        let is_commit = self.commits.get_mut(slot)?;
        let due = if ended {
            self.in_flight == 0 && self.uncommitted > 0
        } else {
            self.uncommitted >= COMMIT_BYTES
        };
        *is_commit = due;
        if ended && !due {
            return None;
        }
        self.in_flight += 1;
        if due {
            self.uncommitted = 0;
            return Some(Cow::Owned(Call::commit(&self.file)));
        }
        let offset = self.offsets.next();
        Some(Cow::Owned(Call::write(&self.file, offset, self.stability, self.data.clone())))
    }

    fn reply(&mut self, slot: usize, reply: Result<Reply, Fault>) -> Result<Verdict, DecodeError> {
        self.in_flight -= 1;
        let mut results = match reply.and_then(Reply::succeeded) {
            Ok(results) => results,
            Err(fault) => return Ok(Verdict::Failed(fault)),
        };
        if self.commits.get(slot).copied().unwrap_or_default() {
            return self.verifier.commit(&mut results, Verdict::Aside);
        }
        let verdict = self.verifier.write(&mut results, self.data.len(), self.stability)?;
        if self.stability == Stability::Unstable {
            self.uncommitted += self.data.len() as u64;
        }
        Ok(verdict)
    }
}
