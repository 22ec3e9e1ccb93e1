//! The views for SQL: their columns stay, and their plans read no table as a whole.

use rusqlite::Connection;
use trunkfs::metadata::Namespace as _;

use crate::support::{Fixture, file};
use crate::view_columns::COLUMNS;

async fn opened() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::in_folder(&folder).await;
    fixture.store.usage(fixture.share.id).await.unwrap();
    let connection = Connection::open(file(&folder)).unwrap();
    drop(fixture);
    (folder, connection)
}

#[tokio::test]
async fn columns_stay() {
    let (_folder, connection) = opened().await;
    for (view, columns) in COLUMNS {
        let mut found = connection.prepare(&format!("SELECT * FROM {view}")).unwrap();
        let names: Vec<_> = found.column_names().map(str::to_owned).collect();
        assert_eq!(names.join(" "), *columns, "{view}");
        assert!(found.query([]).unwrap().next().is_ok());
    }
}

#[tokio::test]
async fn no_plan_reads_a_table_as_a_whole() {
    let (_folder, connection) = opened().await;
    for statement in [
        "SELECT * FROM trunkfs_objects WHERE id = x'00'",
        "SELECT * FROM trunkfs_entries WHERE directory_id = x'00'",
        "SELECT * FROM trunkfs_files WHERE share = '/export'",
        "SELECT path FROM trunkfs_files WHERE uid = 7 AND mtime < '2020' ORDER BY size DESC LIMIT 9",
    ] {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let steps = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
        let steps: Vec<_> = steps.map(Result::unwrap).collect();
        // Shares, and rows of the walk itself.
        let whole = steps.iter().filter(|step| step.starts_with("SCAN "));
        let others: Vec<_> =
            whole.filter(|step| !["SCAN s", "SCAN t"].contains(&step.as_str())).collect();
        assert_eq!(others, [""; 0], "{statement}: {steps:?}");
        assert!(steps.iter().any(|step| step.contains("SEARCH f USING PRIMARY KEY")), "{steps:?}");
    }
}
