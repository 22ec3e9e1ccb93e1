//! How many locks there may be, and what time makes void. The stores of these cases have [`LIMITS`].

use std::time::Duration;

use trunkfs::metadata::{Freed, LockLimits, LockOutcome, Settled, ShareOutcome, Tidied};

use crate::metadata::lockers::{END, EXCLUSIVE, Locker, SHARED};
use crate::metadata::world::World;

use LockOutcome::{Blocked, Granted, NoLocks};

pub(crate) const LIMITS: LockLimits =
    LockLimits { ranges: 6, locks: 10, waiters: 4, all: 1_000_000 };

pub(crate) async fn an_owner_has_so_many_ranges_of_a_file(world: World) {
    let (it, root) = (Locker::new(&world), world.superuser());
    let [f, g] = [root.file(world.root, "f").await.id, root.file(world.root, "g").await.id];
    for at in 0..6 {
        assert_eq!(it.lock(f, 1, (at * 10, at * 10 + 4), SHARED).await, Granted);
    }
    assert_eq!(it.lock(f, 1, (100, 100), SHARED).await, NoLocks);
    assert_eq!(it.held(f).await.len(), 6, "nothing has changed");
    // What makes no row more is granted: a repeat, a row that grows, another kind of a whole row.
    assert_eq!(it.lock(f, 1, (0, 4), SHARED).await, Granted);
    assert_eq!(it.lock(f, 1, (50, 59), SHARED).await, Granted);
    assert_eq!(it.lock(f, 1, (0, 4), EXCLUSIVE).await, Granted);
    assert_eq!(it.lock(f, 1, (12, 12), EXCLUSIVE).await, NoLocks, "a row would become three");
    // Others, and other files, have their own.
    assert_eq!(it.lock(f, 2, (100, 100), SHARED).await, Granted);
    assert_eq!(it.lock(g, 1, (100, 100), SHARED).await, Granted);
    // An unlock never fails.
    it.unlock(f, 1, (12, 12)).await;
    assert_eq!(it.held(f).await.len(), 8);
    it.unlock(f, 1, (0, END)).await;
    assert_eq!(it.lock(f, 1, (100, 100), SHARED).await, Granted);
}

pub(crate) async fn a_client_has_so_many_locks(world: World) {
    let (it, root) = (Locker::new(&world), world.superuser());
    let mut files = Vec::new();
    for number in 0..6 {
        files.push(root.file(world.root, format!("{number}")).await.id);
    }
    for file in &files[..3] {
        for svid in 0..2 {
            assert_eq!(it.lock(*file, svid, (0, 9), SHARED).await, Granted);
        }
        assert_eq!(it.share(*file, "oh", (0, 1)).await.unwrap(), ShareOutcome::Granted);
    }
    // Three files of three; one more, and no more.
    assert_eq!(it.lock(files[3], 0, (0, 9), SHARED).await, Granted);
    assert_eq!(it.lock(files[4], 0, (0, 9), SHARED).await, NoLocks);
    assert_eq!(it.share(files[4], "oh", (0, 1)).await.unwrap(), ShareOutcome::NoLocks);
    assert_eq!(it.share(files[0], "oh", (0, 2)).await.unwrap(), ShareOutcome::Granted);
    assert_eq!(it.lock(files[0], 0, (0, 9), SHARED).await, Granted, "a repeat");
    assert_eq!(Locker::new(&world).lock(files[4], 0, (0, 9), SHARED).await, Granted);
    it.unshare(files[0], "oh").await;
    assert_eq!(it.lock(files[4], 0, (0, 9), SHARED).await, Granted);
    let freed = it.rebooted("client", 3).await;
    assert_eq!(freed, Freed { clients: 1, locks: 8, shares: 2, ..Freed::default() });
}

pub(crate) async fn a_client_has_so_many_waiters(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    let holder = Locker::new(&world);
    holder.lock(file, 1, (0, END), EXCLUSIVE).await;
    for svid in 0..4 {
        assert_eq!(it.wait(file, svid, (0, 9), EXCLUSIVE).await, Blocked);
    }
    assert_eq!(it.wait(file, 4, (0, 9), EXCLUSIVE).await, NoLocks);
    assert_eq!(it.wait(file, 0, (0, 9), EXCLUSIVE).await, Blocked, "a poll");
    it.cancel(file, 0, (0, 9), EXCLUSIVE).await;
    assert_eq!(it.wait(file, 4, (0, 9), EXCLUSIVE).await, Blocked);
}

pub(crate) async fn waiters_that_nobody_polls_for_go(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (0, 9), EXCLUSIVE).await;
    it.wait(file, 2, (0, 9), EXCLUSIVE).await;
    it.lock(file, 3, (20, 29), EXCLUSIVE).await;
    it.wait(file, 4, (20, 29), EXCLUSIVE).await;
    it.unlock(file, 3, (20, 29)).await;
    let reserved = it.reserved(file, 1).await;
    assert_eq!(tidied(&world, Duration::from_secs(150)).await, Tidied::default(), "all were seen");
    assert_eq!(it.on(file).await.len(), 3);
    let expected = Tidied { waiters: 1, ..Tidied::default() };
    assert_eq!(tidied(&world, Duration::ZERO).await, expected);
    // A reservation of a server that is there stays.
    assert_eq!(it.on(file).await.len(), 2);
    assert_eq!(it.settle(&reserved[0], true).await, Settled::Merged);
}

async fn tidied(world: &World, unseen: Duration) -> Tidied {
    world.store.tidy_locks(&Locker::call(), unseen, None).await.unwrap()
}

pub(crate) async fn what_is_left_of_removed_files_goes(world: World) {
    let (it, root) = (Locker::new(&world), world.superuser());
    let [f, g] = [root.file(world.root, "f").await.id, root.file(world.root, "g").await.id];
    for file in [f, g] {
        it.lock(file, 1, (0, 9), EXCLUSIVE).await;
        it.wait(file, 2, (0, 9), EXCLUSIVE).await;
        it.share(file, "oh", (0, 1)).await.unwrap();
    }
    root.remove(world.root, "f").await.unwrap();
    let totals = world.store.lock_totals().await.unwrap();
    assert_eq!((totals.locks, totals.waiters, totals.shares), (2, 2, 2));
    tidied(&world, Duration::from_secs(150)).await;
    assert_eq!(it.on(f).await, []);
    assert_eq!(it.on(g).await.len(), 3);
    let totals = world.store.lock_totals().await.unwrap();
    assert_eq!((totals.locks, totals.waiters, totals.shares), (1, 1, 1));
    assert_eq!((totals.clients, totals.reservations), (1, 0));
}
