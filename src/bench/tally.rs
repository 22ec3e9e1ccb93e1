//! Counts of one connection, or of all.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::call::PROCEDURES;
use super::fault::Fault;
use super::histogram::Histogram;
use super::source::Verdict;

/// Counts of the measured time.
#[derive(Debug)]
pub(super) struct Tally {
    /// Replies before this moment are not counted, but for errors.
    from: Instant,
    /// When the last counted reply arrived.
    pub(super) until: Instant,
    pub(super) operations: Histogram,
    pub(super) procedures: [Histogram; PROCEDURES],
    pub(super) bytes: u64,
    pub(super) entries: u64,
    pub(super) errors: BTreeMap<Fault, u64>,
}

/// The times of a call whose reply arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When its operation began.
    pub(super) began: Instant,
    pub(super) sent: Instant,
    pub(super) replied: Instant,
}

impl Tally {
    pub(super) fn new(from: Instant) -> Self {
        Self {
            from,
            until: from,
            operations: Histogram::default(),
            procedures: Default::default(),
            bytes: 0,
            entries: 0,
            errors: BTreeMap::new(),
        }
    }

    pub(super) fn record(&mut self, procedure: u32, times: Times, verdict: Verdict) {
        let Times { began, sent, replied } = times;
        let is_counted = replied >= self.from;
        if is_counted {
            self.until = replied;
        }
        let succeeded = match verdict {
            Verdict::Done { bytes, entries } => {
                if is_counted {
                    self.operations.record(replied - began);
                    self.bytes += bytes;
                    self.entries += entries;
                }
                true
            }
            Verdict::Step | Verdict::Aside => true,
            Verdict::Failed(fault) => {
                *self.errors.entry(fault).or_default() += 1;
                false
            }
        };
        if let Some(histogram) = self.procedures.get_mut(procedure as usize)
            && succeeded
            && is_counted
        {
            histogram.record(replied - sent);
        }
    }

    /// Adds the counts of a connection that ran at the same time.
    pub(super) fn add(&mut self, other: &Self) {
        self.until = self.until.max(other.until);
        self.operations.add(&other.operations);
        for (mine, others) in self.procedures.iter_mut().zip(&other.procedures) {
            mine.add(others);
        }
        self.bytes += other.bytes;
        self.entries += other.entries;
        self.add_errors(other);
    }

    /// Adds the errors alone.
    pub(super) fn add_errors(&mut self, other: &Self) {
        for (fault, count) in &other.errors {
            *self.errors.entry(*fault).or_default() += count;
        }
    }

    /// From the end of the warm-up to the last reply.
    pub(super) fn time(&self) -> Duration {
        self.until - self.from
    }
}
