//! Connections that end at the worst moment, and a database that is away.

use std::time::Duration;

use tokio::time::Instant;
use trunkfs::metadata::{Catalog as _, CreateHow, Error, MetadataStore as _, Namespace as _};

use crate::database::{TestDatabase, connect};
use crate::proxy::{Cut, Proxy};
use crate::support::{Fixture, mode, name, until};

async fn proxied(connections: usize) -> (Fixture, Proxy) {
    let database = TestDatabase::create().await;
    let proxy = Proxy::before(&database.settings()).await;
    let mut settings = proxy.settings(&database.settings());
    settings.max_connections = connections;
    let fixture = Fixture::on(settings, database).await;
    // Every statement of a create is prepared from here on.
    fixture.file(fixture.root(), "warm").await;
    (fixture, proxy)
}

/// The round trips before a mutation's function call: the look, and where statements are new to the
/// connection their preparation.
const WARM: usize = 1;
const LOOK_WARM: usize = 2;
const COLD: usize = 3;

/// How many calls' outcomes had to be found out.
async fn settled(fixture: &Fixture) -> i64 {
    let client = connect(&fixture.database.settings()).await;
    let count = client.query_one("SELECT count(*) FROM writer_slots WHERE epoch < 0", &[]).await;
    count.unwrap().get(0)
}

