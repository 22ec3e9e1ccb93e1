//! The check finds every kind of damage that it is there for.

use trunkfs::metadata::{Invariants as _, Namespace as _};

use crate::support::{Fixture, file, look, name};

/// What is broken, and a word of what is said about it. `d/f` has a second name, `d/sub` is empty.
pub(crate) const DAMAGE: [(&str, &str); 18] = [
    ("DELETE FROM files WHERE file_type = 1", "not there"),
    (
        "UPDATE parent_child_map SET parent_id = randomblob(16) WHERE child_name = x'66'",
        "no directory",
    ),
    ("DELETE FROM parent_child_map WHERE child_name = x'737562'", "has no name"),
    ("DELETE FROM link_counts", "of 2 names"),
    ("INSERT INTO link_counts VALUES (randomblob(16), 2)", "no file"),
    ("UPDATE files SET subdirs = subdirs + 1 WHERE subdirs > 0", "subdirectories"),
    ("UPDATE files SET subdirs = 1 WHERE file_type = 1", "subdirectories"),
    (
        "UPDATE parent_child_map SET parent_id = child_id WHERE child_name = x'64'",
        "cannot be reached",
    ),
    (
        "UPDATE files SET parent_id = id WHERE id = (SELECT child_id FROM parent_child_map WHERE child_name = x'64')",
        "another parent",
    ),
    (
        "INSERT INTO parent_child_map SELECT parent_id, x'00', child_id, 7 FROM parent_child_map
          WHERE child_name = x'737562'",
        "has 2 names",
    ),
    ("UPDATE parent_child_map SET cookie = 2 WHERE child_name = x'737562'", "cookie 2"),
    ("UPDATE files SET fileid = 7", "fileid 7"),
    ("UPDATE sequences SET next = 1024 WHERE name = 'fileids'", "fileid 102"),
    ("UPDATE files SET mode = 65535 WHERE file_type = 1", "mode 65535"),
    ("UPDATE share_usage SET objects = objects + 1", "objects"),
    ("UPDATE files SET size = 1, used = 1 WHERE file_type = 1", "bytes of"),
    ("UPDATE files SET used = 4096 WHERE file_type = 1", "of 0 bytes takes 4096"),
    ("UPDATE files SET share_id = 99 WHERE file_type = 1", "no share"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_damage_is_found() {
    for (statement, word) in DAMAGE {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Fixture::in_folder(&folder).await;
        let directory = fixture.directory(fixture.root(), "d").await;
        fixture.directory(directory.id, "sub").await;
        let object = fixture.file(directory.id, "f").await;
        fixture.store.link(&fixture.cx(), object.id, directory.id, &name("g")).await.unwrap();
        fixture.sound().await;
        look(&file(&folder)).execute_batch(statement).unwrap();
        let found = fixture.store.inconsistencies().await.unwrap();
        assert!(found.iter().any(|line| line.contains(word)), "{statement}: {found:?}");
    }
}

/// What another program wrote is seen from the next change on, though the store keeps what it has read.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_writes_is_seen_with_the_next_change() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::in_folder(&folder).await;
    let object = fixture.file(fixture.root(), "f").await;
    let other = fixture.file(fixture.root(), "g").await;
    assert_eq!(fixture.store.getattr(&fixture.cx(), other.id).await.unwrap(), other);
    look(&file(&folder)).execute_batch("UPDATE files SET uid = 7 WHERE file_type = 1").unwrap();
    let set = crate::support::mode(0o600);
    let set = fixture.store.setattr(&fixture.cx(), object.id, &set).await.unwrap();
    assert_eq!((set.change.before.unwrap().uid, set.change.after.uid), (7, 7));
    for id in [object.id, other.id] {
        assert_eq!(fixture.store.getattr(&fixture.cx(), id).await.unwrap().uid, 7);
    }
    fixture.sound().await;
}
