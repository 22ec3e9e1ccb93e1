//! Several servers on one database that answer from memory: whatever one has answered, a look at the other
//! shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_postgres::Client;
use trunkfs::metadata::postgres::{Cache, LeaseTimes, PostgresStore, Presence, Settings};
use trunkfs::metadata::{
    CreateHow, Error, Flaw, Invariants as _, Lookup, MetadataStore as _, Namespace as _, Repair,
    Repairable as _, Repaired, SetAttributes,
};
use trunkfs::types::{Attributes, Cookie, ObjectId, ShareId, SymlinkTarget};

use crate::database::{TestDatabase, connect};
use crate::proxy::{Cut, Proxy};
use crate::session::{Call, Session, join, verdict};
use crate::support::{CALL_LIMIT, Fixture, context, mode, name, until};

/// So many calls at once join polls.
const CALLS: usize = 16;

/// Nobody is taken for dead, and nobody is alone again.
pub(crate) fn settings(settings: Settings) -> Settings {
    let hour = Duration::from_secs(3600);
    let lease = LeaseTimes {
        ttl: hour,
        quiet: hour,
        watch: Duration::from_millis(50),
        ..LeaseTimes::default()
    };
    Settings { cache: Cache::Auto, lease, ..settings }
}

/// A server that answers from memory, and another that never does.
struct Scene {
    reader: PostgresStore,
    writer: Fixture,
}

impl Scene {
    async fn new() -> Self {
        Self::through(|settings| settings).await
    }

    async fn through(way: impl FnOnce(Settings) -> Settings) -> Self {
        let writer = Fixture::new().await;
        let settings = way(settings(writer.database.settings()));
        let reader = PostgresStore::connect(settings).await.unwrap();
        until_polling(&reader, writer.share.id, writer.root()).await;
        Self { reader, writer }
    }

    async fn client(&self) -> Client {
        connect(&self.writer.database.settings()).await
    }

    /// Many calls at once, twice: the second time what can be in memory is there. All have one answer.
    async fn getattr(&self, object: ObjectId) -> Option<Attributes> {
        let cx = self.writer.cx();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let calls = (0..CALLS).map(|_| self.reader.getattr(&cx, object));
            answers.extend(join_all(calls).await.into_iter().map(Result::ok));
        }
        let first = answers[0].clone();
        assert!(answers.iter().all(|answer| *answer == first), "{answers:?}");
        first
    }

    async fn lookup(&self, directory: ObjectId, text: &str) -> Lookup {
        let (cx, name) = (self.writer.cx(), name(text));
        let mut answers = Vec::new();
        for _ in 0..2 {
            let calls = (0..CALLS).map(|_| self.reader.lookup(&cx, directory, &name));
            answers.extend(join_all(calls).await.into_iter().map(Result::unwrap));
        }
        let first = answers[0].clone();
        assert!(answers.iter().all(|answer| *answer == first), "{answers:?}");
        first
    }

    async fn names(&self, directory: ObjectId) -> Vec<String> {
        let cx = self.writer.cx();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let calls =
                (0..CALLS).map(|_| self.reader.readdir(&cx, directory, Cookie(0), 100, true));
            answers.extend(join_all(calls).await.into_iter().map(Result::unwrap));
        }
        let text = |entry: &trunkfs::metadata::DirectoryEntry| {
            String::from_utf8(entry.name.as_bytes().to_vec()).unwrap()
        };
        let names = |page: &trunkfs::metadata::Page| -> Vec<String> {
            let mut names: Vec<_> = page.entries.iter().map(text).collect();
            names.sort_unstable();
            names
        };
        let first = names(&answers[0]);
        assert!(answers.iter().all(|page| names(page) == first));
        first
    }
}

