//! The calls that took long, the last ones first.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

/// Slow calls that are kept.
const MOST: usize = 64;

/// A call that took long, and where its time went.
#[derive(Clone, Debug)]
pub struct SlowCall {
    /// When it ended.
    pub at: SystemTime,
    /// Its client.
    pub client: SocketAddr,
    /// Its procedure.
    pub procedure: &'static str,
    /// What it was about: a handle, a path.
    pub subject: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// How long it waited for a connection to the metadata store, for that store, for the content store, and
    /// for a metadata store that was away.
    pub waits: [Duration; 4],
}

/// The last slow calls.
#[derive(Debug, Default)]
pub struct SlowCalls(Mutex<VecDeque<SlowCall>>);

impl SlowCalls {
    /// Keeps one more.
    pub fn add(&self, call: SlowCall) {
        let mut calls = self.0.lock();
        calls.push_front(call);
        calls.truncate(MOST);
    }

    /// The calls, the newest first.
    #[must_use]
    pub fn read(&self) -> Vec<SlowCall> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_calls_are_kept() {
        let calls = SlowCalls::default();
        for seconds in 0..=MOST as u64 {
            calls.add(SlowCall {
                at: SystemTime::now(),
                client: "127.0.0.1:1".parse().unwrap(),
                procedure: "READ",
                subject: None,
                took: Duration::from_secs(seconds),
                waits: [Duration::ZERO; 4],
            });
        }
        let kept: Vec<_> = calls.read().iter().map(|call| call.took.as_secs()).collect();
        assert_eq!((kept.len(), kept[0], kept[MOST - 1]), (MOST, MOST as u64, 1));
    }
}
