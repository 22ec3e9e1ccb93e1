//! Changes of several callers in one batch, each answered as if it were made alone. On one thread all calls
//! of a test are queued before the first batch is carried out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::JoinSet;
use trunkfs::metadata::postgres::PostgresStore;
use trunkfs::metadata::{
    Answer, Change, CreateHow, Created, Error, Flush, FlushOutcome, Invariants as _,
    MetadataStore as _, Namespace as _, SetAttributes, Share, ShareSpec, Written,
};
use trunkfs::types::{Attributes, ObjectId, Replay, ShareName, Timestamp};
use uuid::Uuid;

use crate::database::{TestDatabase, connect};
use crate::proxy::{Cut, Proxy};
use crate::session::{Call, Session, verdict};
use crate::support::{Fixture, context, mode, name, share_spec, until, until_one_of};

const CALLS: usize = 32;

/// A store whose database counts calls of its functions.
async fn counted() -> Fixture {
    let database = TestDatabase::create().await;
    let settings = database.settings();
    let statement =
        format!("ALTER DATABASE {} SET track_functions = 'pl'", settings.target.database);
    connect(&settings).await.batch_execute(&statement).await.unwrap();
    Fixture::on(settings, database).await
}

/// How often functions were called. Ends the store: the statistics of a session are complete once it has
/// ended.
async fn calls<const N: usize>(fixture: &Fixture, functions: [&str; N]) -> [i64; N] {
    fixture.store.close().await;
    until(&fixture.database, "the sessions end", "application_name = 'trunkfs'", 0).await;
    let client = connect(&fixture.database.settings()).await;
    let statement =
        "SELECT COALESCE(sum(calls), 0)::bigint FROM pg_stat_user_functions WHERE funcname = $1";
    let mut counts = [0; N];
    for (count, function) in counts.iter_mut().zip(functions) {
        *count = client.query_one(statement, &[&function]).await.unwrap().get(0);
    }
    counts
}

async fn create(
    store: &PostgresStore,
    share: &Share,
    parent: ObjectId,
    text: &str,
) -> Answer<Created> {
    let how = CreateHow::Guarded(mode(0o644));
    store.create(&context(share.id), parent, &name(text), &how).await
}

/// Makes `CALLS` files at once.
async fn create_all(fixture: &Fixture, parent: ObjectId, tag: &str) -> Vec<Created> {
    let texts: Vec<_> = (0..CALLS).map(|number| format!("{tag}-{number}")).collect();
    let calls = texts.iter().map(|text| create(&fixture.store, &fixture.share, parent, text));
    join_all(calls).await.into_iter().map(Result::unwrap).collect()
}

/// That changes lead from `first` to `last` without a gap or a fork: no two show the same step.
#[track_caller]
fn chain(mut changes: Vec<Change>, first: &Attributes, last: &Attributes) {
    let before = |change: &Change| change.before.clone().unwrap();
    changes.sort_by_key(|change| before(change).ctime);
    let mut present = first.clone();
    for change in changes {
        assert_eq!(before(&change), present, "a gap or a fork");
        assert!(change.after.ctime > present.ctime);
        present = change.after;
    }
    assert_eq!(&present, last);
}

fn flush(file: &Attributes, end: u64) -> Flush {
    let now = Timestamp::now();
    let written = Written {
        content: file.content.unwrap(),
        end,
        used: end,
        mtime: now,
        replaced_mtime: file.mtime,
        mtime_version: file.mtime_version,
        ctime: now,
        seen: file.ctime,
        clear_mode: 0,
    };
    Flush { written: Some(written), atime: None }
}

