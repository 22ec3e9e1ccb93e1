//! `trunkfs fsck` beside servers whose clients write, cut and remove; killed; and on content in a bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkfs::content::{ContentStore as _, CreateMode, ObjectContent};

use super::database::{TestDatabase, connect};
use super::files::{Files, pattern};
use super::gc::{DISK, SQLITE, bucket, config, postgres, serve};
use super::process::{Finished, Watched, folder, run, trunkfs};
use super::s3::S3Server;

async fn fsck(folder: &TempDir, arguments: &[&str]) -> Finished {
    run(trunkfs(folder.path(), &[&["fsck", "--config", "t.yaml"], arguments].concat())).await
}

/// Nothing that clients do is taken for damage.
async fn under_load(metadata: &str, content: &str) {
    let folder = folder(&config(metadata, content));
    let (server, _files) = serve(&folder).await;
    let mut clients = JoinSet::new();
    let (over, steps) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    for client in 0..4_u64 {
        let (address, over, steps) = (server.address, over.clone(), steps.clone());
        clients.spawn(async move {
            let mut files = Files::open(address).await;
            let mut step = 0_u64;
            while !over.is_cancelled() {
                step += 1;
                steps.fetch_add(1, Ordering::Relaxed);
                let name = format!("{client}-{}", rand::random_range(0..20));
                let bytes = pattern(step, rand::random_range(1..20_000));
                let Some((_, kept)) = files.kept.get(&name) else {
                    files.make(&name, &bytes).await;
                    continue;
                };
                let length = kept.len();
                match rand::random_range(0..6) {
                    0 => files.remove(&name).await,
                    1 => files.resize(&name, 0).await,
                    2 => files.resize(&name, length / 2).await,
                    3 => files.resize(&name, length + 5_000).await,
                    4 => files.write(&name, length / 3, &bytes).await,
                    _ => {
                        files.resize(&name, length / 2).await;
                        files.write(&name, 0, &bytes).await;
                    }
                }
            }
            files.all_there().await;
        });
    }
    let mut checks = 0;
    while checks < 12 || steps.load(Ordering::Relaxed) < 100 {
        checks += 1;
        let checked = fsck(&folder, &[]).await;
        assert_eq!(checked.status, Some(0), "{checked:?}");
    }
    over.cancel();
    clients.join_all().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_under_load_on_sqlite() {
    under_load(SQLITE, DISK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_under_load_on_postgresql() {
    let database = TestDatabase::create().await;
    under_load(&postgres(&database), DISK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_under_load_on_a_bucket() {
    let (database, s3) = (TestDatabase::create().await, S3Server::start().await);
    under_load(&postgres(&database), &bucket(&s3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_a_bucket_has_lost_is_found() {
    let s3 = S3Server::start().await;
    let folder = folder(&config(SQLITE, &bucket(&s3)));
    let (server, mut files) = serve(&folder).await;
    files.make("lost", &pattern(7, 150_000)).await;
    let store = ObjectContent::open_or_make(s3.settings(), CreateMode::Never).await.unwrap();
    let lost = store.list(None, 10).await.unwrap()[0];
    files.make("kept", &pattern(8, 150_000)).await;
    store.remove(lost).await.unwrap();
    let found = fsck(&folder, &[]).await;
    assert_eq!(found.status, Some(4), "{found:?}");
    let words = [
        "/e/lost: the content ",
        "(150000 bytes lost)",
        &lost.to_string(),
        "2 contents",
        "errors: 1,",
    ];
    for word in words {
        assert!(found.out.contains(word), "no {word} in {found:?}");
    }
    server.stop().await;
}

/// However often a repair is killed, what it has done is whole, and the next one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_repair_leaves_nothing_half_done() {
    const FILES: usize = 300;
    let database = TestDatabase::create().await;
    let folder = folder(&config(&postgres(&database), DISK));
    let (server, _files) = serve(&folder).await;
    server.stop().await;
    let client = connect(&database.settings()).await;
    let sql = "INSERT INTO files (id, share_id, file_type, mode, uid, gid, size, used, atime, mtime, ctime, content_id)
               SELECT gen_random_uuid(), 1, 1, 420, 0, 0, 0, 0, 1, 1, 1, gen_random_uuid() FROM generate_series(1, $1::integer)";
    client.execute(sql, &[&i32::try_from(FILES).unwrap()]).await.unwrap();
    let names = "SELECT count(*), count(DISTINCT child_id) FROM parent_child_map";
    let mut kills = 0;
    loop {
        let arguments = ["fsck", "--config", "t.yaml", "--repair", "--no-content"];
        let mut repair = Watched::start(trunkfs(folder.path(), &arguments));
        // At any moment of the work, which begins after a tenth of a second and takes some seconds for all.
        let limit = Duration::from_millis(rand::random_range(100..600));
        if tokio::time::timeout(limit, repair.child.wait()).await.is_ok() {
            break;
        }
        repair.child.kill().await.unwrap();
        kills += 1;
        // The server ends what the killed one had begun, and its lock, a little later.
        let gone = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_backend_pid()";
        while client.query_one(gone, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let row = client.query_one(names, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), row.get::<_, i64>(1), "each has one name");
        if kills == 8 {
            break;
        }
    }
    let rest = fsck(&folder, &["--repair"]).await;
    assert!(matches!(rest.status, Some(0 | 1)), "{rest:?}");
    let clean = fsck(&folder, &[]).await;
    assert_eq!(clean.status, Some(0), "{clean:?}");
    let row = client.query_one(names, &[]).await.unwrap();
    // Those, and lost+found.
    assert_eq!(row.get::<_, i64>(0), i64::try_from(FILES).unwrap() + 1, "{kills} kills");
}
