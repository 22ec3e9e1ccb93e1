//! The views for SQL against what the commands answer of the same tree, beside its server.

use super::database::{TestDatabase, connect};
use super::process::{Running, folder};
use super::scene::Scene;
use super::survey::{SQLITE, fill, paths, usage};

/// What is asked of both stores: rows of text.
trait Asked {
    async fn ask(&self, statement: &str) -> Vec<Vec<String>>;
}

struct Sqlite(rusqlite::Connection);

impl Asked for Sqlite {
    async fn ask(&self, statement: &str) -> Vec<Vec<String>> {
        let mut statement = self.0.prepare(statement).unwrap();
        let columns = statement.column_count();
        let text = |row: &rusqlite::Row<'_>, column| match row.get_ref(column)? {
            rusqlite::types::ValueRef::Integer(number) => Ok(number.to_string()),
            value => Ok(value.as_str_or_null()?.unwrap_or("NULL").to_owned()),
        };
        let rows = statement.query_map([], |row| {
            (0..columns).map(|column| text(row, column)).collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.unwrap().map(Result::unwrap).collect()
    }
}

struct Postgres(tokio_postgres::Client);

impl Asked for Postgres {
    async fn ask(&self, statement: &str) -> Vec<Vec<String>> {
        let messages = self.0.simple_query(statement).await.unwrap();
        let rows = messages.into_iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let text = |row: tokio_postgres::SimpleQueryRow| {
            (0..row.len()).map(|column| row.get(column).unwrap_or("NULL").to_owned()).collect()
        };
        rows.map(text).collect()
    }
}

async fn agrees(folder: &std::path::Path, views: &impl Asked) {
    let one = async |statement: &str| views.ask(statement).await.remove(0).remove(0);
    for (word, find) in [("f", "f"), ("d", "d"), ("l", "l")] {
        let named = format!(
            "SELECT path FROM trunkfs_files WHERE share = '/e' AND type = '{word}' AND name IS NOT NULL ORDER BY path"
        );
        let named: Vec<_> = views.ask(&named).await.into_iter().flatten().collect();
        assert_eq!(named, paths(folder, &["find", "--type", find]).await, "{word}");
        assert!(!named.is_empty());
    }
    let owned = "SELECT path FROM trunkfs_files WHERE uid = 7 ORDER BY path";
    let owned: Vec<_> = views.ask(owned).await.into_iter().flatten().collect();
    assert_eq!(owned, paths(folder, &["find", "--owner", "7"]).await);
    let old = "SELECT path FROM trunkfs_files WHERE mtime < '1990-01-01' AND type = 'f'";
    assert_eq!(views.ask(old).await, [["/e/old.dat"]]);
    // du: each directory with all below it; the same object once.
    for (path, files, directories, size) in usage(folder, &["--depth", "9"]).await {
        let below = format!("FROM trunkfs_files WHERE (path = '{path}' OR path LIKE '{path}/%')");
        let counted = async |what: &str| {
            let distinct = format!(
                "SELECT COALESCE(sum(n), 0) FROM (SELECT DISTINCT id, {what} AS n {below}) AS each_object"
            );
            one(&distinct).await.parse::<u64>().unwrap()
        };
        assert_eq!(counted("CASE WHEN type = 'd' THEN 1 ELSE 0 END").await, directories, "{path}");
        // `du` counts a file with several names in one of its directories.
        let shared = one(&format!("SELECT count(*) {below} AND nlink > 1 AND type = 'f'")).await;
        if path == "/e" || shared == "0" {
            assert_eq!(counted("CASE WHEN type = 'd' THEN 0 ELSE 1 END").await, files, "{path}");
            assert_eq!(counted("CASE WHEN type = 'd' THEN 0 ELSE size END").await, size, "{path}");
        }
    }
    assert_eq!(one("SELECT share FROM trunkfs_shares").await, "/e");
    // A root, four directories, five others.
    assert_eq!(one("SELECT objects FROM trunkfs_usage WHERE share = '/e'").await, "10");
    let used = "SELECT sum(used) FROM (SELECT DISTINCT id, used FROM trunkfs_files WHERE type IN ('f', 'l')) AS each_object";
    assert_eq!(one("SELECT used FROM trunkfs_usage").await, one(used).await);
    let root = "SELECT e.name, e.type FROM trunkfs_shares s JOIN trunkfs_entries e ON e.directory_id = s.root_id
                 ORDER BY e.name";
    assert_eq!(views.ask(root).await, [["a", "d"], ["b", "d"], ["old.dat", "f"]]);
    let target =
        "SELECT o.target, o.size FROM trunkfs_files f JOIN trunkfs_objects o ON o.id = f.id
                   WHERE f.name = 'symbolic'";
    assert_eq!(views.ask(target).await, [["three.log", "9"]]);
}

#[tokio::test]
async fn the_views_of_sqlite_agree_with_the_commands() {
    let folder = folder(SQLITE);
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    fill(&server).await;
    // As the page says: beside the server, read-only.
    let uri = format!("file:{}?mode=ro", folder.path().join("names/metadata.sqlite").display());
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
    let views = Sqlite(rusqlite::Connection::open_with_flags(uri, flags).unwrap());
    agrees(folder.path(), &views).await;
    let changed = views.0.execute("DELETE FROM files", []).unwrap_err();
    assert!(changed.to_string().contains("readonly"), "{changed}");
    server.stop().await;
}

#[tokio::test]
async fn the_views_of_postgresql_agree_with_the_commands() {
    let database = TestDatabase::create().await;
    let folder = Scene::of(&database).folder();
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    fill(&server).await;
    let views = Postgres(connect(&database.settings()).await);
    agrees(folder.path(), &views).await;
    server.stop().await;
}
