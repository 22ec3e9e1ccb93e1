//! Locks that wait, and how their clients learn that they have them.

use trunkfs::metadata::{
    Cancelled, LockHolder, LockOutcome, LockStanding, Reservation, Settled, WaitHow,
};

use crate::metadata::lockers::{END, EXCLUSIVE, Locker, SHARED, bytes, fresh_address, range};
use crate::metadata::world::World;

use LockOutcome::{Blocked, Deadlock, Denied, Granted};
use LockStanding::{Held, Reserved, Waiting};

fn svids(reservations: &[Reservation]) -> Vec<i32> {
    reservations.iter().map(|it| it.owner.svid).collect()
}

pub(crate) async fn a_waiter_gets_its_lock(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    assert_eq!(it.wait(file, 1, (0, 99), EXCLUSIVE).await, Granted, "nobody is in the way");
    assert_eq!(it.wait(file, 2, (50, 60), SHARED).await, Blocked);
    // The client polls.
    assert_eq!(it.wait(file, 2, (50, 60), SHARED).await, Blocked);
    assert_eq!(it.on(file).await.len(), 2, "one waiter");
    assert_eq!(it.lock(file, 2, (50, 60), SHARED).await, Denied);
    it.nothing_reserved(file).await;
    it.unlock(file, 1, (50, 60)).await;
    let [reservation] = it.reserved(file, 1).await.try_into().unwrap();
    let expected = Reservation {
        cookie: reservation.cookie,
        file,
        owner: it.owner(2),
        range: range(50, 60),
        kind: SHARED,
        oh: bytes("2@client"),
        how: it.how(),
    };
    assert_eq!(reservation, expected);
    // A reservation is in everybody's way but its owner's.
    let holder = LockHolder { kind: SHARED, svid: 2, oh: bytes("2@client"), range: range(50, 60) };
    assert_eq!(it.test(file, 1, (50, 50), EXCLUSIVE).await, Some(holder));
    assert_eq!(it.lock(file, 3, (50, 50), EXCLUSIVE).await, Denied);
    assert_eq!(it.test(file, 2, (50, 60), EXCLUSIVE).await, None);
    assert!(it.on(file).await.contains(&(2, (50, 60), SHARED, Reserved)));
    assert_eq!(it.settle(&reservation, true).await, Settled::Merged);
    assert!(it.on(file).await.contains(&(2, (50, 60), SHARED, Held)));
    assert_eq!(it.settle(&reservation, true).await, Settled::Unknown);
    assert_eq!(it.settle(&reservation, false).await, Settled::Unknown);
    assert!(it.on(file).await.contains(&(2, (50, 60), SHARED, Held)));
}

pub(crate) async fn waiters_take_turns(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (0, END), EXCLUSIVE).await;
    for (svid, kind) in [(5, EXCLUSIVE), (4, SHARED), (3, SHARED), (2, EXCLUSIVE)] {
        assert_eq!(it.wait(file, svid, (0, 9), kind).await, Blocked);
    }
    it.unlock(file, 1, (0, END)).await;
    let first = it.reserved(file, 1).await;
    // With two instances each tries its own waiters: who was first is theirs alone to say.
    let [svid] = svids(&first).try_into().unwrap();
    if first[0].kind == EXCLUSIVE {
        it.nothing_reserved(file).await;
    }
    assert_eq!(it.settle(&first[0], true).await, Settled::Merged);
    it.unlock(file, svid, (0, 9)).await;
    let mut got = vec![svid];
    while got.len() < 4 {
        it.store.woken().await;
        let next = it.store.reserve(&Locker::call(), file, 100).await.unwrap();
        assert!(next.len() < 2 || next.iter().all(|it| it.kind == SHARED), "{next:?}");
        for reservation in next {
            got.push(reservation.owner.svid);
            assert_eq!(it.settle(&reservation, true).await, Settled::Merged);
            it.unlock(file, reservation.owner.svid, (0, 9)).await;
        }
    }
    assert_eq!(it.on(file).await, []);
}

pub(crate) async fn readers_get_their_locks_together(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (0, END), EXCLUSIVE).await;
    for svid in 2..8 {
        assert_eq!(it.wait(file, svid, (0, 9), SHARED).await, Blocked);
    }
    // A downgrade frees.
    assert_eq!(it.lock(file, 1, (5, END), SHARED).await, Granted);
    it.nothing_reserved(file).await;
    assert_eq!(it.lock(file, 1, (0, END), SHARED).await, Granted);
    let mut got = svids(&it.reserved(file, 6).await);
    got.sort_unstable();
    assert_eq!(got, [2, 3, 4, 5, 6, 7]);
}

