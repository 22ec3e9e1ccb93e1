//! Many callers of one object or one name: each is served, and none is decided on over and over.

use std::sync::Arc;

use tokio::task::JoinHandle;
use trunkfs::metadata::{MetadataStore, Namespace as _};
use trunkfs::types::ObjectId;

use crate::database::{TestDatabase, connect};
use crate::support::{Fixture, mode, name, until, until_one_of};

const CALLERS: u32 = 64;
const ROUNDS: u32 = 4;

/// A store whose database counts calls of its functions.
async fn counted() -> Arc<Fixture> {
    let database = TestDatabase::create().await;
    let settings = database.settings();
    let client = connect(&settings).await;
    let statement =
        format!("ALTER DATABASE {} SET track_functions = 'pl'", settings.target.database);
    client.batch_execute(&statement).await.unwrap();
    Arc::new(Fixture::on(settings, database).await)
}

/// How often `function` was called. Ends the store: the statistics of a session are complete once it has
/// ended.
async fn calls(fixture: &Fixture, function: &str) -> i64 {
    fixture.store.close().await;
    until(&fixture.database, "the sessions end", "application_name = 'trunkfs'", 0).await;
    let client = connect(&fixture.database.settings()).await;
    let statement =
        "SELECT COALESCE(sum(calls), 0)::bigint FROM pg_stat_user_functions WHERE funcname = $1";
    client.query_one(statement, &[&function]).await.unwrap().get(0)
}

/// Runs `ROUNDS` calls of each of `CALLERS` at once; the calls must succeed.
async fn all_at_once<F>(call: impl Fn(u32, u32) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let calls: Vec<_> = (0..ROUNDS).map(|round| call(caller, round)).collect();
        callers.push(tokio::spawn(async move {
            for call in calls {
                call.await;
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_object_go_one_after_the_other() {
    let fixture = counted().await;
    let file = fixture.file(fixture.root(), "busy").await.id;
    all_at_once(|caller, round| {
        let fixture = fixture.clone();
        async move {
            let set = mode(caller * ROUNDS + round);
            fixture.store.setattr(&fixture.cx(), file, &set).await.unwrap();
        }
    })
    .await;
    fixture.sound().await;
    let (calls, changes) = (calls(&fixture, "set_attributes").await, i64::from(CALLERS * ROUNDS));
    // The first find no conflict yet, and meet in batches.
    assert!(calls > changes / 2 && calls <= 2 * changes, "{calls} calls for {changes} changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn renames_over_one_name_go_one_after_the_other() {
    let fixture = counted().await;
    let root = fixture.root();
    all_at_once(|caller, round| {
        let fixture = fixture.clone();
        async move {
            let new = format!("new-{caller}-{round}");
            fixture.file(root, &new).await;
            let (cx, latest) = (fixture.cx(), name("latest"));
            fixture.store.rename(&cx, root, &name(&new), root, &latest).await.unwrap();
        }
    })
    .await;
    fixture.sound().await;
    let (calls, changes) = (calls(&fixture, "rename_entry").await, i64::from(CALLERS * ROUNDS));
    assert!(calls >= changes && calls <= 2 * changes, "{calls} calls for {changes} renames");
}

/// A change of `object`, by a task of its own.
fn change(fixture: &Arc<Fixture>, object: ObjectId, to: u32) -> JoinHandle<()> {
    let fixture = fixture.clone();
    tokio::spawn(async move {
        fixture.store.setattr(&fixture.cx(), object, &mode(to)).await.unwrap();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_another_session_locks_leaves_connections_to_other_objects() {
    let fixture = Arc::new(Fixture::new().await);
    let stuck = fixture.file(fixture.root(), "stuck").await.id;
    let other = fixture.file(fixture.root(), "other").await.id;
    let client = connect(&fixture.database.settings()).await;
    client.batch_execute("BEGIN").await.unwrap();
    client.query("SELECT FROM files WHERE id = $1 FOR UPDATE", &[&stuck.0]).await.unwrap();

    let waiting: Vec<_> = (0..CALLERS).map(|caller| change(&fixture, stuck, caller)).collect();
    let waits = "application_name = 'trunkfs' AND wait_event_type = 'Lock'";
    until_one_of(&fixture.database, "a change waits for the lock", waits, 1..=4).await;
    // As many changes of another object as there are connections for changes, one after the other: none meets
    // the lock.
    for to in 0..20 {
        change(&fixture, other, to).await.unwrap();
        let statement = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {waits}"
        );
        let count: i64 = client.query_one(&statement, &[]).await.unwrap().get(0);
        assert!(count <= 4, "{count} connections wait for one row");
    }
    client.batch_execute("COMMIT").await.unwrap();
    for change in waiting {
        change.await.unwrap();
    }
    fixture.sound().await;
}
