//! What writes leave behind: flushes, and gaps that are zeroed.

use trunkfs::metadata::{
    Answer, Change, Error, Flush, FlushOutcome, SetAttributes, SetTime, Written, ZeroingOutcome,
};
use trunkfs::types::{Attributes, ContentId, ContentRef, ContentVersion, Timestamp};

use crate::metadata::world::{ALICE, World, mode, refused, size, times, written};

#[track_caller]
fn recorded(answer: Answer<FlushOutcome>) -> Change {
    match answer.unwrap() {
        FlushOutcome::Recorded(change) => change,
        FlushOutcome::Superseded(present) => panic!("superseded: {present:?}"),
    }
}

#[track_caller]
fn superseded(answer: Answer<FlushOutcome>) -> Attributes {
    match answer.unwrap() {
        FlushOutcome::Superseded(present) => present,
        FlushOutcome::Recorded(change) => panic!("recorded: {change:?}"),
    }
}

fn later(file: &Attributes, nanoseconds: i64) -> Timestamp {
    Timestamp(file.ctime.0 + nanoseconds)
}

fn change(file: &Attributes, change: impl FnOnce(&mut Written)) -> Flush {
    let mut flush = written(file, 10, later(file, 10));
    change(flush.written.as_mut().unwrap());
    flush
}

/// Replies have shown these values: they are recorded as they are.
pub(crate) async fn size_and_times_are_recorded_as_given(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let flush = change(&file, |written| {
        written.end = 1000;
        written.mtime = later(&file, 5);
        written.ctime = later(&file, 6);
    });
    let done = recorded(root.flush(file.id, &flush).await);
    assert_eq!(done.before.as_ref(), Some(&file));
    let expected = Attributes {
        size: 1000,
        used: 10,
        mtime: later(&file, 5),
        ctime: later(&file, 6),
        ..file.clone()
    };
    assert_eq!(done.after, expected);
    assert_eq!(root.attributes(file.id).await, expected);
}

/// fattr3.used (RFC 1813 section 2.5): more or less than before, as it was measured last.
pub(crate) async fn a_flush_records_the_used_bytes_that_it_measured(world: World) {
    let root = world.superuser();
    let mut present = root.file(world.root, "file").await;
    assert_eq!(present.used, 0);
    for used in [1, 4096, 123, 256 << 20, 8192] {
        let mut flush = written(&present, 256 << 20, later(&present, 1));
        flush.written.as_mut().unwrap().used = used;
        let done = recorded(root.flush(present.id, &flush).await);
        assert_eq!((done.before.unwrap().used, done.after.used), (present.used, used));
        present = root.attributes(present.id).await;
        assert_eq!(present, done.after);
    }
    // An access takes nothing.
    let access = Flush { atime: Some(later(&present, 1)), written: None };
    assert_eq!(recorded(root.flush(present.id, &access).await).after.used, 8192);
}

/// At least a byte where one was written, and at most the size in whole blocks.
pub(crate) async fn used_bytes_fit_the_size(world: World) {
    let root = world.superuser();
    const LARGEST: u64 = i64::MAX as u64;
    for (end, used, expected) in [
        (1, 0, 1),
        (1, 4096, 4096),
        (1, 8192, 4096),
        (4096, u64::MAX, 4096),
        (4097, u64::MAX, 8192),
        (1 << 40, 0, 1),
        (LARGEST - 4095, u64::MAX, LARGEST - 4095),
        (LARGEST - 4094, u64::MAX, LARGEST),
        (LARGEST, LARGEST, LARGEST),
    ] {
        let file = root.file(world.root, "file").await;
        let mut flush = written(&file, end, later(&file, 1));
        flush.written.as_mut().unwrap().used = used;
        let after = recorded(root.flush(file.id, &flush).await).after;
        assert_eq!((after.size, after.used), (end, expected), "{used} measured");
        root.remove(world.root, "file").await.unwrap();
    }
}

/// The flush of one instance may have measured the content before another's writes.
pub(crate) async fn used_bytes_only_grow_beside_another_flush(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let flush = |end, used| change(&file, |written| (written.end, written.used) = (end, used));
    for (end, used, expected) in [
        (1 << 20, 65_536, 65_536),
        (1 << 20, 4096, 65_536),
        (10, 131_072, 131_072),
        (1 << 21, 1, 131_072),
    ] {
        let after = recorded(root.flush(file.id, &flush(end, used)).await).after;
        assert_eq!(after.used, expected, "{used} measured");
    }
    // Who has seen the last of them may record less.
    let present = root.attributes(file.id).await;
    let mut flush = written(&present, 10, later(&present, 1));
    flush.written.as_mut().unwrap().used = 4096;
    assert_eq!(recorded(root.flush(file.id, &flush).await).after.used, 4096);
}

