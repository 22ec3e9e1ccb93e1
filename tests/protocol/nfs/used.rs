//! fattr3.used (RFC 1813 section 2.5): the bytes that a file takes, which `du` shows and by which `tar -S`
//! and `cp` find holes.

use super::fixture::{Fs, Stores, TestServer, cases};
use super::rpc::wait;
use super::types::*;

cases! {
    a_hole_takes_nothing, unflushed_bytes_count, a_full_file_takes_its_size, truncation_gives_back,
    used_bytes_outlive_the_server, used_bytes_of_other_kinds,
}

const MIB: u64 = 1 << 20;
const SIZE: u64 = 256 * MIB;
/// The most that one byte takes: a block of the content store.
const BLOCK: u64 = 64 << 10;

fn a_hole_takes_nothing(t: &Fs) {
    let file = t.root.file(&t.dir, b"f");
    t.root.set(&file, &size(SIZE));
    assert_eq!(t.root.attr(&file).used, 0, "nothing was written");
    let written = t.root.write(&file, 0, UNSTABLE, b"x");
    let shown = written.wcc.after().used;
    assert!((1..=BLOCK).contains(&shown), "{shown} unflushed");
    let committed = t.root.commit(&file, 0, 0);
    assert_eq!(committed.status, OK);
    let attr = t.root.attr(&file);
    assert!((1..=BLOCK).contains(&attr.used) && attr.size == SIZE, "{attr:?}");
    assert_eq!(committed.wcc.after().used, attr.used);
    // Over and over the same bytes.
    for _ in 0..40 {
        t.root.write(&file, 0, FILE_SYNC, &[7; 4096]);
    }
    let used = t.root.attr(&file).used;
    assert!((4096..=BLOCK).contains(&used), "{used} after the same block was written 40 times");
}

fn unflushed_bytes_count(t: &Fs) {
    let file = t.root.file(&t.dir, b"f");
    t.root.set(&file, &size(SIZE));
    let data = [7; 100_000];
    for number in 1..=5 {
        let written = t.root.write(&file, number * 10 * MIB, UNSTABLE, &data);
        let used = written.wcc.after().used;
        assert!((number * 100_000..number * 100_000 + 4096).contains(&used), "{used}");
        assert_eq!(t.root.attr(&file).used, used);
    }
    t.root.commit(&file, 0, 0);
    let used = t.root.attr(&file).used;
    assert!((500_000..=SIZE).contains(&used), "{used} measured");
}

fn a_full_file_takes_its_size(t: &Fs) {
    for (name, length) in [(b"1", 1), (b"2", 4096), (b"3", 4097), (b"4", 300_000)] {
        let file = t.root.file(&t.dir, name);
        for stable in [UNSTABLE, FILE_SYNC] {
            let written = t.root.write(&file, 0, stable, &vec![0; length]);
            let whole = (length as u64).next_multiple_of(4096);
            for used in [written.wcc.after().used, t.root.attr(&file).used] {
                assert!((length as u64..=whole).contains(&used), "{used} for {length} bytes");
            }
        }
    }
}

fn truncation_gives_back(t: &Fs) {
    let file = t.root.file(&t.dir, b"f");
    t.root.write(&file, 0, FILE_SYNC, &[7; 300_000]);
    for (to, most) in
        [(300_001, 303_104), (10_000, 12_288), (8_192, 8_192), (SIZE, 8_192), (0, 0), (SIZE, 0)]
    {
        t.root.set(&file, &size(to));
        let attr = t.root.attr(&file);
        assert!(attr.used <= most && (attr.used > 0) == (most > 0), "{to}: {attr:?}");
    }
}

fn used_bytes_outlive_the_server(t: &Fs) {
    let server = wait(async { TestServer::start(Stores::new(t.pair).await).await });
    let (client, root) = (server.client(0), server.root_of("/t"));
    let file = client.file(&root, b"f");
    client.set(&file, &size(SIZE));
    client.write(&file, 0, FILE_SYNC, b"x");
    let before = client.attr(&file);
    assert!((1..=BLOCK).contains(&before.used), "{before:?}");
    drop(client);
    let stores = server.stop();
    let server = wait(async { TestServer::start(stores.reopened().await).await });
    assert_eq!(server.client(0).attr(&file), before);
}

fn used_bytes_of_other_kinds(t: &Fs) {
    let link = t.root.symlink(&t.dir, b"l", &[b'x'; 600]).handle();
    let pipe = t.root.mknod(&t.dir, b"p", FIFO, &mode(0o600), (0, 0)).handle();
    let used = [&t.dir, &link, &pipe].map(|object| t.root.attr(object).used);
    assert_eq!(used, [4096, 1024, 0]);
}
