//! `locks.expire_after`: clients that are silent lose their locks, and those that only have nothing to say
//! keep them.

use std::time::{Duration, Instant};

use trunkfs::nlm;

use super::cases;
use super::host::*;
use crate::client::PATIENCE;
use crate::nfs::fixture::{Fs, Stores, TestServer, lock_settings};
use crate::nfs::rpc::wait;

cases! { a_silent_client_loses_its_locks, whoever_waits_for_a_silent_client_is_called }

const SILENT: Duration = Duration::from_millis(500);

/// A server whose clients are silent after so long, and two files.
fn impatient(t: &Fs) -> (TestServer, [Vec<u8>; 2]) {
    let settings = nlm::Settings { expire_after: Some(SILENT), ..lock_settings() };
    let server =
        wait(async { TestServer::start_as(Stores::new(t.pair).await, settings, |_| {}).await });
    let root = server.client(0);
    let dir = root.dir_of(&server.root_of("/t"), b"dir", 0o777);
    let files = [b"f", b"g"].map(|name| root.file_of(&dir, name, 0o666));
    (server, files)
}

fn a_silent_client_loses_its_locks(t: &Fs) {
    let (server, [f, g]) = impatient(t);
    let (idle, other) = (Host::of(&server), Host::of(&server));
    // Its port mapper and lock manager are gone.
    let dead = Dead::of(&server);
    assert_eq!(idle.ask(&g).lock(), GRANTED);
    let began = Instant::now();
    assert_eq!(dead.lock(&idle.ask(&f)), GRANTED);
    while other.ask(&f).svid(9).test().is_err() {
        assert!(began.elapsed() < PATIENCE, "it keeps its lock");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(began.elapsed() >= SILENT, "it was silent for {:?}", began.elapsed());
    let holder = other.ask(&g).svid(9).test().unwrap_err();
    assert_eq!(holder.oh, idle.ask(&g).oh(), "one that answers keeps its locks");
    assert!(idle.manager.asked() > 0, "it was asked");
}

fn whoever_waits_for_a_silent_client_is_called(t: &Fs) {
    let (server, [f, _]) = impatient(t);
    let waiter = Host::of(&server);
    let dead = Dead::of(&server);
    assert_eq!(dead.lock(&waiter.ask(&f).svid(3)), GRANTED);
    assert_eq!(waiter.ask(&f).block().lock(), BLOCKED);
    assert_eq!(waiter.manager.called().granted().svid, 1);
    assert_eq!(waiter.ask(&f).unlock(), GRANTED);
}