async fn a_create_survives(cut: Cut, pass: usize, calls_lost: i64) {
    let (fixture, proxy) = proxied(1).await;
    let how = CreateHow::Guarded(mode(0o644));
    proxy.arm(pass, cut);
    let created =
        fixture.store.create(&fixture.cx(), fixture.root(), &name("file"), &how).await.unwrap();
    assert_eq!(proxy.cuts(), 1);
    assert_eq!(settled(&fixture).await, calls_lost);
    assert!(created.made);
    let present = fixture.store.lookup(&fixture.cx(), fixture.root(), &name("file")).await.unwrap();
    assert_eq!(present.object.as_ref(), Some(&created.object));
    assert_eq!(present.directory, created.directory.after);
    assert!(created.directory.before.unwrap().ctime < created.directory.after.ctime);
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_whose_connection_is_cut_is_repeated() {
    a_create_survives(Cut::BeforeTheCall, 0, 0).await;
    a_create_survives(Cut::BeforeTheAnswer, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_that_never_arrived_is_repeated() {
    a_create_survives(Cut::BeforeTheCall, WARM, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_whose_answer_was_lost_is_answered_as_it_was() {
    a_create_survives(Cut::BeforeTheAnswer, WARM, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lost_answers_of_the_other_mutations_are_found() {
    let (fixture, proxy) = proxied(1).await;
    let (store, root) = (&fixture.store, fixture.root());
    let file = fixture.file(root, "file").await;
    let inner = fixture.directory(root, "inner").await;

    proxy.arm(COLD, Cut::BeforeTheAnswer);
    let linked = store.link(&fixture.cx(), file.id, inner.id, &name("second")).await.unwrap();
    assert_eq!(linked.object.nlink, 2);

    proxy.arm(COLD, Cut::BeforeTheAnswer);
    let renamed = store.rename(&fixture.cx(), root, &name("warm"), inner.id, &name("second")).await;
    let replaced = renamed.unwrap().replaced.unwrap();
    assert_eq!((replaced.attributes.id, replaced.attributes.nlink), (file.id, 1));

    proxy.arm(COLD, Cut::BeforeTheAnswer);
    let set = store.setattr(&fixture.cx(), file.id, &mode(0o600)).await.unwrap();
    assert_eq!((set.change.before.unwrap().mode, set.change.after.mode), (0o644, 0o600));

    proxy.arm(COLD, Cut::BeforeTheAnswer);
    let removed = store.remove(&fixture.cx(), root, &name("file")).await.unwrap();
    assert_eq!(removed.object.freed, file.content.map(|content| content.id));

    store.remove(&fixture.cx(), inner.id, &name("second")).await.unwrap();
    proxy.arm(LOOK_WARM, Cut::BeforeTheAnswer);
    let removed = store.rmdir(&fixture.cx(), root, &name("inner")).await.unwrap();
    assert_eq!(removed.object.attributes.nlink, 0);
    assert_eq!(proxy.cuts(), 5);
    assert_eq!(settled(&fixture).await, 5);
    fixture.sound().await;
}

/// The old flight waits for a lock when its connection is lost. It is fenced, the call is made again, and
/// when the lock is free the old flight finds itself fenced.
#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_that_still_runs_is_fenced() {
    let (fixture, proxy) = proxied(2).await;
    let mut blocker = connect(&fixture.database.settings()).await;
    let lock = blocker.transaction().await.unwrap();
    lock.execute("SELECT FROM files WHERE id = $1 FOR UPDATE", &[&fixture.root().0]).await.unwrap();
    proxy.arm(WARM, Cut::WhileItRuns);
    let how = CreateHow::Guarded(mode(0o644));
    let (cx, file) = (fixture.cx(), name("file"));
    let create = fixture.store.create(&cx, fixture.root(), &file, &how);
    let release = async {
        // The old flight, and the one that was made instead.
        until(&fixture.database, "two calls wait", "wait_event_type = 'Lock'", 2).await;
        lock.commit().await.unwrap();
    };
    let (created, ()) = tokio::join!(create, release);
    assert!(created.unwrap().made);
    assert_eq!(proxy.cuts(), 1);
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_waited_for_a_while() {
    let (fixture, proxy) = proxied(1).await;
    let (store, root) = (&fixture.store, fixture.root());
    proxy.set_away(true);
    proxy.arm(0, Cut::BeforeTheCall);
    let started = Instant::now();
    // Else it would be asked again and again until the call's time is over, which is another error.
    let error = store.getattr(&fixture.cx(), root).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());

    let before = proxy.turned_away_now();
    let back = async {
        proxy.turned_away(before + 1).await;
        proxy.set_away(false);
    };
    let how = CreateHow::Guarded(mode(0o644));
    let (cx, file) = (fixture.cx(), name("file"));
    let create = store.create(&cx, root, &file, &how);
    let (created, ()) = tokio::join!(create, back);
    assert!(created.unwrap().made);
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_the_server_ends_are_replaced() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    for round in 0..5 {
        client
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'trunkfs'",
                &[],
            )
            .await
            .unwrap();
        fixture.file(fixture.root(), &format!("file-{round}")).await;
    }
    fixture.sound().await;
}

/// A cancelled call changes nothing where it was not sent, and gives its connection back.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_leaves_a_clean_connection() {
    let (fixture, _proxy) = proxied(1).await;
    let (store, root) = (&fixture.store, fixture.root());
    let mut blocker = connect(&fixture.database.settings()).await;
    let lock = blocker.transaction().await.unwrap();
    lock.execute("SELECT FROM files WHERE id = $1 FOR UPDATE", &[&root.0]).await.unwrap();

    let how = CreateHow::Guarded(mode(0o644));
    let sent = fixture.cx();
    let (sent_name, waiting_name) = (name("sent"), name("waiting"));
    let create = store.create(&sent, root, &sent_name, &how);
    let waiting = fixture.cx();
    let others = async {
        until(&fixture.database, "the call waits", "wait_event_type = 'Lock'", 1).await;
        // The only connection is in use: this one waits for it.
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            waiting.call.cancel.cancel();
        };
        let second = store.create(&waiting, root, &waiting_name, &how);
        let (second, ()) = tokio::join!(second, cancel);
        let refused = second.unwrap_err();
        assert!(matches!(refused.error, Error::Cancelled), "{refused:?}");
        let mut late = fixture.cx();
        late.call.deadline = Instant::now() + Duration::from_millis(50);
        let error = store.getattr(&late, root).await.unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error:?}");
        // What was sent is awaited, cancelled or not.
        sent.call.cancel.cancel();
        lock.commit().await.unwrap();
    };
    let (created, ()) = tokio::join!(create, others);
    assert!(created.unwrap().made);
    let missing = store.lookup(&fixture.cx(), root, &name("waiting")).await.unwrap();
    assert_eq!(missing.object, None);
    fixture.sound().await;
}

/// A caller that goes away after its call was sent leaves a whole operation and a usable connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_is_wholly_done() {
    let (fixture, _proxy) = proxied(1).await;
    let (store, root) = (&fixture.store, fixture.root());
    let mut blocker = connect(&fixture.database.settings()).await;
    let lock = blocker.transaction().await.unwrap();
    lock.execute("SELECT FROM files WHERE id = $1 FOR UPDATE", &[&root.0]).await.unwrap();
    let how = CreateHow::Guarded(mode(0o644));
    let (cx, file) = (fixture.cx(), name("file"));
    {
        let create = store.create(&cx, root, &file, &how);
        tokio::select! {
            outcome = create => panic!("the lock is held: {outcome:?}"),
            () = until(&fixture.database, "the call waits", "wait_event_type = 'Lock'", 1) => {}
        }
    }
    lock.commit().await.unwrap();
    let present = store.lookup(&fixture.cx(), root, &file).await.unwrap();
    assert!(present.object.is_some());
    fixture.sound().await;
}

/// A store that is closed says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_answers_nothing() {
    let fixture = Fixture::new().await;
    fixture.store.close().await;
    let error = fixture.store.getattr(&fixture.cx(), fixture.root()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    let error = fixture.store.shares().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
}
