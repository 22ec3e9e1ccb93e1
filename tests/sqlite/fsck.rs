//! A check finds what is broken and nothing else, also while a server changes everything; a repair mends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use trunkfs::admin::fsck::{Extent, Outcome};
use trunkfs::metadata::sqlite::SqliteFile;
use trunkfs::metadata::{Checkable as _, CreateHow, Namespace as _};

use crate::fsck_support::{
    CASES, SMALL, STRAY_ENTRIES, check, furnish, judge, kinds, mend_nothing, repair, walk,
};
use crate::support::{Fixture, file, look, mode, name};

fn filled(sql: &str) -> String {
    let counters = "UPDATE share_usage SET objects = objects + 3, bytes_low = bytes_low + 5 WHERE share_id = 1";
    sql.replace("{U}", counters).replace("{B}", "BLOB").replace("{R}", "randomblob(16)")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_damage_is_found_and_mended() {
    for case in CASES.iter().chain(&STRAY_ENTRIES) {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Fixture::in_folder(&folder).await;
        furnish(&fixture.store, &fixture.share).await;
        fixture.sound().await;
        look(&file(&folder)).execute_batch(&filled(case.damage)).unwrap();
        let objects = if case.found.contains(&"dangling_entry") { 5 } else { 6 };
        judge(&fixture.store, &fixture.share, case, objects).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_name_is_found_in_lost_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::in_folder(&folder).await;
    furnish(&fixture.store, &fixture.share).await;
    let before = walk(&fixture.store, &fixture.share).await;
    let sql = "DELETE FROM parent_child_map WHERE child_name = x'64'";
    look(&file(&folder)).execute_batch(sql).unwrap();
    let found = repair(&fixture.store, Extent::default()).await;
    assert_eq!(kinds(&found), ["no_name", "subdirectory_count"]);
    let d = before.iter().find(|it| it.0 == "/d").unwrap().1;
    let after = walk(&fixture.store, &fixture.share).await;
    for (path, id) in &before {
        let path =
            path.replacen("/d", &format!("/lost+found/{d}"), usize::from(path.starts_with("/d")));
        assert!(after.contains(&(path.clone(), *id)), "no {path} in {after:?}");
    }
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mend_that_comes_late_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::in_folder(&folder).await;
    mend_nothing(&fixture.store, &fixture.share).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_mended_is_said_and_left() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::in_folder(&folder).await;
    furnish(&fixture.store, &fixture.share).await;
    let sql = "UPDATE shares SET root = randomblob(16) WHERE name = '/second'";
    look(&file(&folder)).execute_batch(sql).unwrap();
    let found = repair(&fixture.store, SMALL).await;
    assert_eq!(kinds(&found), ["no_name", "no_root"]);
    assert!(found.iter().all(|found| matches!(found.outcome, Outcome::Left(_))), "{found:?}");
}

/// Its entries are all that is known of what was in it.
#[tokio::test(flavor = "multi_thread")]
async fn the_entries_of_a_root_that_is_gone_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::in_folder(&folder).await;
    furnish(&fixture.store, &fixture.share).await;
    let before = walk(&fixture.store, &fixture.share).await;
    let sql = "CREATE TABLE saved AS SELECT * FROM files WHERE id = (SELECT root FROM shares WHERE id = 1);
               DELETE FROM files WHERE id IN (SELECT id FROM saved)";
    look(&file(&folder)).execute_batch(sql).unwrap();
    let found = repair(&fixture.store, SMALL).await;
    assert_eq!(kinds(&found), ["no_root", "usage"], "{found:?}");
    let sql = "INSERT INTO files SELECT * FROM saved; DROP TABLE saved;
               UPDATE share_usage SET objects = objects + 1 WHERE share_id = 1";
    look(&file(&folder)).execute_batch(sql).unwrap();
    assert_eq!(walk(&fixture.store, &fixture.share).await, before, "every name is there");
    fixture.sound().await;
}

/// The check is another process's: it knows the file alone.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_while_a_server_changes_everything() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Arc::new(Fixture::in_folder(&folder).await);
    let mut directories = vec![fixture.root()];
    for directory in ["n0", "n1", "n2"] {
        directories.push(fixture.directory(fixture.root(), directory).await.id);
    }
    let (ends, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..6 {
        let (fixture, directories) = (fixture.clone(), directories.clone());
        let (ends, done) = (ends.clone(), done.clone());
        workers.spawn(async move {
            let mut random = StdRng::seed_from_u64(worker);
            while !ends.load(Ordering::Relaxed) {
                let mut directory = || directories[random.random_range(0..directories.len())];
                let (from, to) = (directory(), directory());
                let mut pick = || name(&format!("n{}", random.random_range(0..4)));
                let (one, two) = (pick(), pick());
                let (store, cx) = (&fixture.store, fixture.cx());
                let how = CreateHow::Unchecked(mode(0o644));
                // A refusal is an answer as good as any.
                let went = match random.random_range(0..6) {
                    0 => store.create(&cx, from, &one, &how).await.is_ok(),
                    1 => store.mkdir(&cx, from, &one, &mode(0o755)).await.is_ok(),
                    2 => store.remove(&cx, from, &one).await.is_ok(),
                    3 => store.rename(&cx, from, &one, to, &two).await.is_ok(),
                    4 => store.rmdir(&cx, from, &one).await.is_ok(),
                    _ => match store.lookup(&cx, from, &one).await.map(|found| found.object) {
                        Ok(Some(object)) => store.link(&cx, object.id, to, &two).await.is_ok(),
                        Ok(None) | Err(_) => false,
                    },
                };
                done.fetch_add(u64::from(went), Ordering::Relaxed);
            }
        });
    }
    let outside = SqliteFile::open(file(&folder)).await.unwrap();
    let checker = outside.checker().await.unwrap();
    let mut round = 0;
    while round < 20 || done.load(Ordering::Relaxed) < 500 {
        round += 1;
        let extent = if round % 2 == 0 { SMALL } else { Extent { page: 5, counted: 1000 } };
        assert_eq!(check(&*checker, extent).await, [], "round {round}");
    }
    ends.store(true, Ordering::Relaxed);
    workers.join_all().await;
    fixture.sound().await;
}
