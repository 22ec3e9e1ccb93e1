//! What becomes of locks when their clients reboot, or an administrator breaks them; lists of them; share
//! reservations.

use std::collections::BTreeSet;
use std::time::Duration;

use trunkfs::metadata::{
    Error, Freed, LockFilter, LockOutcome, LockRecord, LockStanding, QuietClient, ShareOutcome,
    WhichClients,
};

use crate::metadata::lockers::{END, EXCLUSIVE, Locker, SHARED, bytes, fresh_address, range};
use crate::metadata::world::World;

use LockOutcome::{Blocked, Denied, Granted};

pub(crate) async fn a_reboot_frees_what_was_before_it(world: World) {
    let (it, root) = (Locker::new(&world), world.superuser());
    let [f, g] = [root.file(world.root, "f").await.id, root.file(world.root, "g").await.id];
    it.lock(f, 1, (0, 9), EXCLUSIVE).await;
    it.lock(f, 2, (20, 29), SHARED).await;
    it.lock(g, 1, (0, END), EXCLUSIVE).await;
    it.share(g, "oh", (1, 1)).await.unwrap();
    let other = Locker::new(&world);
    other.lock(f, 1, (40, 49), EXCLUSIVE).await;
    assert_eq!(it.wait(f, 3, (40, 49), EXCLUSIVE).await, Blocked);
    assert_eq!(other.wait(g, 1, (0, 0), EXCLUSIVE).await, Blocked);
    // Locks that it takes before its notice comes are of the new state.
    assert_eq!(it.in_state(3).lock(f, 1, (100, 109), EXCLUSIVE).await, Granted);
    let freed = it.rebooted("client", 3).await;
    let expected = Freed { clients: 1, locks: 3, waiters: 1, shares: 1, ..Freed::default() };
    assert_eq!(freed, expected);
    assert_eq!(it.held(f).await, [(1, (40, 49), EXCLUSIVE), (1, (100, 109), EXCLUSIVE)]);
    let reserved = it.reserved(g, 1).await;
    assert_eq!(reserved[0].owner, other.owner(1));
    // Once more, and the reservation is freed by its own client.
    assert_eq!(it.rebooted("client", 3).await, Freed { clients: 1, ..Freed::default() });
    let freed = other.rebooted("client", 5).await;
    let expected = Freed { clients: 1, locks: 1, reservations: 1, ..Freed::default() };
    assert_eq!(freed, expected);
    assert_eq!(it.on(g).await, []);
}

pub(crate) async fn a_reboot_is_of_one_host(world: World) {
    let file = world.superuser().file(world.root, "f").await.id;
    let address = fresh_address();
    let of = |name, server| Locker::of(&world, address, name, server);
    let name = format!("h{}.example.org", rand::random::<u64>());
    let label = name.split('.').next().unwrap();
    let (one, again, other) = (of(&name, "one"), of(&name, "two"), of("other", "one"));
    one.lock(file, 1, (0, 0), EXCLUSIVE).await;
    again.lock(file, 1, (1, 1), EXCLUSIVE).await;
    other.lock(file, 1, (2, 2), EXCLUSIVE).await;
    // Behind address translation two hosts have one address: names tell them apart.
    assert_eq!(one.rebooted("third", 3).await, Freed::default());
    assert_eq!(one.held(file).await.len(), 3);
    // Another address says nothing of this one.
    let stranger = Locker::of(&world, fresh_address(), &name, "one");
    let freed = stranger.rebooted(&name, 3).await;
    assert_eq!(freed, Freed { known_elsewhere: true, ..Freed::default() });
    assert_eq!(one.held(file).await.len(), 3);
    // The first label stands for the whole name, and all our addresses are meant.
    let freed = one.rebooted(&label.to_uppercase(), 3).await;
    assert_eq!(freed, Freed { clients: 2, locks: 2, ..Freed::default() });
    assert_eq!(one.held(file).await, [(1, (2, 2), EXCLUSIVE)]);
    // An address with one name on record is its host's, whatever that calls itself.
    let alone = Locker::new(&world);
    alone.lock(file, 1, (3, 3), EXCLUSIVE).await;
    let freed = alone.rebooted("another.name", 3).await;
    assert_eq!(freed, Freed { clients: 1, locks: 1, ..Freed::default() });
}

