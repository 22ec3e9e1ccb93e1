//! Times, and what a reply says of before and after (RFC 1813 section 2.6, wcc_data).

use trunkfs::metadata::{Change, SetAttributes, SetTime};
use trunkfs::types::Timestamp;

use crate::metadata::world::{Caller, World, mode, size, times, written};

const HOUR: i64 = 3_600_000_000_000;

/// One change of `directory` after the other, at times of which each is before the last.
async fn changes_of(caller: &Caller, directory: trunkfs::types::ObjectId) -> Vec<Change> {
    let now = Timestamp::now().0;
    let times = [now, now - 5, now - HOUR, 1, 0, -5, i64::MIN, now - 1];
    let mut at = times.iter().cycle();
    let mut next = || caller.at(*at.next().unwrap());
    let d = directory;
    let mut changes = vec![
        next().create(d, "a").await.unwrap().directory,
        next().mkdir(d, "b").await.unwrap().directory,
        next().symlink(d, "c", "x").await.unwrap().directory,
        next().fifo(d, "d").await.unwrap().directory,
        next().exclusive(d, "e", 1).await.unwrap().directory,
        next().rename(d, "a", d, "f").await.unwrap().from,
    ];
    let file = caller.find(d, "f").await.unwrap().id;
    changes.push(next().link(file, d, "g").await.unwrap().directory);
    changes.push(next().setattr(d, mode(0o700)).await.unwrap().change);
    changes.push(next().remove(d, "g").await.unwrap().directory);
    changes.push(next().rmdir(d, "b").await.unwrap().directory);
    changes.push(next().rename(d, "c", d, "d").await.unwrap().to);
    changes.push(next().setattr(d, SetAttributes::default()).await.unwrap().change);
    changes
}

/// Linux takes a pair that begins where its own ended as "only I changed it".
pub(crate) async fn changes_of_a_directory_form_one_chain(world: World) {
    let root = world.superuser();
    let directory = root.dir(world.root, "dir").await;
    let mut last = directory.clone();
    for change in changes_of(&root, directory.id).await {
        assert!(change.after.ctime > last.ctime, "{change:?}");
        assert_eq!(change.before, Some(last));
        last = change.after;
    }
    assert_eq!(root.attributes(directory.id).await, last);
}

pub(crate) async fn changes_of_a_file_form_one_chain(world: World) {
    let root = world.superuser();
    let now = Timestamp::now().0;
    let back = |step: i64| root.at(now - step * HOUR);
    let file = root.at(now).file(world.root, "a").await;
    let (id, d) = (file.id, world.root);
    let mut seen = vec![file.clone()];
    seen.push(back(1).setattr(id, mode(0o600)).await.unwrap().change.after);
    seen.push(back(2).setattr(id, size(10)).await.unwrap().change.after);
    seen.push(back(3).setattr(id, size(0)).await.unwrap().change.after);
    seen.push(back(4).link(id, d, "b").await.unwrap().object);
    seen.push(back(5).rename(d, "a", d, "c").await.unwrap().object);
    seen.push(back(6).remove(d, "b").await.unwrap().object.attributes);
    let flush = written(&seen[6], 5, Timestamp(1));
    back(7).flush(id, &flush).await.unwrap();
    seen.push(root.attributes(id).await);
    back(8).file(d, "other").await;
    back(8).link(id, d, "d").await.unwrap();
    seen.push(root.attributes(id).await);
    seen.push(back(9).rename(d, "other", d, "d").await.unwrap().replaced.unwrap().attributes);
    seen.push(back(10).setattr(id, SetAttributes::default()).await.unwrap().change.after);
    let ctimes: Vec<_> = seen.iter().map(|it| it.ctime).collect();
    assert!(ctimes.is_sorted_by(|a, b| a < b), "{ctimes:?}");
}

/// The clock's time is taken where it is ahead.
pub(crate) async fn ctime_is_the_calls_time_where_it_can_be(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await;
    let now = dir.ctime.0;
    for (at, expected) in
        [(now + 5, now + 5), (now + 3, now + 6), (now + 6, now + 7), (now + HOUR, now + HOUR)]
    {
        let change = root.at(at).setattr(dir.id, mode(0o700)).await.unwrap().change;
        assert_eq!(change.after.ctime, Timestamp(expected));
    }
}