/// Reads until the store answers from memory.
async fn until_polling(store: &PostgresStore, share: ShareId, object: ObjectId) {
    let limit = Instant::now() + CALL_LIMIT;
    while !store.is_polling() {
        assert!(Instant::now() < limit, "changes are not polled");
        let cx = context(share);
        join_all((0..CALLS).map(|_| store.getattr(&cx, object))).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn calls_at_once_share_a_poll() {
    let writer = Fixture::new().await;
    let proxy = Proxy::before(&writer.database.settings()).await;
    let reader = proxy.settings(&settings(writer.database.settings()));
    let reader = PostgresStore::connect(reader).await.unwrap();
    until_polling(&reader, writer.share.id, writer.root()).await;
    let scene = Scene { reader, writer };
    let (root, reader, cx) = (scene.writer.root(), &scene.reader, scene.writer.cx());
    let file = scene.writer.file(root, "file").await;
    let target = SymlinkTarget::parse(b"target").unwrap();
    let place = name("link");
    let link = scene.writer.store.symlink(&cx, root, &place, &target, &mode(0o777)).await.unwrap();
    let (present, absent) = (name("file"), name("absent"));
    let mut fewest = usize::MAX;
    for _ in 0..20 {
        proxy.take_round_trips();
        let (files, found, missing, links, pages) = tokio::join!(
            join_all((0..64).map(|_| reader.getattr(&cx, file.id))),
            join_all((0..64).map(|_| reader.lookup(&cx, root, &present))),
            join_all((0..64).map(|_| reader.lookup(&cx, root, &absent))),
            join_all((0..64).map(|_| reader.readlink(&cx, link.object.id))),
            join_all((0..64).map(|_| reader.readdir(&cx, root, Cookie(0), 10, true))),
        );
        fewest = fewest.min(proxy.take_round_trips());
        assert!(files.into_iter().all(|it| it.unwrap() == file));
        assert!(found.into_iter().all(|it| it.unwrap().object.as_ref() == Some(&file)));
        assert!(missing.into_iter().all(|it| it.unwrap().object.is_none()));
        assert!(links.into_iter().all(|it| it.unwrap().target == target));
        assert!(pages.into_iter().all(|it| it.unwrap().entries.len() == 2));
    }
    // A poll, the first calls, which ask for themselves, and perhaps a look at the lease.
    assert!((1..=8).contains(&fewest), "{fewest} round trips for 320 calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_server_changes_is_seen_at_once() {
    let scene = Scene::new().await;
    let (writer, root, cx) = (&scene.writer, scene.writer.root(), scene.writer.cx());
    let other = writer.directory(root, "other").await;
    for round in 0..10 {
        assert_eq!(scene.lookup(root, "a").await.object, None);
        let made = writer.file(root, "a").await;
        assert_eq!(scene.lookup(root, "a").await.object.as_ref(), Some(&made));
        assert_eq!(scene.names(root).await, ["a", "other"]);
        let set = writer.store.setattr(&cx, made.id, &mode(0o600)).await.unwrap().change.after;
        assert_eq!(scene.getattr(made.id).await.as_ref(), Some(&set));
        let linked = writer.store.link(&cx, made.id, other.id, &name("b")).await.unwrap();
        assert_eq!(scene.lookup(root, "a").await.object.as_ref(), Some(&linked.object));
        let moved = writer.store.rename(&cx, root, &name("a"), other.id, &name("c")).await.unwrap();
        let found = scene.lookup(root, "a").await;
        assert_eq!((found.object, &found.directory), (None, &moved.from.after));
        assert_eq!(scene.lookup(other.id, "c").await.object.as_ref(), Some(&moved.object));
        assert_eq!(scene.names(other.id).await, ["b", "c"], "round {round}");
        for text in ["b", "c"] {
            writer.store.remove(&cx, other.id, &name(text)).await.unwrap();
        }
        assert_eq!(scene.getattr(made.id).await, None);
        assert_eq!(scene.names(other.id).await, [""; 0]);
    }
    assert!(scene.reader.is_polling());
    // Its own changes are no exception.
    for permissions in 0o600..0o620 {
        let set = scene.reader.setattr(&cx, root, &mode(permissions)).await.unwrap();
        assert_eq!(scene.getattr(root).await.as_ref(), Some(&set.change.after));
    }
}

/// A change that others overtake on the way to its commit is seen at its commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_under_way_at_a_poll_is_seen_when_it_is_committed() {
    let scene = Scene::new().await;
    let (writer, root) = (&scene.writer, scene.writer.root());
    let directory = writer.directory(root, "d").await;
    let slow = writer.file(directory.id, "slow").await;
    let quick = writer.file(root, "quick").await;
    let session = Session::open(writer).await;
    for end in ["ROLLBACK", "COMMIT"] {
        session.client.batch_execute("BEGIN").await.unwrap();
        let rows = session.call(1, &Call::chmod(&slow, 0o600)).await.unwrap();
        assert_eq!(verdict(&rows), 0);
        for permissions in 0o600..0o605 {
            let set = writer.store.setattr(&writer.cx(), quick.id, &mode(permissions)).await;
            assert_eq!(scene.getattr(quick.id).await, Some(set.unwrap().change.after));
            assert_eq!(scene.getattr(slow.id).await.as_ref(), Some(&slow));
        }
        session.client.batch_execute(end).await.unwrap();
        let expected = if end == "COMMIT" { 0o600 } else { 0o644 };
        assert_eq!(scene.getattr(slow.id).await.unwrap().mode, expected, "{end}");
    }
    assert!(scene.reader.is_polling());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_pruned_before_they_were_polled_are_missed() {
    let scene = Scene::new().await;
    let (writer, root) = (&scene.writer, scene.writer.root());
    let (client, session) = (scene.client().await, Session::open(writer).await);
    let prune = "SELECT prune_changes(pg_snapshot_xmax(pg_current_snapshot())::text::bigint, true)";
    let (a, b) = (writer.file(root, "a").await, writer.file(root, "b").await);
    for permissions in 0o600..0o610_u32 {
        // One that begins after a poll, and one that is under way at it.
        session.client.batch_execute("BEGIN").await.unwrap();
        let call = Call::chmod(&scene.getattr(a.id).await.unwrap(), permissions.cast_signed());
        assert_eq!(verdict(&session.call(i64::from(permissions), &call).await.unwrap()), 0);
        scene.getattr(b.id).await;
        session.client.batch_execute("COMMIT").await.unwrap();
        writer.store.setattr(&writer.cx(), b.id, &mode(permissions)).await.unwrap();
        assert!(client.query_one(prune, &[]).await.unwrap().get::<_, i64>(0) > 0);
        assert_eq!(scene.getattr(a.id).await.unwrap().mode, permissions);
        assert_eq!(scene.getattr(b.id).await.unwrap().mode, permissions);
    }
}

/// The list is emptied while a poll waits for its lock: with the term that goes with it, and by hand without.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_emptied_before_they_were_polled_are_missed() {
    let scene = Scene::new().await;
    let (writer, root) = (&scene.writer, scene.writer.root());
    let client = scene.client().await;
    let mut file = writer.file(root, "file").await;
    for (permissions, term) in (0o600..0o620_u32).zip(["SELECT begin_term()", "SELECT 1"].repeat(8))
    {
        // It is in memory after a poll that has seen the change before, and another one.
        for _ in 0..3 {
            assert_eq!(scene.getattr(file.id).await.as_ref(), Some(&file));
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let set = writer.store.setattr(&writer.cx(), file.id, &mode(permissions)).await.unwrap();
        file = set.change.after;
        client.batch_execute("BEGIN; TRUNCATE changes").await.unwrap();
        client.batch_execute(term).await.unwrap();
        let ending = async {
            let polls = "wait_event_type = 'Lock' AND application_name LIKE '% changes'";
            until(&writer.database, "a poll waits", polls, 1).await;
            client.batch_execute("COMMIT").await.unwrap();
        };
        let (found, ()) = tokio::join!(scene.getattr(file.id), ending);
        assert_eq!(found.as_ref(), Some(&file), "{term}");
        assert_eq!(scene.getattr(file.id).await.as_ref(), Some(&file), "{term}");
    }
    assert!(scene.reader.is_polling());
}

/// What polls rest on: rows are taken from under an older snapshot, whose term is the one before, and the
/// list's file is the present one.
#[tokio::test]
async fn an_older_snapshot_knows_an_emptied_list_by_its_file() {
    let fixture = Fixture::new().await;
    fixture.file(fixture.root(), "file").await;
    let [older, client] =
        [connect(&fixture.database.settings()).await, connect(&fixture.database.settings()).await];
    let look =
        "SELECT term, (SELECT count(*) FROM changes), pg_relation_filenode('changes')::bigint
                  FROM change_log";
    let look = async |client: &Client| -> (i64, i64, i64) {
        let row = client.query_one(look, &[]).await.unwrap();
        (row.get(0), row.get(1), row.get(2))
    };
    let before = look(&client).await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT term FROM change_log";
    older.batch_execute(begin).await.unwrap();
    client.batch_execute("BEGIN; TRUNCATE changes; SELECT begin_term(); COMMIT").await.unwrap();
    let after = look(&client).await;
    assert_eq!((before.0, before.1 > 0), (0, true));
    assert_eq!((after.0, after.1), (1, 0));
    assert_eq!(look(&older).await, (0, 0, after.2));
    assert_ne!(before.2, after.2);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_changes_than_are_looked_at_void_everything() {
    let scene = Scene::new().await;
    let (writer, root) = (&scene.writer, scene.writer.root());
    let file = writer.file(root, "file").await;
    assert_eq!(scene.getattr(file.id).await.as_ref(), Some(&file));
    let client = scene.client().await;
    let many = "INSERT INTO changes (xid, objects, directories, names)
                SELECT pg_current_xact_id(), '{}', '{}', '{}' FROM generate_series(1, 3000)";
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute(many).await.unwrap();
    let set = writer.store.setattr(&writer.cx(), file.id, &mode(0o600)).await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(scene.getattr(file.id).await.as_ref(), Some(&set.change.after));
    assert!(scene.reader.is_polling());
}

/// Rows of a dump of another cluster, whose numbers were higher.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_cluster_disturb_nobody() {
    let scene = Scene::new().await;
    let (writer, root) = (&scene.writer, scene.writer.root());
    let foreign = "INSERT INTO changes (xid, objects, directories, names)
                   SELECT '1000000000'::xid8, '{}', '{}', '{}' FROM generate_series(1, 3000)";
    scene.client().await.batch_execute(foreign).await.unwrap();
    let mut file = writer.file(root, "file").await;
    for permissions in 0o600..0o610 {
        assert_eq!(scene.getattr(file.id).await.as_ref(), Some(&file));
        let set = writer.store.setattr(&writer.cx(), file.id, &mode(permissions)).await.unwrap();
        file = set.change.after;
    }
    assert!(scene.reader.is_polling());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_voids_everything() {
    let scene = Scene::new().await;
    let (writer, root) = (&scene.writer, scene.writer.root());
    let file = writer.file(root, "file").await;
    let client = scene.client().await;
    let damage =
        format!("UPDATE files SET link_target = NULL, used = 999999 WHERE id = '{}'", file.id);
    client.batch_execute(&damage).await.unwrap();
    assert_eq!(scene.getattr(file.id).await.unwrap().used, 999_999);
    let tool = Settings { presence: Presence::Tool, ..writer.database.settings() };
    let tool = PostgresStore::connect(tool).await.unwrap();
    let repairer = tool.repairer().await.unwrap();
    let repair = Repair::Amend { object: file.id, flaw: Flaw::Used };
    assert_eq!(repairer.repair(&repair).await.unwrap(), Repaired::Done);
    assert_eq!(scene.getattr(file.id).await.unwrap().used, 0);
    drop(repairer);
    tool.close().await;
}

/// The lease is another's between two polls: what its holder changes is listed nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_holder_has_changed_between_two_polls_is_seen() {
    let scene = Scene::new().await;
    let (writer, root) = (&scene.writer, scene.writer.root());
    let file = writer.file(root, "file").await;
    assert_eq!(scene.getattr(file.id).await.as_ref(), Some(&file));
    let client = scene.client().await;
    let holder = join(&client).await;
    let others = "SELECT array_agg(instance), array_agg(count) FROM instances WHERE instance <> $1";
    let row = client.query_one(others, &[&holder]).await.unwrap();
    let (others, counts): (Vec<uuid::Uuid>, Vec<i64>) = (row.get(0), row.get(1));
    client.batch_execute("BEGIN").await.unwrap();
    let take = "SELECT take_lease($1, NULL, $2, $3)";
    let taken = client.query_one(take, &[&holder, &others, &counts]).await.unwrap();
    assert!(taken.get::<_, bool>(0));
    let change = format!("UPDATE files SET size = 77 WHERE id = '{}'", file.id);
    client.batch_execute(&change).await.unwrap();
    let end = "SELECT end_lease($1, $1, NULL)";
    client.query_one(end, &[&holder]).await.unwrap();
    assert_eq!(scene.getattr(file.id).await.as_ref(), Some(&file));
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(scene.getattr(file.id).await.unwrap().size, 77);
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_that_are_cut_leave_no_call_without_an_answer() {
    for cut in [Cut::BeforeTheCall, Cut::BeforeTheAnswer, Cut::WhileItRuns] {
        let writer = Fixture::new().await;
        let proxy = Proxy::before(&writer.database.settings()).await;
        let reader = proxy.settings(&settings(writer.database.settings()));
        let reader = PostgresStore::connect(reader).await.unwrap();
        let mut file = writer.file(writer.root(), "file").await;
        for round in 0..6_u32 {
            until_polling(&reader, writer.share.id, writer.root()).await;
            // The first statements are those of the calls that ask for themselves.
            proxy.arm(usize::try_from(round).unwrap(), cut);
            let (cx, before) = (writer.cx(), proxy.cuts());
            let mut turns = 0..200;
            while proxy.cuts() == before {
                turns.next().unwrap();
                for read in join_all((0..CALLS).map(|_| reader.getattr(&cx, file.id))).await {
                    assert_eq!(read.unwrap(), file);
                }
                let set = mode(0o600 + round);
                file = writer.store.setattr(&cx, file.id, &set).await.unwrap().change.after;
            }
        }
        assert!(proxy.cuts() >= 6, "{cut:?}");
        reader.close().await;
    }
}

/// A poll waits for a lock, which the calls' own statements do not take.
#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_takes_long_holds_no_call() {
    let scene = Scene::new().await;
    let (reader, cx) = (&scene.reader, scene.writer.cx());
    let file = scene.writer.file(scene.writer.root(), "file").await;
    assert_eq!(scene.getattr(file.id).await.as_ref(), Some(&file));
    let client = scene.client().await;
    client.batch_execute("BEGIN; LOCK TABLE changes IN ACCESS EXCLUSIVE MODE").await.unwrap();
    for _ in 0..3 {
        let began = Instant::now();
        let calls = join_all((0..CALLS).map(|_| reader.getattr(&cx, file.id)));
        let answers = timeout(CALL_LIMIT, calls).await.unwrap();
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|it| *it == file)));
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    client.batch_execute("COMMIT").await.unwrap();
    let set = scene.writer.store.setattr(&cx, file.id, &mode(0o600)).await.unwrap().change.after;
    assert_eq!(scene.getattr(file.id).await.as_ref(), Some(&set));
    until_polling(reader, scene.writer.share.id, file.id).await;
    assert_eq!(scene.getattr(file.id).await.as_ref(), Some(&set));
}

/// Calls whose token fires while they wait for a poll, and calls that are dropped there.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_leaves_the_poll_to_the_others() {
    let scene = Scene::new().await;
    let (reader, cx) = (&scene.reader, scene.writer.cx());
    let file = scene.writer.file(scene.writer.root(), "file").await;
    // No call joins a poll before the answer is in memory, which takes a poll that has seen the file made,
    // and another one.
    for _ in 0..3 {
        scene.getattr(file.id).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let client = scene.client().await;
    client.batch_execute("BEGIN; LOCK TABLE changes IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let cancelled = context(scene.writer.share.id);
    let given_up = join_all((0..CALLS).map(|_| reader.getattr(&cancelled, file.id)));
    let dropped = join_all((0..CALLS).map(|_| reader.getattr(&cx, file.id)));
    let waiting = join_all((0..CALLS).map(|_| reader.getattr(&cx, file.id)));
    let fires = async {
        assert!(timeout(Duration::from_millis(20), dropped).await.is_err(), "they wait");
        cancelled.call.cancel.cancel();
        client.batch_execute("COMMIT").await.unwrap();
    };
    let all = async { tokio::join!(given_up, waiting, fires) };
    let (given_up, waiting, ()) = timeout(CALL_LIMIT, all).await.unwrap();
    // The first ones find nobody to share a poll with, and ask for themselves.
    let over = given_up.iter().filter(|answer| matches!(answer, Err(Error::Cancelled))).count();
    assert!((CALLS - 3..=CALLS).contains(&over), "{given_up:?}");
    assert!(waiting.iter().all(|answer| answer.as_ref().is_ok_and(|it| *it == file)));
    assert_eq!(scene.getattr(file.id).await.as_ref(), Some(&file));
}

/// One task: its own names in directories that all share, changed through one server and looked at through
/// the other, which shows the very attributes that the change was answered with.
async fn work(
    stores: [Arc<PostgresStore>; 2],
    share: ShareId,
    directories: [ObjectId; 2],
    task: usize,
    over: Arc<AtomicBool>,
) -> usize {
    let mut looks = 0;
    for round in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let (by, at) = (&stores[round % 2], &stores[(round + 1) % 2]);
        let cx = context(share);
        let [here, there] =
            if round % 3 == 0 { directories } else { [directories[1], directories[0]] };
        let (first, second, third) =
            (name(&format!("{task}-a")), name(&format!("{task}-b")), name(&format!("{task}-c")));
        let look = async |directory: ObjectId, name: &trunkfs::types::Name| {
            at.lookup(&cx, directory, name).await.unwrap()
        };
        assert_eq!(look(here, &first).await.object, None);
        let made = by.create(&cx, here, &first, &CreateHow::Guarded(mode(0o644))).await.unwrap();
        let found = look(here, &first).await;
        assert_eq!(found.object.as_ref(), Some(&made.object));
        assert!(found.directory.ctime >= made.directory.after.ctime);
        let set = SetAttributes { size: Some(round as u64), ..mode(0o600) };
        let set = by.setattr(&cx, made.object.id, &set).await.unwrap().change.after;
        assert_eq!(at.getattr(&cx, made.object.id).await.unwrap(), set);
        let linked = by.link(&cx, made.object.id, there, &second).await.unwrap().object;
        assert_eq!(look(there, &second).await.object.as_ref(), Some(&linked));
        assert_eq!(look(here, &first).await.object.as_ref(), Some(&linked));
        let other = by.mkdir(&cx, there, &third, &mode(0o755)).await.unwrap().object;
        let page = at.readdir(&cx, there, Cookie(0), 1000, true).await.unwrap();
        let listed = page.entries.iter().find(|entry| entry.name == third).unwrap();
        assert_eq!(listed.attributes.as_ref(), Some(&other));
        by.rmdir(&cx, there, &third).await.unwrap();
        assert!(at.getattr(&cx, other.id).await.is_err());
        let moved = by.rename(&cx, here, &first, there, &third).await.unwrap().object;
        assert_eq!(look(here, &first).await.object, None);
        assert_eq!(look(there, &third).await.object.as_ref(), Some(&moved));
        let page = at.readdir(&cx, here, Cookie(0), 1000, false).await.unwrap();
        assert!(page.entries.iter().all(|entry| entry.name != first));
        by.remove(&cx, there, &second).await.unwrap();
        assert_eq!(look(there, &second).await.object, None);
        assert_eq!(at.getattr(&cx, moved.id).await.unwrap().nlink, 1);
        by.remove(&cx, there, &third).await.unwrap();
        assert!(at.getattr(&cx, moved.id).await.is_err());
        looks += 13;
    }
    looks
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_one_server_is_seen_at_the_other() {
    let database = TestDatabase::create().await;
    let fixture = Fixture::on(settings(database.settings()), database).await;
    let directories = [
        fixture.directory(fixture.root(), "x").await.id,
        fixture.directory(fixture.root(), "y").await.id,
    ];
    let Fixture { store, share, database } = fixture;
    let other = PostgresStore::connect(settings(database.settings())).await.unwrap();
    let stores = [Arc::new(store), Arc::new(other)];
    for store in &stores {
        until_polling(store, share.id, share.root).await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        tasks.spawn(work(stores.clone(), share.id, directories, task, Arc::clone(&over)));
    }
    let client = connect(&database.settings()).await;
    for round in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let statement = match round % 10 {
            3 => {
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name LIKE '% changes'"
            }
            6 => {
                "SELECT prune_changes(pg_snapshot_xmax(pg_current_snapshot())::text::bigint, true)"
            }
            9 => "SELECT begin_term()",
            _ => "SELECT 1",
        };
        client.query(statement, &[]).await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let looks: usize = tasks.join_all().await.into_iter().sum();
    assert!(looks > 500, "{looks} looks");
    assert!(stores.iter().all(|store| !store.is_alone()));
    assert_eq!(stores[0].inconsistencies().await.unwrap(), Vec::<String>::new());
    for store in &stores {
        store.close().await;
    }
}