pub(crate) async fn a_client_frees_all_it_has(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    let address = it.client.address();
    let other = Locker::of(&world, address, "client.example.org", "server");
    it.lock(file, 1, (0, 0), EXCLUSIVE).await;
    it.in_state(3).lock(file, 1, (2, 2), EXCLUSIVE).await;
    other.lock(file, 1, (4, 4), EXCLUSIVE).await;
    let named = |name| WhichClients::Named { address, caller_name: bytes(name) };
    let freed = it.free(named("CLIENT")).await;
    assert_eq!((freed.clients, freed.locks), (0, 0), "exactly its name");
    assert_eq!(it.free(named("client")).await, Freed { clients: 1, locks: 2, ..Freed::default() });
    assert_eq!(it.held(file).await, [(1, (4, 4), EXCLUSIVE)]);
}

pub(crate) async fn many_files_of_a_client_are_freed(world: World) {
    let (it, root) = (Locker::new(&world), world.superuser());
    let other = Locker::new(&world);
    let mut files = Vec::new();
    for number in 0..300 {
        files.push(root.file(world.root, format!("{number}")).await.id);
        assert_eq!(it.lock(files[number], 1, (0, 9), EXCLUSIVE).await, Granted);
    }
    other.lock(files[0], 1, (10, 19), EXCLUSIVE).await;
    let freed = it.rebooted("client", 3).await;
    assert_eq!(freed, Freed { clients: 1, locks: 300, ..Freed::default() });
    for file in &files[1..] {
        assert_eq!(it.on(*file).await, []);
    }
    assert_eq!(it.held(files[0]).await, [(1, (10, 19), EXCLUSIVE)]);
}

pub(crate) async fn share_reservations_exclude_each_other(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    let other = Locker::new(&world);
    for mode in 0..4 {
        for access in 0..4 {
            for (other_mode, other_access) in (0..16).map(|both| (both / 4, both % 4)) {
                it.share(file, "oh", (mode, access)).await.unwrap();
                let fits = mode & other_access == 0 && other_mode & access == 0;
                let expected = if fits { ShareOutcome::Granted } else { ShareOutcome::Denied };
                let outcome = other.share(file, "oh", (other_mode, other_access)).await.unwrap();
                assert_eq!(outcome, expected, "{mode} {access} {other_mode} {other_access}");
                other.unshare(file, "oh").await;
            }
        }
    }
    it.unshare(file, "oh").await;
    it.unshare(file, "oh").await;
    assert_eq!(it.on(file).await, []);
}

pub(crate) async fn a_share_reservation_gives_way_to_its_own(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    assert_eq!(it.share(file, "one", (3, 3)).await.unwrap(), ShareOutcome::Granted);
    assert_eq!(it.share(file, "two", (0, 1)).await.unwrap(), ShareOutcome::Denied);
    assert_eq!(it.share(file, "one", (2, 1)).await.unwrap(), ShareOutcome::Granted);
    assert_eq!(it.share(file, "two", (0, 1)).await.unwrap(), ShareOutcome::Granted);
    assert_eq!(it.share(file, "one", (1, 1)).await.unwrap(), ShareOutcome::Denied);
    let shares: Vec<_> = it.on(file).await.into_iter().map(|row| row.3).collect();
    let expected = [(0, 1), (2, 1)].map(|(mode, access)| LockStanding::Share { mode, access });
    assert_eq!(shares, expected);
    // Ranges and share reservations have nothing to do with each other.
    assert_eq!(Locker::new(&world).lock(file, 1, (0, END), EXCLUSIVE).await, Granted);
    assert_eq!(it.share(file, "two", (0, 3)).await.unwrap(), ShareOutcome::Denied);
    assert_eq!(it.share(file, "three", (0, 1)).await.unwrap(), ShareOutcome::Granted);
}

