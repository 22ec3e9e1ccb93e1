//! The list of changes: every function of shared mode names what it changes, and whatever lists nothing
//! begins a term.

use tokio_postgres::Client;
use trunkfs::metadata::postgres::{PostgresStore, Presence, Settings};
use trunkfs::metadata::{
    Flaw, MetadataStore as _, Namespace as _, Repair, Repairable as _, Repaired,
};
use trunkfs::types::{Attributes, ObjectId};
use uuid::Uuid;

use crate::alone;
use crate::database::connect;
use crate::session::{Call, Session, verdict};
use crate::support::{Fixture, name};

/// A row: the objects, and the entries.
type Listed = (Vec<ObjectId>, Vec<(ObjectId, String)>);

/// Takes all rows off the list.
async fn take(client: &Client) -> Vec<Listed> {
    let taken = "WITH gone AS (DELETE FROM changes RETURNING xid, objects, directories, names)
                 SELECT objects, directories, names FROM gone ORDER BY xid";
    let rows = client.query(taken, &[]).await.unwrap();
    let rows = rows.iter().map(|row| {
        let objects: Vec<Option<Uuid>> = row.get(0);
        let mut objects: Vec<_> = objects.into_iter().flatten().map(ObjectId).collect();
        objects.sort_unstable();
        let directories: Vec<Uuid> = row.get(1);
        let names: Vec<Vec<u8>> = row.get(2);
        assert_eq!(directories.len(), names.len());
        let names = names.into_iter().map(|name| String::from_utf8(name).unwrap());
        (objects, directories.into_iter().map(ObjectId).zip(names).collect())
    });
    rows.collect()
}

fn listed<const N: usize>(objects: [&Attributes; N], entries: &[(&Attributes, &str)]) -> Listed {
    let mut objects: Vec<_> = objects.map(|object| object.id).to_vec();
    objects.sort_unstable();
    (objects, entries.iter().map(|(directory, name)| (directory.id, (*name).to_owned())).collect())
}