#[tokio::test]
async fn changes_at_once_are_few_calls_and_commits() {
    let fixture = counted().await;
    let (store, cx) = (&fixture.store, fixture.cx());
    let directory = fixture.directory(fixture.root(), "directory").await;
    let made = create_all(&fixture, directory.id, "file").await;
    let present = store.getattr(&cx, directory.id).await.unwrap();
    chain(made.iter().map(|made| made.directory.clone()).collect(), &directory, &present);
    let files: Vec<_> = made.into_iter().map(|made| made.object).collect();
    for file in &files {
        assert_eq!(&store.getattr(&cx, file.id).await.unwrap(), file);
    }
    let set = mode(0o600);
    let set = join_all(files.iter().map(|file| store.setattr(&cx, file.id, &set))).await;
    let flushes: Vec<_> = files.iter().map(|file| flush(file, 100)).collect();
    let flushed = files.iter().zip(&flushes).map(|(file, flush)| store.flush(&cx, file.id, flush));
    let flushed = join_all(flushed).await;
    for ((file, set), flushed) in files.iter().zip(set).zip(flushed) {
        let set = set.unwrap().change;
        assert_eq!((set.before.as_ref(), set.after.mode), (Some(file), 0o600));
        let FlushOutcome::Recorded(change) = flushed.unwrap() else { panic!("superseded") };
        assert_eq!((change.before.as_ref(), change.after.size), (Some(&set.after), 100));
        assert_eq!(store.getattr(&cx, file.id).await.unwrap(), change.after);
    }
    let names: Vec<_> = (0..CALLS).map(|number| name(&format!("file-{number}"))).collect();
    let removed = join_all(names.iter().map(|name| store.remove(&cx, directory.id, name))).await;
    let removed: Vec<_> = removed.into_iter().map(Result::unwrap).collect();
    for (file, removed) in files.iter().zip(&removed) {
        assert_eq!(removed.object.attributes.nlink, 0);
        assert_eq!(removed.object.freed, file.content.map(|content| content.id));
        assert!(store.getattr(&cx, file.id).await.is_err());
    }
    let last = store.getattr(&cx, directory.id).await.unwrap();
    chain(removed.into_iter().map(|removed| removed.directory).collect(), &present, &last);
    let usage = store.usage(fixture.share.id).await.unwrap();
    assert_eq!((usage.objects, usage.bytes), (2, 0));
    fixture.sound().await;
    let singles = ["make_object", "set_attributes", "record_write", "remove_name"];
    let batches = calls(&fixture, ["run_batch"]).await[0];
    let singles: i64 = calls(&fixture, singles).await.into_iter().sum();
    // The first two of each kind find too few under way.
    assert!(singles <= 4 * 2 + 1, "{singles} single calls");
    assert!((4..=4 * 4).contains(&batches), "{batches} batches");
}

#[tokio::test]
async fn one_of_two_calls_of_a_batch_gets_the_name() {
    let fixture = Fixture::new().await;
    let (store, share, root) = (&fixture.store, &fixture.share, fixture.root());
    let texts = ["a", "b", "c", "d"].repeat(4);
    let answers = join_all(texts.iter().map(|text| create(store, share, root, text))).await;
    for text in ["a", "b", "c", "d"] {
        let its = texts.iter().zip(&answers).filter(|(it, _)| **it == text);
        let (made, refused): (Vec<_>, Vec<_>) =
            its.map(|(_, answer)| answer).partition(|it| it.is_ok());
        assert_eq!(made.len(), 1, "{text}");
        assert!(refused.iter().all(|it| matches!(it.as_ref().unwrap_err().error, Error::Exists)));
    }
    fixture.sound().await;
}

#[tokio::test]
async fn names_of_one_file_that_go_in_one_batch_take_the_file() {
    let fixture = Fixture::new().await;
    let (store, cx, root) = (&fixture.store, fixture.cx(), fixture.root());
    let names: Vec<_> = (0..8).map(|number| name(&format!("file-{number}"))).collect();
    let file = fixture.file(root, "file-0").await;
    for name in &names[1..] {
        store.link(&cx, file.id, root, name).await.unwrap();
    }
    let removed = join_all(names.iter().map(|name| store.remove(&cx, root, name))).await;
    let mut left: Vec<_> =
        removed.iter().map(|it| it.as_ref().unwrap().object.attributes.nlink).collect();
    left.sort_unstable();
    assert_eq!(left, [0, 1, 2, 3, 4, 5, 6, 7]);
    let freed = removed.iter().filter(|it| it.as_ref().unwrap().object.freed.is_some()).count();
    assert_eq!(freed, 1);
    assert!(matches!(store.getattr(&cx, file.id).await, Err(Error::Stale)));
    fixture.sound().await;
}

