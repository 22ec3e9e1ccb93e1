//! LOCK, TEST and UNLOCK of ranges (X/Open XNFS 14.3), as fcntl(2) has them.

use trunkfs::metadata::{Error, LockHolder, LockOutcome, LockStanding};
use trunkfs::types::ObjectId;

use crate::metadata::lockers::{END, EXCLUSIVE, Locker, SHARED, bytes, fresh_address, range};
use crate::metadata::world::World;

use LockOutcome::{Denied, Granted};

pub(crate) async fn an_unlock_splits_a_range(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    assert_eq!(it.lock(file, 1, (0, 99), EXCLUSIVE).await, Granted);
    it.unlock(file, 1, (40, 59)).await;
    assert_eq!(it.held(file).await, [(1, (0, 39), EXCLUSIVE), (1, (60, 99), EXCLUSIVE)]);
    assert_eq!(it.lock(file, 2, (39, 39), EXCLUSIVE).await, Denied);
    assert_eq!(it.lock(file, 2, (59, 60), EXCLUSIVE).await, Denied);
    assert_eq!(it.lock(file, 2, (40, 59), EXCLUSIVE).await, Granted);
    it.unlock(file, 1, (0, END)).await;
    assert_eq!(it.held(file).await, [(2, (40, 59), EXCLUSIVE)]);
}

pub(crate) async fn neighbours_become_one(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    for (first, last) in [(50, 99), (0, 49), (200, 299), (100, 199)] {
        assert_eq!(it.lock(file, 1, (first, last), SHARED).await, Granted);
    }
    assert_eq!(it.held(file).await, [(1, (0, 299), SHARED)]);
    it.unlock(file, 1, (10, 19)).await;
    it.unlock(file, 1, (30, 39)).await;
    assert_eq!(it.held(file).await.len(), 3);
    assert_eq!(it.lock(file, 1, (5, 44), SHARED).await, Granted);
    assert_eq!(it.held(file).await, [(1, (0, 299), SHARED)]);
    it.unlock(file, 1, (0, 299)).await;
    assert_eq!(it.held(file).await, []);
}

pub(crate) async fn another_kind_takes_the_place_of_its_range(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (0, 99), SHARED).await;
    assert_eq!(it.lock(file, 1, (40, 59), EXCLUSIVE).await, Granted);
    let three = [(1, (0, 39), SHARED), (1, (40, 59), EXCLUSIVE), (1, (60, 99), SHARED)];
    assert_eq!(it.held(file).await, three);
    assert_eq!(it.test(file, 2, (0, 39), SHARED).await, None);
    assert!(it.test(file, 2, (0, 40), SHARED).await.is_some());
    assert_eq!(it.lock(file, 1, (40, 59), SHARED).await, Granted);
    assert_eq!(it.held(file).await, [(1, (0, 99), SHARED)]);
}

pub(crate) async fn an_upgrade_is_all_or_nothing(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    assert_eq!(it.lock(file, 1, (0, 9), SHARED).await, Granted);
    assert_eq!(it.lock(file, 1, (0, 9), EXCLUSIVE).await, Granted);
    assert_eq!(it.lock(file, 1, (0, 9), SHARED).await, Granted);
    assert_eq!(it.lock(file, 2, (9, 20), SHARED).await, Granted, "a downgrade lets others in");
    assert_eq!(it.lock(file, 1, (0, 9), EXCLUSIVE).await, Denied);
    assert_eq!(it.held(file).await, [(1, (0, 9), SHARED), (2, (9, 20), SHARED)]);
    assert_eq!(it.lock(file, 3, (0, 0), EXCLUSIVE).await, Denied);
    assert_eq!(it.lock(file, 1, (0, 8), EXCLUSIVE).await, Granted);
}

pub(crate) async fn a_range_reaches_to_the_end(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    assert_eq!(it.lock(file, 1, (10, END), EXCLUSIVE).await, Granted);
    assert_eq!(it.lock(file, 2, (0, 9), EXCLUSIVE).await, Granted);
    let holder = it.test(file, 2, (1 << 40, 1 << 41), SHARED).await.unwrap();
    assert_eq!(holder.range, range(10, END));
    assert_eq!(it.lock(file, 2, (END, END), SHARED).await, Denied);
    it.unlock(file, 1, (END, END)).await;
    assert_eq!(it.held(file).await[0], (1, (10, END - 1), EXCLUSIVE));
    assert_eq!(it.lock(file, 2, (END, END), SHARED).await, Granted);
    assert_eq!(it.lock(file, 2, (0, END), SHARED).await, Denied);
    it.unlock(file, 1, (0, END)).await;
    assert_eq!(it.lock(file, 2, (0, END), SHARED).await, Granted);
    assert_eq!(it.held(file).await, [(2, (0, END), SHARED)]);
}

