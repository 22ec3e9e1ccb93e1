//! Copies of calls: a client that hears nothing sends the same call again, and what was done once must
//! not be done twice. Calls that only look alike must each be done.

use super::args::{self, *};
use super::client::Client;
use super::fixture::{Fs, Pair, shared_cases};
use super::results::{self, status_of};
use super::rpc::{Auth, Connection, NFS, wait};
use super::types::*;
use super::xdr::Args;

shared_cases! {
    an_exclusive_create, write_keeps_its_reply, the_same_calls_by_another_run_of_a_program,
    the_same_calls_by_two_connections, another_write_with_the_same_id, long_names_with_the_same_id,
    a_copy_of_a_refused_call, another_call_with_the_same_id, another_user_with_the_same_id,
    another_procedure_with_the_same_id, calls_that_look_alike_and_arrive_together,
    reads_are_not_recorded, another_machine_with_the_same_id, another_address_with_the_same_id;
    // What another server need not show, or not so.
    a_guarded_create, mkdir, symlink, mknod, remove, rmdir, rename, link, a_guarded_setattr,
    a_copy_after_a_reply_was_lost, many_copies, a_copy_after_other_calls, a_copy_with_another_stamp,
}

/// An id that is not the client's own next one.
fn xid() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0x7000_0000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The whole reply to a call with an id of one's own.
fn reply(client: &Client, xid: u32, procedure: u32, args: &Args) -> Vec<u8> {
    client.wire.exchange(xid, &client.prepare(NFS, 3, procedure, &args.bytes))
}

