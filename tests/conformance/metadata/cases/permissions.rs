//! Who may set attributes, remove, rename and link (RFC 1813 section 4.4, Linux's inode(7)).

use trunkfs::metadata::{Error, SetAttributes, SetTime};
use trunkfs::types::{Attributes, ObjectId, Timestamp};

use crate::metadata::world::{ALICE, BOB, World, mode, owner, refused, size, times};

/// An object of Alice, in group 500, with that mode.
async fn alices(world: &World, bits: u32) -> Attributes {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let set = owner(Some(ALICE), Some(500));
    root.setattr(file.id, set).await.unwrap();
    root.setattr(file.id, mode(bits)).await.unwrap().change.after
}

async fn may_not(world: &World, uid: u32, object: ObjectId, set: SetAttributes, error: Error) {
    let before = world.superuser().attributes(object).await;
    let caller = world.user_in(uid, uid, &[500]);
    let refusal = refused(caller.setattr(object, set).await, error);
    assert_eq!(refusal.first.as_deref(), Some(&before));
    assert_eq!(world.superuser().attributes(object).await, before);
}

pub(crate) async fn only_the_owner_and_the_superuser_set_the_mode(world: World) {
    let file = alices(&world, 0o666).await;
    may_not(&world, BOB, file.id, mode(0o600), Error::NotPermitted).await;
    world.user(ALICE).setattr(file.id, mode(0o400)).await.unwrap();
    world.superuser().setattr(file.id, mode(0o444)).await.unwrap();
}

/// A mode with S_ISGID by an owner outside the file's group loses the bit.
pub(crate) async fn setgid_needs_membership(world: World) {
    let file = alices(&world, 0o755).await;
    let outside = world.user(ALICE).setattr(file.id, mode(0o6755)).await.unwrap();
    assert_eq!(outside.change.after.mode, 0o4755);
    let member = world.user_in(ALICE, ALICE, &[500]);
    assert_eq!(member.setattr(file.id, mode(0o6755)).await.unwrap().change.after.mode, 0o6755);
    let root = world.superuser().setattr(file.id, mode(0o2711)).await.unwrap();
    assert_eq!(root.change.after.mode, 0o2711);
}

pub(crate) async fn only_the_superuser_gives_files_away(world: World) {
    let file = alices(&world, 0o666).await;
    may_not(&world, ALICE, file.id, owner(Some(BOB), None), Error::NotPermitted).await;
    may_not(&world, BOB, file.id, owner(Some(BOB), None), Error::NotPermitted).await;
    // The uid it has already is no change.
    let after = world.user(ALICE).setattr(file.id, owner(Some(ALICE), None)).await.unwrap();
    assert_eq!(after.change.after.uid, ALICE);
    let after = world.superuser().setattr(file.id, owner(Some(BOB), None)).await.unwrap();
    assert_eq!(after.change.after.uid, BOB);
}

pub(crate) async fn the_owner_gives_a_file_to_own_groups(world: World) {
    let file = alices(&world, 0o666).await;
    may_not(&world, ALICE, file.id, owner(None, Some(7)), Error::NotPermitted).await;
    may_not(&world, BOB, file.id, owner(None, Some(500)), Error::NotPermitted).await;
    let alice = world.user_in(ALICE, 6, &[7, 8]);
    for gid in [6, 7, 8] {
        let after = alice.setattr(file.id, owner(None, Some(gid))).await.unwrap().change.after;
        assert_eq!(after.gid, gid);
    }
    // The group it has already is no change, though no longer an own one.
    let outside = world.user(ALICE);
    assert_eq!(outside.setattr(file.id, owner(None, Some(8))).await.unwrap().change.after.gid, 8);
}

