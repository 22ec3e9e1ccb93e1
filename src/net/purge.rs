//! Gives freed memory back to the system while nothing happens.

use std::hint::black_box;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

/// How often freed memory is looked for.
const INTERVAL: Duration = Duration::from_secs(2);
/// A block of this size comes from the part of mimalloc that holds freed memory.
const BLOCK_BYTES: usize = 2 << 20;

/// Lets the allocator give back from time to time what has been free for a second. mimalloc does so when a
/// large block is freed, and at no other time: after a burst of calls a server without work would keep all
/// that the burst took. The block is not written to, and takes no memory.
pub(super) async fn purge() -> std::convert::Infallible {
    let mut interval = interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        drop(black_box(Vec::<u8>::with_capacity(BLOCK_BYTES)));
    }
}
