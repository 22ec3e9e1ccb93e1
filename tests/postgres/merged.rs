//! Reads that are asked for at the same time share a statement, and each gets the answer it would get alone.
//! On one thread all calls of a test are queued before the first batch is read.

use futures_util::future::join_all;
use trunkfs::metadata::postgres::PostgresStore;
use trunkfs::metadata::{Error, Lookup, MetadataStore as _, Namespace as _, Share, ShareSpec};
use trunkfs::types::{ObjectId, ShareName};

use crate::database::{TestDatabase, connect};
use crate::proxy::{Cut, Proxy};
use crate::support::{Fixture, context, name, share_spec, until};

const CALLS: usize = 64;

async fn proxied() -> (Fixture, Proxy) {
    let database = TestDatabase::create().await;
    let proxy = Proxy::before(&database.settings()).await;
    let mut settings = proxy.settings(&database.settings());
    settings.max_connections = 4;
    (Fixture::on(settings, database).await, proxy)
}

/// Looks names up at once.
async fn look_up(fixture: &Fixture, directory: ObjectId, names: &[String]) -> Vec<Lookup> {
    let (store, cx) = (&fixture.store, fixture.cx());
    let names: Vec<_> = names.iter().map(|text| name(text)).collect();
    let calls = names.iter().map(|name| store.lookup(&cx, directory, name));
    join_all(calls).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn calls_at_once_take_few_round_trips() {
    let (fixture, proxy) = proxied().await;
    let directory = fixture.directory(fixture.root(), "directory").await.id;
    let mut files = Vec::new();
    let names: Vec<_> = (0..CALLS).map(|number| format!("file-{number}")).collect();
    for text in &names[1..] {
        files.push(fixture.file(directory, text).await);
    }
    for pass in ["statements are prepared", "they are counted"] {
        proxy.take_round_trips();
        let found = look_up(&fixture, directory, &names).await;
        assert!(found[0].object.is_none(), "{pass}");
        for (found, file) in found[1..].iter().zip(&files) {
            assert_eq!(found.object.as_ref(), Some(file));
            assert_eq!(found.directory.id, directory);
        }
    }
    let round_trips = proxy.take_round_trips();
    assert!(round_trips <= 4, "{round_trips} round trips for {CALLS} look-ups");
    let (store, cx) = (&fixture.store, fixture.cx());
    for pass in ["statements are prepared", "they are counted"] {
        proxy.take_round_trips();
        let found = join_all(files.iter().map(|file| store.getattr(&cx, file.id))).await;
        let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
        assert_eq!(found, files, "{pass}");
    }
    let round_trips = proxy.take_round_trips();
    assert!(round_trips <= 4, "{round_trips} round trips for {CALLS} attributes");
}

#[tokio::test]
async fn a_batch_mixes_shares_objects_and_mistakes() {
    let fixture = Fixture::new().await;
    let spec = ShareSpec { name: ShareName::parse("/other").unwrap(), ..share_spec() };
    let other: Share = fixture.store.open_share(&spec).await.unwrap();
    let (store, cx, theirs) = (&fixture.store, fixture.cx(), context(other.id));
    let file = fixture.file(fixture.root(), "file").await;
    let link = name("link");
    store.link(&cx, file.id, fixture.root(), &link).await.unwrap();
    let file = store.getattr(&cx, file.id).await.unwrap();
    let (present, absent) = (name("file"), name("absent"));
    let gone = ObjectId::generate();
    let (getattr, lookup) = tokio::join!(
        join_all([
            store.getattr(&cx, file.id),
            store.getattr(&theirs, file.id),
            store.getattr(&cx, file.id),
            store.getattr(&theirs, other.root),
            store.getattr(&cx, gone),
        ]),
        join_all([
            store.lookup(&cx, fixture.root(), &present),
            store.lookup(&theirs, fixture.root(), &present),
            store.lookup(&theirs, other.root, &present),
            store.lookup(&cx, fixture.root(), &absent),
            store.lookup(&cx, fixture.root(), &link),
            store.lookup(&cx, file.id, &present),
            store.lookup(&cx, gone, &present),
        ]),
    );
    assert_eq!(getattr[0].as_ref().unwrap(), &file);
    assert!(matches!(getattr[1], Err(Error::Stale)));
    assert_eq!(getattr[2].as_ref().unwrap(), &file);
    let root = getattr[3].as_ref().unwrap();
    assert_eq!((root.id, root.fsid), (other.root, other.fsid));
    assert!(matches!(getattr[4], Err(Error::Stale)));
    let object = |index: usize| lookup[index].as_ref().unwrap().object.clone();
    let error = |index: usize| &lookup[index].as_ref().unwrap_err().error;
    assert_eq!(object(0).as_ref(), Some(&file));
    assert!(matches!(error(1), Error::Stale));
    assert_eq!(object(2), None);
    assert_eq!(object(3), None);
    assert_eq!(object(4).as_ref(), Some(&file));
    assert!(matches!(error(5), Error::NotDirectory));
    assert!(matches!(error(6), Error::Stale));
}

#[tokio::test]
async fn a_batch_that_is_cut_leaves_no_call_without_an_answer() {
    for cut in [Cut::BeforeTheCall, Cut::BeforeTheAnswer, Cut::WhileItRuns] {
        let (fixture, proxy) = proxied().await;
        let names: Vec<_> = (0..CALLS).map(|number| format!("file-{number}")).collect();
        for text in &names {
            fixture.file(fixture.root(), text).await;
        }
        proxy.arm(0, cut);
        let found = look_up(&fixture, fixture.root(), &names).await;
        assert!(found.iter().all(|found| found.object.is_some()), "{cut:?}");
        assert_eq!(proxy.cuts(), 1);
    }
}

#[tokio::test]
async fn calls_that_are_given_up_disturb_no_others() {
    let fixture = Fixture::new().await;
    let file = fixture.file(fixture.root(), "file").await;
    let (store, given_up) = (&fixture.store, fixture.cx());
    given_up.call.cancel.cancel();
    let cx = fixture.cx();
    for _ in 0..8 {
        let (cancelled, found) =
            tokio::join!(store.getattr(&given_up, file.id), store.getattr(&cx, file.id));
        assert!(matches!(cancelled, Err(Error::Cancelled)));
        assert_eq!(found.unwrap(), file);
    }
}

#[tokio::test]
async fn calls_that_wait_while_the_store_closes_are_refused() {
    let fixture = Fixture::new().await;
    let (store, cx, root) = (&fixture.store, fixture.cx(), fixture.root());
    let calls = join_all((0..CALLS).map(|_| store.getattr(&cx, root)));
    let (answers, ()) = tokio::join!(calls, store.close());
    for answer in answers {
        assert!(matches!(answer, Ok(_) | Err(Error::Unavailable(_))), "{answer:?}");
    }
}

/// Entries of one directory, and as many files.
const FILES: i64 = 200_000;

#[tokio::test]
async fn no_plan_of_an_empty_database_outlives_it() {
    let fixture = Fixture::new().await;
    let directory = fixture.directory(fixture.root(), "big").await.id;
    let present = fixture.file(directory, "file-1").await;
    fixture.store.close().await;
    let mut settings = fixture.database.settings();
    settings.max_connections = 2;
    let store = PostgresStore::connect(settings).await.unwrap();
    store.open_share(&share_spec()).await.unwrap();
    let client = connect(&fixture.database.settings()).await;
    client.batch_execute("ANALYZE").await.unwrap();
    let cx = fixture.cx();
    let read = |calls: usize| {
        let (store, cx, present) = (&store, &cx, &present);
        let names: Vec<_> =
            (0..calls).map(|call| name(&format!("file-{}", call * 1000 + 1))).collect();
        async move {
            let lookups = names.iter().map(|name| store.lookup(cx, directory, name));
            let attributes = (0..calls).map(|_| store.getattr(cx, present.id));
            let (lookups, attributes) = tokio::join!(join_all(lookups), join_all(attributes));
            assert_eq!(lookups[0].as_ref().unwrap().object.as_ref(), Some(present));
            assert!(attributes.iter().all(|found| found.as_ref().unwrap() == present));
        }
    };
    for calls in [1, 2, 64] {
        read(calls).await;
    }
    client
        .batch_execute(&format!(
            "INSERT INTO files (id, share_id, file_type, mode, uid, gid, size, used, atime, mtime, ctime, content_id)
             SELECT md5('f' || i)::uuid, {share}, 1, 420, 0, 0, 0, 0, 1, 1, 1, md5('c' || i)::uuid
               FROM generate_series(2, {FILES}) i;
             INSERT INTO parent_child_map (parent_id, child_name, child_id)
             SELECT '{directory}', convert_to('file-' || i, 'UTF8'), md5('f' || i)::uuid
               FROM generate_series(2, {FILES}) i",
            share = fixture.share.id.0,
        ))
        .await
        .unwrap();
    read(64).await;
    client.batch_execute("ANALYZE").await.unwrap();
    read(64).await;
    store.close().await;
    until(&fixture.database, "the sessions end", "application_name = 'trunkfs'", 0).await;
    let tables = "('files', 'parent_child_map', 'link_counts')";
    let row = client
        .query_one(
            &format!(
                "SELECT (SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables WHERE relname IN {tables}),
                        (SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE relname IN {tables})"
            ),
            &[],
        )
        .await
        .unwrap();
    let (whole, read): (i64, i64) = (row.get(0), row.get(1));
    assert_eq!(whole, 0, "a table was read as a whole");
    assert!(read > 0 && read < 3_000, "{read} index entries were read");
}