/// The results in a reply whose header is that of a success.
fn body(reply: &[u8]) -> &[u8] {
    const HEADER: usize = 24;
    assert_eq!(reply[4..HEADER], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    &reply[HEADER..]
}

/// Sends a call and its copy; both replies must be the same bytes, and a success.
fn twice(client: &Client, procedure: u32, args: &Args) -> Vec<u8> {
    let xid = xid();
    let first = reply(client, xid, procedure, args);
    let second = reply(client, xid, procedure, args);
    assert_eq!(status_of(body(&first)), OK);
    assert_eq!(first, second, "the recorded reply");
    body(&first).to_vec()
}

fn a_guarded_create(t: &Fs) {
    let args = args::create(&t.dir, b"f", &How::Guarded(mode(0o644)));
    let made = results::created(&twice(&t.alice, CREATE, &args));
    assert_eq!(t.alice.find(&t.dir, b"f"), made.handle());
    assert_eq!(status_of(&t.alice.nfs(CREATE, &args)), EXIST, "with an id of its own");
}

fn an_exclusive_create(t: &Fs) {
    let args = args::create(&t.dir, b"f", &How::Exclusive([5; 8]));
    let xid = xid();
    let first = reply(&t.alice, xid, CREATE, &args);
    let file = results::created(body(&first)).handle();
    t.alice.set(&file, &mode(0o644));
    assert_eq!(reply(&t.alice, xid, CREATE, &args), first, "though the verifier is forgotten");
}

fn mkdir(t: &Fs) {
    twice(&t.alice, MKDIR, &args::mkdir(&t.dir, b"d", &mode(0o755)));
    assert_eq!(t.alice.names(&t.dir), [b"d"]);
}

fn symlink(t: &Fs) {
    twice(&t.alice, SYMLINK, &args::symlink(&t.dir, b"l", b"target", &mode(0o777)));
    assert_eq!(t.alice.names(&t.dir), [b"l"]);
}

fn mknod(t: &Fs) {
    twice(&t.alice, MKNOD, &args::mknod(&t.dir, b"p", FIFO, &mode(0o644), (0, 0)));
    assert_eq!(t.alice.names(&t.dir), [b"p"]);
}

fn remove(t: &Fs) {
    t.alice.file(&t.dir, b"f");
    twice(&t.alice, REMOVE, &args::entry(&t.dir, b"f"));
    assert_eq!(t.alice.remove(&t.dir, b"f").status, NOENT);
}

fn rmdir(t: &Fs) {
    t.alice.dir(&t.dir, b"d");
    twice(&t.alice, RMDIR, &args::entry(&t.dir, b"d"));
    assert_eq!(t.alice.rmdir(&t.dir, b"d").status, NOENT);
}

fn rename(t: &Fs) {
    let file = t.alice.file(&t.dir, b"a");
    twice(&t.alice, RENAME, &args::rename(&t.dir, b"a", &t.dir, b"b"));
    assert_eq!(t.alice.find(&t.dir, b"b"), file);
}

fn link(t: &Fs) {
    let file = t.alice.file(&t.dir, b"a");
    twice(&t.alice, LINK, &args::link(&file, &t.dir, b"b"));
    assert_eq!(t.alice.attr(&file).nlink, 2);
}

fn a_guarded_setattr(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let guard = t.alice.attr(&file).ctime;
    twice(&t.alice, SETATTR, &args::setattr(&file, &mode(0o600), Some(guard)));
    let again = t.alice.setattr_guarded(&file, &mode(0o600), Some(guard));
    assert_eq!(again.status, NOT_SYNC);
}

/// The repeat of a call goes to another server, which answers that it was done, and with the handle of what
/// was made.
#[test]
fn a_repeat_that_reaches_another_server() {
    let t = Fs::new(Pair::Spread);
    let both = |procedure, args: &Args| {
        let xid = xid();
        let replies = [(); 2].map(|()| reply(&t.alice, xid, procedure, args));
        let statuses = replies.each_ref().map(|reply| status_of(body(reply)));
        assert_eq!(statuses, [OK, OK], "procedure {procedure}");
        replies.map(|reply| body(&reply).to_vec())
    };
    let (file, directory) = (mode(0o644), mode(0o755));
    for (procedure, args) in [
        (CREATE, args::create(&t.dir, b"f", &How::Guarded(file))),
        (MKDIR, args::mkdir(&t.dir, b"d", &directory)),
        (SYMLINK, args::symlink(&t.dir, b"l", b"target", &mode(0o777))),
        (MKNOD, args::mknod(&t.dir, b"p", FIFO, &file, (0, 0))),
    ] {
        let [first, again] = both(procedure, &args).map(|body| results::created(&body).handle());
        assert_eq!(first, again, "procedure {procedure}");
    }
    let (made, guard) =
        (t.alice.find(&t.dir, b"f"), t.alice.attr(&t.alice.find(&t.dir, b"f")).ctime);
    both(SETATTR, &args::setattr(&made, &mode(0o600), Some(guard)));
    both(LINK, &args::link(&made, &t.dir, b"second"));
    both(RENAME, &args::rename(&t.dir, b"second", &t.dir, b"third"));
    both(REMOVE, &args::entry(&t.dir, b"f"));
    both(RMDIR, &args::entry(&t.dir, b"d"));
    let names: [&[u8]; 3] = [b"l", b"p", b"third"];
    assert_eq!(t.alice.names(&t.dir), names);
    assert_eq!(t.alice.attr(&made).nlink, 1);
}

fn write_keeps_its_reply(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let (xid, args) = (xid(), args::write(&file, 0, 3, FILE_SYNC, b"old"));
    let first = reply(&t.alice, xid, WRITE, &args);
    t.alice.put(&file, 0, b"new");
    assert_eq!(reply(&t.alice, xid, WRITE, &args), first);
    assert_eq!(t.alice.get(&file), b"new", "a late copy undoes nothing");
}

fn a_copy_after_a_reply_was_lost(t: &Fs) {
    for (procedure, name) in [(REMOVE, b"r"), (MKDIR, b"d"), (WRITE, b"w")] {
        let file = t.alice.file(&t.dir, name);
        let args = match procedure {
            REMOVE => args::entry(&t.dir, name),
            MKDIR => args::mkdir(&t.dir, b"made", &mode(0o755)),
            _ => args::write(&file, 0, 3, FILE_SYNC, b"old"),
        };
        let (xid, call) = (xid(), t.alice.prepare(NFS, 3, procedure, &args.bytes));
        wait(async {
            let mut first = Connection::open(t.server.address).await;
            first.send_record(&call.encode(xid)).await;
            first.arrived().await;
            first.reset();
        });
        let other = t.alice.reconnect();
        if procedure == WRITE {
            other.put(&file, 0, b"new");
        }
        assert_eq!(status_of(body(&reply(&other, xid, procedure, &args))), OK);
        if procedure == WRITE {
            assert_eq!(other.get(&file), b"new", "a late copy undoes nothing");
        }
    }
}

fn the_same_calls_by_another_run_of_a_program(t: &Fs) {
    let xid = xid();
    let file = t.alice.file(&t.dir, b"f");
    let mkdir = args::mkdir(&t.dir, b"d", &mode(0o755));
    let write = args::write(&file, 0, 5, FILE_SYNC, b"first");
    for _ in 0..2 {
        let program = t.alice.reconnect();
        assert_eq!(status_of(body(&reply(&program, xid, MKDIR, &mkdir))), OK);
        assert_eq!(status_of(body(&reply(&program, xid, WRITE, &write))), OK);
        drop(program);
        assert_eq!(t.alice.names(&t.dir), [b"d", b"f"]);
        assert_eq!(t.alice.get(&file), b"first");
        assert_eq!(t.alice.rmdir(&t.dir, b"d").status, OK);
        t.alice.put(&file, 0, b"other");
    }
}

fn the_same_calls_by_two_connections(t: &Fs) {
    let (one, two) = (t.alice.reconnect(), t.alice.reconnect());
    for name in [b"a", b"b", b"c"] {
        let (xid, args) = (xid(), args::mkdir(&t.dir, name, &mode(0o755)));
        assert_eq!(status_of(body(&reply(&one, xid, MKDIR, &args))), OK);
        assert_eq!(status_of(body(&reply(&two, xid, MKDIR, &args))), EXIST);
    }
}

fn another_write_with_the_same_id(t: &Fs) {
    const LENGTH: usize = 100_000;
    let (xid, file) = (xid(), t.alice.file(&t.dir, b"f"));
    let mut data = vec![7; LENGTH];
    // The data's first and last 256 bytes, and the offset.
    for (changed, offset) in [(0, 0), (255, 0), (LENGTH - 256, 0), (LENGTH - 1, 0), (0, 8)] {
        data[changed] += u8::from(offset == 0);
        let args = args::write(&file, offset, 100_000, FILE_SYNC, &data);
        assert_eq!(status_of(body(&reply(&t.alice, xid, WRITE, &args))), OK);
        assert!(t.alice.get(&file)[usize::try_from(offset).unwrap()..] == data, "byte {changed}");
    }
}

fn long_names_with_the_same_id(t: &Fs) {
    let xid = xid();
    let name = |last: u8| [&[b'x'; 254][..], &[last]].concat();
    let target = |last: u8| [&[b'y'; 2000][..], &[last], &[b'y'; 2000]].concat();
    for last in [b'1', b'2', b'3'] {
        let args = args::symlink(&t.dir, &name(last), &target(last), &mode(0o777));
        assert_eq!(status_of(body(&reply(&t.alice, xid, SYMLINK, &args))), OK);
        let link = t.alice.find(&t.dir, &name(last));
        assert_eq!(t.alice.readlink(&link).target, target(last));
        // With another target alone it is another call.
        let args = args::symlink(&t.dir, &name(last), &target(last + 1), &mode(0o777));
        assert_eq!(status_of(body(&reply(&t.alice, xid, SYMLINK, &args))), EXIST);
    }
    for (from, to) in [(b'1', b'7'), (b'2', b'8'), (b'3', b'9')] {
        let args = args::rename(&t.dir, &name(from), &t.dir, &name(to));
        assert_eq!(status_of(body(&reply(&t.alice, xid, RENAME, &args))), OK);
    }
    assert_eq!(t.alice.names(&t.dir), [name(b'7'), name(b'8'), name(b'9')]);
}

fn a_copy_of_a_refused_call(t: &Fs) {
    let (xid, args) = (xid(), args::entry(&t.dir, b"f"));
    let first = reply(&t.alice, xid, REMOVE, &args);
    assert_eq!(status_of(body(&first)), NOENT);
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(reply(&t.alice, xid, REMOVE, &args), first);
    assert_eq!(t.alice.find(&t.dir, b"f"), file);
}

fn another_call_with_the_same_id(t: &Fs) {
    let xid = xid();
    for name in [b"a", b"b"] {
        let args = args::mkdir(&t.dir, name, &mode(0o755));
        assert_eq!(status_of(body(&reply(&t.alice, xid, MKDIR, &args))), OK);
    }
    assert_eq!(t.alice.names(&t.dir), [b"a", b"b"]);
}

fn another_user_with_the_same_id(t: &Fs) {
    let (xid, args) = (xid(), args::mkdir(&t.dir, b"d", &mode(0o755)));
    assert_eq!(status_of(body(&reply(&t.alice, xid, MKDIR, &args))), OK);
    assert_eq!(status_of(body(&reply(&t.bob, xid, MKDIR, &args))), EXIST);
}

fn another_procedure_with_the_same_id(t: &Fs) {
    t.alice.dir(&t.dir, b"d");
    let (xid, args) = (xid(), args::entry(&t.dir, b"d"));
    assert_eq!(status_of(body(&reply(&t.alice, xid, REMOVE, &args))), ISDIR);
    assert_eq!(status_of(body(&reply(&t.alice, xid, RMDIR, &args))), OK);
}

fn many_copies(t: &Fs) {
    let (xid, args) = (xid(), args::mkdir(&t.dir, b"d", &mode(0o755)));
    let first = reply(&t.alice, xid, MKDIR, &args);
    for _ in 0..10 {
        assert_eq!(reply(&t.alice, xid, MKDIR, &args), first);
    }
}

fn calls_that_look_alike_and_arrive_together(t: &Fs) {
    for round in 0..5 {
        let name = format!("d{round}");
        let (xid, args) = (xid(), args::mkdir(&t.dir, name.as_bytes(), &mode(0o755)));
        let record = t.alice.prepare(NFS, 3, MKDIR, &args.bytes).encode(xid);
        let replies = wait(async {
            let mut one = Connection::open(t.server.address).await;
            let mut two = Connection::open(t.server.address).await;
            tokio::join!(one.send_record(&record), two.send_record(&record));
            [one.record().await, two.record().await]
        });
        let statuses = replies.map(|reply| status_of(body(&reply)));
        assert!(statuses == [OK, EXIST] || statuses == [EXIST, OK], "each is done: {statuses:?}");
    }
}

fn a_copy_after_other_calls(t: &Fs) {
    let (xid, args) = (xid(), args::mkdir(&t.dir, b"d", &mode(0o755)));
    let first = reply(&t.alice, xid, MKDIR, &args);
    for n in 0..100 {
        t.alice.file(&t.dir, format!("f{n}").as_bytes());
    }
    assert_eq!(reply(&t.alice, xid, MKDIR, &args), first);
}

fn reads_are_not_recorded(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let (xid, args) = (xid(), args::handle(&file));
    let first = results::getattr(body(&reply(&t.alice, xid, GETATTR, &args))).unwrap();
    t.alice.put(&file, 0, b"bytes");
    let second = results::getattr(body(&reply(&t.alice, xid, GETATTR, &args))).unwrap();
    assert_eq!((first.size, second.size), (0, 5));
}

fn a_copy_with_another_stamp(t: &Fs) {
    let (xid, args) = (xid(), args::mkdir(&t.dir, b"d", &mode(0o755)));
    let first = reply(&t.alice, xid, MKDIR, &args);
    let mut auth = t.alice.auth.clone();
    auth.body[..4].copy_from_slice(&[9; 4]);
    assert_eq!(reply(&t.alice.with(auth), xid, MKDIR, &args), first);
}

fn another_machine_with_the_same_id(t: &Fs) {
    let (xid, args) = (xid(), args::mkdir(&t.dir, b"d", &mode(0o755)));
    assert_eq!(status_of(body(&reply(&t.alice, xid, MKDIR, &args))), OK);
    let other = t.alice.with(Auth::sys_with(b"other", 1000, 1000, &[]));
    assert_eq!(status_of(body(&reply(&other, xid, MKDIR, &args))), EXIST);
}

fn another_address_with_the_same_id(t: &Fs) {
    let (xid, args) = (xid(), args::mkdir(&t.dir, b"d", &mode(0o755)));
    assert_eq!(status_of(body(&reply(&t.alice, xid, MKDIR, &args))), OK);
    assert_eq!(status_of(body(&reply(&t.elsewhere(1000), xid, MKDIR, &args))), EXIST);
}