/// A client's address, its name, our address that it called, its process: each makes another owner.
pub(crate) async fn owners_are_told_apart_by_all_they_have(world: World) {
    let file = world.superuser().file(world.root, "f").await.id;
    let address = fresh_address();
    let of = |address, name: &str, server: &str| Locker::of(&world, address, name, server);
    let it = of(address, "client", "server");
    assert_eq!(it.lock(file, 1, (0, 9), EXCLUSIVE).await, Granted);
    for other in [
        of(fresh_address(), "client", "server"),
        of(address, "other", "server"),
        of(address, "CLIENT", "server"),
        of(address, "client", "another server"),
    ] {
        assert_eq!(other.lock(file, 1, (9, 9), SHARED).await, Denied);
        other.unlock(file, 1, (0, END)).await;
    }
    assert_eq!(it.lock(file, -1, (9, 9), SHARED).await, Denied);
    assert_eq!(of(address, "client", "server").lock(file, 1, (0, 9), SHARED).await, Granted);
    let other_file = world.superuser().file(world.root, "g").await.id;
    assert_eq!(it.lock(other_file, 2, (0, 9), EXCLUSIVE).await, Granted);
    // An IPv4 client is the same by an IPv6 socket.
    let name = world.share.name.to_string();
    let [plain, mapped] = ["192.0.2.1", "::ffff:192.0.2.1"]
        .map(|address| of(address.parse().unwrap(), &name, "server"));
    let third = world.superuser().file(world.root, "h").await.id;
    assert_eq!(plain.lock(third, 1, (0, 9), EXCLUSIVE).await, Granted);
    assert_eq!(mapped.lock(third, 1, (5, 9), EXCLUSIVE).await, Granted);
}

pub(crate) async fn a_test_names_the_first_holder(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    assert_eq!(it.test(file, 1, (0, END), EXCLUSIVE).await, None);
    it.lock(file, 7, (20, 29), SHARED).await;
    it.lock(file, -8, (10, 14), EXCLUSIVE).await;
    let holder = it.test(file, 1, (0, END), EXCLUSIVE).await.unwrap();
    let expected =
        LockHolder { kind: EXCLUSIVE, svid: -8, oh: bytes("-8@client"), range: range(10, 14) };
    assert_eq!(holder, expected);
    let holder = it.test(file, 1, (15, END), EXCLUSIVE).await.unwrap();
    let expected =
        LockHolder { kind: SHARED, svid: 7, oh: bytes("7@client"), range: range(20, 29) };
    assert_eq!(holder, expected);
    assert_eq!(it.test(file, 1, (15, END), SHARED).await, None);
    assert_eq!(it.test(file, 7, (15, END), EXCLUSIVE).await, None, "one's own is in nobody's way");
    assert_eq!(it.on(file).await.len(), 2, "a test changes nothing");
}

pub(crate) async fn repeats_change_nothing(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    for _ in 0..3 {
        assert_eq!(it.lock(file, 1, (0, 9), EXCLUSIVE).await, Granted);
        assert_eq!(it.held(file).await, [(1, (0, 9), EXCLUSIVE)]);
    }
    assert_eq!(it.lock(file, 1, (3, 4), EXCLUSIVE).await, Granted);
    assert_eq!(it.held(file).await, [(1, (0, 9), EXCLUSIVE)]);
    for _ in 0..3 {
        it.unlock(file, 1, (0, 9)).await;
        assert_eq!(it.held(file).await, []);
    }
    // What nobody has, of a client and a file that nobody knows.
    Locker::new(&world).unlock(file, 1, (0, END)).await;
    it.unlock(ObjectId::generate(), 1, (0, END)).await;
}

pub(crate) async fn a_removed_file_has_no_locks(world: World) {
    let (it, root) = (Locker::new(&world), world.superuser());
    let file = root.file(world.root, "f").await.id;
    it.lock(file, 1, (0, 9), EXCLUSIVE).await;
    it.wait(file, 2, (0, 9), EXCLUSIVE).await;
    it.share(file, "oh", (1, 1)).await.unwrap();
    root.remove(world.root, "f").await.unwrap();
    let shares: Vec<_> = it
        .records(trunkfs::metadata::LockFilter { file: Some(file), ..Default::default() })
        .await
        .iter()
        .map(|record| record.share)
        .collect();
    assert!(shares.iter().all(Option::is_none), "{shares:?}");
    assert!(matches!(it.try_lock(file, 1, (0, 9), EXCLUSIVE).await, Err(Error::Stale)));
    assert!(matches!(it.share(file, "oh", (1, 1)).await, Err(Error::Stale)));
    it.unlock(file, 1, (0, 9)).await;
    it.cancel(file, 2, (0, 9), EXCLUSIVE).await;
    it.unshare(file, "oh").await;
    it.nothing_reserved(file).await;
    assert_eq!(it.on(file).await, []);
    let never = ObjectId::generate();
    assert!(matches!(it.try_lock(never, 1, (0, 9), EXCLUSIVE).await, Err(Error::Stale)));
}

/// Locks are advisory, and are no part of the file.
pub(crate) async fn other_operations_do_not_look_at_locks(world: World) {
    let (it, root) = (Locker::new(&world), world.superuser());
    let file = root.file(world.root, "f").await;
    it.lock(file.id, 1, (0, END), EXCLUSIVE).await;
    assert_eq!(root.attributes(file.id).await, file);
    root.wrote(file.id, 100).await;
    root.rename(world.root, "f", world.root, "g").await.unwrap();
    root.link(file.id, world.root, "h").await.unwrap();
    root.setattr(file.id, crate::metadata::world::size(3)).await.unwrap();
    root.remove(world.root, "g").await.unwrap();
    assert_eq!(it.on(file.id).await, [(1, (0, END), EXCLUSIVE, LockStanding::Held)]);
}
