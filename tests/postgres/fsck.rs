//! A check finds what is broken and nothing else, a repair mends it, and instances serve the store meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;
use trunkfs::admin::fsck::{Extent, Finding, Outcome, Stopped};
use trunkfs::metadata::postgres::PostgresStore;
use trunkfs::metadata::{
    Checkable as _, Error, Invariants as _, MetadataStore as _, Namespace as _, Repairable as _,
};
use trunkfs::types::{Call, Context, ObjectId, Timestamp};

use crate::database::connect;
use crate::fsck_support::{
    CASES, Case, SMALL, STRAY_ENTRIES, check, furnish, judge, kinds, mend_nothing, repair,
    repair_until, walk,
};
use crate::load::step;
use crate::support::{CALL_LIMIT, Fixture, name};

fn filled(sql: &str) -> String {
    let counters = "UPDATE writer_slots SET files = files + 3, bytes = bytes - 5 WHERE slot = 0 AND share_id = (SELECT id FROM shares WHERE name = '/export')";
    sql.replace("{U}", counters).replace("{B}", "bytea").replace("{R}", "gen_random_uuid()")
}

async fn damage(fixture: &Fixture, sql: &str) {
    let client = connect(&fixture.database.settings()).await;
    let start = Instant::now();
    // The highest cookie of all may be one of the same directory, until somebody else makes an entry
    // elsewhere.
    while let Err(error) = client.batch_execute(&filled(sql)).await {
        let is_taken = error.code() == Some(&SqlState::UNIQUE_VIOLATION);
        assert!(is_taken && start.elapsed() < CALL_LIMIT, "{error:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn judge_case(case: &Case) {
    let fixture = Fixture::new().await;
    furnish(&fixture.store, &fixture.share).await;
    fixture.sound().await;
    damage(&fixture, case.damage).await;
    // One object is gone for good where its row is.
    let objects = if case.found.contains(&"dangling_entry") { 5 } else { 6 };
    judge(&fixture.store, &fixture.share, case, objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_damage_is_found_and_mended() {
    for case in CASES.iter().chain(&STRAY_ENTRIES) {
        judge_case(case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_mended_is_said_and_left() {
    let fixture = Fixture::new().await;
    furnish(&fixture.store, &fixture.share).await;
    damage(&fixture, "UPDATE shares SET root = {R} WHERE name = '/second'").await;
    let found = repair(&fixture.store, SMALL).await;
    assert_eq!(kinds(&found), ["no_name", "no_root"]);
    for found in &found {
        assert!(matches!(found.outcome, Outcome::Left(_)), "{found:?}");
    }
    let fixture = Fixture::new().await;
    furnish(&fixture.store, &fixture.share).await;
    damage(
        &fixture,
        "UPDATE files SET share_id = 99 WHERE file_type = 2 AND subdirs = 0 AND parent_id <> id",
    )
    .await;
    let checker = fixture.store.checker().await.unwrap();
    let found = check(&*checker, SMALL).await;
    assert_eq!(kinds(&found).iter().filter(|kind| **kind == "no_share").count(), 2, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_name_is_found_in_lost_and_found() {
    let fixture = Fixture::new().await;
    furnish(&fixture.store, &fixture.share).await;
    let before = walk(&fixture.store, &fixture.share).await;
    damage(&fixture, "DELETE FROM parent_child_map WHERE child_name = CAST('d' AS {B})").await;
    let found = repair(&fixture.store, Extent::default()).await;
    assert_eq!(kinds(&found), ["no_name", "subdirectory_count"]);
    fixture.sound().await;
    let lost = |path: &str, id: &ObjectId| {
        let d = before.iter().find(|it| it.0 == "/d").unwrap().1;
        (path.replacen("/d", &format!("/lost+found/{d}"), 1), *id)
    };
    let mut expected: Vec<_> = before
        .iter()
        .map(|(path, id)| if path.starts_with("/d") { lost(path, id) } else { (path.clone(), *id) })
        .collect();
    let mut after = walk(&fixture.store, &fixture.share).await;
    let place = after.iter().position(|it| it.0 == "/lost+found").unwrap();
    let (_, place) = after.remove(place);
    let mode = fixture.store.getattr(&fixture.cx(), place).await.unwrap().mode;
    assert_eq!(mode, 0o700, "others' files are in it");
    expected.sort();
    after.sort();
    assert_eq!(after, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_and_found_that_is_a_file_is_said() {
    let fixture = Fixture::new().await;
    furnish(&fixture.store, &fixture.share).await;
    fixture.file(fixture.root(), "lost+found").await;
    damage(&fixture, "DELETE FROM parent_child_map WHERE child_name = CAST('x' AS {B})").await;
    let found = repair(&fixture.store, SMALL).await;
    assert_eq!(
        found[0].outcome,
        Outcome::Left("/export/lost+found is not a directory: rename it".to_owned())
    );
    let (from, to) = (name("lost+found"), name("mine"));
    let root = fixture.root();
    fixture.store.rename(&fixture.cx(), root, &from, root, &to).await.unwrap();
    assert_eq!(repair(&fixture.store, SMALL).await[0].outcome, Outcome::Repaired);
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mend_that_comes_late_changes_nothing() {
    let fixture = Fixture::new().await;
    mend_nothing(&fixture.store, &fixture.share).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_repair_is_made_at_a_time() {
    let fixture = Fixture::new().await;
    let repairer = fixture.store.repairer().await.unwrap();
    let second = fixture.store.repairer().await;
    assert!(matches!(second, Err(Error::Unavailable(_))), "{second:?}");
    // It keeps no instance from starting.
    PostgresStore::connect(fixture.database.settings()).await.unwrap().close().await;
    drop(repairer);
    // The server notices the end of a connection a little later.
    let limit = std::time::Instant::now() + crate::support::CALL_LIMIT;
    while let Err(error) = fixture.store.repairer().await {
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        assert!(std::time::Instant::now() < limit, "the lock of an ended repair stays");
    }
}

/// Instances that change a few names at random, until told to end.
struct Load {
    workers: JoinSet<()>,
    ends: Arc<AtomicBool>,
    steps: Arc<AtomicU64>,
}

impl Load {
    async fn start(fixture: &Fixture) -> Self {
        let mut directories = vec![fixture.root()];
        for directory in ["n0", "n1", "n2"] {
            directories.push(fixture.directory(fixture.root(), directory).await.id);
        }
        let (ends, steps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut workers = JoinSet::new();
        for instance in 0..2 {
            let mut settings = fixture.database.settings();
            settings.max_connections = 3;
            let store = Arc::new(PostgresStore::connect(settings).await.unwrap());
            for worker in 0..4 {
                let (store, ends, steps) = (store.clone(), ends.clone(), steps.clone());
                let (directories, cx) = (directories.clone(), fixture.cx());
                workers.spawn(async move {
                    let mut random = StdRng::seed_from_u64(instance * 100 + worker);
                    while !ends.load(Ordering::Relaxed) {
                        let call = Call::internal(crate::support::CALL_LIMIT);
                        let cx = Context { now: Timestamp::now(), call, ..cx.clone() };
                        step(&store, &cx, &directories, &mut random).await.unwrap();
                        steps.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        Self { workers, ends, steps }
    }

    /// Ends when there was much to do.
    async fn end(self) {
        while self.steps.load(Ordering::Relaxed) < 300 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        self.ends.store(true, Ordering::Relaxed);
        self.workers.join_all().await;
    }
}

/// Every page and every table is so small that renames and links go on between any two of them.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_while_instances_change_everything() {
    let fixture = Fixture::new().await;
    let load = Load::start(&fixture).await;
    let checker = fixture.store.checker().await.unwrap();
    let mut round = 0;
    while round < 20 || load.steps.load(Ordering::Relaxed) < 300 {
        round += 1;
        let extent = if round % 2 == 0 { SMALL } else { Extent { page: 5, counted: 1000 } };
        assert_eq!(check(&*checker, extent).await, [], "round {round}");
    }
    load.end().await;
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_goes_on_beside_instances() {
    let fixture = Fixture::new().await;
    furnish(&fixture.store, &fixture.share).await;
    let load = Load::start(&fixture).await;
    for case in CASES.iter().filter(|case| case.damage.contains("'sub'") || case.damage == "{U}") {
        // One directory is broken in many ways, each mended before the next.
        damage(&fixture, case.damage).await;
        let found = repair(&fixture.store, SMALL).await;
        assert_eq!(kinds(&found), case.mended, "{}: {found:#?}", case.damage);
        let sub = walk(&fixture.store, &fixture.share).await;
        let moved = sub.iter().find(|(path, _)| path.starts_with("/lost+found/")).cloned();
        if let Some((path, _)) = moved {
            let lost = sub.iter().find(|(path, _)| path == "/lost+found").unwrap().1;
            let d = sub.iter().find(|(path, _)| path == "/d").unwrap().1;
            let from = name(path.split('/').nth(2).unwrap());
            fixture.store.rename(&fixture.cx(), lost, &from, d, &name("sub")).await.unwrap();
        }
    }
    load.end().await;
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_repair_leaves_nothing_half_done() {
    let fixture = Fixture::new().await;
    for each in 0..20 {
        fixture.file(fixture.root(), &format!("lost{each}")).await;
    }
    damage(&fixture, "DELETE FROM parent_child_map").await;
    let cancel = CancellationToken::new();
    let ending = cancel.clone();
    let mut mended = 0;
    let ended = repair_until(&fixture.store, SMALL, cancel, |found| {
        assert!(matches!(found.finding, Finding::NoName { .. }), "{found:?}");
        mended += 1;
        if mended == 7 {
            ending.cancel();
        }
    })
    .await;
    assert!(matches!(ended, Err(Stopped::Cancelled)), "{ended:?}");
    assert_eq!(walk(&fixture.store, &fixture.share).await.len(), 7 + 1);
    let broken = fixture.store.inconsistencies().await.unwrap();
    assert_eq!(broken.len(), 13, "each of the others has no name: {broken:#?}");
    assert_eq!(repair(&fixture.store, SMALL).await.len(), 13);
    fixture.sound().await;
}
