//! LOOKUP, and `..`.

use trunkfs::metadata::Error;

use crate::metadata::world::{World, mode, refused, stale, written};

pub(crate) async fn a_name_leads_to_its_object(world: World) {
    let root = world.superuser();
    let made = root.one_of_each(world.root).await;
    let directory = root.attributes(world.root).await;
    for (name, object) in made {
        let found = root.lookup(world.root, name).await.unwrap();
        assert_eq!(found.directory, directory);
        assert_eq!(found.object, Some(object), "{name}");
    }
}

pub(crate) async fn a_name_that_is_not_there_is_no_refusal(world: World) {
    // The caller may not even search: whoever asks for names checks that on the answer.
    let nobody = world.user(4711);
    world.superuser().setattr(world.root, mode(0)).await.unwrap();
    let found = nobody.lookup(world.root, "missing").await.unwrap();
    assert_eq!(found.directory, nobody.attributes(world.root).await);
    assert_eq!(found.object, None);
}

pub(crate) async fn names_are_bytes_and_their_case_counts(world: World) {
    let root = world.superuser();
    // The last two are one text in two normal forms.
    let names: [&[u8]; 9] = [
        b"name",
        b"Name",
        b"NAME",
        b"name ",
        b"...",
        b"\xff\xfe",
        b"new\nline\\",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
    ];
    let mut made = Vec::new();
    for name in names {
        made.push(root.file(world.root, name).await.id);
    }
    for (name, id) in names.iter().zip(made) {
        assert_eq!(root.find(world.root, name).await.unwrap().id, id);
    }
    for missing in [&b"nam"[..], b"name\n", b"\xff", b"\xff\xfe\xfd", b"nAme"] {
        assert_eq!(root.find(world.root, missing).await, None);
    }
}

/// Every byte but NUL and `/` occurs in a name, and the last byte tells names apart.
pub(crate) async fn names_of_255_bytes(world: World) {
    let root = world.superuser();
    let bytes: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let long = |last: u8| [&bytes[..254], &[last]].concat();
    let one = root.file(world.root, long(b'1')).await;
    let two = root.file(world.root, long(b'2')).await;
    assert_eq!(root.find(world.root, long(b'1')).await.unwrap().id, one.id);
    assert_eq!(root.find(world.root, long(b'2')).await.unwrap().id, two.id);
    assert_eq!(root.find(world.root, &bytes[..254]).await, None);
    let listed = root.list(world.root).await;
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|entry| entry.name.as_bytes().len() == 255));
}

pub(crate) async fn only_directories_have_names(world: World) {
    let root = world.superuser();
    for (name, object) in root.one_of_each(world.root).await {
        if !object.file_type.is_directory() {
            let refusal = refused(root.lookup(object.id, "x").await, Error::NotDirectory);
            assert_eq!(refusal.first.as_deref(), Some(&object), "{name}");
        }
    }
}

pub(crate) async fn a_removed_directory_is_stale(world: World) {
    let root = world.superuser();
    let gone = root.dir(world.root, "gone").await.id;
    root.rmdir(world.root, "gone").await.unwrap();
    refused(root.lookup(gone, "x").await, Error::Stale);
    refused(root.parent(gone).await, Error::Stale);
}

pub(crate) async fn the_roots_parent_is_the_root(world: World) {
    let root = world.superuser();
    let found = root.parent(world.root).await.unwrap();
    assert_eq!(found.object.as_ref(), Some(&found.directory));
    assert_eq!(found.directory.id, world.root);
    assert_eq!(found.directory.parent, Some(world.root));
}

pub(crate) async fn the_parent_follows_a_move(world: World) {
    let root = world.superuser();
    let one = root.dir(world.root, "one").await.id;
    let two = root.dir(world.root, "two").await.id;
    let moving = root.dir(one, "moving").await.id;
    assert_eq!(root.parent(moving).await.unwrap().object.unwrap().id, one);
    root.rename(one, "moving", two, "moved").await.unwrap();
    let found = root.parent(moving).await.unwrap();
    assert_eq!(found.directory.parent, Some(two));
    assert_eq!(found.object, Some(root.attributes(two).await));
}

pub(crate) async fn only_directories_have_parents(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let refusal = refused(root.parent(file.id).await, Error::NotDirectory);
    assert_eq!(refusal.first.as_deref(), Some(&file));
}

/// A handle names a share and an object; the wrong pair must lead nowhere.
pub(crate) async fn another_shares_objects_are_stale(world: World) {
    let other = world.another().await;
    let (here, there) = (world.superuser(), other.superuser());
    let file = there.file(other.root, "file").await;
    let link = there.symlink(other.root, "link", "file").await.unwrap().object;
    let dir = there.dir(other.root, "dir").await;
    let mine = here.file(world.root, "mine").await;
    let before = (world.snapshot().await, other.snapshot().await);

    stale(here.getattr(file.id).await);
    refused(here.lookup(other.root, "file").await, Error::Stale);
    refused(here.parent(dir.id).await, Error::Stale);
    refused(here.readlink(link.id).await, Error::Stale);
    refused(here.page(other.root, 0, 10).await, Error::Stale);
    refused(here.setattr(file.id, mode(0o600)).await, Error::Stale);
    refused(here.create(other.root, "new").await, Error::Stale);
    refused(here.mkdir(other.root, "new").await, Error::Stale);
    refused(here.symlink(other.root, "new", "x").await, Error::Stale);
    refused(here.fifo(other.root, "new").await, Error::Stale);
    refused(here.remove(other.root, "file").await, Error::Stale);
    refused(here.rmdir(other.root, "dir").await, Error::Stale);
    refused(here.rename(world.root, "mine", other.root, "mine").await, Error::Stale);
    refused(here.rename(other.root, "file", world.root, "file").await, Error::Stale);
    refused(here.link(file.id, world.root, "linked").await, Error::Stale);
    refused(here.link(mine.id, other.root, "linked").await, Error::Stale);
    refused(here.begin_zeroing(file.id, file.content.unwrap()).await, Error::Stale);
    let flush = written(&file, 10, file.ctime);
    refused(here.flush(file.id, &flush).await, Error::Stale);

    assert_eq!((world.snapshot().await, other.snapshot().await), before);
}
