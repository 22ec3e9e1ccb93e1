//! Export rules, checked on every call: squashing, read-only shares, ports, client networks, AUTH_NONE.

use super::args;
use super::fixture::{Fs, cases};
use super::handles::calls;
use super::results::status_of;
use super::rpc::{Auth, NFS, Reply};
use super::shares::ANONYMOUS;
use super::types::*;

cases! {
    root_is_squashed_by_default, group_0_of_anyone_is_squashed,
    supplementary_group_0_is_squashed, users_are_not_squashed_with_root,
    root_may_not_chown_where_it_is_squashed, root_may_not_make_devices_where_it_is_squashed,
    squashed_root_has_no_override, everyone_is_squashed_to_one_user, squashed_users_share_files,
    root_is_root_where_nothing_is_squashed, a_read_only_share_takes_no_change,
    a_read_only_share_is_read, access_on_a_read_only_share, one_client_reads_and_another_writes,
    a_reserved_port_is_asked_for, a_client_that_is_not_admitted_is_stale,
    nobody_asks_about_the_root, nobody_where_nobody_is_squashed, nobody_where_all_are_squashed,
    nobody_calls_null,
}

fn root_is_squashed_by_default(t: &Fs) {
    let (_, dir) = t.dir_in("/squash");
    let file = t.root.file(&dir, b"f");
    let attr = t.root.attr(&file);
    assert_eq!((attr.uid, attr.gid), ANONYMOUS);
    let made = t.root.mkdir(&dir, b"d", &Sattr { mode: Some(0o755), ..owner(0, 0) });
    assert_eq!((made.object().uid, made.object().gid), ANONYMOUS);
}

fn group_0_of_anyone_is_squashed(t: &Fs) {
    let (_, dir) = t.dir_in("/squash");
    let wheel = t.root.user(1000, 0, &[]);
    let attr = wheel.attr(&wheel.file(&dir, b"f"));
    assert_eq!((attr.uid, attr.gid), (1000, ANONYMOUS.1));
}

fn supplementary_group_0_is_squashed(t: &Fs) {
    let root_dir = t.root_of("/squash");
    assert_eq!(t.root.attr(&root_dir).gid, 0);
    let (_, dir) = t.dir_in("/squash");
    let wheel = t.root.user(1000, 1000, &[5, 0]);
    let file = wheel.file(&dir, b"f");
    assert_eq!(wheel.setattr(&file, &gid(0)).status, PERM);
    assert_eq!(wheel.setattr(&file, &gid(ANONYMOUS.1)).status, OK);
    assert_eq!(wheel.setattr(&file, &gid(5)).status, OK);
}

fn users_are_not_squashed_with_root(t: &Fs) {
    let (_, dir) = t.dir_in("/squash");
    let attr = t.alice.attr(&t.alice.file(&dir, b"f"));
    assert_eq!((attr.uid, attr.gid), (1000, 1000));
}

fn root_may_not_chown_where_it_is_squashed(t: &Fs) {
    let (_, dir) = t.dir_in("/squash");
    let file = t.alice.file_of(&dir, b"f", 0o666);
    assert_eq!(t.root.setattr(&file, &uid(0)).status, PERM);
    assert_eq!(t.root.setattr(&file, &mode(0o777)).status, PERM);
    let own = t.root.file(&dir, b"own");
    assert_eq!(t.root.setattr(&own, &uid(0)).status, PERM);
}

fn root_may_not_make_devices_where_it_is_squashed(t: &Fs) {
    let (_, dir) = t.dir_in("/squash");
    assert_eq!(t.root.mknod(&dir, b"n", CHR, &mode(0o600), (1, 3)).status, PERM);
}

fn squashed_root_has_no_override(t: &Fs) {
    let (_, dir) = t.dir_in("/squash");
    let file = t.alice.file_of(&dir, b"f", 0o600);
    assert_eq!(t.root.read(&file, 0, 1).status, ACCES);
    assert_eq!(t.root.write(&file, 0, FILE_SYNC, b"x").status, ACCES);
    assert_eq!(t.root.access(&file, A_ALL).granted, 0);
}

fn everyone_is_squashed_to_one_user(t: &Fs) {
    let (_, dir) = t.dir_in("/all");
    for (client, name) in [(&t.root, b"r"), (&t.alice, b"a"), (&t.bob, b"b")] {
        let attr = client.attr(&client.file(&dir, name));
        assert_eq!((attr.uid, attr.gid), ANONYMOUS);
    }
}

fn squashed_users_share_files(t: &Fs) {
    let (_, dir) = t.dir_in("/all");
    let file = t.alice.file_of(&dir, b"f", 0o600);
    t.bob.put(&file, 0, b"ours");
    assert_eq!(t.root.get(&file), b"ours");
    assert_eq!(t.bob.setattr(&file, &mode(0o644)).status, OK);
    let member = t.root.user(1000, 7, &[8]);
    assert_eq!(member.setattr(&file, &gid(8)).status, PERM, "no group of one's own is left");
}

fn root_is_root_where_nothing_is_squashed(t: &Fs) {
    let attr = t.root.attr(&t.root.file(&t.dir, b"f"));
    assert_eq!((attr.uid, attr.gid), (0, 0));
}

