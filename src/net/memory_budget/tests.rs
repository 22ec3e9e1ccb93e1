//! Scripted: the clock stands still unless a case advances it, or every task waits.

use std::pin::Pin;

use futures_util::FutureExt as _;
use tokio::time::advance;

use super::*;

const MIB: usize = 1 << 20;
const TOTAL: usize = 64 * MIB;
const PART: usize = TOTAL / 4 - MAX_RECORD_BYTES;

fn client(last: u8) -> ClientAddress {
    ClientAddress::of([10, 0, 0, last].into())
}

/// Whether the request is granted by now.
fn is_granted(request: &mut Pin<Box<impl Future>>) -> bool {
    request.as_mut().now_or_never().is_some()
}

/// Takes memory that must be there at once.
fn take(memory: &ConnectionMemory, bytes: usize) {
    assert!(memory.reserve(bytes).now_or_never().is_some(), "{bytes} are there");
}

#[tokio::test(start_paused = true)]
async fn a_client_holds_at_most_a_quarter() {
    let budget = MemoryBudget::new(TOTAL);
    let (first, second) = (budget.connect(client(1)), budget.connect(client(1)));
    take(&first, PART / 2);
    take(&second, PART / 2);
    let mut more = Box::pin(first.reserve(MIB));
    assert!(!is_granted(&mut more), "nobody waits, and the client holds its part");
    assert!(budget.is_lacking());
    second.release(MIB);
    assert!(is_granted(&mut more));
    assert!(!budget.is_lacking());
    drop(more);
    drop((first, second));
    assert_eq!(budget.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_budget_grows_and_shrinks_under_requests() {
    let budget = MemoryBudget::new(TOTAL);
    let (first, second) = (budget.connect(client(1)), budget.connect(client(2)));
    take(&first, PART);
    let mut more = Box::pin(first.reserve(MIB));
    assert!(!is_granted(&mut more));
    budget.resize(2 * TOTAL);
    assert!(is_granted(&mut more), "the client's part has grown");
    take(&first, PART / 2);
    // More is held than there is: a new client waits until some of it is given back.
    budget.resize(0);
    let least = CLIENT_PART * MAX_RECORD_BYTES;
    assert_eq!(budget.use_of().1, least);
    let mut all = Box::pin(second.reserve(TOTAL));
    assert!(!is_granted(&mut all));
    drop(more);
    drop(first);
    assert_eq!(all.now_or_never(), Some(least - MAX_RECORD_BYTES));
}

#[tokio::test(start_paused = true)]
async fn greedy_clients_leave_memory_to_others() {
    let budget = MemoryBudget::new(TOTAL);
    let greedy: Vec<_> = (1..=5).map(|last| budget.connect(client(last))).collect();
    let mut requests: Vec<_> =
        greedy.iter().flat_map(|memory| (0..40).map(|_| Box::pin(memory.reserve(MIB)))).collect();
    let mut granted = 0;
    while let Some(index) = requests.iter_mut().position(is_granted) {
        drop(requests.swap_remove(index));
        granted += 1;
    }
    assert!(granted >= 40, "{granted}");
    let other = budget.connect(client(100));
    take(&other, MIB);
}

#[tokio::test(start_paused = true)]
async fn clients_are_served_in_turn_and_each_in_its_order() {
    let budget = MemoryBudget::new(TOTAL);
    let holders: Vec<_> = (1..=7).map(|last| budget.connect(client(last))).collect();
    for holder in &holders {
        take(holder, 9 * MIB - MIB / 8);
    }
    let (busy, other) = (budget.connect(client(101)), budget.connect(client(102)));
    let (busy_too, late) = (budget.connect(client(101)), budget.connect(client(101)));
    let mut requests = [
        Box::pin(busy.reserve(4 * MIB)),
        Box::pin(busy_too.reserve(4 * MIB)),
        Box::pin(late.reserve(MIB)),
        Box::pin(other.reserve(4 * MIB)),
    ];
    let mut order = Vec::new();
    let note = |requests: &mut [Pin<Box<_>>; 4], order: &mut Vec<usize>| {
        for (index, request) in requests.iter_mut().enumerate() {
            if !order.contains(&index) && is_granted(request) {
                order.push(index);
            }
        }
    };
    note(&mut requests, &mut order);
    assert!(order.is_empty(), "{} are held", budget.held());
    for holder in &holders {
        holder.release(4 * MIB);
        note(&mut requests, &mut order);
    }
    assert_eq!(order, [0, 3, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_gives_its_turn_and_its_grant_back() {
    let budget = MemoryBudget::new(TOTAL);
    let memory = budget.connect(client(1));
    let (waits, next) = (budget.connect(client(1)), budget.connect(client(1)));
    take(&memory, PART);
    let (mut given_up, mut granted) =
        (Box::pin(waits.reserve(8 * MIB)), Box::pin(next.reserve(MIB)));
    assert!(!is_granted(&mut given_up) && !is_granted(&mut granted));
    drop(given_up);
    memory.release(MIB);
    // Granted, and not looked at.
    assert_eq!(budget.held(), PART);
    drop(granted);
    assert_eq!(budget.held(), PART - MIB);
    drop(memory);
    assert_eq!(budget.held(), 0);
    assert!(!budget.is_lacking());
    assert_eq!(budget.queue.lock().clients(), 0);
}

#[tokio::test(start_paused = true)]
async fn more_than_there_ever_is_is_all_of_it() {
    let budget = MemoryBudget::new(0);
    let memory = budget.connect(client(1));
    take(&memory, usize::MAX);
    assert_eq!(budget.held(), 3 * MAX_RECORD_BYTES);
}

/// Grows a record to its end by doubling steps, as fast as memory is there.
async fn whole_record(memory: &ConnectionMemory) {
    let mut held = 0;
    while held < MAX_RECORD_BYTES {
        let rest = MAX_RECORD_BYTES - held;
        held += memory.grow(held == 0, held.max(32 << 10).min(rest), rest).await;
        tokio::task::yield_now().await;
    }
    memory.release(held);
}

#[tokio::test(start_paused = true)]
async fn records_that_grow_beside_each_other_all_end() {
    for (clients, connections) in [(1, 40), (12, 12), (200, 3)] {
        let budget = MemoryBudget::new(0);
        let memories: Vec<_> = (0..connections)
            .flat_map(|_| (0..clients).map(|last| budget.connect(client(last))))
            .collect();
        let records = memories.iter().map(whole_record);
        let all = futures_util::future::join_all(records);
        timeout(Duration::from_secs(60), all).await.expect("none waits for another for ever");
        assert_eq!(budget.held(), 0);
        for memory in &memories {
            assert!(memory.must_end().now_or_never().is_none(), "none is at fault");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn records_and_replies_that_wait_for_each_other_all_end() {
    let budget = MemoryBudget::new(0);
    let memories: Vec<_> = (0..60).map(|last| budget.connect(client(last % 7))).collect();
    let reply = async |memory: &ConnectionMemory| {
        memory.reserve(MIB).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        memory.release(MIB);
    };
    let work = memories.iter().enumerate().map(async |(index, memory)| {
        for round in 0..4 {
            match (index + round) % 2 {
                0 => whole_record(memory).await,
                _ => reply(memory).await,
            }
        }
    });
    let all = futures_util::future::join_all(work);
    timeout(Duration::from_secs(60), all).await.expect("none waits for another for ever");
    assert_eq!(budget.held(), 0);
}

/// Connections of one client each that hold all memory, as records under way.
async fn half_records(budget: &Arc<MemoryBudget>) -> Vec<ConnectionMemory> {
    let mut halves = Vec::new();
    for last in 0..125 {
        let memory = budget.connect(client(last));
        assert_eq!(memory.grow(true, MIB / 2, MAX_RECORD_BYTES).now_or_never(), Some(MIB / 2));
        memory.pace().record_takes(MIB / 2);
        halves.push(memory);
        advance(Duration::from_millis(1)).await;
    }
    halves
}

fn slow(connections: &[ConnectionMemory]) -> Vec<usize> {
    let slow = |memory: &ConnectionMemory| memory.must_end().now_or_never().is_some();
    connections.iter().enumerate().filter(|(_, it)| slow(it)).map(|(index, _)| index).collect()
}

#[tokio::test(start_paused = true)]
async fn the_slowest_senders_give_way_as_many_as_are_needed() {
    let budget = MemoryBudget::new(TOTAL);
    let mut halves = half_records(&budget).await;
    advance(Duration::from_secs(2)).await;
    assert!(slow(&halves).is_empty(), "no request waits");
    // The first of them is ahead again, and the second sends too little.
    halves[0].pace().record_arrives(16 << 10);
    halves[1].pace().record_arrives((16 << 10) - 1);
    let bystander = budget.connect(ClientAddress::of([10, 1, 0, 1].into()));
    let mut request = Box::pin(bystander.grow(true, MIB, MIB));
    assert!(!is_granted(&mut request));
    let given_way = slow(&halves);
    assert_eq!(given_way, [1, 2], "the slowest, and no more than a record needs");
    assert_eq!(halves[1].must_end().await, Slow::Sender);
    halves.drain(1..3);
    assert!(is_granted(&mut request), "no time has passed");
}

#[tokio::test(start_paused = true)]
async fn a_sender_whose_bytes_were_not_read_goes_on() {
    let budget = MemoryBudget::new(TOTAL);
    let sender = budget.connect(client(1));
    assert_eq!(sender.grow(true, PART, PART).await, PART);
    sender.pace().record_takes(PART);
    advance(Duration::from_secs(2)).await;
    let more = budget.connect(client(1));
    let mut request = Box::pin(more.reserve(MIB));
    assert!(!is_granted(&mut request));
    assert_eq!(sender.must_end().await, Slow::Sender);
    sender.goes_on();
    assert!(timeout(Duration::from_millis(900), sender.must_end()).await.is_err());
    assert!(!is_granted(&mut request));
    advance(Duration::from_millis(200)).await;
    assert!(timeout(Duration::from_secs(1), &mut request).await.is_err());
    assert_eq!(sender.must_end().await, Slow::Sender);
}

#[tokio::test(start_paused = true)]
async fn a_client_at_its_part_drops_its_own_slow_senders_only() {
    let budget = MemoryBudget::new(TOTAL);
    let (stranger, own) = (budget.connect(client(2)), budget.connect(client(1)));
    for memory in [&stranger, &own] {
        assert_eq!(memory.grow(true, PART, PART).await, PART);
        memory.pace().record_takes(PART);
    }
    advance(Duration::from_millis(999)).await;
    let more = budget.connect(client(1));
    let mut request = Box::pin(more.reserve(MIB));
    assert!(!is_granted(&mut request));
    assert!(own.must_end().now_or_never().is_none(), "it is not slow yet");
    // The request itself looks for slow peers as time goes by.
    assert!(timeout(Duration::from_secs(1), &mut request).await.is_err());
    assert_eq!(own.must_end().await, Slow::Sender);
    assert!(stranger.must_end().now_or_never().is_none());
    drop(own);
    assert!(is_granted(&mut request));
}

#[tokio::test(start_paused = true)]
async fn a_sender_is_not_slow_while_its_memory_is_waited_for() {
    let budget = MemoryBudget::new(TOTAL);
    let (replies, sender) = (budget.connect(client(1)), budget.connect(client(1)));
    assert_eq!(sender.grow(true, MIB, MAX_RECORD_BYTES).await, MIB);
    sender.pace().record_takes(MIB);
    take(&replies, PART - MIB);
    // What the reserve has is taken by another of the client's records.
    let other = budget.connect(client(1));
    assert_eq!(other.grow(false, MIB, MAX_RECORD_BYTES).await, MAX_RECORD_BYTES);
    let mut grow = Box::pin(sender.grow(false, 8 << 10, 8 << 10));
    assert!(timeout(Duration::from_secs(10), &mut grow).await.is_err());
    assert!(sender.must_end().now_or_never().is_none());
    replies.release(MIB);
    assert!(is_granted(&mut grow));
}

#[tokio::test(start_paused = true)]
async fn receivers_that_take_nothing_give_way_later() {
    let budget = MemoryBudget::new(TOTAL);
    let receiver = budget.connect(client(1));
    take(&receiver, PART);
    receiver.pace().write_waits();
    let more = budget.connect(client(1));
    let mut request = Box::pin(more.reserve(MIB));
    for _ in 0..5 {
        receiver.pace().write_waits();
        assert!(timeout(Duration::from_millis(900), &mut request).await.is_err());
        assert!(receiver.must_end().now_or_never().is_none());
    }
    assert!(timeout(Duration::from_secs(1), &mut request).await.is_err());
    assert_eq!(receiver.must_end().await, Slow::Receiver);
}
