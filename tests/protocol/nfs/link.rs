//! LINK (RFC 1813 section 3.3.15).

use super::fixture::{Fs, shared_cases};
use super::types::*;

shared_cases! {
    link_gives_a_second_name, link_across_directories, link_changes_ctime_only, link_of_a_directory,
    link_over_anything_is_exist, link_of_a_symlink, link_of_special_files, link_needs_permission,
    link_in_what_is_no_directory, link_with_removed_objects, link_to_another_share,
    link_wcc_data_is_exact, link_wcc_data_of_a_refusal, bytes_are_the_same_under_both_names,
    many_links, link_after_the_first_name_is_gone, link_of_another_users_file;
    // What another server need not show, or not so.
    link_shows_unstable_data,
}

fn link_gives_a_second_name(t: &Fs) {
    let file = t.alice.file(&t.dir, b"a");
    let done = t.alice.link(&file, &t.dir, b"b");
    assert_eq!((done.status, done.object), (OK, Some(t.alice.attr(&file))));
    assert_eq!(t.alice.attr(&file).nlink, 2);
    assert_eq!(t.alice.find(&t.dir, b"b"), file);
}

fn link_across_directories(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    let file = t.alice.file(&t.dir, b"a");
    assert_eq!(t.alice.link(&file, &dir, b"a").status, OK);
    assert_eq!(t.alice.find(&dir, b"a"), file);
    assert_eq!(t.alice.attr(&dir).nlink, 2);
}

fn link_changes_ctime_only(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"a", b"bytes");
    let before = t.alice.attr(&file);
    assert_eq!(t.alice.link(&file, &t.dir, b"b").status, OK);
    let after = t.alice.attr(&file);
    assert!(after.ctime > before.ctime);
    assert_eq!((after.mtime, after.size, after.mode), (before.mtime, 5, before.mode));
}

fn link_of_a_directory(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    for client in [&t.alice, &t.root] {
        let status = client.link(&dir, &t.dir, b"e").status;
        assert!(status == ISDIR || status == PERM, "{status:?}");
    }
    assert_eq!(t.alice.names(&t.dir), [b"d"]);
}

fn link_over_anything_is_exist(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.dir(&t.dir, b"d");
    t.alice.symlink(&t.dir, b"l", b"nowhere").handle();
    for name in [b"f", b"d", b"l"] {
        assert_eq!(t.alice.link(&file, &t.dir, name).status, EXIST);
    }
    assert_eq!(t.alice.attr(&file).nlink, 1);
}

fn link_of_a_symlink(t: &Fs) {
    let link = t.alice.symlink(&t.dir, b"l", b"target").handle();
    assert_eq!(t.alice.link(&link, &t.dir, b"m").status, OK);
    assert_eq!(t.alice.find(&t.dir, b"m"), link);
    assert_eq!(t.alice.attr(&link).nlink, 2);
}

fn link_of_special_files(t: &Fs) {
    for kind in [BLK, CHR, SOCK, FIFO] {
        let name = format!("k{kind}");
        let node = t.root.mknod(&t.dir, name.as_bytes(), kind, &mode(0o600), (1, 2)).handle();
        assert_eq!(t.root.link(&node, &t.dir, format!("l{kind}").as_bytes()).status, OK);
        assert_eq!(t.root.attr(&node).nlink, 2);
    }
}

fn link_needs_permission(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    let file = t.bob.file(&t.dir, b"f");
    assert_eq!(t.bob.link(&file, &dir, b"g").status, ACCES);
    assert_eq!(t.bob.attr(&file).nlink, 1);
}

fn link_in_what_is_no_directory(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o777);
    assert_eq!(t.alice.link(&file, &file, b"g").status, NOTDIR);
}

fn link_with_removed_objects(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.alice.rmdir(&t.dir, b"d").status, OK);
    assert_eq!(t.alice.link(&file, &dir, b"g").status, STALE);
    assert_eq!(t.alice.remove(&t.dir, b"f").status, OK);
    assert_eq!(t.alice.link(&file, &t.dir, b"g").status, STALE);
    assert!(t.alice.list(&t.dir).is_empty());
}

