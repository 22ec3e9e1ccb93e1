//! The views for SQL: their columns stay, their plans read no table as a whole, and their reader reads
//! nothing else.

use serde_json::Value;
use tokio_postgres::Client;
use trunkfs::metadata::postgres::{PostgresStore, Settings};
use trunkfs::metadata::{CreateHow, MetadataStore as _, Namespace as _};

use crate::cluster::Cluster;
use crate::database::connect;
use crate::support::{Fixture, context, mode, name, share_spec};
use crate::view_columns::COLUMNS;

const PAGE: &str = include_str!("../../docs/asking.md");

#[tokio::test(flavor = "multi_thread")]
async fn columns_stay_and_the_page_has_all_of_them() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    let columns = "SELECT table_name::text, string_agg(column_name, ' ' ORDER BY ordinal_position)
                     FROM information_schema.columns WHERE table_name LIKE 'trunkfs\\_%' GROUP BY 1 ORDER BY 1";
    let rows = client.query(columns, &[]).await.unwrap();
    let found: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected = COLUMNS.iter().map(|(view, all)| ((*view).to_owned(), (*all).to_owned()));
    assert_eq!(found, expected.collect::<Vec<_>>());
    for (view, columns) in COLUMNS {
        for word in [*view].into_iter().chain(columns.split(' ')) {
            assert!(PAGE.contains(&format!("`{word}`")), "{word}");
        }
    }
}

/// The tables that a plan reads as a whole.
fn scanned(plan: &Value, found: &mut Vec<String>) {
    if plan["Node Type"] == "Seq Scan" {
        found.push(plan["Relation Name"].as_str().unwrap().to_owned());
    }
    plan["Plans"].as_array().into_iter().flatten().for_each(|plan| scanned(plan, found));
}

