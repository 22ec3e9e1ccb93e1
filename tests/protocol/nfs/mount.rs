//! MOUNT version 3 (RFC 1813 appendix I).

use super::client::Client;
use super::fixture::{Fs, cases};
use super::rpc::{Auth, MOUNT, Reply};
use super::shares::LONG_SHARE;
use super::types::*;
use super::xdr::{Args, Results};

cases! {
    null_answers_nothing, mnt_of_a_share, mnt_of_a_directory_in_a_share, mnt_of_a_file,
    mnt_of_a_symlink, mnt_through_a_symlink, mnt_of_an_unknown_path, mnt_of_no_share,
    mnt_needs_no_permission_on_the_way, mnt_of_paths_with_more_slashes,
    mnt_of_paths_that_are_too_long, mnt_without_credentials, mnt_by_a_client_that_is_not_admitted,
    mnt_from_a_port_that_is_not_reserved, mnt_through_dot_dot_stays_in_the_share,
    dump_lists_mounts, umnt_and_umntall, export_lists_shares, unknown_procedures,
    other_versions, umnt_of_what_is_not_mounted, mnt_of_bytes_that_are_no_utf8,
    a_relative_or_empty_path_is_no_share,
}

const NULL: u32 = 0;
const MNT: u32 = 1;
const DUMP: u32 = 2;
const UMNT: u32 = 3;
const UMNTALL: u32 = 4;
const EXPORT: u32 = 5;

/// MNT's status, and its handle after it has read the flavours.
fn mnt(client: &Client, path: &[u8]) -> Result<Handle, u32> {
    let body = client.mount(MNT, &Args::new().opaque(path));
    let mut results = Results::new(&body);
    let answer = match results.u32() {
        0 => {
            let handle = results.opaque(64);
            assert_eq!((results.u32(), results.u32()), (1, 1), "one flavour: AUTH_SYS");
            Ok(handle)
        }
        status => Err(status),
    };
    results.finish();
    answer
}

/// The path from a share's root to a case's directory.
fn path_of(t: &Fs) -> Vec<u8> {
    let fileid = t.root.attr(&t.dir).fileid;
    let entries = t.root.list(&t.share);
    let entry = entries.iter().find(|entry| entry.fileid == fileid).expect("the entry");
    [b"/t/", &entry.name[..]].concat()
}

fn join(path: &[u8], more: &[u8]) -> Vec<u8> {
    [path, more].concat()
}

const ERR_NOENT: u32 = 2;
const ERR_ACCES: u32 = 13;
const ERR_NOTDIR: u32 = 20;
const ERR_NAMETOOLONG: u32 = 63;

fn null_answers_nothing(t: &Fs) {
    assert_eq!(t.root.mount(NULL, &Args::new()), b"");
    assert_eq!(t.root.with(Auth::none()).mount(NULL, &Args::new()), b"");
}

fn mnt_of_a_share(t: &Fs) {
    assert_eq!(mnt(&t.root, b"/t"), Ok(t.share.clone()));
    assert_eq!(mnt(&t.alice, b"/squash"), Ok(t.root_of("/squash")));
    assert_eq!(mnt(&t.alice, LONG_SHARE.as_bytes()), Ok(t.root_of(LONG_SHARE)));
}

fn mnt_of_a_directory_in_a_share(t: &Fs) {
    let path = path_of(t);
    assert_eq!(mnt(&t.root, &path), Ok(t.dir.clone()));
    let deeper = t.alice.dir(&t.alice.dir(&t.dir, b"a"), b"b");
    assert_eq!(mnt(&t.root, &join(&path, b"/a/b")), Ok(deeper));
}

fn mnt_of_a_file(t: &Fs) {
    t.alice.file(&t.dir, b"f");
    let path = path_of(t);
    assert_eq!(mnt(&t.root, &join(&path, b"/f")), Err(ERR_NOTDIR));
    assert_eq!(mnt(&t.root, &join(&path, b"/f/x")), Err(ERR_NOTDIR));
}

