//! Times: RFC 1813 section 2.6 (set_atime, set_mtime) and section 3.3.2.

use super::fixture::{Fs, cases};
use super::types::*;

cases! {
    client_times_are_kept_to_the_nanosecond, times_of_2106_and_1970, mtime_goes_backwards,
    nanoseconds_of_a_second_are_invalid, invalid_times_in_creates_make_nothing,
    server_time_is_now, server_time_with_write_permission,
    server_time_without_write_permission, client_time_with_write_permission_only,
    client_time_by_another_user, client_time_by_root, atime_alone, both_times_at_once,
    ctime_grows_strictly, ctime_of_a_file_grows_with_every_write,
    a_directorys_mtime_is_set_by_every_entry, explicit_mtime_of_a_directory,
    explicit_mtime_after_unstable_data, a_write_after_an_explicit_mtime,
    a_write_after_an_mtime_of_the_future, an_mtime_of_the_future_between_unstable_writes,
    an_atime_of_the_future_is_shown_by_reads_too,
    reading_moves_atime_and_not_ctime, creates_take_client_times,
    setting_times_changes_ctime, a_later_read_does_not_undo_an_explicit_atime_in_the_future,
    an_explicit_mtime_beside_a_size,
}

fn client_times_are_kept_to_the_nanosecond(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    for time in [(1, 1), (1_234_567_890, 123_456_789), (1_700_000_000, 999_999_999)] {
        t.alice.set(&file, &mtime(SetTime::Client(time.0, time.1)));
        t.alice.set(&file, &atime(SetTime::Client(time.0, time.1)));
        let attr = t.alice.attr(&file);
        assert_eq!((attr.mtime, attr.atime), (time, time));
    }
}

fn times_of_2106_and_1970(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    for time in [(u32::MAX, 999_999_999), (0, 0), (0x8000_0000, 5), (0x7fff_ffff, 0)] {
        t.alice.set(&file, &mtime(SetTime::Client(time.0, time.1)));
        assert_eq!(t.alice.attr(&file).mtime, time);
    }
}

fn mtime_goes_backwards(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let before = t.alice.attr(&file);
    t.alice.set(&file, &mtime(SetTime::Client(1000, 7)));
    let after = t.alice.attr(&file);
    assert_eq!(after.mtime, (1000, 7));
    assert!(after.ctime > before.ctime, "ctime does not go backwards");
}

fn nanoseconds_of_a_second_are_invalid(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let before = t.alice.attr(&file);
    for nanoseconds in [1_000_000_000, u32::MAX] {
        let time = SetTime::Client(5, nanoseconds);
        assert_eq!(t.alice.setattr(&file, &mtime(time)).status, INVAL);
        assert_eq!(t.alice.setattr(&file, &atime(time)).status, INVAL);
    }
    assert_eq!(t.alice.attr(&file), before);
}

fn invalid_times_in_creates_make_nothing(t: &Fs) {
    let bad = mtime(SetTime::Client(5, 1_000_000_000));
    assert_eq!(t.alice.create(&t.dir, b"a", How::Guarded(bad)).status, INVAL);
    assert_eq!(t.alice.mkdir(&t.dir, b"b", &bad).status, INVAL);
    assert_eq!(t.alice.mknod(&t.dir, b"c", FIFO, &bad, (0, 0)).status, INVAL);
    assert!(t.alice.list(&t.dir).is_empty());
}

fn server_time_is_now(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.set(&file, &mtime(SetTime::Client(5, 5)));
    t.alice.set(&file, &atime(SetTime::Client(5, 5)));
    let before = now();
    t.alice.set(&file, &Sattr { mtime: SetTime::Server, ..atime(SetTime::Server) });
    let attr = t.alice.attr(&file);
    for time in [attr.mtime, attr.atime] {
        assert!((before..=now()).contains(&time.0), "{attr:?}");
    }
}

fn server_time_with_write_permission(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o602);
    let before = t.bob.attr(&file).mtime;
    t.bob.set(&file, &Sattr { mtime: SetTime::Server, ..atime(SetTime::Server) });
    assert!(t.bob.attr(&file).mtime > before);
}

fn server_time_without_write_permission(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.bob.setattr(&file, &mtime(SetTime::Server)).status, ACCES);
}

