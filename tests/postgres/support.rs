//! A store on a database of its own, and calls on it.

use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::Instant;
use trunkfs::metadata::postgres::{PostgresStore, Settings};
use trunkfs::metadata::{
    CreateHow, Invariants as _, MetadataStore as _, Namespace as _, RootSpec, SetAttributes, Share,
    ShareSpec,
};
use trunkfs::types::{Attributes, Context, Name, ObjectId, ShareId, ShareName};

use crate::database::{TestDatabase, connect};

/// No test's call takes longer.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(120);

/// A store with one share.
pub(crate) struct Fixture {
    pub(crate) store: PostgresStore,
    pub(crate) share: Share,
    // Dropped last: the store's connections end first.
    pub(crate) database: TestDatabase,
}

pub(crate) fn share_spec() -> ShareSpec {
    ShareSpec {
        name: ShareName::parse("/export").unwrap(),
        root: RootSpec { uid: 0, gid: 0, mode: 0o755 },
        chunk_size: 1 << 22,
    }
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let database = TestDatabase::create().await;
        Self::on(database.settings(), database).await
    }

    /// A store that reaches `database` as `settings` say.
    pub(crate) async fn on(settings: Settings, database: TestDatabase) -> Self {
        let store = PostgresStore::connect(settings).await.unwrap();
        let share = store.open_share(&share_spec()).await.unwrap();
        Self { store, share, database }
    }

    /// The superuser's call, now.
    pub(crate) fn cx(&self) -> Context {
        context(self.share.id)
    }

    pub(crate) fn root(&self) -> ObjectId {
        self.share.root
    }

    pub(crate) async fn file(&self, directory: ObjectId, name: &str) -> Attributes {
        let how = CreateHow::Guarded(mode(0o644));
        self.store.create(&self.cx(), directory, &self::name(name), &how).await.unwrap().object
    }

    pub(crate) async fn directory(&self, directory: ObjectId, name: &str) -> Attributes {
        let set = mode(0o755);
        self.store.mkdir(&self.cx(), directory, &self::name(name), &set).await.unwrap().object
    }

    pub(crate) async fn sound(&self) {
        assert_eq!(self.store.inconsistencies().await.unwrap(), Vec::<String>::new());
    }
}

/// The superuser's call on a share, now.
pub(crate) fn context(share: ShareId) -> Context {
    Context::internal(share, CALL_LIMIT)
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

pub(crate) fn mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..SetAttributes::default() }
}

/// Waits until `count` sessions of the database are as `condition` on `pg_stat_activity` says.
pub(crate) async fn until(database: &TestDatabase, what: &str, condition: &str, count: i64) {
    until_one_of(database, what, condition, count..=count).await;
}

/// Waits until as many sessions of the database as `counts` says are as `condition` on `pg_stat_activity`
/// says.
pub(crate) async fn until_one_of(
    database: &TestDatabase,
    what: &str,
    condition: &str,
    counts: RangeInclusive<i64>,
) {
    let client = connect(&database.settings()).await;
    let statement = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {condition}"
    );
    let limit = Instant::now() + CALL_LIMIT;
    while !counts.contains(&client.query_one(&statement, &[]).await.unwrap().get(0)) {
        assert!(Instant::now() < limit, "{what}: never");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