fn mnt_of_a_symlink(t: &Fs) {
    t.alice.dir(&t.dir, b"d");
    t.alice.symlink(&t.dir, b"l", b"d").handle();
    assert_eq!(mnt(&t.root, &join(&path_of(t), b"/l")), Err(ERR_NOTDIR));
}

fn mnt_through_a_symlink(t: &Fs) {
    t.alice.dir(&t.alice.dir(&t.dir, b"d"), b"e");
    t.alice.symlink(&t.dir, b"l", b"d").handle();
    assert_eq!(mnt(&t.root, &join(&path_of(t), b"/l/e")), Err(ERR_NOTDIR));
}

fn mnt_of_an_unknown_path(t: &Fs) {
    assert_eq!(mnt(&t.root, &join(&path_of(t), b"/nothing")), Err(ERR_NOENT));
    assert_eq!(mnt(&t.root, &join(&path_of(t), b"/nothing/more")), Err(ERR_NOENT));
}

fn mnt_of_no_share(t: &Fs) {
    for path in [&b"/nothing"[..], b"/", b"/tt", b"/squas", b"/T"] {
        assert_eq!(mnt(&t.root, path), Err(ERR_NOENT), "{}", path.escape_ascii());
    }
}

fn mnt_needs_no_permission_on_the_way(t: &Fs) {
    let hidden = t.alice.dir_of(&t.dir, b"hidden", 0);
    let inside = t.root.dir(&hidden, b"inside");
    let path = join(&path_of(t), b"/hidden/inside");
    assert_eq!(mnt(&t.bob, &path), Ok(inside));
}

fn mnt_of_paths_with_more_slashes(t: &Fs) {
    for path in [&b"/t/"[..], b"//t", b"/t//", b"/t/."] {
        assert_eq!(mnt(&t.root, path), Ok(t.share.clone()), "{}", path.escape_ascii());
    }
}

fn mnt_of_paths_that_are_too_long(t: &Fs) {
    assert_eq!(mnt(&t.root, &join(b"/t/", &[b'n'; 256])), Err(ERR_NAMETOOLONG));
    assert_eq!(mnt(&t.root, &join(b"/t/", &b"n/".repeat(510))), Err(ERR_NOENT));
    let args = Args::new().opaque(&[b'/'; 1025]);
    match t.root.raw(MOUNT, 3, MNT, &args.bytes) {
        Reply::Success(body) => assert_eq!(body, ERR_NAMETOOLONG.to_be_bytes()),
        other => assert_eq!(other, Reply::GarbageArguments),
    }
    assert_eq!(mnt(&t.root, b"/t"), Ok(t.share.clone()));
}

fn mnt_without_credentials(t: &Fs) {
    assert_eq!(mnt(&t.root.with(Auth::none()), b"/t"), Ok(t.share.clone()));
}

fn mnt_by_a_client_that_is_not_admitted(t: &Fs) {
    assert_eq!(mnt(&t.root, b"/narrow"), Err(ERR_ACCES));
    assert_eq!(mnt(&t.elsewhere(0), b"/narrow"), Ok(t.root_of("/narrow")));
}

fn mnt_from_a_port_that_is_not_reserved(t: &Fs) {
    assert_eq!(mnt(&t.root, b"/port"), Err(ERR_ACCES));
}

fn mnt_through_dot_dot_stays_in_the_share(t: &Fs) {
    for path in [&b"/t/.."[..], b"/t/../..", b"/t/../narrow"] {
        match mnt(&t.root, path) {
            Ok(handle) => assert_eq!(handle, t.share),
            Err(status) => assert_eq!(status, ERR_NOENT),
        }
    }
}

fn dump(client: &Client) -> Vec<(Vec<u8>, Vec<u8>)> {
    let body = client.mount(DUMP, &Args::new());
    let mut results = Results::new(&body);
    let mut mounts = Vec::new();
    while results.boolean() {
        mounts.push((results.opaque(255), results.opaque(1024)));
    }
    results.finish();
    mounts
}