fn client_time_with_write_permission_only(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o666);
    assert_eq!(t.bob.setattr(&file, &mtime(SetTime::Client(5, 5))).status, PERM);
    let mixed = Sattr { mtime: SetTime::Client(5, 5), ..atime(SetTime::Server) };
    assert_eq!(t.bob.setattr(&file, &mixed).status, PERM);
    assert_ne!(t.bob.attr(&file).mtime, (5, 5));
}

fn client_time_by_another_user(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.bob.setattr(&file, &atime(SetTime::Client(5, 5))).status, PERM);
}

fn client_time_by_root(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0);
    t.root.set(&file, &mtime(SetTime::Client(5, 5)));
    assert_eq!(t.root.attr(&file).mtime, (5, 5));
}

fn atime_alone(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let before = t.alice.attr(&file);
    t.alice.set(&file, &atime(SetTime::Client(77, 7)));
    let after = t.alice.attr(&file);
    assert_eq!((after.atime, after.mtime), ((77, 7), before.mtime));
}

fn both_times_at_once(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    t.alice.set(&dir, &Sattr { mtime: SetTime::Client(8, 8), ..atime(SetTime::Client(9, 9)) });
    let attr = t.alice.attr(&dir);
    assert_eq!((attr.mtime, attr.atime), ((8, 8), (9, 9)));
}

fn ctime_grows_strictly(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let mut last = t.alice.attr(&file).ctime;
    for step in 0..40 {
        let done = t.alice.setattr(&file, &mode(0o600 + step % 8));
        let ctime = done.wcc.after().ctime;
        assert!(ctime > last, "{ctime:?} after {last:?}");
        last = ctime;
    }
}

fn ctime_of_a_file_grows_with_every_write(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let mut last = t.alice.attr(&file);
    for step in 0..40 {
        let stable = [UNSTABLE, UNSTABLE, DATA_SYNC, FILE_SYNC][step % 4];
        let after = t.alice.write(&file, 0, stable, b"x").wcc.after().clone();
        assert!(after.ctime > last.ctime, "{after:?} after {last:?}");
        assert!(after.mtime >= last.mtime, "{after:?} after {last:?}");
        last = after;
    }
}

fn a_directorys_mtime_is_set_by_every_entry(t: &Fs) {
    let (dir, other) = (t.alice.dir(&t.dir, b"d"), t.alice.dir(&t.dir, b"o"));
    let mut last = t.alice.attr(&dir);
    let mut changed = |what: &str| {
        let now = t.alice.attr(&dir);
        assert!(now.mtime > last.mtime && now.ctime > last.ctime, "{what}: {now:?}");
        last = now;
    };
    let file = t.alice.file(&dir, b"f");
    changed("create");
    t.alice.dir(&dir, b"d");
    changed("mkdir");
    t.alice.symlink(&dir, b"l", b"x").handle();
    changed("symlink");
    t.alice.mknod(&dir, b"p", FIFO, &mode(0o600), (0, 0)).handle();
    changed("mknod");
    assert_eq!(t.alice.link(&file, &dir, b"g").status, OK);
    changed("link");
    assert_eq!(t.alice.rename(&dir, b"g", &dir, b"h").status, OK);
    changed("rename inside");
    assert_eq!(t.alice.rename(&dir, b"h", &other, b"h").status, OK);
    changed("rename out");
    assert_eq!(t.alice.rename(&other, b"h", &dir, b"h").status, OK);
    changed("rename in");
    assert_eq!(t.alice.remove(&dir, b"h").status, OK);
    changed("remove");
    assert_eq!(t.alice.rmdir(&dir, b"d").status, OK);
    changed("rmdir");
}

fn explicit_mtime_of_a_directory(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    t.alice.set(&dir, &mtime(SetTime::Client(1000, 0)));
    assert_eq!(t.alice.attr(&dir).mtime, (1000, 0));
    t.alice.file(&dir, b"f");
    assert!(t.alice.attr(&dir).mtime > (1000, 0));
}

fn explicit_mtime_after_unstable_data(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"bytes").status, OK);
    t.alice.set(&file, &mtime(SetTime::Client(1000, 1)));
    assert_eq!(t.alice.attr(&file).mtime, (1000, 1));
    assert_eq!(t.alice.commit(&file, 0, 0).status, OK);
    let attr = t.alice.attr(&file);
    assert_eq!((attr.mtime, attr.size), ((1000, 1), 5), "COMMIT keeps what was set");
}