fn link_to_another_share(t: &Fs) {
    let file = t.root.file(&t.dir, b"f");
    assert_eq!(t.root.link(&file, &t.root_of("/squash"), b"f").status, XDEV);
    assert_eq!(t.root.attr(&file).nlink, 1);
}

fn link_wcc_data_is_exact(t: &Fs) {
    let file = t.alice.file(&t.dir, b"a");
    let before = t.alice.attr(&t.dir);
    let done = t.alice.link(&file, &t.dir, b"b");
    assert_eq!(done.directory.before(), &before.wcc());
    let after = t.alice.attr(&t.dir);
    assert_eq!(done.directory.after(), &after);
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
}

fn link_wcc_data_of_a_refusal(t: &Fs) {
    let file = t.alice.file(&t.dir, b"a");
    let present = t.alice.attr(&t.dir);
    let done = t.alice.link(&file, &t.dir, b"a");
    assert_eq!((done.status, done.directory.after()), (EXIST, &present));
    assert!(done.object.is_none_or(|object| object == t.alice.attr(&file)));
    assert!(done.directory.before.is_none_or(|before| before == present.wcc()));
}

fn link_shows_unstable_data(t: &Fs) {
    let file = t.alice.file(&t.dir, b"a");
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"bytes").status, OK);
    let done = t.alice.link(&file, &t.dir, b"b");
    assert_eq!(done.object.unwrap().size, 5);
    assert_eq!(t.alice.attr(&file).size, 5);
}

fn bytes_are_the_same_under_both_names(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"a", b"bytes");
    assert_eq!(t.alice.link(&file, &t.dir, b"b").status, OK);
    let other = t.alice.find(&t.dir, b"b");
    t.alice.put(&other, 0, b"BYTES");
    assert_eq!(t.alice.get(&t.alice.find(&t.dir, b"a")), b"BYTES");
    let fileids: Vec<_> = t.alice.list(&t.dir).iter().map(|entry| entry.fileid).collect();
    assert_eq!(fileids, [t.alice.attr(&file).fileid; 2]);
}

fn many_links(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    for count in 2..=60 {
        let done = t.alice.link(&file, &t.dir, format!("l{count}").as_bytes());
        assert_eq!(done.object.unwrap().nlink, count);
    }
}

fn link_after_the_first_name_is_gone(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"a", b"bytes");
    assert_eq!(t.alice.link(&file, &t.dir, b"b").status, OK);
    assert_eq!(t.alice.remove(&t.dir, b"a").status, OK);
    assert_eq!(t.alice.link(&file, &t.dir, b"a").status, OK);
    assert_eq!(t.alice.attr(&file).nlink, 2);
}

fn link_of_another_users_file(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o600);
    let done = t.bob.link(&file, &t.dir, b"g");
    assert_eq!((done.status, t.alice.attr(&file).uid), (OK, 1000));
}

/// As many links as there may be take PostgreSQL minutes.
mod memory_only {
    use super::*;
    use crate::nfs::fixture::Pair;
    use crate::nfs::rpc::{Connection, NFS, Reply, wait};
    use crate::nfs::{args, results};

    #[test]
    fn as_many_links_as_there_may_be() {
        let t = &Fs::new(Pair::Memory);
        let file = t.alice.file(&t.dir, b"f");
        let most = t.alice.pathconf(&t.share).unwrap().link_max;
        assert_eq!(most, 65_000);
        wait(async {
            let mut connection = Connection::open(t.server.address).await;
            for first in (1..most).step_by(100) {
                let names = first..most.min(first + 100);
                for n in names.clone() {
                    let args = args::link(&file, &t.dir, format!("l{n}").as_bytes());
                    connection.send(&t.alice.prepare(NFS, 3, args::LINK, &args.bytes)).await;
                }
                for _ in names {
                    match connection.reply().await.outcome {
                        Reply::Success(body) => assert_eq!(results::status_of(&body), OK),
                        other => panic!("{other:?}"),
                    }
                }
            }
        });
        assert_eq!(t.alice.attr(&file).nlink, most);
        assert_eq!(t.alice.link(&file, &t.dir, b"one-more").status, MLINK);
        assert_eq!(t.alice.attr(&file).nlink, most);
        assert_eq!(t.alice.remove(&t.dir, b"l1").status, OK);
        assert_eq!(t.alice.link(&file, &t.dir, b"one-more").status, OK);
    }
}