/// All cases are one client to the table of mounts, so that each has paths of its own.
fn dump_lists_mounts(t: &Fs) {
    let path = path_of(t);
    mnt(&t.root, &path).unwrap();
    let mounts = dump(&t.root);
    let entry = mounts.iter().find(|(_, mounted)| *mounted == path);
    assert_eq!(entry.expect("the mount is listed").0, b"127.0.0.1");
    mnt(&t.root, &path).unwrap();
    let again = dump(&t.root).iter().filter(|(_, mounted)| *mounted == path).count();
    assert_eq!(again, 1, "a mount is listed once");
}

fn umnt_and_umntall(t: &Fs) {
    let client = Client::connect_from([127, 0, 0, 9].into(), t.server.address, t.root.auth.clone());
    let mine = |client: &Client| dump(client).iter().filter(|(who, _)| who == b"127.0.0.9").count();
    let path = path_of(t);
    mnt(&client, b"/t").unwrap();
    mnt(&client, &path).unwrap();
    assert_eq!(mine(&client), 2);
    assert_eq!(client.mount(UMNT, &Args::new().opaque(&path)), b"");
    assert_eq!(mine(&client), 1);
    assert_eq!(client.mount(UMNTALL, &Args::new()), b"");
    assert_eq!(mine(&client), 0);
    assert_eq!(t.root.attr(&t.share).kind, DIR, "handles live on");
}

fn export_lists_shares(t: &Fs) {
    let body = t.root.mount(EXPORT, &Args::new());
    let mut results = Results::new(&body);
    let mut shares = Vec::new();
    while results.boolean() {
        let name = results.opaque(1024);
        let mut groups = Vec::new();
        while results.boolean() {
            groups.push(results.opaque(255));
        }
        shares.push((name, groups));
    }
    results.finish();
    shares.sort();
    let names: Vec<_> = shares.iter().map(|(name, _)| name.as_slice()).collect();
    assert_eq!(
        names,
        [LONG_SHARE.as_bytes(), b"/all", b"/narrow", b"/port", b"/ro", b"/squash", b"/t"]
    );
    let narrow = &shares[2].1;
    assert_eq!(narrow, &[b"127.0.0.2/32"]);
}

fn unknown_procedures(t: &Fs) {
    for procedure in [6, 7, 22, 1 << 31, u32::MAX] {
        assert_eq!(t.root.raw(MOUNT, 3, procedure, b""), Reply::ProcedureUnavailable);
    }
}

fn other_versions(t: &Fs) {
    for version in [0, 1, 2, 4, u32::MAX] {
        let expected = Reply::ProgramMismatch { low: 3, high: 3 };
        assert_eq!(t.root.raw(MOUNT, version, NULL, b""), expected);
        assert_eq!(t.root.raw(MOUNT, version, 99, b""), expected);
    }
}

fn umnt_of_what_is_not_mounted(t: &Fs) {
    assert_eq!(t.root.mount(UMNT, &Args::new().opaque(b"/never/mounted")), b"");
    assert_eq!(t.root.mount(UMNT, &Args::new().opaque(b"")), b"");
}

fn mnt_of_bytes_that_are_no_utf8(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"\xff\xfe");
    assert_eq!(mnt(&t.root, &join(&path_of(t), b"/\xff\xfe")), Ok(dir));
    assert_eq!(mnt(&t.root, b"/\xff"), Err(ERR_NOENT));
    assert_eq!(mnt(&t.root, b"/t\0"), Err(ERR_NOENT));
}

fn a_relative_or_empty_path_is_no_share(t: &Fs) {
    assert_eq!(mnt(&t.root, b""), Err(ERR_NOENT));
    for path in [&b"."[..], b"x/t"] {
        assert_eq!(mnt(&t.root, path), Err(ERR_NOENT), "{}", path.escape_ascii());
    }
}