#[tokio::test]
async fn a_batch_mixes_kinds_directories_and_shares() {
    let fixture = Fixture::new().await;
    let spec = ShareSpec { name: ShareName::parse("/other").unwrap(), ..share_spec() };
    let other = fixture.store.open_share(&spec).await.unwrap();
    let (store, cx) = (&fixture.store, fixture.cx());
    let [x, y] = [
        fixture.directory(fixture.root(), "x").await,
        fixture.directory(fixture.root(), "y").await,
    ];
    let gone = fixture.file(x.id, "gone").await;
    let (gone_name, wider, set) = (name("gone"), mode(0o777), mode(0o700));
    let made = ["a", "b", "c", "d"];
    let in_both = made.iter().flat_map(|text| {
        [create(store, &fixture.share, x.id, text), create(store, &fixture.share, y.id, text)]
    });
    let elsewhere = made.iter().map(|text| create(store, &other, other.root, text));
    let (in_both, elsewhere, directory, removed, changed, inner) = tokio::join!(
        join_all(in_both),
        join_all(elsewhere),
        store.setattr(&cx, x.id, &wider),
        store.remove(&cx, x.id, &gone_name),
        store.setattr(&cx, gone.id, &set),
        store.mkdir(&cx, y.id, &gone_name, &set),
    );
    for made in in_both.into_iter().chain(elsewhere) {
        let made = made.unwrap();
        let cx = context(if made.object.fsid == other.fsid { other.id } else { fixture.share.id });
        assert_eq!(store.getattr(&cx, made.object.id).await.unwrap(), made.object);
    }
    assert_eq!(directory.unwrap().change.after.mode, 0o777);
    assert_eq!(removed.unwrap().object.attributes.id, gone.id);
    assert!(
        changed.is_ok_and(|set| set.change.after.mode == 0o700)
            || store.getattr(&cx, gone.id).await.is_err()
    );
    assert_eq!(inner.unwrap().directory.after.nlink, 3);
    assert_eq!(store.usage(other.id).await.unwrap().objects, 5);
    assert_eq!(store.usage(fixture.share.id).await.unwrap().objects, 1 + 2 + 8 + 1);
    fixture.sound().await;
}

#[tokio::test]
async fn calls_of_a_batch_that_may_be_repeated_are_recorded() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let call = |number| Replay {
        key: Uuid::from_u128(number),
        peer: 7,
        may_be_repeat: true,
        looks_first: false,
    };
    let answers = (0..8).map(|number| {
        let mut cx = fixture.cx();
        cx.replay = Some(call(number));
        let how = CreateHow::Guarded(mode(0o644));
        async move {
            // Each name is asked for twice.
            let name = name(&format!("file-{}", number / 2));
            store.create(&cx, fixture.share.root, &name, &how).await
        }
    });
    for (number, answer) in (0..).zip(join_all(answers).await) {
        let found = store.replayed(&fixture.cx(), &call(number)).await.unwrap();
        let made = answer.ok().map(|made| made.object.id);
        assert_eq!(found.map(|found| found.made), made.map(Some));
    }
}

/// A directory is removed while creates in it wait for its lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_waits_for_the_removal_of_its_directory() {
    for end in ["COMMIT", "ROLLBACK"] {
        let fixture = Fixture::new().await;
        let root = fixture.store.getattr(&fixture.cx(), fixture.root()).await.unwrap();
        let directory = fixture.directory(root.id, "directory").await;
        let session = Session::open(&fixture).await;
        session.client.batch_execute("BEGIN").await.unwrap();
        let rmdir = Call::rmdir((&root, "directory"), &directory);
        assert_eq!(verdict(&session.call(1, &rmdir).await.unwrap()), 0);
        let texts: Vec<_> = (0..CALLS).map(|number| format!("file-{number}")).collect();
        let calls =
            texts.iter().map(|text| create(&fixture.store, &fixture.share, directory.id, text));
        let ending = async {
            // The other one may have begun before all calls were queued.
            until_one_of(
                &fixture.database,
                "a batch waits",
                "wait_event_type = 'Lock' AND query LIKE '%run_batch%'",
                1..=2,
            )
            .await;
            session.client.batch_execute(end).await.unwrap();
        };
        let (answers, ()) = tokio::join!(join_all(calls), ending);
        for answer in answers {
            match answer {
                Ok(made) => assert_eq!((end, made.made), ("ROLLBACK", true)),
                Err(refusal) => {
                    assert!(
                        end == "COMMIT" && matches!(refusal.error, Error::Stale),
                        "{refusal:?}"
                    );
                }
            }
        }
        fixture.sound().await;
    }
}