fn a_read_only_share_takes_no_change(t: &Fs) {
    let (writer, dir) = t.dir_in("/ro");
    let file = writer.file_with(&dir, b"f", b"bytes");
    let before = t.alice.attr(&dir);
    let set = mode(0o777);
    let changing = [
        (args::SETATTR, args::setattr(&file, &set, None)),
        (args::SETATTR, args::setattr(&file, &nothing(), None)),
        (args::WRITE, args::write(&file, 0, 1, UNSTABLE, b"x")),
        (args::CREATE, args::create(&dir, b"n", &How::Guarded(set))),
        (args::CREATE, args::create(&dir, b"f", &How::Unchecked(size(0)))),
        (args::CREATE, args::create(&dir, b"n", &How::Exclusive([1; 8]))),
        (args::MKDIR, args::mkdir(&dir, b"n", &set)),
        (args::SYMLINK, args::symlink(&dir, b"n", b"target", &set)),
        (args::MKNOD, args::mknod(&dir, b"n", FIFO, &set, (0, 0))),
        (args::REMOVE, args::entry(&dir, b"f")),
        (args::RMDIR, args::entry(&dir, b"f")),
        (args::RENAME, args::rename(&dir, b"f", &dir, b"g")),
        (args::LINK, args::link(&file, &dir, b"g")),
    ];
    for client in [&t.alice, &t.root] {
        for (procedure, args) in &changing {
            assert_eq!(status_of(&client.nfs(*procedure, args)), ROFS, "procedure {procedure}");
        }
    }
    assert_eq!((t.alice.attr(&dir), t.alice.get(&file)), (before, b"bytes".to_vec()));
}

fn a_read_only_share_is_read(t: &Fs) {
    let (writer, dir) = t.dir_in("/ro");
    let file = writer.file_with(&dir, b"f", b"bytes");
    writer.symlink(&dir, b"l", b"target").handle();
    assert_eq!(t.bob.get(&file), b"bytes");
    assert_eq!(t.bob.readlink(&t.bob.find(&dir, b"l")).target, b"target");
    assert_eq!(t.bob.names(&dir), [b"f", b"l"]);
    assert_eq!(t.bob.readdirplus(&dir, 0, [0; 8], 4096, 8192).status, OK);
    assert!(
        t.bob.fsstat(&dir).is_ok() && t.bob.fsinfo(&dir).is_ok() && t.bob.pathconf(&dir).is_ok()
    );
}

fn access_on_a_read_only_share(t: &Fs) {
    let (writer, dir) = t.dir_in("/ro");
    let file = writer.file_of(&dir, b"f", 0o777);
    for client in [&t.alice, &t.root] {
        assert_eq!(client.access(&file, A_ALL).granted, A_READ | A_EXECUTE);
        assert_eq!(client.access(&dir, A_ALL).granted & !A_EXECUTE, A_READ | A_LOOKUP);
    }
}

fn one_client_reads_and_another_writes(t: &Fs) {
    let (writer, dir) = t.dir_in("/ro");
    let file = writer.file_with(&dir, b"f", b"one");
    assert_eq!(t.alice.get(&file), b"one");
    writer.put(&file, 0, b"two");
    assert_eq!(t.alice.get(&file), b"two");
    assert_eq!(writer.access(&dir, A_MODIFY).granted, A_MODIFY);
}

fn a_reserved_port_is_asked_for(t: &Fs) {
    let (admitted, dir) = t.dir_in("/port");
    for (procedure, args) in calls(t, &dir) {
        // RENAME and LINK between two shares are refused one way or the other.
        let status = status_of(&t.alice.nfs(procedure, &args));
        let other_way = matches!(procedure, args::RENAME | args::LINK) && status == XDEV;
        assert!(status == PERM || other_way, "procedure {procedure}: {status:?}");
    }
    assert_eq!(admitted.attr(&dir).nlink, 2);
}

fn a_client_that_is_not_admitted_is_stale(t: &Fs) {
    let (admitted, dir) = t.dir_in("/narrow");
    for (procedure, args) in calls(t, &dir) {
        let status = status_of(&t.root.nfs(procedure, &args));
        let other_way = matches!(procedure, args::RENAME | args::LINK) && status == XDEV;
        assert!(status == STALE || other_way, "procedure {procedure}: {status:?}");
    }
    assert_eq!(admitted.attr(&dir).nlink, 2);
    let file = admitted.file_with(&dir, b"f", b"secret");
    assert_eq!(t.root.read(&file, 0, 10).status, STALE);
}

fn nobody_asks_about_the_root(t: &Fs) {
    let nobody = t.root.with(Auth::none());
    for share in ["/t", "/squash", "/all"] {
        let root = t.root_of(share);
        assert_eq!(nobody.attr(&root).kind, DIR);
        assert!(nobody.fsinfo(&root).is_ok() && nobody.fsstat(&root).is_ok());
        assert!(nobody.pathconf(&root).is_ok());
    }
}

fn nobody_where_nobody_is_squashed(t: &Fs) {
    let nobody = t.root.with(Auth::none());
    let too_weak = Reply::AuthError(5);
    for (procedure, args) in calls(t, &t.dir) {
        assert_eq!(nobody.raw(NFS, 3, procedure, &args.bytes), too_weak, "procedure {procedure}");
    }
    let lookup = args::entry(&t.share, b"x");
    assert_eq!(nobody.raw(NFS, 3, args::LOOKUP, &lookup.bytes), too_weak);
}

fn nobody_where_all_are_squashed(t: &Fs) {
    let nobody = t.root.with(Auth::none());
    for share in ["/all", "/squash"] {
        let (_, dir) = t.dir_in(share);
        let attr = nobody.attr(&nobody.file(&dir, b"f"));
        assert_eq!((attr.uid, attr.gid), ANONYMOUS);
        assert_eq!(nobody.names(&dir), [b"f"]);
    }
}

fn nobody_calls_null(t: &Fs) {
    let nobody = t.root.with(Auth::none());
    assert_eq!(nobody.raw(NFS, 3, args::NULL, b""), Reply::Success(Vec::new()));
}