/// tar and rsync set times of files and directories, backwards too.
pub(crate) async fn explicit_times_are_obeyed(world: World) {
    let root = world.superuser();
    let latest = Timestamp::from_parts(u32::MAX, 999_999_999).unwrap();
    let cases = [
        (Timestamp(0), Timestamp(1)),
        (latest, latest),
        (Timestamp(1_000_000_000), Timestamp(999_999_999)),
        (Timestamp(5), latest),
    ];
    for (name, object) in root.one_of_each(world.root).await {
        for (atime, mtime) in cases {
            let set = times(SetTime::To(atime), SetTime::To(mtime));
            let after = root.setattr(object.id, set).await.unwrap().change.after;
            assert_eq!((after.atime, after.mtime), (atime, mtime), "{name}");
            assert_eq!(root.attributes(object.id).await, after);
        }
    }
}

pub(crate) async fn an_entry_change_moves_mtime_whatever_was_set(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await.id;
    let future = Timestamp(Timestamp::now().0 + 24 * HOUR);
    for (number, explicit) in [Timestamp(7), future].into_iter().enumerate() {
        root.setattr(dir, times(SetTime::Keep, SetTime::To(explicit))).await.unwrap();
        let change = root.create(dir, format!("{number}")).await.unwrap().directory;
        assert_eq!(change.before.unwrap().mtime, explicit);
        assert_eq!(change.after.mtime, change.after.ctime);
        assert_ne!(change.after.mtime, explicit);
    }
}

/// A write's time takes the place of the mtime that the writer saw, even of a later one, and of no newer
/// write's.
pub(crate) async fn a_write_replaces_the_mtime_it_saw_and_no_newer_one(world: World) {
    let root = world.superuser();
    let now = Timestamp::now();
    let later = |hours: i64| Timestamp(now.0 + hours * HOUR);
    for seen in [later(24), later(-24), now, Timestamp(i64::MAX)] {
        let file = root.file(world.root, format!("{}", seen.0)).await;
        let set = times(SetTime::Keep, SetTime::To(seen));
        let file = root.setattr(file.id, set).await.unwrap().change.after;
        let flush = |at| written(&file, 5, at);
        let mtime_after = async |flush| {
            root.flush(file.id, &flush).await.unwrap();
            root.attributes(file.id).await.mtime
        };
        assert_eq!(mtime_after(flush(later(1))).await, later(1), "{seen:?}");
        // Two other servers whose clients wrote beside this one's, and before it was flushed.
        assert_eq!(mtime_after(flush(later(0))).await, later(1), "{seen:?}");
        assert_eq!(mtime_after(flush(later(2))).await, later(2), "{seen:?}");
        let set = times(SetTime::Keep, SetTime::To(Timestamp(7)));
        root.setattr(file.id, set).await.unwrap();
        assert_eq!(mtime_after(flush(later(3))).await, Timestamp(7), "{seen:?}");
    }
}

/// The server's time of one call is one time.
pub(crate) async fn server_times_of_a_call_are_equal(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let at = Timestamp(file.ctime.0 + HOUR);
    let set = times(SetTime::Now, SetTime::Now);
    let after = root.at(at.0).setattr(file.id, set).await.unwrap().change.after;
    assert_eq!((after.atime, after.mtime, after.ctime), (at, at, at));
}

/// Changes below, and of an entry's object, are no changes of the directory.
pub(crate) async fn what_happens_to_entries_objects_stays_there(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await.id;
    let sub = root.dir(dir, "sub").await.id;
    let file = root.file(dir, "file").await;
    let before = root.attributes(dir).await;
    root.file(sub, "below").await;
    root.dir(sub, "dir").await;
    root.setattr(file.id, size(10)).await.unwrap();
    root.setattr(sub, mode(0o700)).await.unwrap();
    root.link(file.id, sub, "second").await.unwrap();
    root.remove(sub, "second").await.unwrap();
    assert_eq!(root.attributes(dir).await, before);
}

/// A refusal moves no time; nor does reading.
pub(crate) async fn reading_moves_no_time(world: World) {
    let root = world.superuser();
    root.one_of_each(world.root).await;
    let before = world.snapshot().await;
    for entry in root.list(world.root).await {
        root.find(world.root, entry.name.as_bytes()).await.unwrap();
        let object = root.attributes(entry.object).await;
        root.readlink(object.id).await.ok();
        root.parent(object.id).await.ok();
        root.page(object.id, 0, 5).await.ok();
    }
    assert_eq!(world.snapshot().await, before);
}