fn a_write_after_an_explicit_mtime(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.set(&file, &mtime(SetTime::Client(1000, 1)));
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"bytes").status, OK);
    let shown = t.alice.attr(&file).mtime;
    assert!(shown > (1000, 1), "{shown:?}");
    assert_eq!(t.alice.commit(&file, 0, 0).status, OK);
    assert_eq!(t.alice.attr(&file).mtime, shown);
}

fn a_write_after_an_mtime_of_the_future(t: &Fs) {
    for stable in [UNSTABLE, DATA_SYNC, FILE_SYNC] {
        for future in [(u32::MAX, 999_999_999), (now() + 3600, 7)] {
            let file = t.alice.file(&t.dir, format!("{stable} {}", future.1).as_bytes());
            t.alice.set(&file, &mtime(SetTime::Client(future.0, future.1)));
            let set = t.alice.attr(&file);
            let start = now();
            let shown = t.alice.write(&file, 0, stable, b"bytes").wcc.after().clone();
            assert!((start..=now()).contains(&shown.mtime.0), "{stable}: {shown:?}");
            assert!(shown.ctime > set.ctime, "{stable}: {shown:?}");
            assert_eq!(t.alice.attr(&file), shown, "{stable}");
            assert_eq!(t.alice.commit(&file, 0, 0).status, OK);
            assert_eq!(
                t.alice.attr(&file).mtime,
                shown.mtime,
                "{stable}: COMMIT records what was shown"
            );
        }
    }
}

fn an_mtime_of_the_future_between_unstable_writes(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let future = (4_000_000_000, 9);
    for round in 0..3 {
        assert_eq!(t.alice.write(&file, round, UNSTABLE, b"x").status, OK);
        t.alice.set(&file, &mtime(SetTime::Client(future.0, future.1)));
        assert_eq!(t.alice.attr(&file).mtime, future);
        assert_eq!(t.alice.commit(&file, 0, 0).status, OK);
        assert_eq!(t.alice.attr(&file).mtime, future);
    }
    let shown = t.alice.write(&file, 3, UNSTABLE, b"x").wcc.after().mtime;
    assert!(shown.0 <= now(), "{shown:?}");
    assert_eq!(t.alice.attr(&file).mtime, shown);
}

fn an_atime_of_the_future_is_shown_by_reads_too(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let set = Sattr {
        mtime: SetTime::Client(4_000_000_001, 5),
        ..atime(SetTime::Client(4_000_000_000, 5))
    };
    t.alice.set(&file, &set);
    let attr = t.alice.attr(&file);
    assert_eq!(t.alice.read(&file, 0, 5).file.as_ref(), Some(&attr));
    assert_eq!(t.alice.attr(&file), attr);
}

fn reading_moves_atime_and_not_ctime(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.set(&file, &atime(SetTime::Client(5, 5)));
    let before = t.alice.attr(&file);
    assert_eq!(t.alice.get(&file), b"bytes");
    let after = t.alice.attr(&file);
    assert!(after.atime > before.atime, "older than mtime: it moves");
    assert_eq!((after.mtime, after.ctime), (before.mtime, before.ctime));
}

fn creates_take_client_times(t: &Fs) {
    let set = Sattr { mtime: SetTime::Client(8, 1), mode: Some(0o644), ..Sattr::default() };
    let made = t.alice.create(&t.dir, b"f", How::Guarded(set));
    assert_eq!(made.object().mtime, (8, 1));
    let made = t.alice.mkdir(&t.dir, b"d", &set);
    assert_eq!(t.alice.attr(&made.handle()).mtime, (8, 1));
}

fn setting_times_changes_ctime(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let before = t.alice.attr(&file);
    t.alice.set(&file, &atime(SetTime::Client(5, 5)));
    assert!(t.alice.attr(&file).ctime > before.ctime);
}

fn a_later_read_does_not_undo_an_explicit_atime_in_the_future(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.get(&file);
    t.alice.set(&file, &atime(SetTime::Client(4_000_000_000, 5)));
    t.alice.get(&file);
    assert_eq!(t.alice.attr(&file).atime, (4_000_000_000, 5));
}

fn an_explicit_mtime_beside_a_size(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.set(&file, &Sattr { size: Some(2), ..mtime(SetTime::Client(77, 7)) });
    let attr = t.alice.attr(&file);
    assert_eq!((attr.size, attr.mtime), (2, (77, 7)));
    let set = Sattr { size: Some(0), ..mtime(SetTime::Client(88, 8)) };
    assert_eq!(t.alice.create(&t.dir, b"g", How::Guarded(set)).object().mtime, (88, 8));
}
