//! What a client does from MNT to UMNT.

use super::fixture::{Args, Server, created, of, post_op, wcc};
use trunkfs::xdr::Decoder;

async fn ok(server: &Server, procedure: u32, arguments: Args) -> Decoder {
    let mut results = server.results(procedure, arguments).await;
    assert_eq!(results.u32().unwrap(), 0, "procedure {procedure}");
    results
}

/// READDIRPLUS of all: names and whether handle and attributes are there.
async fn names(server: &Server, directory: &[u8]) -> Vec<(String, bool)> {
    let arguments = of(directory).words(&[0, 0, 0, 0, 4096, 32768]);
    let mut results = ok(server, 17, arguments).await;
    assert!(post_op(&mut results).is_some());
    results.u64().unwrap();
    let mut names = Vec::new();
    while results.boolean().unwrap() {
        results.u64().unwrap();
        let name = String::from_utf8(results.opaque(255).unwrap().to_vec()).unwrap();
        results.u64().unwrap();
        let attributes = post_op(&mut results).is_some();
        let handle = results.boolean().unwrap() && !results.opaque(64).unwrap().is_empty();
        names.push((name, attributes && handle));
    }
    assert!(results.boolean().unwrap(), "eof");
    names
}

#[tokio::test]
async fn a_client_mounts_and_works() {
    let server = Server::new().await;
    let mut mounted = server.mount_results(1, of(b"/t")).await;
    assert_eq!(mounted.u32().unwrap(), 0);
    let root = mounted.opaque(64).unwrap();
    assert_eq!(root, server.root);

    let make = of(&root).opaque(b"dir").mode(0o755);
    let (directory, made, (before, after)) = created(server.results(9, make).await);
    assert_eq!((made.kind, made.mode, made.nlink), (2, 0o755, 2));
    assert!(before.unwrap().2 < after.unwrap().ctime && after.unwrap().nlink == 3);

    let make = of(&directory).opaque(b"file").words(&[1]).mode(0o644);
    let (file, made, _) = created(server.results(8, make).await);
    assert_eq!((made.kind, made.mode, made.size), (1, 0o644, 0));

    let mut written = ok(&server, 7, of(&file).words(&[0, 3, 5, 0]).opaque(b"hello")).await;
    let (before, after) = wcc(&mut written);
    assert_eq!((before.unwrap().0, after.unwrap().size), (0, 8));
    assert_eq!([written.u32().unwrap(), written.u32().unwrap()], [5, 0]);
    let verifier = written.u64().unwrap();

    let mut committed = ok(&server, 21, of(&file).words(&[0, 0, 0])).await;
    let (before, after) = wcc(&mut committed);
    assert_eq!(before.unwrap().2, after.unwrap().ctime);
    assert_eq!(committed.u64().unwrap(), verifier);

    let mut read = ok(&server, 6, of(&file).words(&[0, 1, 100])).await;
    assert_eq!(post_op(&mut read).unwrap().size, 8);
    assert_eq!((read.u32().unwrap(), read.boolean().unwrap()), (7, true));
    assert_eq!(read.opaque(100).unwrap(), b"\0\0hello"[..]);

    let entries = [(".", true), ("..", false), ("file", true)].map(|(n, k)| (n.to_owned(), k));
    assert_eq!(names(&server, &directory).await, entries);

    let moved = of(&directory).opaque(b"file").opaque(&root).opaque(b"moved");
    let mut moved = ok(&server, 14, moved).await;
    let (from, to) = (wcc(&mut moved), wcc(&mut moved));
    assert_ne!(from.1.unwrap().fileid, to.1.unwrap().fileid);

    ok(&server, 13, of(&root).opaque(b"dir")).await;
    let mut removed = ok(&server, 12, of(&root).opaque(b"moved")).await;
    assert_eq!(wcc(&mut removed).1.unwrap().nlink, 2);
    assert_eq!(server.results(1, of(&file)).await.u32().unwrap(), 70);
    let entries = [".", ".."].map(|name| (name.to_owned(), true));
    assert_eq!(names(&server, &root).await, entries);
}

#[tokio::test]
async fn a_failure_shows_the_directory_unchanged_on_both_sides() {
    let server = Server::new().await;
    created(server.results(9, of(&server.root).opaque(b"d").mode(0o755)).await);
    let mut again = server.results(9, of(&server.root).opaque(b"d").mode(0o755)).await;
    assert_eq!(again.u32().unwrap(), 17);
    let (before, after) = wcc(&mut again);
    let after = after.unwrap();
    assert_eq!(before, Some((after.size, after.mtime, after.ctime)));

    let link = of(&server.root).opaque(&server.root).opaque(b"l");
    let mut link = server.results(15, link).await;
    assert_eq!(link.u32().unwrap(), 21);
    assert!(post_op(&mut link).is_some());
    assert_eq!(wcc(&mut link).1, Some(after));

    let lost = of(&server.root).opaque(b"none").opaque(&server.root).opaque(b"x");
    let mut lost = server.results(14, lost).await;
    assert_eq!(lost.u32().unwrap(), 2);
    assert_eq!([wcc(&mut lost).1, wcc(&mut lost).1], [Some(after); 2]);
}

#[tokio::test]
async fn sizes_of_directories_and_writes_to_them_are_invalid() {
    let server = Server::new().await;
    let size = of(&server.root).words(&[0, 0, 0, 1, 0, 0, 0, 0, 0]);
    // The caller does not own the root, but it may write to it.
    assert_eq!(server.results(2, size).await.u32().unwrap(), 22);
    let write = of(&server.root).words(&[0, 0, 1, 0]).opaque(b"x");
    assert_eq!(server.results(7, write).await.u32().unwrap(), 22);
    assert_eq!(server.results(21, of(&server.root).words(&[0, 0, 0])).await.u32().unwrap(), 22);
}

#[tokio::test]
async fn only_the_superuser_makes_devices() {
    let server = Server::new().await;
    let device = of(&server.root).opaque(b"c").words(&[4]).mode(0o600).words(&[8, 1]);
    assert_eq!(server.results(11, device).await.u32().unwrap(), 1);
    let fifo = of(&server.root).opaque(b"p").words(&[7]).mode(0o600);
    let (_, fifo, _) = created(server.results(11, fifo).await);
    assert_eq!((fifo.kind, fifo.size), (7, 0));
    let directory = of(&server.root).opaque(b"d").words(&[2]);
    assert_eq!(server.results(11, directory).await.u32().unwrap(), 10007);
}
