//! Cases that every metadata store passes.
//!
//! `cases/` holds them, one file for each operation or theme; [`every_case`] lists them and makes of each
//! a test for every store, named `metadata::<store>::<theme>::<case>`. A store joins with a constructor in
//! `stores.rs` and one line at the end of this file. After each case the store is checked
//! for broken invariants.

mod cases;
mod stores;
mod world;

use std::future::Future;
use std::time::Duration;

use self::stores::Opened;
use self::world::World;

/// The longest that a case may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs a case on a fresh share of a fresh store.
async fn run<F: Future<Output = ()>>(opened: Opened, case: impl FnOnce(World) -> F) {
    let world = World::new(opened.store.clone()).await;
    tokio::time::timeout(LIMIT, case(world)).await.expect("the case ends in time");
    let broken = opened.store.inconsistencies().await.expect("the store can be checked");
    assert_eq!(broken, [""; 0], "broken invariants");
    opened.store.close().await;
    drop(opened.guard);
}

macro_rules! tests {
    ($open:path; $($theme:ident { $($case:ident)* })*) => { $(
        mod $theme { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                let opened = $open().await;
                crate::metadata::run(opened, crate::metadata::cases::$theme::$case).await;
            }
        )* }
    )* };
}

macro_rules! every_case {
    ($open:path) => {
        tests! { $open;
            lookup {
                a_name_leads_to_its_object
                a_name_that_is_not_there_is_no_refusal
                names_are_bytes_and_their_case_counts
                names_of_255_bytes
                only_directories_have_names
                a_removed_directory_is_stale
                the_roots_parent_is_the_root
                the_parent_follows_a_move
                only_directories_have_parents
                another_shares_objects_are_stale
            }
            getattr {
                every_kind_reads_back_as_it_was_made
                what_never_was_is_stale
                a_removed_object_is_stale_at_once
                a_share_that_is_not_there_is_stale
                fileids_are_distinct_and_not_zero
            }
        }
    };
}

mod memory {
    every_case!(crate::metadata::stores::memory);
}

mod postgres {
    every_case!(crate::metadata::stores::postgres);
}
