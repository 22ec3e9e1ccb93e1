//! What is counted of the requests to a bucket.

use std::time::Duration;

use super::bucket::Bucket;
use super::error::RequestError;
use super::{ObjectContent, Shared};
use crate::counters::{Counter, Histogram, Measured, Readings};

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Get,
    Put,
    Delete,
    List,
}

/// The requests of one kind. Each attempt is one.
#[derive(Debug)]
struct Requests {
    took: Histogram,
    /// May succeed later: the bucket was away, busy or late.
    passing: Counter,
    /// Does not by itself: refused.
    lasting: Counter,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            took: Histogram::of_waits(),
            passing: Counter::default(),
            lasting: Counter::default(),
        }
    }
}

/// What a bucket was asked.
#[derive(Debug, Default)]
pub(super) struct Figures {
    get: Requests,
    put: Requests,
    delete: Requests,
    list: Requests,
    pub(super) retries: Counter,
    pub(super) read: Counter,
    pub(super) written: Counter,
}

impl Figures {
    /// Counts an attempt that was answered, or was not in time.
    pub(super) fn count<T>(
        &self,
        operation: Operation,
        took: Duration,
        answer: &Result<T, RequestError>,
    ) {
        let requests = match operation {
            Operation::Get => &self.get,
            Operation::Put => &self.put,
            Operation::Delete => &self.delete,
            Operation::List => &self.list,
        };
        requests.took.wait(took);
        match answer {
            Err(RequestError::Passing(_)) => requests.passing.increment(),
            Err(RequestError::Lasting(_)) => requests.lasting.increment(),
            // What was asked: a condition, an object that may be absent.
            Ok(_)
            | Err(
                RequestError::Absent
                | RequestError::Changed
                | RequestError::Unchanged
                | RequestError::BeyondEnd,
            ) => {}
        }
    }
}

impl Measured for ObjectContent {
    fn read(&self, to: &mut Readings) {
        let Shared { bucket, .. } = &*self.shared;
        let Bucket { figures, .. } = bucket;
        for (name, requests) in [
            ("get", &figures.get),
            ("put", &figures.put),
            ("delete", &figures.delete),
            ("list", &figures.list),
        ] {
            let help = "How long requests to a bucket took, each attempt by itself";
            let labels = [("operation", name)];
            to.histogram("trunkfs_bucket_request_seconds", help, &labels, &requests.took);
            for (kind, count) in [("passing", &requests.passing), ("lasting", &requests.lasting)] {
                let help = "Requests to a bucket that failed: passing ones may succeed later";
                let labels = [("operation", name), ("kind", kind)];
                to.counter("trunkfs_bucket_failures", help, &labels, count.total());
            }
        }
        let help = "Requests to a bucket that were made again";
        to.counter("trunkfs_bucket_retries", help, &[], figures.retries.total());
        let help = "Bytes of objects that were read from a bucket";
        to.counter("trunkfs_bucket_read_bytes", help, &[], figures.read.total());
        let help = "Bytes of objects that were written to a bucket";
        to.counter("trunkfs_bucket_written_bytes", help, &[], figures.written.total());
        let (most, free, waiting) = bucket.places();
        let help = "Requests to a bucket that are under way, and that wait for their turn";
        let name = "trunkfs_bucket_requests";
        to.level(name, help, &[("state", "active")], most.saturating_sub(free) as u64);
        to.level(name, help, &[("state", "waiting")], waiting as u64);
    }
}