/// While a stranger holds the lock of one directory, changes of others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_for_long_holds_up_its_own_changes() {
    let fixture = Fixture::new().await;
    let locked = fixture.directory(fixture.root(), "locked").await.id;
    let free = fixture.directory(fixture.root(), "free").await.id;
    let mut stranger = connect(&fixture.database.settings()).await;
    let lock = stranger.transaction().await.unwrap();
    lock.execute("SELECT FROM files WHERE id = $1 FOR UPDATE", &[&locked.0]).await.unwrap();
    let waiting = create_all(&fixture, locked, "waits");
    let others = async {
        let began = Instant::now();
        for round in 0..20 {
            create_all(&fixture, free, &format!("round-{round}")).await;
            if began.elapsed() > Duration::from_secs(2) {
                break;
            }
        }
        let took = began.elapsed();
        lock.commit().await.unwrap();
        took
    };
    let (made, took) = tokio::join!(waiting, others);
    assert!(made.iter().all(|made| made.made));
    assert!(took < Duration::from_secs(20), "changes of other directories took {took:?}");
    fixture.sound().await;
}

#[tokio::test]
async fn calls_that_are_given_up_are_not_carried_out() {
    let fixture = Fixture::new().await;
    let (store, share, root) = (&fixture.store, &fixture.share, fixture.root());
    let texts: Vec<_> = (0..CALLS).map(|number| format!("file-{number}")).collect();
    let calls = texts.iter().enumerate().map(|(number, text)| async move {
        let cx = context(share.id);
        if number % 2 == 1 {
            cx.call.cancel.cancel();
        }
        store.create(&cx, root, &name(text), &CreateHow::Guarded(mode(0o644))).await
    });
    for (number, answer) in join_all(calls).await.into_iter().enumerate() {
        let found = store.lookup(&fixture.cx(), root, &name(&texts[number])).await.unwrap().object;
        match answer {
            Ok(made) => assert_eq!((number % 2, found), (0, Some(made.object))),
            Err(refusal) => {
                assert!(
                    number % 2 == 1 && matches!(refusal.error, Error::Cancelled),
                    "{refusal:?}"
                );
                assert_eq!(found, None);
            }
        }
    }
}

/// A batch does not lock the file that its caller did not know of.
#[tokio::test]
async fn a_file_of_a_taken_name_is_shown_as_it_is_behind_the_batch() {
    let fixture = Fixture::new().await;
    let directory = fixture.directory(fixture.root(), "directory").await.id;
    let taken = fixture.file(directory, "taken").await;
    // The directory is remembered, and no name of it.
    create_all(&fixture, directory, "before").await;
    let [holder, other] =
        [connect(&fixture.database.settings()).await, connect(&fixture.database.settings()).await];
    holder.batch_execute("BEGIN; SELECT FROM writer_slots FOR UPDATE").await.unwrap();
    let meanwhile = async {
        let waits = "wait_event_type = 'Lock' AND query LIKE '%run_batch%'";
        until(&fixture.database, "the batch waits", waits, 1).await;
        let change = "UPDATE files SET mode = 384, ctime = ctime + 1 WHERE id = $1";
        assert_eq!(other.execute(change, &[&taken.id.0]).await.unwrap(), 1);
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let (cx, how) = (fixture.cx(), CreateHow::Unchecked(SetAttributes::default()));
    let taken_name = name("taken");
    let create = fixture.store.create(&cx, directory, &taken_name, &how);
    // The first two are calls of their own.
    let alone = ["one", "two"].map(name);
    let guarded = CreateHow::Guarded(mode(0o644));
    let alone = alone.iter().map(|name| fixture.store.create(&cx, fixture.root(), name, &guarded));
    let beside = create_all(&fixture, directory, "beside");
    let (_, _, answer, ()) = tokio::join!(join_all(alone), beside, create, meanwhile);
    let answer = answer.unwrap();
    assert!(!answer.made);
    assert_eq!(answer.object, fixture.store.getattr(&cx, taken.id).await.unwrap());
    assert_eq!((answer.object.mode, answer.object.ctime.0), (0o600, taken.ctime.0 + 1));
    let now = fixture.store.getattr(&cx, directory).await.unwrap();
    assert_eq!(answer.directory, Change::none(now));
}

/// Of two removals of a name in one batch the second finds the directory as nobody else has seen it: with
/// what calls before it have changed, and not what those behind it change. It shows the one behind the batch.
#[tokio::test]
async fn a_removal_that_comes_too_late_shows_the_directory_behind_the_batch() {
    let fixture = Fixture::new().await;
    let directory = fixture.directory(fixture.root(), "directory").await.id;
    create_all(&fixture, directory, "file").await;
    let cx = fixture.cx();
    // The first two are calls of their own.
    let alone = ["one", "two"].map(name);
    let guarded = CreateHow::Guarded(mode(0o644));
    let alone = alone.iter().map(|name| fixture.store.create(&cx, fixture.root(), name, &guarded));
    let names: Vec<_> =
        [0, 0].into_iter().chain(1..8).map(|number| name(&format!("file-{number}"))).collect();
    let removals = names.iter().map(|name| fixture.store.remove(&cx, directory, name));
    let (_, removals) = tokio::join!(join_all(alone), join_all(removals));
    let now = fixture.store.getattr(&cx, directory).await.unwrap();
    let refused: Vec<_> = removals.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 1);
    assert!(matches!(refused[0].error, Error::NotFound), "{refused:?}");
    assert_eq!(refused[0].first.as_deref(), Some(&now));
    fixture.sound().await;
}

