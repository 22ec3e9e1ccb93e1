//! Roles without superuser rights, with the grants that docs/postgresql.md lists.

use trunkfs::metadata::postgres::{PostgresSchema, PostgresStore, Settings};
use trunkfs::metadata::{
    Checkable as _, CreateHow, Flush, Invariants as _, Load as _, MetadataStore as _,
    Namespace as _, SetAttributes,
};
use trunkfs::types::{Chain, Cookie, DeviceNumbers, FileType, SymlinkTarget, Timestamp};

use crate::cluster::Cluster;
use crate::support::{Fixture, context, mode, name, share_spec};

const PAGE: &str = include_str!("../../docs/postgresql.md");

/// Every operation there is.
async fn serves(store: &PostgresStore) {
    let share = store.open_share(&share_spec()).await.unwrap();
    let (cx, root) = (context(share.id), share.root);
    let how = CreateHow::Guarded(mode(0o644));
    let file = store.create(&cx, root, &name("file"), &how).await.unwrap().object;
    let inner = store.mkdir(&cx, root, &name("inner"), &mode(0o755)).await.unwrap().object;
    let target = SymlinkTarget::parse(b"target").unwrap();
    let set = SetAttributes::default();
    let link = store.symlink(&cx, root, &name("s"), &target, &set).await.unwrap().object;
    store.readlink(&cx, link.id).await.unwrap();
    let pipe = FileType::Fifo;
    store.mknod(&cx, root, &name("p"), pipe, DeviceNumbers::default(), &set).await.unwrap();
    store.getattr(&cx, file.id).await.unwrap();
    store.lookup(&cx, root, &name("file")).await.unwrap();
    store.lookup_parent(&cx, inner.id).await.unwrap();
    store.readdir(&cx, root, Cookie::START, 100, true).await.unwrap();
    store.setattr(&cx, file.id, &mode(0o600)).await.unwrap();
    let flush = Flush { atime: Some(Timestamp::now()), written: None };
    store.flush(&cx, file.id, &flush).await.unwrap();
    store.begin_zeroing(&cx, file.id, file.content.unwrap()).await.unwrap();
    store.link(&cx, file.id, inner.id, &name("second")).await.unwrap();
    store.rename(&cx, root, &name("s"), inner.id, &name("s")).await.unwrap();
    store.remove(&cx, inner.id, &name("s")).await.unwrap();
    store.remove(&cx, inner.id, &name("second")).await.unwrap();
    store.rmdir(&cx, root, &name("inner")).await.unwrap();
    store.usage(share.id).await.unwrap();
    assert_eq!(store.inconsistencies().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_with_the_documented_grants_migrate_and_serve() {
    let cluster = Cluster::start(&[]).await;
    let block = PAGE.split_once("```sql\n").unwrap().1.split_once("```").unwrap().0;
    for statement in block.split(';').filter(|it| !it.trim().is_empty()) {
        cluster.sql(statement).await;
    }
    let settings = |user: &str| {
        let url = format!("postgres://{user}@127.0.0.1:{}/postgres", cluster.port);
        Settings::from_url(&url).unwrap()
    };
    let mut server = settings("trunkfs_server");
    server.auto_migrate = false;
    PostgresStore::connect(server.clone()).await.unwrap_err();
    let mut owner = settings("trunkfs_owner");
    owner.auto_migrate = true;
    PostgresStore::connect(owner).await.unwrap().close().await;
    let store = PostgresStore::connect(server.clone()).await.unwrap();
    serves(&store).await;
    let checker = store.checker().await.unwrap();
    assert_eq!(crate::fsck_support::check(&*checker, crate::fsck_support::SMALL).await, []);
    // A load takes more, which is said before anything is done.
    let grant = "GRANT SELECT, UPDATE ON SEQUENCE fileids, cookies TO trunkfs_server";
    let refused = store.admits(&share_spec().name).await.unwrap_err();
    crate::connecting::has(&Chain(&refused).to_string(), &[grant]);
    cluster.sql(grant).await;
    store.admits(&share_spec().name).await.unwrap();
    store.close().await;
    let client = crate::database::connect(&server).await;
    client.batch_execute("TRUNCATE changes, replies").await.unwrap();
    let denied = client.batch_execute("CREATE TABLE t ()").await.unwrap_err();
    assert!(denied.as_db_error().unwrap().message().contains("permission denied"), "{denied:?}");
}

/// What the role lacks is named with the statement that grants it, at once and not as a database that is
/// away.
#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_are_named_with_their_grant() {
    let cluster = Cluster::start(&[]).await;
    cluster.sql("CREATE ROLE plain LOGIN").await;
    let url = |user: &str| format!("postgres://{user}@127.0.0.1:{}/postgres", cluster.port);
    let owner = Settings { auto_migrate: true, ..Settings::from_url(&url("postgres")).unwrap() };
    PostgresStore::connect(owner).await.unwrap().close().await;
    let plain = Settings { auto_migrate: false, ..Settings::from_url(&url("plain")).unwrap() };
    let all = [
        ("table ", "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain"),
        ("sequence ", "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO plain"),
        ("function ", "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO plain"),
    ];
    cluster.sql("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC").await;
    cluster.sql("REVOKE USAGE ON SCHEMA public FROM PUBLIC").await;
    let grant = "GRANT USAGE ON SCHEMA public TO plain";
    let line = crate::connecting::line(plain.clone()).await;
    crate::connecting::has(&line, &["the role plain has no USAGE privilege", grant]);
    let migrating = PostgresSchema::connect(&plain).await.unwrap_err();
    crate::connecting::has(&Chain(&migrating).to_string(), &[grant]);
    cluster.sql(grant).await;
    for (what, grant) in all {
        let line = crate::connecting::line(plain.clone()).await;
        crate::connecting::has(&line, &["the role lacks privileges on the ", what, grant]);
        let looked = PostgresStore::summary(&plain, false).await.unwrap_err();
        crate::connecting::has(&Chain(&looked).to_string(), &[grant]);
        cluster.sql(grant).await;
    }
    cluster.sql("REVOKE SELECT ON refinery_schema_history FROM plain").await;
    let grant = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain";
    let line = crate::connecting::line(plain.clone()).await;
    crate::connecting::has(&line, &["privileges on the table refinery_schema_history; ", grant]);
    cluster.sql(grant).await;
    let store = PostgresStore::connect(plain).await.unwrap();
    serves(&store).await;
    store.close().await;
}

/// One role that owns its database does everything, in a schema of another name too.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_serves_in_any_schema() {
    let cluster = Cluster::start(&[]).await;
    for statement in [
        "CREATE ROLE trunkfs LOGIN",
        "CREATE DATABASE trunkfs OWNER trunkfs",
        "ALTER ROLE trunkfs IN DATABASE trunkfs SET search_path = names",
    ] {
        cluster.sql(statement).await;
    }
    let url = format!("postgres://trunkfs@127.0.0.1:{}/trunkfs", cluster.port);
    let settings = Settings { auto_migrate: true, ..Settings::from_url(&url).unwrap() };
    let client = crate::database::connect(&settings).await;
    client.batch_execute("CREATE SCHEMA names").await.unwrap();
    let store = PostgresStore::connect(settings).await.unwrap();
    serves(&store).await;
    store.close().await;
    let place = "SELECT schemaname FROM pg_tables WHERE tablename = 'files'";
    let place: String = client.query_one(place, &[]).await.unwrap().get(0);
    assert_eq!(place, "names");
}

/// The page names every table that there is, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_names_every_table() {
    let fixture = Fixture::new().await;
    let client = crate::database::connect(&fixture.database.settings()).await;
    let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
    let tables = client.query(tables, &[]).await.unwrap();
    let tables: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    let listed = PAGE.split_once("## What the tables hold").unwrap().1;
    let rows = listed.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut named: Vec<_> = rows.collect();
    named.sort_unstable();
    assert_eq!(named, tables);
}