async fn term(client: &Client) -> i64 {
    client.query_one("SELECT term FROM change_log", &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_listed_with_what_it_touches() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    let (store, cx) = (&fixture.store, fixture.cx());
    let (a, b) = (
        fixture.directory(fixture.root(), "a").await,
        fixture.directory(fixture.root(), "b").await,
    );
    take(&client).await;
    let x = fixture.file(a.id, "x").await;
    assert_eq!(take(&client).await, [listed([&a, &x], &[(&a, "x")])]);
    let sub = fixture.directory(a.id, "sub").await;
    assert_eq!(take(&client).await, [listed([&a, &sub], &[(&a, "sub")])]);
    store.link(&cx, x.id, b.id, &name("y")).await.unwrap();
    assert_eq!(take(&client).await, [listed([&b, &x], &[(&b, "y")])]);
    store.rename(&cx, a.id, &name("sub"), b.id, &name("sub")).await.unwrap();
    assert_eq!(take(&client).await, [listed([&a, &b, &sub], &[(&a, "sub"), (&b, "sub")])]);
    let z = fixture.file(a.id, "z").await;
    take(&client).await;
    store.rename(&cx, a.id, &name("z"), b.id, &name("y")).await.unwrap();
    assert_eq!(take(&client).await, [listed([&a, &b, &z, &x], &[(&a, "z"), (&b, "y")])]);
    store.remove(&cx, a.id, &name("x")).await.unwrap();
    assert_eq!(take(&client).await, [listed([&a, &x], &[(&a, "x")])]);
    store.rmdir(&cx, b.id, &name("sub")).await.unwrap();
    assert_eq!(take(&client).await, [listed([&b, &sub], &[(&b, "sub")])]);

    let z = store.getattr(&cx, z.id).await.unwrap();
    let session = Session::open(&fixture).await;
    for (batch, call) in
        [Call::chmod(&z, 0o600), Call::flush(&z, 10), Call::zero(&z)].iter().enumerate()
    {
        let rows = session.call(i64::try_from(batch).unwrap(), call).await.unwrap();
        assert_eq!(verdict(&rows), 0);
        assert_eq!(take(&client).await, [listed([&z], &[])]);
    }
    // What changes nothing is not listed.
    assert_eq!(verdict(&session.call(7, &Call::chmod(&z, 0o640)).await.unwrap()), 1);
    store.mkdir(&cx, b.id, &name("y"), &crate::support::mode(0o700)).await.unwrap_err();
    assert_eq!(take(&client).await, []);
    assert_eq!(term(&client).await, 0);
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_rolled_back_or_fenced_is_not_listed() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    let file = fixture.file(fixture.root(), "file").await;
    take(&client).await;
    let session = Session::open(&fixture).await;
    session.client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(verdict(&session.call(1, &Call::chmod(&file, 0o600)).await.unwrap()), 0);
    session.client.batch_execute("ROLLBACK").await.unwrap();
    Session::open(&fixture).await.settle((session.slot, session.epoch), 1).await;
    session.call(2, &Call::chmod(&file, 0o600)).await.unwrap_err();
    assert_eq!(take(&client).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lists_nothing_begins_a_term() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    let file = fixture.file(fixture.root(), "file").await;
    let damage = format!("UPDATE files SET mode = -1 WHERE id = '{}'", file.id);
    client.batch_execute(&damage).await.unwrap();
    let tool = Settings { presence: Presence::Tool, ..fixture.database.settings() };
    let tool = PostgresStore::connect(tool).await.unwrap();
    let repairer = tool.repairer().await.unwrap();
    let repair = Repair::Amend { object: file.id, flaw: Flaw::Mode };
    assert_eq!(repairer.repair(&repair).await.unwrap(), Repaired::Done);
    assert_eq!(term(&client).await, 1);
    // Nothing is left to do, and nothing was done.
    assert_ne!(repairer.repair(&repair).await.unwrap(), Repaired::Done);
    assert_eq!(term(&client).await, 1);
    drop(repairer);
    tool.close().await;
    take(&client).await;
    fixture.store.close().await;

    let store = PostgresStore::connect(alone::settings(fixture.database.settings())).await.unwrap();
    alone::until_alone(&store).await;
    assert_eq!(term(&client).await, 2);
    let (cx, set) = (fixture.cx(), crate::support::mode(0o600));
    store.setattr(&cx, file.id, &set).await.unwrap();
    assert_eq!(take(&client).await, [], "it is alone");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_pruned_up_to_a_transaction() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    fixture.file(fixture.root(), "before").await;
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    let next: i64 = client.query_one(next, &[]).await.unwrap().get(0);
    fixture.file(fixture.root(), "after").await;
    let prune = async |before: i64, all: bool| -> i64 {
        client.query_one("SELECT prune_changes($1, $2)", &[&before, &all]).await.unwrap().get(0)
    };
    assert_eq!(prune(next, false).await, 1);
    let pruned =
        client.query_one("SELECT pruned::text::bigint FROM change_log", &[]).await.unwrap();
    assert_eq!(pruned.get::<_, i64>(0), next);
    let [(_, left)] = take(&client).await.try_into().unwrap();
    assert_eq!(left, [(fixture.root(), "after".to_owned())]);
    // One that committed late is found by a pass over all, or where the numbers begin anew.
    let late = format!("INSERT INTO changes VALUES ('{}', '{{}}', '{{}}', '{{}}')", next - 1);
    client.batch_execute(&late).await.unwrap();
    assert_eq!(prune(next, false).await, 0);
    assert_eq!(prune(next, true).await, 1);
    client.batch_execute(&late).await.unwrap();
    assert_eq!(prune(next + 1_000_000, false).await, 0);
    assert_eq!(prune(next, false).await, 1);
}
