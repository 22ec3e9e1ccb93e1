//! A store in a folder of its own, and calls on it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use trunkfs::metadata::sqlite::{Settings, SqliteStore};
use trunkfs::metadata::{
    Answer, CreateHow, Created, Error, Invariants as _, MetadataStore as _, Namespace as _,
    RootSpec, SetAttributes, Share, ShareSpec,
};
use trunkfs::types::{Attributes, Context, Name, ObjectId, ShareName};

/// A store with one share.
pub(crate) struct Fixture {
    pub(crate) store: SqliteStore,
    pub(crate) share: Share,
}

pub(crate) fn share_spec() -> ShareSpec {
    ShareSpec {
        name: ShareName::parse("/export").unwrap(),
        root: RootSpec { uid: 0, gid: 0, mode: 0o755 },
        chunk_size: 1 << 22,
    }
}

/// The file of the store in a folder.
pub(crate) fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("metadata.sqlite")
}

/// Opens the store of a folder.
pub(crate) async fn open(folder: &TempDir) -> Result<SqliteStore, Error> {
    SqliteStore::open(Settings::new(file(folder))).await
}

impl Fixture {
    pub(crate) async fn in_folder(folder: &TempDir) -> Self {
        Self::with(Settings::new(file(folder))).await
    }

    pub(crate) async fn at(path: &Path) -> Self {
        Self::with(Settings::new(path.to_path_buf())).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        // A process that another test starts has the lock's file until it runs its own program.
        let until = Instant::now() + Duration::from_secs(60);
        let store = loop {
            match SqliteStore::open(settings.clone()).await {
                Ok(store) => break store,
                Err(error @ Error::Unavailable(_)) => {
                    assert!(Instant::now() < until, "{error:?}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error:?}"),
            }
        };
        let share = store.open_share(&share_spec()).await.unwrap();
        Self { store, share }
    }

    /// The superuser's call, now.
    pub(crate) fn cx(&self) -> Context {
        Context::internal(self.share.id, Duration::from_secs(120))
    }

    pub(crate) fn root(&self) -> ObjectId {
        self.share.root
    }

    pub(crate) async fn create(&self, directory: ObjectId, name: &str) -> Answer<Created> {
        let how = CreateHow::Guarded(mode(0o644));
        self.store.create(&self.cx(), directory, &self::name(name), &how).await
    }

    pub(crate) async fn file(&self, directory: ObjectId, name: &str) -> Attributes {
        self.create(directory, name).await.unwrap().object
    }

    pub(crate) async fn directory(&self, directory: ObjectId, name: &str) -> Attributes {
        let set = mode(0o755);
        self.store.mkdir(&self.cx(), directory, &self::name(name), &set).await.unwrap().object
    }

    pub(crate) async fn find(&self, directory: ObjectId, name: &str) -> Option<Attributes> {
        self.store.lookup(&self.cx(), directory, &self::name(name)).await.unwrap().object
    }

    pub(crate) async fn sound(&self) {
        assert_eq!(self.store.inconsistencies().await.unwrap(), [""; 0]);
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

pub(crate) fn mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..SetAttributes::default() }
}

/// Another program's look into the file. Closed before the store is.
pub(crate) fn look(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}

/// An error and what it comes from, as the command line shows it.
pub(crate) fn told(error: &Error) -> String {
    trunkfs::types::Chain(error).to_string()
}