/// Every record once, page by page, as it is.
pub(crate) async fn a_list_has_everything_once(world: World) {
    let (it, root) = (Locker::new(&world), world.superuser());
    let [f, g] = [root.file(world.root, "f").await.id, root.file(world.root, "g").await.id];
    let second = Locker::of(&world, it.client.address(), "client", "another server");
    for at in 0..7 {
        it.lock(f, at % 2, (at as u64 * 10, at as u64 * 10 + 4), SHARED).await;
        second.lock(g, at, (at as u64, at as u64), EXCLUSIVE).await;
    }
    it.wait(g, 1, (0, 3), SHARED).await;
    it.share(f, "oh", (1, 2)).await.unwrap();
    second.share(f, "oh", (0, 2)).await.unwrap();
    let address = Some(it.client.address());
    let filter = LockFilter { address, ..LockFilter::default() };
    let whole = it.records(filter.clone()).await;
    assert_eq!(whole.len(), 17);
    for limit in [1, 2, 5, 16, 17, 18] {
        let mut all: Vec<LockRecord> = Vec::new();
        loop {
            let page = it.store.list_locks(&filter, all.last(), limit).await.unwrap();
            let is_last = page.len() < limit;
            all.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(all, whole, "pages of {limit}");
    }
    assert!(whole.iter().all(|record| record.share == Some(world.share.id)));
    let count = |filter| async { it.records(filter).await.len() };
    let all = LockFilter { address, ..LockFilter::default() };
    assert_eq!(count(LockFilter { file: Some(f), ..all.clone() }).await, 9);
    assert_eq!(count(LockFilter { svid: Some(1), ..all.clone() }).await, 5);
    assert_eq!(count(LockFilter { waiting: true, ..all.clone() }).await, 1);
    assert_eq!(count(LockFilter { caller_name: Some(bytes("x")), ..all.clone() }).await, 0);
    assert_eq!(count(LockFilter { caller_name: Some(bytes("client")), ..all }).await, 17);
    let waiting = LockFilter { address, waiting: true, ..LockFilter::default() };
    let waiter = it.records(waiting).await.remove(0);
    assert_eq!((waiter.owner, waiter.standing), (it.owner(1), LockStanding::Waiting));
    assert_eq!((waiter.range, waiter.kind), (range(0, 3), SHARED));
    assert_eq!((waiter.oh, waiter.state), (bytes("1@client"), 1));
    assert!(waiter.instance.is_some());
    assert!(waiter.since <= waiter.seen);
    let seen: BTreeSet<_> = whole.iter().map(|record| record.owner.client.clone()).collect();
    assert_eq!(seen.len(), 2);
}

pub(crate) async fn an_administrator_breaks_locks(world: World) {
    let (it, root) = (Locker::new(&world), world.superuser());
    let other = Locker::new(&world);
    let [f, g] = [root.file(world.root, "f").await.id, root.file(world.root, "g").await.id];
    let fill = || async {
        it.lock(f, 1, (0, 9), EXCLUSIVE).await;
        it.lock(f, 2, (20, 29), EXCLUSIVE).await;
        it.lock(g, 1, (0, 9), EXCLUSIVE).await;
        it.share(g, "oh", (1, 1)).await.unwrap();
        other.lock(f, 1, (40, 49), EXCLUSIVE).await;
        it.wait(f, 1, (40, 49), EXCLUSIVE).await
    };
    let store = &world.store;
    let none = LockFilter { svid: Some(1), ..LockFilter::default() };
    assert!(matches!(store.break_locks(&none).await, Err(Error::Invalid)));
    assert_eq!(fill().await, Blocked);
    let filter = LockFilter { file: Some(f), svid: Some(1), ..LockFilter::default() };
    let freed = store.break_locks(&filter).await.unwrap();
    assert_eq!(freed, Freed { clients: 2, locks: 2, waiters: 1, ..Freed::default() });
    assert_eq!(it.held(f).await, [(2, (20, 29), EXCLUSIVE)]);
    assert_eq!(fill().await, Blocked);
    let address = Some(it.client.address());
    let filter = LockFilter { address, waiting: true, ..LockFilter::default() };
    let freed = store.break_locks(&filter).await.unwrap();
    assert_eq!(freed, Freed { clients: 1, waiters: 1, ..Freed::default() });
    assert_eq!(other.wait(f, 3, (0, 9), EXCLUSIVE).await, Blocked);
    let filter = LockFilter { address, ..LockFilter::default() };
    let freed = store.break_locks(&filter).await.unwrap();
    assert_eq!(freed, Freed { clients: 1, locks: 3, shares: 1, ..Freed::default() });
    assert_eq!(it.reserved(f, 1).await[0].owner, other.owner(3), "who waits is woken");
    let nothing = store.break_locks(&filter).await.unwrap();
    assert_eq!(nothing, Freed::default());
    assert_eq!(it.lock(f, 1, (45, 45), SHARED).await, Denied, "others keep theirs");
}

/// `locks.expire_after`. Who was seen is asked when it is freed.
pub(crate) async fn a_silent_client_is_freed_if_nobody_has_seen_it(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    let (address, hour) = (it.client.address(), Duration::from_secs(3600));
    let second = Locker::of(&world, address, "client", "another server");
    let other = Locker::new(&world);
    it.lock(file, 1, (0, 9), EXCLUSIVE).await;
    second.lock(file, 1, (10, 19), EXCLUSIVE).await;
    other.lock(file, 1, (20, 29), EXCLUSIVE).await;
    assert_eq!(other.wait(file, 2, (0, 0), SHARED).await, Blocked);
    let call = &Locker::call();
    let quiet = async |time| {
        let quiet = it.store.quiet_clients(&Locker::call(), time, 10_000).await.unwrap();
        quiet.into_iter().find(|it: &QuietClient| it.address == address)
    };
    assert_eq!(quiet(hour).await, None);
    let mut found = quiet(Duration::ZERO).await.unwrap();
    found.servers.sort();
    assert_eq!(found.servers, ["another server", "server"].map(Into::into));
    it.store.clients_seen(call, address).await.unwrap();
    let silent = |silent| WhichClients::Silent { address, silent };
    assert_eq!(it.free(silent(hour)).await, Freed::default(), "it was seen");
    let freed = it.free(silent(Duration::ZERO)).await;
    assert_eq!((freed.locks, freed.waiters, freed.clients > 0), (2, 0, true));
    assert_eq!(it.reserved(file, 1).await[0].owner, other.owner(2), "who waits is woken");
    assert_eq!(it.held(file).await, [(1, (20, 29), EXCLUSIVE)]);
    assert_eq!(it.free(silent(Duration::ZERO)).await, Freed::default());
}

pub(crate) async fn what_each_client_has_is_counted(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    let other = Locker::new(&world);
    other.lock(file, 1, (0, 9), EXCLUSIVE).await;
    for byte in [20, 30, 40] {
        it.lock(file, 1, (byte, byte), SHARED).await;
    }
    it.wait(file, 2, (0, 0), SHARED).await;
    it.share(file, "oh", (0, 1)).await.unwrap();
    let uses = world.store.lock_clients(10_000).await.unwrap();
    let of = |client| uses.iter().find(|uses| uses.client == client).unwrap();
    let (own, others) = (of(it.client.clone()), of(other.client.clone()));
    assert_eq!((own.locks, own.waiters, own.reservations, own.shares), (3, 1, 0, 1));
    assert_eq!((others.locks, others.total()), (1, 1));
    assert!(others.oldest <= own.oldest, "{others:?} {own:?}");
    let place = |client| uses.iter().position(|uses| uses.client == client);
    assert!(place(it.client.clone()) < place(other.client.clone()), "those with the most first");
    assert_eq!(world.store.lock_clients(1).await.unwrap().len(), 1);
}
