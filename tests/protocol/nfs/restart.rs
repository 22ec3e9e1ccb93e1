//! What outlives the server. It ends here without flushing anything, as in a crash; the cases have a
//! server and stores of their own.

use super::client::Client;
use super::fixture::{Fs, Stores, TestServer, content_cases};
use super::rpc::wait;
use super::types::*;

content_cases! {
    handles_and_attributes, an_exclusive_create_is_retried, cookies_of_a_scan,
    stable_and_committed_data, the_write_verifier_changes, removed_objects_stay_stale,
    ctime_goes_on_growing, fileids_are_not_used_again, truncations_and_holes,
}

/// A restart between two halves of a case, each with a client as root and the root of `/t`.
fn across<T>(
    t: &Fs,
    first: impl FnOnce(&Client, &Handle) -> T,
    then: impl FnOnce(&Client, &Handle, T),
) {
    let server = wait(async { TestServer::start(Stores::new(t.pair).await).await });
    let (client, root) = (server.client(0), server.root_of("/t"));
    let kept = first(&client, &root);
    drop(client);
    let stores = server.stop();
    let server = wait(async { TestServer::start(stores.reopened().await).await });
    assert_eq!(server.root_of("/t"), root, "the root's handle");
    then(&server.client(0), &root, kept);
}

fn handles_and_attributes(t: &Fs) {
    across(
        t,
        |client, root| {
            let dir = client.dir(root, b"d");
            let file = client.file_with(&dir, b"f", b"bytes");
            client.set(&file, &Sattr { mode: Some(0o4711), ..owner(4_294_967_294, 7) });
            client.set(&file, &mtime(SetTime::Client(u32::MAX, 999_999_999)));
            let link = client.symlink(&dir, b"\xff", b"target").handle();
            let node = client.mknod(&dir, b"n", CHR, &mode(0o600), (u32::MAX, 3)).handle();
            [dir, file, link, node, root.clone()].map(|handle| (client.attr(&handle), handle))
        },
        |client, root, kept| {
            for (attr, handle) in &kept {
                assert_eq!(&client.attr(handle), attr);
            }
            assert_eq!(client.get(&kept[1].1), b"bytes");
            assert_eq!(client.readlink(&kept[2].1).target, b"target");
            assert_eq!(client.find(&client.find(root, b"d"), b"f"), kept[1].1);
        },
    );
}

fn an_exclusive_create_is_retried(t: &Fs) {
    let how = How::Exclusive([0xff, 2, 3, 4, 5, 6, 7, 0x80]);
    across(
        t,
        |client, root| client.create(root, b"f", how).handle(),
        |client, root, file| {
            assert_eq!(client.create(root, b"f", How::Exclusive([0; 8])).status, EXIST);
            assert_eq!(client.user(7, 7, &[]).create(root, b"f", how).status, EXIST);
            assert_eq!(client.create(root, b"f", how).handle(), file);
        },
    );
}

fn cookies_of_a_scan(t: &Fs) {
    across(
        t,
        |client, root| {
            for n in 0..30 {
                client.file(root, format!("f{n}").as_bytes());
            }
            let half = client.readdir(root, 0, [0; 8], 600);
            assert!(!half.eof && half.entries.len() > 5);
            (half, client.list(root))
        },
        |client, root, (half, all)| {
            let cookie = half.entries.last().unwrap().cookie;
            let rest = client.readdir(root, cookie, half.verifier, 65_536);
            assert_eq!((rest.status, rest.verifier), (OK, half.verifier));
            assert_eq!(rest.entries, all[half.entries.len() - 2..]);
            assert_eq!(client.list(root), all);
        },
    );
}

fn stable_and_committed_data(t: &Fs) {
    across(
        t,
        |client, root| {
            let stable = client.file(root, b"stable");
            assert_eq!(client.write(&stable, 3, DATA_SYNC, b"data").status, OK);
            assert_eq!(client.write(&stable, 100_000, FILE_SYNC, b"file").status, OK);
            let committed = client.file(root, b"committed");
            assert_eq!(client.write(&committed, 0, UNSTABLE, &[7; 200_000]).status, OK);
            assert_eq!(client.write(&committed, 200_000, UNSTABLE, &[8; 10]).status, OK);
            let shown = client.attr(&committed);
            assert_eq!(client.commit(&committed, 0, 0).status, OK);
            (stable, committed, shown)
        },
        |client, _, (stable, committed, shown)| {
            let bytes = client.get(&stable);
            assert_eq!((bytes.len(), &bytes[..7]), (100_004, &b"\0\0\0data"[..]));
            assert_eq!(&bytes[100_000..], b"file");
            let attr = client.attr(&committed);
            assert_eq!((attr.size, attr.mtime, attr.ctime), (200_010, shown.mtime, shown.ctime));
            assert!(client.get(&committed) == [vec![7; 200_000], vec![8; 10]].concat());
        },
    );
}

fn the_write_verifier_changes(t: &Fs) {
    across(
        t,
        |client, root| {
            let file = client.file_with(root, b"f", b"safe");
            let written = client.write(&file, 4, UNSTABLE, b"maybe lost");
            (file, written.verifier)
        },
        |client, _, (file, before)| {
            let done = client.commit(&file, 0, 0);
            assert_eq!(done.status, OK);
            assert_ne!(done.verifier, before, "what was unstable may be lost");
            let written = client.write(&file, 4, UNSTABLE, b"sent again");
            assert_eq!(written.verifier, done.verifier);
            assert_eq!(client.get(&file), b"safesent again");
        },
    );
}

fn removed_objects_stay_stale(t: &Fs) {
    across(
        t,
        |client, root| {
            let (file, dir) = (client.file(root, b"f"), client.dir(root, b"d"));
            assert_eq!(client.remove(root, b"f").status, OK);
            assert_eq!(client.rmdir(root, b"d").status, OK);
            [file, dir]
        },
        |client, root, gone| {
            for handle in &gone {
                assert_eq!(client.getattr(handle), Err(STALE));
            }
            assert!(client.list(root).is_empty());
        },
    );
}

fn ctime_goes_on_growing(t: &Fs) {
    across(
        t,
        |client, root| {
            let file = client.file(root, b"f");
            let last = client.setattr(&file, &mode(0o600)).wcc.after().ctime;
            (file, last, client.attr(root).ctime)
        },
        |client, root, (file, of_file, of_root)| {
            assert!(client.setattr(&file, &mode(0o644)).wcc.after().ctime > of_file);
            client.file(root, b"g");
            assert!(client.attr(root).ctime > of_root);
        },
    );
}

fn fileids_are_not_used_again(t: &Fs) {
    across(
        t,
        |client, root| {
            let ids: Vec<_> = (0..10)
                .map(|n| client.attr(&client.file(root, format!("a{n}").as_bytes())).fileid)
                .collect();
            assert_eq!(client.remove(root, b"a9").status, OK);
            ids
        },
        |client, root, before| {
            for n in 0..10 {
                let file = client.file(root, format!("b{n}").as_bytes());
                assert!(!before.contains(&client.attr(&file).fileid));
            }
        },
    );
}

fn truncations_and_holes(t: &Fs) {
    across(
        t,
        |client, root| {
            let file = client.file_with(root, b"f", &[9; 5000]);
            client.set(&file, &size(1000));
            client.set(&file, &size(8000));
            let empty = client.file_with(root, b"e", b"bytes");
            client.set(&empty, &size(0));
            (file, empty)
        },
        |client, _, (file, empty)| {
            assert!(client.get(&file) == [vec![9; 1000], vec![0; 7000]].concat());
            assert_eq!(client.get(&empty), b"");
        },
    );
}