pub(crate) async fn a_poll_confirms_a_reservation(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (0, 9), EXCLUSIVE).await;
    it.wait(file, 2, (0, 9), EXCLUSIVE).await;
    it.unlock(file, 1, (0, 9)).await;
    let reserved = it.reserved(file, 1).await;
    assert_eq!(it.wait(file, 2, (0, 9), EXCLUSIVE).await, Granted);
    assert_eq!(it.on(file).await, [(2, (0, 9), EXCLUSIVE, Held)]);
    // The client has refused the callback that was under way.
    assert_eq!(it.settle(&reserved[0], false).await, Settled::Unknown);
    assert_eq!(it.on(file).await, [(2, (0, 9), EXCLUSIVE, Held)]);
}

pub(crate) async fn a_poll_may_be_sooner_than_the_callback(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (0, 9), EXCLUSIVE).await;
    it.wait(file, 2, (0, 9), EXCLUSIVE).await;
    it.unlock(file, 1, (0, 9)).await;
    assert_eq!(it.wait(file, 2, (0, 9), EXCLUSIVE).await, Granted);
    assert_eq!(it.on(file).await, [(2, (0, 9), EXCLUSIVE, Held)]);
    it.nothing_reserved(file).await;
}

pub(crate) async fn a_refused_callback_lets_the_next_in(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (0, 9), EXCLUSIVE).await;
    for svid in [2, 3] {
        it.wait(file, svid, (0, 9), EXCLUSIVE).await;
    }
    it.unlock(file, 1, (0, 9)).await;
    let first = it.reserved(file, 1).await;
    it.nothing_reserved(file).await;
    assert_eq!(it.settle(&first[0], false).await, Settled::Dropped);
    let second = it.reserved(file, 1).await;
    assert_ne!(svids(&first), svids(&second));
    assert_eq!(it.settle(&second[0], true).await, Settled::Merged);
    assert_eq!(it.on(file).await.len(), 1);
}

pub(crate) async fn a_cancel_takes_back_what_waits(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (0, 9), EXCLUSIVE).await;
    it.wait(file, 2, (0, 9), EXCLUSIVE).await;
    // Range and kind must be those of the waiter.
    assert_eq!(it.cancel(file, 2, (0, 8), EXCLUSIVE).await, Cancelled::Nothing);
    assert_eq!(it.cancel(file, 2, (0, 9), SHARED).await, Cancelled::Nothing);
    assert_eq!(it.cancel(file, 3, (0, 9), EXCLUSIVE).await, Cancelled::Nothing);
    assert_eq!(it.cancel(file, 2, (0, 9), EXCLUSIVE).await, Cancelled::Removed);
    assert_eq!(it.cancel(file, 2, (0, 9), EXCLUSIVE).await, Cancelled::Nothing);
    it.unlock(file, 1, (0, 9)).await;
    it.nothing_reserved(file).await;
    // Reserved.
    it.lock(file, 1, (0, 9), EXCLUSIVE).await;
    for svid in [2, 3] {
        it.wait(file, svid, (0, 9), EXCLUSIVE).await;
    }
    it.unlock(file, 1, (0, 9)).await;
    let [first] = it.reserved(file, 1).await.try_into().unwrap();
    assert_eq!(it.cancel(file, first.owner.svid, (0, 9), EXCLUSIVE).await, Cancelled::Removed);
    assert_eq!(it.settle(&first, true).await, Settled::Unknown);
    let [second] = it.reserved(file, 1).await.try_into().unwrap();
    assert_ne!(first.owner, second.owner);
}

pub(crate) async fn a_cancel_never_unlocks(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (0, 9), EXCLUSIVE).await;
    it.in_state(3).lock(file, 1, (10, 19), EXCLUSIVE).await;
    for (ends, kind, expected) in [
        ((0, 9), EXCLUSIVE, Cancelled::Held),
        ((2, 3), EXCLUSIVE, Cancelled::Held),
        ((5, 15), EXCLUSIVE, Cancelled::Held),
        ((0, 20), EXCLUSIVE, Cancelled::Nothing),
        ((0, END), EXCLUSIVE, Cancelled::Nothing),
        ((0, 9), SHARED, Cancelled::Nothing),
        ((30, 39), EXCLUSIVE, Cancelled::Nothing),
    ] {
        assert_eq!(it.cancel(file, 1, ends, kind).await, expected, "{ends:?} {kind:?}");
    }
    assert_eq!(it.held(file).await.len(), 2);
    // Whoever waits for more keeps what it has.
    let file = world.superuser().file(world.root, "g").await.id;
    it.lock(file, 1, (0, 9), SHARED).await;
    it.lock(file, 2, (0, 9), SHARED).await;
    assert_eq!(it.wait(file, 1, (0, 9), EXCLUSIVE).await, Blocked);
    assert_eq!(it.cancel(file, 1, (0, 9), EXCLUSIVE).await, Cancelled::Removed);
    assert_eq!(it.held(file).await, [(1, (0, 9), SHARED), (2, (0, 9), SHARED)]);
}

