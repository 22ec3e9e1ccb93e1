//! A file of an earlier version of the schema, with data in it.

use rusqlite::Connection;
use trunkfs::metadata::{Namespace as _, Usage};

use crate::support::{Fixture, file};

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// `/export` with the directory `d`, files of 11, 8192 and the largest bytes (twice, so that their sum needs
/// more than 63 bits), an empty file and a link, and what version 1 counted of them; `/other` with its root
/// alone.
const DATA: &str = "
    INSERT INTO shares VALUES (1, '/export', unhex('01900000000070008000000000000001'), 4711, 4194304),
                              (2, '/other', unhex('01900000000070008000000000000002'), 4712, 4194304);
    INSERT INTO filesystem_capabilities
    SELECT id, 1048576, 1048576, 4096, 65536, 9223372036854775807, 1, 65000, 255 FROM shares;
    INSERT INTO files (id, share_id, fileid, file_type, mode, uid, gid, size, atime, mtime, ctime, subdirs, content_version,
                       mtime_version, parent_id)
    SELECT root, id, 1000 + id, 2, 493, 0, 0, 4096, 1, 2, 3, 2 - id, 0, 0, root FROM shares;
    INSERT INTO files (id, share_id, fileid, file_type, mode, uid, gid, size, atime, mtime, ctime, subdirs, content_version,
                       mtime_version, parent_id)
    SELECT unhex('01900000000070008000000000000003'), 1, 1003, 2, 448, 7, 8, 4096, 1, 2, 3, 0, 0, 0, root
      FROM shares WHERE id = 1;
    INSERT INTO files (id, share_id, fileid, file_type, mode, uid, gid, size, atime, mtime, ctime, subdirs, content_id,
                       content_version, mtime_version)
    SELECT unhex('019000000000700080000000000000' || n), 1, 1000 + n, 1, 420, 7, 8, size, 1, 2, 3, 0,
           unhex('0190000000007000800000000000c0' || n), 5, 0
      FROM (SELECT 11 AS n, 11 AS size UNION ALL SELECT 12, 8192 UNION ALL SELECT 13, 0
            UNION ALL SELECT 14, 9223372036854775807 UNION ALL SELECT 15, 9223372036854775807);
    INSERT INTO files (id, share_id, fileid, file_type, mode, uid, gid, size, atime, mtime, ctime, subdirs, content_version,
                       mtime_version, link_target)
    VALUES (unhex('01900000000070008000000000000016'), 1, 1016, 5, 511, 7, 8, 6, 1, 2, 3, 0, 0, 0, CAST('target' AS BLOB));
    INSERT INTO parent_child_map
    SELECT unhex('01900000000070008000000000000001'), CAST('f' || (fileid - 1000) AS BLOB), id, fileid
      FROM files WHERE fileid > 1002;
    -- 2 times the largest, 8192, 11 and 6.
    INSERT INTO share_usage VALUES (1, 8, 4, 8207), (2, 1, 0, 0);
    UPDATE sequences SET next = 2048;";

#[tokio::test]
async fn files_of_version_1_are_recorded_as_full() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = Connection::open(file(&folder)).unwrap();
    let runner = embedded::migrations::runner();
    runner.set_grouped(true).set_target(refinery::Target::Version(1)).run(&mut connection).unwrap();
    connection.execute_batch(DATA).unwrap();
    drop(connection);

    let fixture = Fixture::in_folder(&folder).await;
    fixture.sound().await;
    let largest = i64::MAX as u64;
    for (name, size, used) in [
        ("f3", 4096, 4096),
        ("f11", 11, 4096),
        ("f12", 8192, 8192),
        ("f13", 0, 0),
        ("f14", largest, largest),
        ("f15", largest, largest),
        ("f16", 6, 6),
    ] {
        let found = fixture.find(fixture.root(), name).await.unwrap();
        assert_eq!((found.size, found.used), (size, used), "{name}");
    }
    let usage = fixture.store.usage(fixture.share.id).await.unwrap();
    assert_eq!(usage, Usage { objects: 8, bytes: u64::MAX });
    for name in ["f14", "f15"] {
        let name = trunkfs::types::Name::parse(name.as_bytes()).unwrap();
        fixture.store.remove(&fixture.cx(), fixture.root(), &name).await.unwrap();
    }
    let usage = fixture.store.usage(fixture.share.id).await.unwrap();
    assert_eq!(usage, Usage { objects: 6, bytes: 4096 + 8192 + 6 });
    fixture.sound().await;
}
