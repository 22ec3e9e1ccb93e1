//! Several instances at random on a few names, connections ended underneath: nothing breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use trunkfs::metadata::postgres::PostgresStore;
use trunkfs::metadata::{Answer, CreateHow, Error, Namespace as _, SetAttributes};
use trunkfs::types::{Call, Context, ObjectId};

use crate::database::connect;
use crate::support::{CALL_LIMIT, Fixture, mode, name};

const WORKERS: u64 = 12;
/// What must have happened before it ends.
const STEPS: u64 = 500;
const ENDED_SESSIONS: u64 = 25;

/// One random operation.
async fn attempt(
    store: &PostgresStore,
    cx: &Context,
    directories: &[ObjectId],
    random: &mut StdRng,
) -> Answer<()> {
    let mut directory = || directories[random.random_range(0..directories.len())];
    let (from, to) = (directory(), directory());
    let mut pick = || name(&format!("n{}", random.random_range(0..4)));
    let (one, two) = (pick(), pick());
    match random.random_range(0..10) {
        0 | 1 => {
            let how = CreateHow::Unchecked(mode(0o644));
            store.create(cx, from, &one, &how).await.map(drop)
        }
        2 => store.mkdir(cx, from, &one, &mode(0o755)).await.map(drop),
        3 => store.remove(cx, from, &one).await.map(drop),
        4 => store.rmdir(cx, from, &one).await.map(drop),
        5 | 6 => store.rename(cx, from, &one, to, &two).await.map(drop),
        7 => match store.lookup(cx, from, &one).await?.object {
            Some(object) => store.link(cx, object.id, to, &two).await.map(drop),
            None => Ok(()),
        },
        8 => match store.lookup(cx, from, &one).await?.object {
            Some(object) => {
                let set = SetAttributes { size: Some(random.random_range(0..99)), ..mode(0o644) };
                store.setattr(cx, object.id, &set).await.map(drop)
            }
            None => Ok(()),
        },
        _ => store.readdir(cx, from, trunkfs::types::Cookie::START, 10, true).await.map(drop),
    }
}

/// A refusal is an answer; only what says that the store failed is an error.
pub(crate) async fn step(
    store: &PostgresStore,
    cx: &Context,
    directories: &[ObjectId],
    random: &mut StdRng,
) -> Result<(), Error> {
    match attempt(store, cx, directories, random).await.map_err(|refusal| refusal.error) {
        Err(
            error @ (Error::Backend(_)
            | Error::Schema(_)
            | Error::Damaged(_)
            | Error::NoSpace(_)
            | Error::ReadOnly(_)),
        ) => Err(error),
        Ok(())
        | Err(
            Error::NotFound
            | Error::Exists
            | Error::NotDirectory
            | Error::IsDirectory
            | Error::NotEmpty
            | Error::Stale
            | Error::AccessDenied
            | Error::NotPermitted
            | Error::Invalid
            | Error::BadType
            | Error::TooManyLinks
            | Error::NotSync
            | Error::Superseded
            | Error::TooLarge
            | Error::Unavailable(_)
            | Error::Cancelled,
        ) => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_operations_of_three_instances_leave_the_store_sound() {
    let fixture = Fixture::new().await;
    let mut directories = vec![fixture.root()];
    for directory in ["n0", "n1", "n2"] {
        directories.push(fixture.directory(fixture.root(), directory).await.id);
    }
    let mut stores = Vec::new();
    for _ in 0..3 {
        let mut settings = fixture.database.settings();
        settings.max_connections = 3;
        stores.push(Arc::new(PostgresStore::connect(settings).await.unwrap()));
    }
    let (over, steps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let store = Arc::clone(&stores[usize::try_from(worker).unwrap() % stores.len()]);
            let (directories, cx) = (directories.clone(), fixture.cx());
            let (over, steps) = (over.clone(), steps.clone());
            tokio::spawn(async move {
                let mut random = StdRng::seed_from_u64(worker);
                while !over.load(Ordering::Relaxed) {
                    let call = Call::internal(CALL_LIMIT);
                    let now = trunkfs::types::Timestamp::now();
                    let cx = Context { now, call, ..cx.clone() };
                    step(&store, &cx, &directories, &mut random).await.unwrap();
                    steps.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let client = connect(&fixture.database.settings()).await;
    let mut ended = 0;
    while ended < ENDED_SESSIONS || steps.load(Ordering::Relaxed) < STEPS {
        tokio::time::sleep(Duration::from_millis(150)).await;
        ended += client
            .execute(
                "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name = 'trunkfs'
                  ORDER BY random() LIMIT 1) x",
                &[],
            )
            .await
            .unwrap();
    }
    over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    fixture.sound().await;
}
