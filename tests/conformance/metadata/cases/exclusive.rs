//! CREATE, EXCLUSIVE: a repeat of the call is recognised until the file is used.

use trunkfs::metadata::{Change, Error, SetAttributes};
use trunkfs::types::{Attributes, Timestamp};

use crate::metadata::world::{ALICE, BOB, Caller, World, mode, owner, refused, written};

const VERIFIER: u64 = 0x8000_0000_0000_0001;

async fn made(world: &World) -> (Caller, Attributes) {
    let alice = world.user(ALICE);
    let file = alice.exclusive(world.root, "file", VERIFIER).await.unwrap();
    assert!(file.made);
    (alice, file.object)
}

/// The verifier is kept in no attribute: the times are ordinary ones.
pub(crate) async fn a_new_file_has_no_mode_and_ordinary_times(world: World) {
    let now = Timestamp::now();
    let alice = world.user_in(ALICE, 5, &[6]).at(now.0);
    let file = alice.exclusive(world.root, "file", u64::MAX).await.unwrap().object;
    assert_eq!((file.mode, file.uid, file.gid, file.size), (0, ALICE, 5, 0));
    assert_eq!((file.atime, file.mtime, file.ctime), (now, now, now));
}

pub(crate) async fn a_repeat_succeeds_and_changes_nothing(world: World) {
    let (alice, file) = made(&world).await;
    let before = world.snapshot().await;
    let directory = alice.attributes(world.root).await;
    // The same user with other groups is the same user.
    for caller in [alice, world.user_in(ALICE, 7, &[8])] {
        let again = caller.exclusive(world.root, "file", VERIFIER).await.unwrap();
        assert!(!again.made);
        assert_eq!(again.object, file);
        assert_eq!(again.directory, Change::none(directory.clone()));
    }
    assert_eq!(world.snapshot().await, before);
}

pub(crate) async fn every_verifier_is_told_apart(world: World) {
    let alice = world.user(ALICE);
    let verifiers = [0, 1, u64::MAX, i64::MAX as u64, 1 << 63, 0x0102_0304_0506_0708];
    for verifier in verifiers {
        let name = format!("{verifier:x}");
        let file = alice.exclusive(world.root, &name, verifier).await.unwrap().object;
        for other in verifiers {
            let again = alice.exclusive(world.root, &name, other).await;
            if other == verifier {
                assert_eq!(again.unwrap().object, file);
            } else {
                refused(again, Error::Exists);
            }
        }
    }
}

/// Linux makes verifiers of a clock and a process number: two guests may well have the same.
pub(crate) async fn another_users_call_is_no_repeat(world: World) {
    made(&world).await;
    for caller in [world.user_in(BOB, ALICE, &[]), world.superuser()] {
        refused(caller.exclusive(world.root, "file", VERIFIER).await, Error::Exists);
    }
}

pub(crate) async fn a_repeat_succeeds_where_the_directory_closed_meanwhile(world: World) {
    let (alice, file) = made(&world).await;
    world.superuser().setattr(world.root, mode(0o755)).await.unwrap();
    assert_eq!(alice.exclusive(world.root, "file", VERIFIER).await.unwrap().object, file);
}

pub(crate) async fn other_creates_are_never_recognised(world: World) {
    let alice = world.user(ALICE);
    alice.file(world.root, "guarded").await;
    alice.unchecked(world.root, "unchecked").await.unwrap();
    alice.mkdir(world.root, "dir").await.unwrap();
    alice.symlink(world.root, "symlink", "x").await.unwrap();
    alice.fifo(world.root, "fifo").await.unwrap();
    for name in ["guarded", "unchecked", "dir", "symlink", "fifo"] {
        refused(alice.exclusive(world.root, name, 0).await, Error::Exists);
    }
}

pub(crate) async fn other_creates_meet_the_file(world: World) {
    let (alice, file) = made(&world).await;
    refused(alice.create(world.root, "file").await, Error::Exists);
    assert_eq!(alice.unchecked(world.root, "file").await.unwrap().object, file);
    // Neither made it forget.
    assert_eq!(alice.exclusive(world.root, "file", VERIFIER).await.unwrap().object, file);
}

async fn forgotten(world: &World, caller: &Caller, name: &str) {
    refused(caller.exclusive(world.root, name, VERIFIER).await, Error::Exists);
}

pub(crate) async fn setattr_forgets_the_verifier(world: World) {
    let (alice, file) = made(&world).await;
    alice.setattr(file.id, mode(0)).await.unwrap();
    forgotten(&world, &alice, "file").await;
}

pub(crate) async fn a_refused_setattr_forgets_nothing(world: World) {
    let (alice, file) = made(&world).await;
    refused(world.user(BOB).setattr(file.id, mode(0o777)).await, Error::NotPermitted);
    let guarded = SetAttributes { guard: Some(Timestamp(1)), ..mode(0o777) };
    refused(alice.setattr(file.id, guarded).await, Error::NotSync);
    assert_eq!(alice.exclusive(world.root, "file", VERIFIER).await.unwrap().object, file);
}

pub(crate) async fn a_flush_forgets_the_verifier(world: World) {
    let (alice, file) = made(&world).await;
    alice.flush(file.id, &written(&file, 1, Timestamp::now())).await.unwrap();
    forgotten(&world, &alice, "file").await;
}

pub(crate) async fn link_forgets_the_verifier(world: World) {
    let (alice, file) = made(&world).await;
    alice.link(file.id, world.root, "other").await.unwrap();
    forgotten(&world, &alice, "file").await;
    forgotten(&world, &alice, "other").await;
}

pub(crate) async fn rename_forgets_the_verifier(world: World) {
    let (alice, _) = made(&world).await;
    alice.rename(world.root, "file", world.root, "other").await.unwrap();
    forgotten(&world, &alice, "other").await;
    // The name is free again.
    assert!(alice.exclusive(world.root, "file", VERIFIER).await.unwrap().made);
}

pub(crate) async fn a_removed_file_is_made_anew(world: World) {
    let (alice, file) = made(&world).await;
    alice.remove(world.root, "file").await.unwrap();
    let again = alice.exclusive(world.root, "file", VERIFIER).await.unwrap();
    assert!(again.made);
    assert_ne!(again.object.id, file.id);
    assert_ne!(again.object.fileid, file.fileid);
}

pub(crate) async fn a_replaced_file_takes_its_verifier_along(world: World) {
    let (alice, _) = made(&world).await;
    alice.file(world.root, "other").await;
    alice.rename(world.root, "other", world.root, "file").await.unwrap();
    forgotten(&world, &alice, "file").await;
}

/// Once the file is another user's, the maker's call is no repeat any more, nor is the owner's.
pub(crate) async fn a_change_of_owner_forgets_the_verifier(world: World) {
    let (alice, file) = made(&world).await;
    world.superuser().setattr(file.id, owner(Some(BOB), None)).await.unwrap();
    forgotten(&world, &alice, "file").await;
    forgotten(&world, &world.user(BOB), "file").await;
}
