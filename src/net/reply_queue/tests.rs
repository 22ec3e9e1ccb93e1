use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::*;
use crate::net::memory_budget::MemoryBudget;
use crate::net::orphans::Orphans;
use crate::types::ClientAddress;

const MIB: usize = 1 << 20;

fn replies(budget: &Arc<MemoryBudget>, last: u8) -> Arc<ReplyQueue> {
    let client = ClientAddress::of([10, 0, 0, last].into());
    let orphans = Orphans::new(1, 1).of(client);
    ReplyQueue::new(128, budget.connect(client), CancellationToken::new(), orphans)
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_hold_nothing_that_others_wait_for() {
    let budget = MemoryBudget::new(0);
    let queues: Vec<_> = (0..3).map(|last| replies(&budget, last)).collect();
    let begin = |replies: &Arc<ReplyQueue>| {
        let mut slot = replies.begin(100, None);
        let begins = slot.takes(MIB);
        (slot, begins)
    };
    let running: Vec<_> = queues.iter().map(begin).collect();
    assert!(running.iter().all(|(_, begins)| *begins));
    let mut waiting: Vec<_> = queues.iter().map(begin).collect();
    assert!(waiting.iter().all(|(_, begins)| !*begins));
    let begin = queues.iter().zip(&mut waiting).map(|(replies, (slot, _))| replies.begins(slot));
    let end = async { drop(running) };
    let both = async { tokio::join!(join_all(begin), end) };
    timeout(Duration::from_secs(60), both).await.expect("every call begins");
    drop((waiting, queues));
    assert_eq!(budget.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn memory_is_given_back_when_calls_end() {
    let budget = MemoryBudget::new(64 * MIB);
    let replies = replies(&budget, 1);
    let mut slots: Vec<_> = (0..7).map(|_| replies.begin(200, None)).collect();
    slots.iter_mut().for_each(Slot::waits);
    replies.has_room().await;
    assert_eq!(budget.held(), 0, "small calls take none");
    let mut large = replies.begin(100, None);
    assert!(large.takes(MIB));
    assert!((MIB..MIB + BLOCK_BYTES).contains(&budget.held()), "{}", budget.held());
    let mut record = replies.record();
    assert_eq!(record.grow(128 << 10, MIB).await, 128 << 10);
    assert_eq!(record.grow(512 << 10, MIB - (128 << 10)).await, 512 << 10);
    assert!(budget.held() > MIB + (600 << 10), "{}", budget.held());
    let written = replies.begin(640 << 10, Some(record));
    assert!(budget.held() > MIB + (600 << 10), "it is the call's now");
    drop(large);
    assert!(budget.held() < MIB, "{}", budget.held());
    drop(written);
    assert!(budget.held() < BLOCK_BYTES, "{}", budget.held());
    drop(slots);
    assert_eq!(budget.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn memory_that_comes_too_late_is_given_back() {
    let budget = MemoryBudget::new(0);
    let (replies, other) = (replies(&budget, 1), replies(&budget, 1));
    let mut running = other.begin(100, None);
    assert!(running.takes(MIB));
    // More than was asked for before, as by a reply that is longer than its call said.
    let mut overdrawn = replies.begin(100, None);
    overdrawn.counted.takes(2 * FREE_BYTES);
    let ends = async {
        tokio::task::yield_now().await;
        drop(overdrawn);
    };
    let both = async { tokio::join!(replies.has_room(), ends) };
    timeout(Duration::from_secs(60), both).await.expect("nothing is missing any more");
    drop(running);
    assert_eq!(budget.held(), 0);

    let mut overdrawn = replies.begin(100, None);
    overdrawn.counted.takes(2 * FREE_BYTES);
    replies.has_room().await;
    drop(overdrawn);
    assert_eq!(budget.held(), 0, "an idle connection holds nothing");
}