async fn scans(client: &Client, statement: &str) -> Vec<String> {
    let explained = format!("EXPLAIN (FORMAT JSON) {statement}");
    let messages = client.simple_query(&explained).await.unwrap();
    let plan = messages.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: Value = serde_json::from_str(plan.unwrap()).unwrap();
    let mut found = Vec::new();
    scanned(&plan[0]["Plan"], &mut found);
    found.retain(|table| table != "shares");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plan_reads_a_table_as_a_whole() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    client
        .batch_execute(&format!(
            "INSERT INTO shares (name, root, fsid, chunk_size)
             SELECT '/other-' || i, md5('r' || i)::uuid, 1000 + i, 4096 FROM generate_series(1, 20) i;
             INSERT INTO files (id, share_id, file_type, mode, uid, gid, size, atime, mtime, ctime, content_id, used)
             SELECT md5('f' || i)::uuid, {share}, 1, 420, 0, 0, 0, 1, 1, 1, md5('c' || i)::uuid, 0
               FROM generate_series(1, 50000) i;
             INSERT INTO parent_child_map (parent_id, child_name, child_id)
             SELECT md5('d' || i / 100)::uuid, convert_to('file-' || i, 'UTF8'), md5('f' || i)::uuid
               FROM generate_series(1, 50000) i;
             INSERT INTO link_counts (file_id, link_count)
             SELECT md5('l' || i)::uuid, 2 FROM generate_series(1, 5000) i;
             ANALYZE",
            share = fixture.share.id.0,
        ))
        .await
        .unwrap();
    for statement in [
        "SELECT * FROM trunkfs_objects WHERE id = md5('f7')::uuid",
        "SELECT * FROM trunkfs_entries WHERE directory_id = md5('d7')::uuid",
        "SELECT * FROM trunkfs_files WHERE share = '/other-3'",
        "SELECT path FROM trunkfs_files WHERE share = '/other-3' AND uid = 7 AND mtime < now() ORDER BY size DESC LIMIT 9",
        "SELECT e.name, e.size FROM trunkfs_shares s JOIN trunkfs_entries e ON e.directory_id = s.root_id
          WHERE s.share = '/other-3'",
        "SELECT count(*) FROM trunkfs_files",
    ] {
        assert_eq!(scans(&client, statement).await, [""; 0], "{statement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_times_are_shown_whatever_they_are() {
    let fixture = Fixture::new().await;
    let (store, cx) = (&fixture.store, fixture.cx());
    let how = CreateHow::Guarded(mode(0o640));
    let plain = trunkfs::types::Name::parse("grün \\ x".as_bytes()).unwrap();
    let bytes = trunkfs::types::Name::parse(b"b\xff\xfe").unwrap();
    for each in [&plain, &bytes] {
        store.create(&cx, fixture.root(), each, &how).await.unwrap();
    }
    let client = connect(&fixture.database.settings()).await;
    let rows = "SELECT path, name, raw_name, mode, abs(extract(epoch FROM now() - mtime))::integer,
                       (extract(epoch FROM mtime) * 1000000)::bigint - mtime_ns / 1000
                  FROM trunkfs_files WHERE name IS NOT NULL ORDER BY raw_name";
    let rows = client.query(rows, &[]).await.unwrap();
    let share = share_spec().name;
    for (row, (text, raw)) in
        rows.iter().zip([("b\\377\\376", &b"b\xff\xfe"[..]), ("grün \\ x", "grün \\ x".as_bytes())])
    {
        assert_eq!(row.get::<_, String>(0), format!("{share}/{text}"));
        assert_eq!(
            (row.get::<_, String>(1), row.get::<_, Vec<u8>>(2)),
            (text.to_owned(), raw.to_vec())
        );
        assert_eq!((row.get::<_, i32>(3), row.get::<_, i64>(5)), (0o640, 0));
        assert!(row.get::<_, i32>(4) < 600, "its mtime is now");
    }
    assert_eq!(rows.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_the_views_and_nothing_else() {
    let cluster = Cluster::start(&[]).await;
    let url = |user: &str| format!("postgres://{user}@127.0.0.1:{}/postgres", cluster.port);
    let owner = Settings { auto_migrate: true, ..Settings::from_url(&url("postgres")).unwrap() };
    let store = PostgresStore::connect(owner).await.unwrap();
    let share = store.open_share(&share_spec()).await.unwrap();
    let how = CreateHow::Guarded(mode(0o644));
    store.create(&context(share.id), share.root, &name("file"), &how).await.unwrap();
    let section = PAGE.split_once("### A role that only reads").unwrap().1;
    let block = section.split_once("```sql\n").unwrap().1.split_once("```").unwrap().0;
    for statement in block.split(';').filter(|it| !it.trim().is_empty()) {
        cluster.sql(statement).await;
    }
    let client = connect(&Settings::from_url(&url("trunkfs_reader")).unwrap()).await;
    for (view, _) in COLUMNS {
        let rows = client.query(&format!("SELECT * FROM {view}"), &[]).await.unwrap();
        assert!(!rows.is_empty(), "{view}");
    }
    // Not only because its transactions are read-only, which it can change.
    client.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
                     AND relkind IN ('r', 'v', 'S') AND relname NOT LIKE 'trunkfs\\_%'";
    let tables = client.query(tables, &[]).await.unwrap();
    assert!(tables.len() > 20);
    for table in tables {
        let table: String = table.get(0);
        denied(&client, &format!("SELECT * FROM {table}")).await;
    }
    for statement in [
        "UPDATE trunkfs_shares SET chunk_size = 1",
        "DELETE FROM trunkfs_shares",
        "INSERT INTO trunkfs_shares VALUES ('/x', gen_random_uuid(), 1, 1)",
        "UPDATE trunkfs_objects SET mode = 0",
        "SELECT begin_term()",
        "SELECT prune_changes(1, true)",
        "SELECT nextval('fileids')",
        "CREATE TABLE mine ()",
        "TRUNCATE files",
    ] {
        denied(&client, statement).await;
    }
    store.close().await;
}

async fn denied(client: &Client, statement: &str) {
    let error = client.batch_execute(statement).await.unwrap_err();
    let said = error.as_db_error().unwrap_or_else(|| panic!("{statement}: {error}"));
    let is = [
        "permission denied",
        "cannot update view",
        "cannot insert into view",
        "cannot delete from view",
    ];
    assert!(is.iter().any(|is| said.message().contains(is)), "{statement}: {said}");
}