pub(crate) async fn a_flush_never_shrinks(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let mut present = file;
    for (end, expected) in [(100, 100), (50, 100), (0, 100), (101, 101), (100, 101)] {
        let flush = written(&present, end, later(&present, 1));
        present = recorded(root.flush(present.id, &flush).await).after;
        assert_eq!(present.size, expected);
    }
}

pub(crate) async fn the_largest_size(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let largest = i64::MAX as u64;
    for end in [largest + 1, u64::MAX] {
        let flush = written(&file, end, later(&file, 1));
        let refusal = refused(root.flush(file.id, &flush).await, Error::TooLarge);
        assert_eq!(refusal.first.as_deref(), Some(&file));
    }
    assert_eq!(root.attributes(file.id).await, file);
    let flush = written(&file, largest, later(&file, 1));
    assert_eq!(recorded(root.flush(file.id, &flush).await).after.size, largest);
}

pub(crate) async fn ctime_goes_beyond_what_is_there(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let mut present = file;
    for back in [0, -5, -1_000_000_000] {
        let flush = change(&present, |written| written.ctime = later(&present, back));
        let after = recorded(root.flush(present.id, &flush).await).after;
        assert_eq!(after.ctime, later(&present, 1));
        present = after;
    }
}

/// utimes after the write, before its flush.
pub(crate) async fn an_explicit_mtime_outlives_a_late_flush(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let late = change(&file, |_| ());
    let explicit = times(SetTime::Keep, SetTime::To(Timestamp(77)));
    let set = root.setattr(file.id, explicit).await.unwrap().change.after;
    let done = recorded(root.flush(file.id, &late).await).after;
    assert_eq!((done.mtime, done.size), (Timestamp(77), 10));
    assert!(done.ctime > set.ctime);
    // What rests on the new version moves it again.
    let next = change(&done, |written| written.mtime = Timestamp(99));
    assert_eq!(recorded(root.flush(file.id, &next).await).after.mtime, Timestamp(99));
}

/// The mtime of the write, even where it is before what is there: replies have shown it.
pub(crate) async fn a_flush_may_move_mtime_back(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let flush = change(&file, |written| written.mtime = Timestamp(3));
    assert_eq!(recorded(root.flush(file.id, &flush).await).after.mtime, Timestamp(3));
}

pub(crate) async fn mode_bits_are_cleared(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let file = root.setattr(file.id, mode(0o6777)).await.unwrap().change.after;
    let flush = change(&file, |written| written.clear_mode = 0o6000);
    let after = recorded(root.flush(file.id, &flush).await).after;
    assert_eq!(after.mode, 0o777);
}

pub(crate) async fn a_truncate_supersedes_what_was_written_before(world: World) {
    let root = world.superuser();
    for (name, bytes) in [("emptied", 0), ("cut", 5), ("extended", 500)] {
        let file = root.file(world.root, name).await;
        let flush = written(&file, 100, later(&file, 1));
        let file = recorded(root.flush(file.id, &flush).await).after;
        let late = written(&file, 200, later(&file, 1));
        let present = root.setattr(file.id, size(bytes)).await.unwrap().change.after;
        assert_eq!(superseded(root.flush(file.id, &late).await), present);
        assert_eq!(root.attributes(file.id).await, present);
        let next = written(&present, 300, later(&present, 1));
        assert_eq!(recorded(root.flush(file.id, &next).await).after.size, bytes.max(300));
    }
}

/// An atime that comes with superseded writes is lost with them: nothing is half done.
pub(crate) async fn a_superseded_flush_records_nothing(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let flush = |content| {
        let flush = change(&file, |written| {
            written.content = content;
            written.clear_mode = 0o777;
        });
        Flush { atime: Some(later(&file, 99)), ..flush }
    };
    let content = file.content.unwrap();
    let wrong = [
        ContentRef { id: ContentId::generate(), ..content },
        ContentRef { version: ContentVersion(content.version.0 + 1), ..content },
        ContentRef { version: ContentVersion(content.version.0 - 1), ..content },
    ];
    for wrong in wrong {
        assert_eq!(superseded(root.flush(file.id, &flush(wrong)).await), file);
    }
    assert_eq!(root.attributes(file.id).await, file);
}

