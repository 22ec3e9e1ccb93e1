//! A store that is alone with its database: batches, what it takes for granted, and what becomes of calls
//! when it is not alone any more or its connections end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use trunkfs::metadata::postgres::{Cache, LeaseTimes, PostgresStore, Settings};
use trunkfs::metadata::{
    CreateHow, Error, Invariants as _, MetadataStore as _, Namespace as _, Share,
};
use trunkfs::types::{Cookie, ObjectId, SymlinkTarget};

use crate::database::{TestDatabase, connect};
use crate::proxy::Proxy;
use crate::support::{CALL_LIMIT, Fixture, context, mode, name, share_spec, until};

/// A store that takes the lease as soon as nobody else is there.
pub(crate) fn settings(settings: Settings) -> Settings {
    let times = LeaseTimes {
        ttl: Duration::from_secs(3),
        watch: Duration::from_millis(50),
        quiet: Duration::from_millis(100),
        ..LeaseTimes::default()
    };
    Settings { cache: Cache::Auto, lease: times, ..settings }
}

pub(crate) async fn until_alone(store: &PostgresStore) {
    let limit = Instant::now() + CALL_LIMIT;
    while !store.is_alone() {
        assert!(Instant::now() < limit, "the store is not alone");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn fixture() -> Fixture {
    let database = TestDatabase::create().await;
    let fixture = Fixture::on(settings(database.settings()), database).await;
    until_alone(&fixture.store).await;
    fixture
}

/// The same database and share in a store that has met nothing yet.
async fn anew(fixture: Fixture) -> Fixture {
    let Fixture { store, share, database } = fixture;
    store.close().await;
    let store = PostgresStore::connect(settings(database.settings())).await.unwrap();
    until_alone(&store).await;
    Fixture { store, share, database }
}

async fn batches(fixture: &Fixture) -> i64 {
    let client = connect(&fixture.database.settings()).await;
    client.query_one("SELECT sum(last_batch)::bigint FROM writers", &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_arrive_together_are_written_together() {
    let fixture = fixture().await;
    let before = batches(&fixture).await;
    let (cx, root, how) = (fixture.cx(), fixture.root(), CreateHow::Guarded(mode(0o644)));
    let names: Vec<_> = (0..256).map(|number| name(&format!("file-{number}"))).collect();
    let calls = names.iter().map(|name| fixture.store.create(&cx, root, name, &how));
    for created in futures_util::future::join_all(calls).await {
        assert!(created.unwrap().made);
    }
    let sent = batches(&fixture).await - before;
    assert!((1..=16).contains(&sent), "{sent} batches");
    fixture.sound().await;
}

/// A statement of another server may see a commit before the server that is alone answers as after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_reads_beside_one_that_is_alone_is_shown_after_a_while() {
    const WHILE: Duration = Duration::from_millis(50);
    let database = TestDatabase::create().await;
    let settings = settings(database.settings());
    // It does not look whether others have come.
    let lease = LeaseTimes { ttl: CALL_LIMIT, watch: CALL_LIMIT, ..settings.lease };
    let settings = Settings { lease, ..settings };
    let fixture = Fixture::on(settings.clone(), database).await;
    until_alone(&fixture.store).await;
    let (cx, root, how) = (fixture.cx(), fixture.root(), CreateHow::Guarded(mode(0o644)));
    let (file, link) = (name("file"), name("link"));
    fixture.store.create(&cx, root, &file, &how).await.unwrap();
    let target = SymlinkTarget::parse(b"file").unwrap();
    let made = fixture.store.symlink(&cx, root, &link, &target, &mode(0o777)).await.unwrap();
    let other = PostgresStore::connect(settings).await.unwrap();
    other.open_share(&share_spec()).await.unwrap();
    for call in 0..6 {
        let began = Instant::now();
        match call {
            0 => drop(other.getattr(&cx, root).await.unwrap()),
            1 => drop(other.lookup(&cx, root, &file).await.unwrap()),
            2 => drop(other.lookup_parent(&cx, root).await.unwrap()),
            3 => drop(other.readlink(&cx, made.object.id).await.unwrap()),
            4 => drop(other.readdir(&cx, root, Cookie(0), 10, true).await.unwrap()),
            _ => drop(other.create(&cx, root, &file, &how).await.unwrap_err()),
        }
        assert!(began.elapsed() >= WHILE, "call {call}: {:?}", began.elapsed());
    }
    assert!(fixture.store.is_alone());
    fixture.store.close().await;
    other.close().await;
}

/// Calls that rely on it that this process is alone wait for changes of their own.
#[tokio::test(flavor = "multi_thread")]
async fn changes_go_on_beside_a_hold_when_all_connections_end() {
    let database = TestDatabase::create().await;
    let settings = settings(database.settings());
    let lease = LeaseTimes { ttl: CALL_LIMIT, ..settings.lease };
    let fixture = Fixture::on(Settings { lease, ..settings }, database).await;
    until_alone(&fixture.store).await;
    let (cx, root, how) = (fixture.cx(), fixture.root(), CreateHow::Guarded(mode(0o644)));
    let hold = fixture.store.sole().unwrap();
    let client = connect(&fixture.database.settings()).await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    client.query(end, &[]).await.unwrap();
    let name = name("f");
    let create = fixture.store.create(&cx, root, &name, &how);
    tokio::time::timeout(Duration::from_secs(20), create).await.unwrap().unwrap();
    until_alone(&fixture.store).await;
    assert!(hold.left().is_none(), "others may have come and gone meanwhile");
    assert!(fixture.store.sole().unwrap().left().is_some());
    drop(hold);
    fixture.sound().await;
}

/// "Write a temporary file, rename it over `latest`", by 64 callers at once: each once, and many in one
/// batch.
#[tokio::test(flavor = "multi_thread")]
async fn callers_that_rename_over_one_name_share_batches() {
    let fixture = fixture().await;
    let before = batches(&fixture).await;
    let (root, how) = (fixture.root(), CreateHow::Guarded(mode(0o644)));
    let callers = (0..64).map(|caller| {
        let (store, cx, how) = (&fixture.store, fixture.cx(), how.clone());
        async move {
            for round in 0..8 {
                let temporary = name(&format!("{caller}-{round}"));
                store.create(&cx, root, &temporary, &how).await.unwrap();
                store.rename(&cx, root, &temporary, root, &name("latest")).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(callers).await;
    let sent = batches(&fixture).await - before;
    assert!(sent <= 64 * 8 * 2 / 4, "{sent} batches for {} calls", 64 * 8 * 2);
    let page = fixture.store.readdir(&fixture.cx(), root, Cookie(0), 100, false).await.unwrap();
    assert_eq!(page.entries.len(), 1);
    fixture.sound().await;
}

/// The writer knows rows that somebody else has removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_went_away_is_missed_by_the_calls_that_change_it() {
    let fixture = fixture().await;
    let (store, cx, root) = (&fixture.store, fixture.cx(), fixture.root());
    let mut files = Vec::new();
    for text in ["alone", "object", "entry", "whole"] {
        files.push(fixture.file(root, text).await);
    }
    let client = connect(&fixture.database.settings()).await;
    let remove = format!(
        "DELETE FROM files WHERE id IN ('{}', '{}');
         DELETE FROM parent_child_map WHERE child_id = '{}'",
        files[0].id, files[1].id, files[2].id
    );
    client.batch_execute(&remove).await.unwrap();
    let (set, entry_name) = (mode(0o600), name("entry"));
    let damaged = store.setattr(&cx, files[0].id, &set).await.unwrap_err().error;
    assert!(matches!(damaged, Error::Damaged(_)), "{damaged:?}");
    // The row is no longer taken for known.
    let stale = store.setattr(&cx, files[0].id, &set).await.unwrap_err().error;
    assert!(matches!(stale, Error::Stale), "{stale:?}");
    // A batch of several calls is taken apart.
    let (object, entry, whole) = tokio::join!(
        store.setattr(&cx, files[1].id, &set),
        store.remove(&cx, root, &entry_name),
        store.setattr(&cx, files[3].id, &set),
    );
    let (object, entry) = (object.unwrap_err().error, entry.unwrap_err().error);
    assert!(matches!(object, Error::Stale | Error::Damaged(_)), "{object:?}");
    assert!(matches!(entry, Error::NotFound | Error::Damaged(_)), "{entry:?}");
    assert_eq!(whole.unwrap().change.after.mode, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_or_listed_asks_the_database_nothing() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::before(&database.settings()).await;
    let settings = self::settings(proxy.settings(&database.settings()));
    // Renewals are not counted while the test looks.
    let settings = Settings { lease: LeaseTimes::default(), ..settings };
    let fixture = Fixture::on(settings, database).await;
    until_alone(&fixture.store).await;
    let (root, store) = (fixture.root(), &fixture.store);
    for number in 0..20 {
        fixture.file(root, &format!("file-{number}")).await;
    }
    store.lookup(&fixture.cx(), root, &name("absent")).await.unwrap();
    let page = store.readdir(&fixture.cx(), root, Cookie(0), 100, true).await.unwrap();
    assert_eq!(page.entries.len(), 20);
    let mut quiet = false;
    for _ in 0..20 {
        proxy.take_round_trips();
        for entry in &page.entries {
            let found = store.lookup(&fixture.cx(), root, &entry.name).await.unwrap();
            assert_eq!(found.object, entry.attributes);
            let object = store.getattr(&fixture.cx(), entry.object).await.unwrap();
            assert_eq!(Some(object), entry.attributes);
        }
        assert_eq!(store.lookup(&fixture.cx(), root, &name("absent")).await.unwrap().object, None);
        // A look at the lease may have fallen between.
        quiet |= proxy.take_round_trips() == 0;
    }
    assert!(quiet, "every round of cached reads asked the database");
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_were_never_met_may_be_taken() {
    let fixture = fixture().await;
    for number in (0..64).step_by(2) {
        fixture.file(fixture.root(), &format!("file-{number}")).await;
    }
    let fixture = anew(fixture).await;
    let (cx, root) = (fixture.cx(), fixture.root());
    let (guarded, unchecked) = (CreateHow::Guarded(mode(0o600)), CreateHow::Unchecked(mode(0o600)));
    let names: Vec<_> = (0..64).map(|number| name(&format!("file-{number}"))).collect();
    let calls = names.iter().map(|name| async {
        let guarded = fixture.store.create(&cx, root, name, &guarded).await;
        (guarded, fixture.store.create(&cx, root, name, &unchecked).await)
    });
    let answers = futures_util::future::join_all(calls).await;
    for (number, (guarded, unchecked)) in answers.into_iter().enumerate() {
        match (number % 2, guarded) {
            (0, Err(refusal)) => assert!(matches!(refusal.error, Error::Exists), "{refusal:?}"),
            (1, Ok(created)) => assert!(created.made),
            (_, other) => panic!("{number}: {other:?}"),
        }
        let unchecked = unchecked.unwrap();
        assert!(!unchecked.made);
        assert_eq!(unchecked.object.mode, if number % 2 == 0 { 0o644 } else { 0o600 });
    }
    // A batch that was refused for a name costs no connection.
    let client = connect(&fixture.database.settings()).await;
    let writers = client.query_one("SELECT count(*) FROM writers", &[]).await.unwrap();
    assert_eq!(writers.get::<_, i64>(0), 2);
    fixture.sound().await;
}

/// `rm -rf` of a tree that another process made: the directory is seen to be empty as soon as its last entry
/// is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_never_met_is_emptied_and_removed() {
    let fixture = fixture().await;
    for directory in 0..8 {
        let made = fixture.directory(fixture.root(), &format!("d{directory}")).await;
        for file in 0..8 {
            fixture.file(made.id, &format!("f{file}")).await;
        }
    }
    let fixture = anew(fixture).await;
    let (cx, root, store) = (fixture.cx(), fixture.root(), &fixture.store);
    let removals = (0..8).map(|directory| {
        let cx = &cx;
        async move {
            let place = name(&format!("d{directory}"));
            let found = store.lookup(cx, root, &place).await.unwrap().object.unwrap();
            let refusal = store.rmdir(cx, root, &place).await.unwrap_err();
            assert!(matches!(refusal.error, Error::NotEmpty), "{refusal:?}");
            let names: Vec<_> = (0..8).map(|file| name(&format!("f{file}"))).collect();
            let removals = names.iter().map(|name| store.remove(cx, found.id, name));
            for removed in futures_util::future::join_all(removals).await {
                removed.unwrap();
            }
            store.rmdir(cx, root, &place).await.unwrap();
        }
    });
    futures_util::future::join_all(removals).await;
    assert_eq!(store.getattr(&cx, root).await.unwrap().nlink, 2);
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_moves_in_a_deep_tree_that_was_never_met() {
    let fixture = fixture().await;
    let mut path = vec![fixture.root()];
    for depth in 0..30 {
        let made = fixture.directory(path[depth], "down").await;
        path.push(made.id);
    }
    let top = fixture.directory(fixture.root(), "top").await;
    let fixture = anew(fixture).await;
    let (cx, root, store) = (fixture.cx(), fixture.root(), &fixture.store);
    let moved = store.rename(&cx, root, &name("top"), path[30], &name("top")).await.unwrap();
    assert_eq!(moved.object.parent, Some(path[30]));
    let looped = store.rename(&cx, path[3], &name("down"), top.id, &name("down")).await;
    assert!(matches!(looped.unwrap_err().error, Error::Invalid));
    fixture.sound().await;
}

/// One task's names, and what was acknowledged of them.
async fn work(
    store: &PostgresStore,
    share: &Share,
    task: usize,
    over: &AtomicBool,
) -> BTreeMap<String, bool> {
    let (root, how) = (share.root, CreateHow::Guarded(mode(0o644)));
    let mut known = BTreeMap::new();
    for round in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let (first, second) = (format!("{task}-{round}"), format!("{task}-{round}-moved"));
        // A call that is refused because the database is away has changed nothing, and is made again.
        let again = |error: &Error| matches!(error, Error::Unavailable(_));
        let mut made = false;
        while !made {
            match store.create(&context(share.id), root, &name(&first), &how).await {
                Ok(created) => made = created.made,
                Err(refusal) => assert!(again(&refusal.error), "{refusal:?}"),
            }
        }
        known.insert(first.clone(), true);
        if round % 2 == 0 {
            while let Err(refusal) =
                store.rename(&context(share.id), root, &name(&first), root, &name(&second)).await
            {
                assert!(again(&refusal.error), "{refusal:?}");
            }
            known.insert(first.clone(), false);
            known.insert(second.clone(), true);
        }
        if round % 3 == 0 {
            let last = if round % 2 == 0 { &second } else { &first };
            while let Err(refusal) = store.remove(&context(share.id), root, &name(last)).await {
                assert!(again(&refusal.error), "{refusal:?}");
            }
            known.insert(last.clone(), false);
        }
    }
    known
}

/// Runs tasks until `meanwhile` has ended, and compares the namespace with what was acknowledged.
async fn under_load(fixture: Fixture, meanwhile: impl Future<Output = ()>) {
    let Fixture { store, share, database } = fixture;
    let (store, over) = (Arc::new(store), Arc::new(AtomicBool::new(false)));
    let mut tasks = JoinSet::new();
    for task in 0..24 {
        let (store, share, over) = (store.clone(), share.clone(), over.clone());
        tasks.spawn(async move { work(&store, &share, task, &over).await });
    }
    meanwhile.await;
    over.store(true, Ordering::Relaxed);
    let mut entries = 0;
    for known in tasks.join_all().await {
        assert!(!known.is_empty());
        for (text, is_there) in known {
            let found = store.lookup(&context(share.id), share.root, &name(&text)).await.unwrap();
            assert_eq!(found.object.is_some(), is_there, "{text}");
            entries += i64::from(is_there);
        }
    }
    let client = connect(&database.settings()).await;
    let rows = client.query_one("SELECT count(*) FROM parent_child_map", &[]).await.unwrap();
    assert_eq!(rows.get::<_, i64>(0), entries);
    assert_eq!(store.inconsistencies().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_connections_that_are_cut() {
    let fixture = fixture().await;
    let client = connect(&fixture.database.settings()).await;
    under_load(fixture, async {
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                              WHERE datname = current_database() AND pid <> pg_backend_pid()
                                AND (random() < 0.5 OR query LIKE '%apply_rows%')";
            client.execute(statement, &[]).await.unwrap();
        }
    })
    .await;
}

/// The connection of a batch ends while rows are fetched on the only connection of the pool: that one is free
/// again as soon as the rows are there, and the outcome of the batch is looked for on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_keeps_no_connection_from_a_batch_that_was_lost() {
    let database = TestDatabase::create().await;
    let settings = Settings { max_connections: 1, ..settings(database.settings()) };
    let fixture = Fixture::on(settings.clone(), database).await;
    fixture.file(fixture.root(), "old").await;
    let Fixture { store, share, database } = fixture;
    store.close().await;
    let store = PostgresStore::connect(settings).await.unwrap();
    until_alone(&store).await;
    let fixture = Fixture { store, share, database };
    // From here on the root is known, and "old" is not.
    fixture.file(fixture.root(), "warm").await;
    let mut blocker = connect(&fixture.database.settings()).await;
    let lock = blocker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE parent_child_map IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let began = Instant::now();
    let meanwhile = async {
        until(&fixture.database, "a batch and a fetch wait", "wait_event_type = 'Lock'", 2).await;
        let killer = connect(&fixture.database.settings()).await;
        let batch = "query LIKE '%apply_rows%' AND pid <> pg_backend_pid()";
        let statement =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {batch}");
        killer.execute(&statement, &[]).await.unwrap();
        until(&fixture.database, "the batch has ended", "wait_event_type = 'Lock'", 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        lock.rollback().await.unwrap();
    };
    let (cx, new, old) = (fixture.cx(), name("new"), name("old"));
    let how = CreateHow::Guarded(mode(0o644));
    let (created, removed, ()) = tokio::join!(
        fixture.store.create(&cx, fixture.root(), &new, &how),
        fixture.store.remove(&cx, fixture.root(), &old),
        meanwhile,
    );
    assert!(created.unwrap().made);
    removed.unwrap();
    assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
    fixture.sound().await;
}

/// A slot that somebody fenced: what was under way is not applied, and is decided anew under another slot.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_slots_that_are_fenced() {
    let fixture = fixture().await;
    let client = connect(&fixture.database.settings()).await;
    under_load(fixture, async {
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let statement = "UPDATE writer_slots SET epoch = -epoch WHERE epoch > 0";
            client.execute(statement, &[]).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_over_under_load_loses_nothing_and_shows_nothing_stale() {
    let fixture = fixture().await;
    let (settings, share) = (self::settings(fixture.database.settings()), fixture.share.clone());
    let file = fixture.file(fixture.root(), "common").await;
    // The one that looks is the one that was alone: its own copy must not outlive the other's change.
    let Fixture { store, share: own, database } = fixture;
    let store = Arc::new(store);
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let (store, own, over) = (store.clone(), own.clone(), over.clone());
        tasks.spawn(async move { work(&store, &own, task, &over).await });
    }
    for turn in 0..4_u32 {
        until_alone(&store).await;
        store.getattr(&context(share.id), file.id).await.unwrap();
        let other = Settings { cache: Cache::Off, ..settings.clone() };
        let other = PostgresStore::connect(other).await.unwrap();
        for number in 0..40_u32 {
            let wanted = 0o400 + (turn * 40 + number) % 0o177;
            other.setattr(&context(share.id), file.id, &mode(wanted)).await.unwrap();
            let seen = store.getattr(&context(share.id), file.id).await.unwrap();
            assert_eq!(seen.mode, wanted);
            let text = format!("other-{turn}-{number}");
            let how = CreateHow::Guarded(mode(0o644));
            other.create(&context(share.id), share.root, &name(&text), &how).await.unwrap();
            let found = store.lookup(&context(share.id), share.root, &name(&text)).await.unwrap();
            assert!(found.object.is_some(), "{text}");
        }
        assert!(!store.is_alone());
        other.close().await;
    }
    over.store(true, Ordering::Relaxed);
    for known in tasks.join_all().await {
        for (text, is_there) in known {
            let found = store.lookup(&context(share.id), share.root, &name(&text)).await.unwrap();
            assert_eq!(found.object.is_some(), is_there, "{text}");
        }
    }
    assert_eq!(store.inconsistencies().await.unwrap(), Vec::<String>::new());
    store.close().await;
    drop(database);
}

/// A name that is made, moved and removed by calls that arrive together ends as one order of them says.
#[tokio::test(flavor = "multi_thread")]
async fn calls_of_one_name_that_arrive_together_have_an_order() {
    let fixture = fixture().await;
    let (cx, root, store) = (fixture.cx(), fixture.root(), &fixture.store);
    let how = CreateHow::Guarded(mode(0o644));
    let (a, b, set) = (name("a"), name("b"), mode(0o755));
    for _ in 0..100 {
        let (made, moved, removed, linked) = tokio::join!(
            store.create(&cx, root, &a, &how),
            store.rename(&cx, root, &a, root, &b),
            store.remove(&cx, root, &b),
            store.mkdir(&cx, root, &a, &set),
        );
        let count = |ok: bool| i64::from(ok);
        let entries = count(made.is_ok()) + count(linked.is_ok()) - count(removed.is_ok());
        let mut there = 0;
        for place in [&a, &b] {
            if let Some(object) = store.lookup(&cx, root, place).await.unwrap().object {
                there += 1;
                let gone = if object.file_type.is_directory() {
                    store.rmdir(&cx, root, place).await
                } else {
                    store.remove(&cx, root, place).await
                };
                gone.unwrap();
            }
        }
        assert!(
            there == entries,
            "{there} of {entries} entries: {made:?} {moved:?} {removed:?} {linked:?}"
        );
    }
    assert_eq!(store.getattr(&cx, ObjectId(root.0)).await.unwrap().nlink, 2);
    fixture.sound().await;
}
