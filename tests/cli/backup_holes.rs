//! Backups of what clients change while they are made, and of what is mostly holes, from a bucket that tells
//! of every request.

use std::path::Path;

use hyper::Method;

use super::backup::{Machine, verify, went_well};
use super::s3::{Fate, S3Server};
use super::scene::root;
use super::tree::{create, resize, write};

/// A machine whose server has made one file and is gone.
async fn with_file(server: &S3Server, length: u64) -> Machine {
    let machine = Machine::on_a_bucket(server);
    let (running, mut connection) = machine.serve().await;
    let top = root(&mut connection).await;
    let file = create(&mut connection, &top, "file").await;
    write(&mut connection, &file, 0, b"hello").await;
    resize(&mut connection, &file, length).await;
    running.stop().await;
    machine
}

/// From now on a client changes the file whenever its bytes are read, `times` at most: it writes behind its
/// end, and how long it is gets known before the bytes are there.
fn restless(server: &S3Server, machine: &Machine, times: u32) {
    let names = rusqlite::Connection::open(machine.path().join("names.db")).unwrap();
    let content: Vec<u8> = names
        .query_row("SELECT content_id FROM files WHERE file_type = 1", [], |row| row.get(0))
        .unwrap();
    let content = uuid::Uuid::from_slice(&content).unwrap().to_string();
    let mut left = times;
    server.plan(move |method, path| {
        if *method == Method::GET && path.contains(&content) && left > 0 {
            left -= 1;
            let sql = "UPDATE files SET size = size + 3, mtime = mtime + 1, ctime = ctime + 1 WHERE file_type = 1";
            assert_eq!(names.execute(sql, []).unwrap(), 1);
        }
        Fate::Normal
    });
}

async fn moving(folder: &Path) -> (u64, String) {
    let proof = verify(folder).await;
    went_well(&proof);
    let manifest = std::fs::read(folder.join("backup.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    (manifest["backup"]["stores"][0]["moving"].as_u64().unwrap(), proof.out)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_changed_all_the_time_is_called_moving_and_ends_where_its_bytes_end() {
    let server = S3Server::start().await;
    let (one, other) = (with_file(&server, 5).await, Machine::local());
    restless(&server, &one, u32::MAX);
    let folder = one.path().join("backup");
    let taken = one.backup(&folder, &[]).await;
    went_well(&taken);
    assert!(taken.out.contains("1 files, 1 of them changed during the backup"), "{taken:?}");
    let (moving, proof) = moving(&folder).await;
    assert_eq!(moving, 1);
    let said = "/e/file changed while it was backed up: 5 of ";
    assert!(proof.contains(said) && proof.contains("verified: 1 files"), "{proof}");
    let restored = other.restore(&folder, &[]).await;
    went_well(&restored);
    assert!(restored.out.contains("1 files changed while they were backed up"), "{restored:?}");
    assert_eq!(other.tree().await["/file"].data, b"hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_once_is_copied_again_and_rests() {
    let server = S3Server::start().await;
    let one = with_file(&server, 5).await;
    // The row says less than there is, so that its change leaves the file whole.
    let names = rusqlite::Connection::open(one.path().join("names.db")).unwrap();
    assert_eq!(names.execute("UPDATE files SET size = 2 WHERE file_type = 1", []).unwrap(), 1);
    restless(&server, &one, 1);
    let folder = one.path().join("backup");
    let taken = one.backup(&folder, &[]).await;
    went_well(&taken);
    assert!(taken.out.contains("2 files copied"), "{taken:?}");
    let (moving, proof) = moving(&folder).await;
    assert_eq!(moving, 0, "{proof}");
    let copied = super::backup::contents(&folder.join("db/contents"));
    assert_eq!(std::fs::read(&copied[0]).unwrap(), b"hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holes_are_neither_read_nor_written() {
    const LENGTH: u64 = 256 << 20;
    let (server, second) = (S3Server::start().await, S3Server::start().await);
    let (one, other) = (with_file(&server, LENGTH).await, Machine::on_a_bucket(&second));
    let folder = one.path().join("backup");
    let before = server.counts();
    went_well(&one.backup(&folder, &[]).await);
    let read = server.counts().gets - before.gets;
    assert!(read < 200, "{read} requests for the two of 4,096 chunks that are there");
    went_well(&verify(&folder).await);
    went_well(&other.restore(&folder, &[]).await);
    let written = second.counts().puts;
    assert!(written < 50, "{written} requests for two chunks");
}
