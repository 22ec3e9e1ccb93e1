//! In what order waiters of one server get their locks.

use trunkfs::metadata::{LockOutcome, Reservation, Settled};

use crate::metadata::lockers::{END, EXCLUSIVE, Locker, SHARED};
use crate::metadata::world::World;

use LockOutcome::{Blocked, Granted};

fn svids(reservations: &[Reservation]) -> Vec<i32> {
    reservations.iter().map(|it| it.owner.svid).collect()
}

/// Whoever has waited longest comes first.
pub(crate) async fn the_oldest_waiter_is_first(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (0, END), EXCLUSIVE).await;
    for svid in [5, 3, 4, 2] {
        assert_eq!(it.wait(file, svid, (0, 9), EXCLUSIVE).await, Blocked);
    }
    // A poll does not cost the place.
    assert_eq!(it.wait(file, 5, (0, 9), EXCLUSIVE).await, Blocked);
    it.unlock(file, 1, (0, END)).await;
    for svid in [5, 3, 4, 2] {
        let reserved = it.reserved(file, 1).await;
        assert_eq!(svids(&reserved), [svid]);
        assert_eq!(it.settle(&reserved[0], true).await, Settled::Merged);
        it.unlock(file, svid, (0, 9)).await;
    }
}

/// Whoever is in nobody's way need not wait for those who came before.
pub(crate) async fn a_waiter_passes_those_that_are_in_the_way(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (0, 9), EXCLUSIVE).await;
    it.lock(file, 2, (10, 19), EXCLUSIVE).await;
    assert_eq!(it.wait(file, 3, (5, 14), EXCLUSIVE).await, Blocked);
    assert_eq!(it.wait(file, 4, (10, 19), SHARED).await, Blocked);
    it.unlock(file, 2, (10, 19)).await;
    assert_eq!(svids(&it.reserved(file, 1).await), [4]);
    // Who comes new and finds nobody in the way gets it.
    assert_eq!(it.lock(file, 5, (15, 19), SHARED).await, Granted);
}

pub(crate) async fn a_portion_of_waiters_is_tried_at_a_time(world: World) {
    let (it, file) = (Locker::new(&world), world.superuser().file(world.root, "f").await.id);
    it.lock(file, 1, (0, END), EXCLUSIVE).await;
    for svid in 2..12 {
        assert_eq!(it.wait(file, svid, (0, 9), SHARED).await, Blocked);
    }
    it.unlock(file, 1, (0, END)).await;
    let mut got = Vec::new();
    for expected in [4, 4, 2, 0] {
        let page = it.store.reserve(&Locker::call(), file, 4).await.unwrap();
        assert_eq!(page.len(), expected);
        got.extend(svids(&page));
    }
    assert_eq!(got, (2..12).collect::<Vec<_>>());
}
