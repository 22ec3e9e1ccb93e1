//! Cases that every metadata store passes.
//!
//! `cases/` holds them, one file for each operation or theme; `list.rs` lists them and makes of each
//! a test for every store, named `metadata::<store>::<theme>::<case>`. A store joins with a constructor in
//! `stores.rs` and a module at the end of this file. After each case the store is checked
//! for broken invariants.

#[macro_use]
mod list;

mod cases;
mod instances;
mod lockers;
mod model;
mod stores;
mod transfer;
mod world;

use std::future::Future;
use std::time::Duration;

use self::cases::*;
use self::stores::Opened;
use self::world::World;

/// The longest that a case may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Runs a case on a fresh share of a fresh store.
async fn run<F: Future<Output = ()>>(opened: Opened, case: impl FnOnce(World) -> F) {
    let world = World::new(opened.store.clone()).await;
    tokio::time::timeout(LIMIT, case(world)).await.expect("the case ends in time");
    let broken = opened.store.inconsistencies().await.expect("the store can be checked");
    assert_eq!(broken, [""; 0], "broken invariants");
    opened.store.close().await;
    assert!(opened.store.shares().await.is_err(), "a closed store answers");
    drop(opened.guard);
}

mod memory {
    single_cases!(crate::metadata::stores::memory);
    meeting_cases!(crate::metadata::stores::memory);
    own_cases!(crate::metadata::stores::limited_memory);
}

mod sqlite {
    single_cases!(crate::metadata::stores::sqlite);
    meeting_cases!(crate::metadata::stores::sqlite);
    own_cases!(crate::metadata::stores::limited_sqlite);
}

mod postgres {
    single_cases!(crate::metadata::stores::postgres);
    meeting_cases!(crate::metadata::stores::postgres);
    own_cases!(crate::metadata::stores::limited_postgres);
}

/// One instance alone with its database.
mod postgres_alone {
    single_cases!(crate::metadata::stores::postgres_alone);
    meeting_cases!(crate::metadata::stores::postgres_alone);
}

/// Two instances on one database, which get the calls in turn.
mod postgres_instances {
    meeting_cases!(crate::metadata::stores::postgres_instances);
}