/// chown takes set-uid, and set-gid where the group may execute, from what is no directory; from whoever it
/// comes.
pub(crate) async fn chown_clears_the_set_id_bits(world: World) {
    let root = world.superuser();
    let cases = [(0o6755, 0o755), (0o4700, 0o700), (0o2755, 0o755), (0o2745, 0o2745)];
    let file = alices(&world, 0o600).await;
    let alice = world.user_in(ALICE, ALICE, &[500]);
    for (bits, expected) in cases {
        for (caller, set) in [
            (&root, owner(Some(ALICE), None)),
            (&root, owner(None, Some(500))),
            (&alice, owner(None, Some(500))),
        ] {
            root.setattr(file.id, mode(bits)).await.unwrap();
            let after = caller.setattr(file.id, set).await.unwrap().change.after;
            assert_eq!(after.mode, expected, "{bits:o}");
        }
    }
    let dir = root.dir_of(world.root, "dir", 0o6755).await;
    let after = root.setattr(dir.id, owner(Some(ALICE), Some(9))).await.unwrap().change.after;
    assert_eq!(after.mode, 0o6755);
}

pub(crate) async fn clients_times_need_ownership(world: World) {
    let file = alices(&world, 0o666).await;
    let time = SetTime::To(Timestamp(1));
    for set in [
        times(time, SetTime::Keep),
        times(SetTime::Keep, time),
        times(SetTime::Now, time),
        times(time, SetTime::Now),
    ] {
        may_not(&world, BOB, file.id, set.clone(), Error::NotPermitted).await;
        world.user(ALICE).setattr(file.id, set).await.unwrap();
    }
}

pub(crate) async fn the_servers_time_needs_write_permission(world: World) {
    let file = alices(&world, 0o664).await;
    let now = times(SetTime::Now, SetTime::Now);
    world.user_in(BOB, BOB, &[500]).setattr(file.id, now.clone()).await.unwrap();
    world.superuser().setattr(file.id, mode(0)).await.unwrap();
    may_not(&world, BOB, file.id, now.clone(), Error::AccessDenied).await;
    world.user(ALICE).setattr(file.id, now).await.unwrap();
}

/// A regular file's owner may, whatever the mode says: NFSv3 has no open.
pub(crate) async fn a_size_needs_write_permission_or_ownership(world: World) {
    let file = alices(&world, 0).await;
    may_not(&world, BOB, file.id, size(1), Error::AccessDenied).await;
    may_not(&world, BOB, file.id, size(0), Error::AccessDenied).await;
    world.user(ALICE).setattr(file.id, size(1)).await.unwrap();
    world.superuser().setattr(file.id, size(2)).await.unwrap();
    world.superuser().setattr(file.id, mode(0o020)).await.unwrap();
    world.user_in(BOB, BOB, &[500]).setattr(file.id, size(3)).await.unwrap();
}

pub(crate) async fn a_size_clears_the_set_id_bits_unless_the_superuser_sets_it(world: World) {
    let root = world.superuser();
    let file = alices(&world, 0o6777).await;
    assert_eq!(root.setattr(file.id, size(1)).await.unwrap().change.after.mode, 0o6777);
    let bob = world.user(BOB);
    assert_eq!(bob.setattr(file.id, size(2)).await.unwrap().change.after.mode, 0o777);
    root.setattr(file.id, mode(0o6767)).await.unwrap();
    assert_eq!(bob.setattr(file.id, size(2)).await.unwrap().change.after.mode, 0o2767);
}