/// atime never moves ctime, nor backwards.
pub(crate) async fn an_atime_alone_changes_nothing_else(world: World) {
    let root = world.superuser();
    for (name, object) in root.one_of_each(world.root).await {
        let atime = later(&object, 1_000);
        let flush = Flush { atime: Some(atime), written: None };
        let done = recorded(root.flush(object.id, &flush).await);
        let expected = Attributes { atime, ..object.clone() };
        assert_eq!((done.before.unwrap(), &done.after), (object, &expected), "{name}");
        let earlier = Flush { atime: Some(Timestamp(1)), written: None };
        let done = recorded(root.flush(expected.id, &earlier).await);
        assert_eq!(done, Change::none(expected.clone()));
        assert_eq!(root.attributes(expected.id).await, expected);
    }
}

pub(crate) async fn a_flush_of_nothing_changes_nothing(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let done = recorded(root.flush(file.id, &Flush::default()).await);
    assert_eq!(done, Change::none(file.clone()));
    assert_eq!(root.attributes(file.id).await, file);
}

/// The caller checked when the write came; the mode may have changed since.
pub(crate) async fn a_flush_asks_for_no_permission(world: World) {
    let file = world.superuser().file(world.root, "file").await;
    let alice = world.user(ALICE);
    let after = recorded(alice.flush(file.id, &written(&file, 5, later(&file, 1))).await).after;
    assert_eq!((after.size, after.uid), (5, 0));
}

pub(crate) async fn what_is_removed_is_stale(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    root.remove(world.root, "file").await.unwrap();
    refused(root.flush(file.id, &written(&file, 5, later(&file, 1))).await, Error::Stale);
    let atime = Flush { atime: Some(later(&file, 1)), written: None };
    refused(root.flush(file.id, &atime).await, Error::Stale);
    refused(root.flush(file.id, &Flush::default()).await, Error::Stale);
    refused(root.begin_zeroing(file.id, file.content.unwrap()).await, Error::Stale);
}

/// Writing goes on under the new version, and only under it.
pub(crate) async fn zeroing_bumps_the_version_and_nothing_else(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let old = file.content.unwrap();
    let begun = root.begin_zeroing(file.id, old).await.unwrap();
    let ZeroingOutcome::Begun(new) = begun else { panic!("{begun:?}") };
    assert_eq!(new.id, old.id);
    assert!(new.version > old.version);
    let present = root.attributes(file.id).await;
    assert_eq!(present, Attributes { content: Some(new), ..file.clone() });
    assert_eq!(superseded(root.flush(file.id, &change(&file, |_| ())).await), present);
    recorded(root.flush(file.id, &change(&present, |_| ())).await);
}

pub(crate) async fn only_one_zeroing_begins(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let old = file.content.unwrap();
    let begun = root.begin_zeroing(file.id, old).await.unwrap();
    let ZeroingOutcome::Begun(new) = begun else { panic!("{begun:?}") };
    let second = root.begin_zeroing(file.id, old).await.unwrap();
    assert_eq!(second, ZeroingOutcome::Superseded(new));
    let other = ContentRef { id: ContentId::generate(), ..new };
    let third = root.begin_zeroing(file.id, other).await.unwrap();
    assert_eq!(third, ZeroingOutcome::Superseded(new));
    let truncated = root.setattr(file.id, size(0)).await.unwrap().change.after;
    let fourth = root.begin_zeroing(file.id, new).await.unwrap();
    assert_eq!(fourth, ZeroingOutcome::Superseded(truncated.content.unwrap()));
}

pub(crate) async fn only_regular_files_have_content(world: World) {
    let root = world.superuser();
    let content = root.file(world.root, "content").await.content.unwrap();
    for (name, object) in root.one_of_each(world.root).await {
        if object.content.is_none() {
            let refusal = refused(root.begin_zeroing(object.id, content).await, Error::Invalid);
            assert_eq!(refusal.first.as_deref(), Some(&object), "{name}");
        }
    }
}

/// Writes that reach the store by other names, and after a rename.
pub(crate) async fn a_flush_finds_the_file_wherever_it_is(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await.id;
    let file = root.file(world.root, "file").await;
    let flush = change(&file, |_| ());
    let set = SetAttributes::default();
    root.rename(world.root, "file", dir, "moved").await.unwrap();
    root.link(file.id, world.root, "second").await.unwrap();
    root.remove(dir, "moved").await.unwrap();
    root.setattr(file.id, set).await.unwrap();
    assert_eq!(recorded(root.flush(file.id, &flush).await).after.size, 10);
    assert_eq!(root.find(world.root, "second").await.unwrap().size, 10);
}
