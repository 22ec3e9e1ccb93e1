//! The check finds every kind of damage that it is there for.

use trunkfs::metadata::{Invariants as _, Namespace as _};

use crate::database::connect;
use crate::support::{Fixture, name};

/// What is broken, and a word of what is said about it. `d/f` has a second name, `d/sub` is empty.
const DAMAGE: [(&str, &str); 15] = [
    ("DELETE FROM files WHERE file_type = 1", "not there"),
    (
        "UPDATE parent_child_map SET parent_id = gen_random_uuid() WHERE child_name = 'f'",
        "no directory",
    ),
    ("DELETE FROM parent_child_map WHERE child_name = 'sub'", "has no name"),
    ("DELETE FROM link_counts", "of 2 names"),
    ("INSERT INTO link_counts VALUES (gen_random_uuid(), 2)", "no file"),
    ("UPDATE files SET subdirs = subdirs + 1 WHERE subdirs > 0", "subdirectories"),
    (
        "UPDATE files SET parent_id = id WHERE id = (SELECT child_id FROM parent_child_map WHERE child_name = 'd')",
        "cannot be reached",
    ),
    (
        "INSERT INTO parent_child_map SELECT parent_id, 'twice', child_id FROM parent_child_map WHERE child_name = 'sub'",
        "has 2 names",
    ),
    ("UPDATE parent_child_map SET cookie = 2 WHERE child_name = 'sub'", "cookie 2"),
    ("UPDATE files SET fileid = 7", "fileid 7"),
    ("UPDATE files SET mode = 65535 WHERE file_type = 1", "mode 65535"),
    ("UPDATE writer_slots SET files = files + 1", "objects"),
    ("UPDATE files SET size = 1, used = 1 WHERE file_type = 1", "bytes of"),
    ("UPDATE files SET used = 4096 WHERE file_type = 1", "of 0 bytes takes 4096"),
    ("UPDATE files SET share_id = 99 WHERE file_type = 1", "no share"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_damage_is_found() {
    for (statement, word) in DAMAGE {
        let fixture = Fixture::new().await;
        let directory = fixture.directory(fixture.root(), "d").await;
        fixture.directory(directory.id, "sub").await;
        let file = fixture.file(directory.id, "f").await;
        let second = name("g");
        fixture.store.link(&fixture.cx(), file.id, directory.id, &second).await.unwrap();
        fixture.sound().await;
        let client = connect(&fixture.database.settings()).await;
        client.batch_execute(statement).await.unwrap();
        let found = fixture.store.inconsistencies().await.unwrap();
        assert!(found.iter().any(|line| line.contains(word)), "{statement}: {found:?}");
    }
}