/// In a sticky directory the entry's owner, the directory's, and the superuser take entries away.
pub(crate) async fn sticky_directories_protect_entries(world: World) {
    let root = world.superuser();
    let dir = root.dir_of(world.root, "dir", 0o1777).await.id;
    root.setattr(dir, owner(Some(500), Some(500))).await.unwrap();
    let (alice, bob) = (world.user(ALICE), world.user(BOB));
    alice.file(dir, "alices").await;
    alice.dir_of(dir, "folder", 0o777).await;
    bob.file(dir, "bobs").await;
    bob.dir_of(dir, "bobsfolder", 0o777).await;
    let before = world.snapshot().await;
    let here = before[&b"/dir".to_vec()].1.clone();
    let refusals = [
        refused(bob.remove(dir, "alices").await, Error::NotPermitted),
        refused(bob.rmdir(dir, "folder").await, Error::NotPermitted),
        refused(bob.rename(dir, "alices", dir, "x").await, Error::NotPermitted),
        refused(bob.rename(dir, "alices", world.root, "x").await, Error::NotPermitted),
        refused(bob.rename(dir, "bobs", dir, "alices").await, Error::NotPermitted),
        refused(bob.rename(dir, "bobsfolder", dir, "folder").await, Error::NotPermitted),
    ];
    for refusal in refusals {
        assert_eq!(refusal.first.as_deref(), Some(&here));
    }
    assert_eq!(world.snapshot().await, before);
    // One's own, a free name, and the directory's owner.
    bob.rename(dir, "bobs", dir, "free").await.unwrap();
    bob.remove(dir, "free").await.unwrap();
    let owner_of_dir = world.user(500);
    owner_of_dir.rename(dir, "bobsfolder", dir, "folder").await.unwrap();
    owner_of_dir.remove(dir, "alices").await.unwrap();
    root.rmdir(dir, "folder").await.unwrap();
}

pub(crate) async fn removing_needs_write_and_search_permission(world: World) {
    let root = world.superuser();
    let dir = root.dir_of(world.root, "dir", 0o777).await.id;
    let alice = world.user(ALICE);
    let file = alice.file(dir, "file").await;
    alice.dir(dir, "folder").await;
    for bits in [0o775, 0o776, 0o774, 0o770] {
        root.setattr(dir, mode(bits)).await.unwrap();
        let before = world.snapshot().await;
        let here = &before[&b"/dir".to_vec()].1;
        let refusals = [
            refused(alice.remove(dir, "file").await, Error::AccessDenied),
            refused(alice.rmdir(dir, "folder").await, Error::AccessDenied),
            refused(alice.rename(dir, "file", dir, "x").await, Error::AccessDenied),
            refused(alice.rename(dir, "file", world.root, "x").await, Error::AccessDenied),
        ];
        for refusal in refusals {
            assert_eq!(refusal.first.as_deref(), Some(here), "{bits:o}");
        }
        let refusal = refused(alice.link(file.id, dir, "x").await, Error::AccessDenied);
        assert_eq!(refusal.second.as_deref(), Some(here));
        assert_eq!(world.snapshot().await, before);
    }
}

pub(crate) async fn renaming_needs_permission_on_the_target_too(world: World) {
    let root = world.superuser();
    let closed = root.dir_of(world.root, "closed", 0o755).await;
    root.file(closed.id, "there").await;
    let alice = world.user(ALICE);
    alice.file(world.root, "file").await;
    let before = world.snapshot().await;
    for name in ["free", "there"] {
        let answer = alice.rename(world.root, "file", closed.id, name).await;
        let refusal = refused(answer, Error::AccessDenied);
        assert_eq!(*refusal.first.unwrap(), before[&Vec::new()].1);
        assert_eq!(*refusal.second.unwrap(), before[&b"/closed".to_vec()].1);
    }
    assert_eq!(world.snapshot().await, before);
}

/// Its `..` changes.
pub(crate) async fn moving_a_directory_needs_write_permission_on_it(world: World) {
    let root = world.superuser();
    let to = root.dir_of(world.root, "to", 0o777).await.id;
    root.dir_of(world.root, "foreign", 0o755).await;
    root.file(world.root, "file").await;
    let alice = world.user(ALICE);
    refused(alice.rename(world.root, "foreign", to, "x").await, Error::AccessDenied);
    // In the same parent it keeps its `..`, and files have none.
    alice.rename(world.root, "foreign", world.root, "renamed").await.unwrap();
    alice.rename(world.root, "file", to, "file").await.unwrap();
    root.setattr(root.find(world.root, "renamed").await.unwrap().id, mode(0o757)).await.unwrap();
    alice.rename(world.root, "renamed", to, "moved").await.unwrap();
}

/// Linking asks nothing of the object: whoever may write the directory may name what is found.
pub(crate) async fn linking_needs_the_directory_alone(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    root.setattr(file.id, mode(0)).await.unwrap();
    world.user(ALICE).link(file.id, world.root, "linked").await.unwrap();
}