/// Connections are cut at every pass of a storm of creates: each is made once, and answered.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_cut_are_carried_out_once() {
    for cut in [Cut::BeforeTheCall, Cut::BeforeTheAnswer, Cut::WhileItRuns] {
        let database = TestDatabase::create().await;
        let proxy = Proxy::before(&database.settings()).await;
        let mut settings = proxy.settings(&database.settings());
        settings.max_connections = 6;
        let fixture = Fixture::on(settings, database).await;
        let directory = fixture.directory(fixture.root(), "directory").await;
        create_all(&fixture, fixture.root(), "warm").await;
        for pass in 0..8 {
            proxy.arm(pass, cut);
            let made = create_all(&fixture, directory.id, &format!("pass-{pass}")).await;
            for made in made {
                let found = fixture.store.getattr(&fixture.cx(), made.object.id).await.unwrap();
                assert_eq!(found, made.object);
                assert!(
                    made.made
                        && made
                            .directory
                            .before
                            .is_none_or(|it| it.ctime < made.directory.after.ctime)
                );
            }
        }
        assert!(proxy.cuts() >= 4, "{cut:?}: {} cuts", proxy.cuts());
        let usage = fixture.store.usage(fixture.share.id).await.unwrap();
        assert_eq!(usage.objects as usize, 2 + 9 * CALLS);
        fixture.sound().await;
    }
}

/// Two servers whose sessions are ended time and again.
#[tokio::test(flavor = "multi_thread")]
async fn servers_that_lose_their_sessions_make_and_remove_each_file_once() {
    const ROUNDS: usize = 12;
    let fixture = Fixture::new().await;
    let other = PostgresStore::connect(fixture.database.settings()).await.unwrap();
    let directory = fixture.directory(fixture.root(), "directory").await.id;
    let client = connect(&fixture.database.settings()).await;
    let Fixture { store, share, database } = fixture;
    let stores = [Arc::new(store), Arc::new(other)];
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let (store, share) = (Arc::clone(&stores[task % 2]), share.clone());
        tasks.spawn(async move {
            for round in 0..ROUNDS {
                let text = format!("{task}-{round}");
                let made = create(&store, &share, directory, &text).await.unwrap();
                let cx = context(share.id);
                let set = store.setattr(&cx, made.object.id, &mode(0o600)).await.unwrap();
                assert_eq!(set.change.after.mode, 0o600);
                let removed = store.remove(&cx, directory, &name(&text)).await.unwrap();
                assert_eq!(removed.object.attributes.id, made.object.id);
                create(&store, &share, directory, &text).await.unwrap();
            }
        });
    }
    let ending = "SELECT count(pg_terminate_backend(pid)) FROM
        (SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND state = 'active' AND query LIKE '%run_batch%' LIMIT 1) p";
    let mut ended = 0_i64;
    let watching = async {
        loop {
            ended += client.query_one(ending, &[]).await.unwrap().get::<_, i64>(0);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        results = tasks.join_all() => assert_eq!(results.len(), 16),
        () = watching => {}
    }
    assert!(ended > 0, "no session was ended");
    let cx = context(share.id);
    let last = stores[0].getattr(&cx, directory).await.unwrap();
    assert_eq!(stores[1].getattr(&cx, directory).await.unwrap(), last);
    assert_eq!(stores[0].usage(share.id).await.unwrap().objects as usize, 2 + 16 * ROUNDS);
    assert_eq!(stores[0].inconsistencies().await.unwrap(), Vec::<String>::new());
    for store in &stores {
        store.close().await;
    }
    drop(database);
}
