//! A mutation's answer outlives a crash of the database also where another call's change, not flushed yet, is
//! all that it rests on (RFC 1813 section 4.8).

use trunkfs::metadata::postgres::{Cache, PostgresStore, Settings};
use trunkfs::metadata::{CreateHow, Error, MetadataStore as _, Namespace as _, Share};
use trunkfs::types::{Attributes, Context, ObjectId};

use crate::cluster::Cluster;
use crate::database::connect;
use crate::session::{Call, Session, verdict};
use crate::support::{context, mode, name, share_spec};

/// A server that writes its log to the disk when it is told to only.
struct Scene {
    cluster: Cluster,
    store: PostgresStore,
    share: Share,
}

impl Scene {
    async fn new() -> Self {
        Self::with(Cache::Off).await
    }

    async fn with(cache: Cache) -> Self {
        let cluster = Cluster::start(&["wal_writer_delay=10s", "autovacuum=off"]).await;
        let settings = Settings { cache, ..settings(&cluster) };
        let store = PostgresStore::connect(settings).await.unwrap();
        let share = store.open_share(&share_spec()).await.unwrap();
        Self { cluster, store, share }
    }

    fn cx(&self) -> Context {
        context(self.share.id)
    }

    fn root(&self) -> ObjectId {
        self.share.root
    }

    async fn directory(&self) -> Attributes {
        self.store.getattr(&self.cx(), self.root()).await.unwrap()
    }

    async fn file(&self, text: &str) -> Attributes {
        let how = CreateHow::Guarded(mode(0o644));
        self.store.create(&self.cx(), self.root(), &name(text), &how).await.unwrap().object
    }

    /// Another instance's change, committed and not flushed.
    async fn unflushed(&self, call: &Call) {
        let session = Session::on(connect(&settings(&self.cluster)).await, self.share.id).await;
        // Claiming the slot is committed durably, and everything before it.
        assert_eq!(verdict(&session.call(1, call).await.unwrap()), 0);
    }

    /// The database crashes and comes back; whether the name is there.
    async fn has_after_a_crash(mut self, text: &str) -> bool {
        self.cluster.stop();
        self.cluster.run().await;
        let found = self.store.lookup(&self.cx(), self.root(), &name(text)).await.unwrap();
        found.object.is_some()
    }
}

fn settings(cluster: &Cluster) -> Settings {
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", cluster.port);
    Settings { auto_migrate: true, cache: Cache::Off, ..Settings::from_url(&url).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_is_there() {
    let scene = Scene::new().await;
    scene.unflushed(&Call::create((&scene.directory().await, "file"))).await;
    assert!(!scene.has_after_a_crash("file").await, "nothing flushed it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_finds_the_file() {
    let scene = Scene::new().await;
    scene.unflushed(&Call::create((&scene.directory().await, "file"))).await;
    let how = CreateHow::Unchecked(mode(0o644));
    let found = scene.store.create(&scene.cx(), scene.root(), &name("file"), &how).await.unwrap();
    assert!(!found.made);
    assert!(scene.has_after_a_crash("file").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_is_refused() {
    let scene = Scene::new().await;
    scene.unflushed(&Call::create((&scene.directory().await, "file"))).await;
    let refused = scene
        .store
        .mkdir(&scene.cx(), scene.root(), &name("file"), &mode(0o755))
        .await
        .unwrap_err();
    assert!(matches!(refused.error, Error::Exists));
    assert!(scene.has_after_a_crash("file").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_of_a_name_that_is_gone() {
    let scene = Scene::new().await;
    let file = scene.file("file").await;
    scene.unflushed(&Call::remove((&scene.directory().await, "file"), &file)).await;
    let refused = scene.store.remove(&scene.cx(), scene.root(), &name("file")).await.unwrap_err();
    assert!(matches!(refused.error, Error::NotFound));
    assert!(!scene.has_after_a_crash("file").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_onto_the_same_object() {
    let scene = Scene::new().await;
    let file = scene.file("file").await;
    scene.unflushed(&Call::link((&scene.directory().await, "second"), &file)).await;
    let (cx, root) = (scene.cx(), scene.root());
    scene.store.rename(&cx, root, &name("file"), root, &name("second")).await.unwrap();
    assert!(scene.has_after_a_crash("second").await);
}

/// A store that is alone answers a call, and each refusal that rests on it, when the batch is on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_store_that_is_alone() {
    let scene = Scene::with(Cache::Auto).await;
    crate::alone::until_alone(&scene.store).await;
    let how = CreateHow::Guarded(mode(0o644));
    let (cx, root, text) = (scene.cx(), scene.root(), name("file"));
    let create = || scene.store.create(&cx, root, &text, &how);
    let (first, second) = tokio::join!(create(), create());
    assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1);
    assert!(scene.has_after_a_crash("file").await);
}