/// An UNLOCK takes back what waits for exactly its range. A reservation that only overlaps stays: another
/// thread of the owner may wait for it.
pub(crate) async fn an_unlock_takes_back_waiters_of_its_range(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (0, 99), EXCLUSIVE).await;
    for (ends, kind) in [((0, 9), EXCLUSIVE), ((0, 9), SHARED), ((5, 6), EXCLUSIVE)] {
        assert_eq!(it.wait(file, 2, ends, kind).await, Blocked);
    }
    it.unlock(file, 2, (0, 9)).await;
    assert_eq!(it.on(file).await.len(), 2);
    it.unlock(file, 1, (0, 99)).await;
    let [reservation] = it.reserved(file, 1).await.try_into().unwrap();
    assert_eq!(reservation.range, range(5, 6));
    let mut overlapping = it.unlock(file, 2, (0, END)).await.overlapping;
    // Only the instance that calls back says so.
    if overlapping.is_empty() {
        overlapping = it.unlock(file, 2, (0, END)).await.overlapping;
    }
    assert_eq!(overlapping, std::slice::from_ref(&reservation));
    assert_eq!(it.unlock(file, 2, (7, END)).await.overlapping, []);
    assert_eq!(it.on(file).await, [(2, (5, 6), EXCLUSIVE, Reserved)]);
    it.unlock(file, 2, (5, 6)).await;
    assert_eq!(it.on(file).await, []);
    assert_eq!(it.settle(&reservation, true).await, Settled::Unknown);
}

/// What an owner has and what it gets become one.
pub(crate) async fn a_reservation_merges_when_it_is_confirmed(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (10, 19), EXCLUSIVE).await;
    it.lock(file, 2, (0, 9), EXCLUSIVE).await;
    it.lock(file, 2, (20, 29), SHARED).await;
    assert_eq!(it.wait(file, 2, (10, 24), EXCLUSIVE).await, Blocked);
    it.unlock(file, 1, (0, END)).await;
    let reserved = it.reserved(file, 1).await;
    let before = [(2, (0, 9), EXCLUSIVE), (2, (20, 29), SHARED)];
    assert_eq!(it.held(file).await, before, "not merged before");
    it.settle(&reserved[0], true).await;
    assert_eq!(it.held(file).await, [(2, (0, 24), EXCLUSIVE), (2, (25, 29), SHARED)]);
}

pub(crate) async fn two_that_wait_for_each_other(world: World) {
    let (it, root) = (Locker::new(&world), world.superuser());
    let [f, g] = [root.file(world.root, "f").await.id, root.file(world.root, "g").await.id];
    let other = Locker::new(&world);
    assert_eq!(it.lock(f, 1, (0, 9), EXCLUSIVE).await, Granted);
    assert_eq!(other.lock(g, 1, (0, 9), SHARED).await, Granted);
    assert_eq!(it.wait(g, 1, (5, 5), EXCLUSIVE).await, Blocked);
    assert_eq!(other.wait(f, 1, (9, 20), SHARED).await, Deadlock);
    assert_eq!(it.on(f).await.len(), 1, "whoever is refused does not wait");
    assert_eq!(other.lock(f, 1, (9, 20), SHARED).await, Denied);
    assert_eq!(other.wait(f, 1, (10, 20), SHARED).await, Granted, "nobody is in the way there");
    // Once the first waits no more, the second may.
    assert_eq!(it.cancel(g, 1, (5, 5), EXCLUSIVE).await, Cancelled::Removed);
    assert_eq!(other.wait(f, 1, (9, 9), SHARED).await, Blocked);
    assert_eq!(it.wait(g, 1, (5, 5), EXCLUSIVE).await, Deadlock);
    // Within one file, for an upgrade.
    let h = root.file(world.root, "h").await.id;
    assert_eq!(it.lock(h, 1, (0, 9), SHARED).await, Granted);
    assert_eq!(it.lock(h, 2, (0, 9), SHARED).await, Granted);
    assert_eq!(it.wait(h, 1, (0, 9), EXCLUSIVE).await, Blocked);
    assert_eq!(it.wait(h, 2, (0, 9), EXCLUSIVE).await, Deadlock);
    assert_eq!(it.held(h).await.len(), 2);
}

