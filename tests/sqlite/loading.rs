//! A load reads and checks the shares that it brings in, and no other.

use trunkfs::metadata::{LoadError, Namespace as _};

use super::damage::DAMAGE;
use crate::loading_support::{FILES, load, reaching, small_share};
use crate::support::{Fixture, file, look, name};

/// A fault that ends a check of the whole store with an error.
const UNREADABLE: &str = "UPDATE share_usage SET objects = -1";

#[tokio::test(flavor = "multi_thread")]
async fn an_old_fault_in_another_share_stops_no_load() {
    let dump = small_share().await;
    let faults = DAMAGE.iter().map(|(statement, _)| *statement);
    for statement in faults.chain([UNREADABLE]) {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Fixture::in_folder(&folder).await;
        let directory = fixture.directory(fixture.root(), "d").await;
        fixture.directory(directory.id, "sub").await;
        let object = fixture.file(directory.id, "f").await;
        fixture.store.link(&fixture.cx(), object.id, directory.id, &name("g")).await.unwrap();
        look(&file(&folder)).execute_batch(statement).unwrap();
        let loaded = load(&fixture.store, dump.clone()).await;
        let loaded = loaded.unwrap_or_else(|error| panic!("{statement}: {error}"));
        assert_eq!((loaded.objects, loaded.entries), (FILES + 1, FILES), "{statement}");
    }
}

/// The records of the load itself are checked, also where they reach into another share.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_reaches_into_another_share_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::in_folder(&folder).await;
    let directory = fixture.directory(fixture.root(), "d").await;
    let object = fixture.file(directory.id, "f").await;
    for (what, records) in reaching(&small_share().await, fixture.root(), directory.id, object.id) {
        let refused = load(&fixture.store, records).await;
        assert!(matches!(refused, Err(LoadError::Unsound(_))), "{what}: {refused:?}");
        fixture.sound().await;
    }
    load(&fixture.store, small_share().await).await.unwrap();
    fixture.sound().await;
}
