//! The write-ahead log stays short under load, and as long as it may be under a reader that stays.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use trunkfs::metadata::sqlite::Settings;
use trunkfs::metadata::{Error, Namespace as _};

use crate::support::{Fixture, file, look, mode};

/// What a log that a reader holds may take, in bytes.
const LIMIT: u64 = 8 << 20;
/// What another may take. Writers are refused at it, so that the thread which keeps the log short has to get
/// its turn before they are there: on a busy machine it may take a while.
const WIDE_LIMIT: u64 = 64 << 20;
/// No test waits longer.
const PATIENCE: Duration = Duration::from_secs(300);

fn log_size(database: &Path) -> u64 {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    std::fs::metadata(name).map_or(0, |log| log.len())
}

/// Writers and readers that work until told to stop. Answers how many changes were made and refused.
async fn under_load<F: Future<Output = ()>>(
    fixture: Arc<Fixture>,
    meanwhile: impl FnOnce(Arc<AtomicU64>, Arc<AtomicU64>) -> F,
) {
    let stop = Arc::new(AtomicBool::new(false));
    let (made, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut workers = Vec::new();
    for worker in 0..6 {
        let directory = fixture.directory(fixture.root(), &format!("w{worker}")).await.id;
        let (fixture, stop) = (fixture.clone(), stop.clone());
        let (made, refused) = (made.clone(), refused.clone());
        workers.push(tokio::spawn(async move {
            let mut number = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let set = mode(number % 0o1000);
                match fixture.store.setattr(&fixture.cx(), directory, &set).await {
                    Ok(_) => made.fetch_add(1, Ordering::Relaxed),
                    Err(refusal) => {
                        assert!(matches!(refusal.error, Error::Unavailable(_)), "{refusal:?}");
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        refused.fetch_add(1, Ordering::Relaxed)
                    }
                };
                fixture.store.getattr(&fixture.cx(), directory).await.unwrap();
                number += 1;
            }
        }));
    }
    meanwhile(made, refused).await;
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    fixture.sound().await;
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}: never");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_stays_short_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let settings = Settings { log_limit: WIDE_LIMIT, ..Settings::new(path.clone()) };
    let fixture = Arc::new(Fixture::with(settings).await);
    under_load(fixture, |made, refused| async move {
        // As many changes as would make it several times as long as it may be.
        until("changes", || {
            let size = log_size(&path);
            assert!(size <= WIDE_LIMIT, "the log has {size} bytes");
            made.load(Ordering::Relaxed) > 12_000
        })
        .await;
        assert_eq!(refused.load(Ordering::Relaxed), 0, "nobody waits for its end");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_that_stays_ends_changes_before_the_disk_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let settings = Settings { log_limit: LIMIT, ..Settings::new(path.clone()) };
    let fixture = Arc::new(Fixture::with(settings).await);
    let reader = look(&path);
    reader.execute_batch("BEGIN; SELECT count(*) FROM files").unwrap();
    under_load(fixture, |made, refused| async move {
        until("a refusal", || refused.load(Ordering::Relaxed) > 10).await;
        // The last transaction may go beyond it.
        assert!(log_size(&path) <= LIMIT + (1 << 20), "{}", log_size(&path));
        drop(reader);
        let before = made.load(Ordering::Relaxed);
        until("changes", || made.load(Ordering::Relaxed) > before + 1000).await;
    })
    .await;
}