pub(crate) async fn three_that_wait_in_a_ring(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    for svid in 0..3 {
        let at = svid as u64 * 10;
        assert_eq!(it.lock(file, svid, (at, at + 9), EXCLUSIVE).await, Granted);
    }
    assert_eq!(it.wait(file, 0, (10, 10), EXCLUSIVE).await, Blocked);
    assert_eq!(it.wait(file, 1, (20, 20), SHARED).await, Blocked);
    assert_eq!(it.wait(file, 2, (0, 0), SHARED).await, Deadlock);
    // A chain is no ring.
    assert_eq!(it.wait(file, 3, (0, END), EXCLUSIVE).await, Blocked);
    it.unlock(file, 2, (20, 29)).await;
    let [next] = it.reserved(file, 1).await.try_into().unwrap();
    assert_eq!(next.owner.svid, 1);
    assert_eq!(it.wait(file, 2, (0, 0), SHARED).await, Blocked, "the ring is open");
}

/// A poll of what has come to wait for itself ends the wait.
pub(crate) async fn a_poll_looks_for_deadlocks_too(world: World) {
    let (it, root) = (Locker::new(&world), world.superuser());
    let [f, g] = [root.file(world.root, "f").await.id, root.file(world.root, "g").await.id];
    it.lock(f, 1, (0, 9), EXCLUSIVE).await;
    assert_eq!(it.wait(f, 2, (0, 9), EXCLUSIVE).await, Blocked);
    assert_eq!(it.lock(g, 3, (0, 9), EXCLUSIVE).await, Granted);
    assert_eq!(it.wait(g, 1, (0, 9), EXCLUSIVE).await, Blocked);
    // Another thread of the second takes what the first waits for.
    it.unlock(g, 3, (0, 9)).await;
    assert_eq!(it.lock(g, 2, (0, 9), EXCLUSIVE).await, Granted);
    assert_eq!(it.wait(f, 2, (0, 9), EXCLUSIVE).await, Deadlock);
    assert!(!it.on(f).await.iter().any(|row| row.3 == Waiting));
}

/// This process has lost the address that the client has called: whoever has it takes the waiter over.
pub(crate) async fn a_reservation_is_handed_over(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    let local = fresh_address();
    let request = |svid| it.request(file, svid, range(0, 9), EXCLUSIVE);
    let how = WaitHow { local, ..it.how() };
    it.lock(file, 1, (0, 9), EXCLUSIVE).await;
    for svid in [2, 3] {
        let waits = it.store.lock(&Locker::call(), &request(svid), Some(&how)).await.unwrap();
        assert_eq!(waits, Blocked);
    }
    it.unlock(file, 1, (0, 9)).await;
    let [first] = it.reserved(file, 1).await.try_into().unwrap();
    it.store.hand_over(&Locker::call(), first.cookie).await.unwrap();
    it.store.hand_over(&Locker::call(), first.cookie).await.unwrap();
    let waits = it.on(file).await.into_iter().filter(|row| row.3 == Waiting);
    assert_eq!(waits.map(|row| row.0).collect::<Vec<_>>(), [2, 3]);
    // The other is still looked after, and comes before.
    let [second] = it.reserved(file, 1).await.try_into().unwrap();
    assert_ne!(first.owner, second.owner);
    assert_eq!(it.settle(&first, true).await, Settled::Unknown);
    assert_eq!(it.settle(&second, false).await, Settled::Dropped);
    let call = &Locker::call();
    assert!(it.store.abandoned(call).await.unwrap().contains(&local));
    assert_eq!(it.store.take_over(call, &[fresh_address()]).await.unwrap(), []);
    assert_eq!(it.store.take_over(call, &[local]).await.unwrap(), [], "it waits only");
    assert!(!it.store.abandoned(call).await.unwrap().contains(&local));
    let [again] = it.reserved(file, 1).await.try_into().unwrap();
    assert_eq!((again.owner.clone(), &again.how), (first.owner, &how));
    assert_ne!(again.cookie, first.cookie);
    assert_eq!(it.settle(&again, true).await, Settled::Merged);
}
