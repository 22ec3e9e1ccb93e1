//! Calls that wait for a lock while others change what they name: an answer shows all objects as they were at
//! one moment, at which a refusal was right, and a change leads from there without a gap.

use std::collections::HashMap;

use trunkfs::metadata::{Answer, Change, Error, Namespace as _, SetAttributes};
use trunkfs::types::{Attributes, Context, Credentials, Name, ObjectId};

use crate::coherent;
use crate::database::TestDatabase;
use crate::gate::{Gate, Side};
use crate::session::{Call, Session, verdict};
use crate::support::{Fixture, mode, name, until};

/// A share with directories `a` and `b` and files `a/f` and `b/g`, and names to be used.
struct Scene {
    fixture: Fixture,
    root: Attributes,
    a: Attributes,
    b: Attributes,
    f: Attributes,
    g: Attributes,
    names: HashMap<&'static str, Name>,
}

/// When objects were changed last, before the lock was free.
type Times = HashMap<ObjectId, i64>;

impl Scene {
    async fn new() -> Self {
        Self::on(Fixture::new().await).await
    }

    async fn on(fixture: Fixture) -> Self {
        let a = fixture.directory(fixture.root(), "a").await;
        let b = fixture.directory(fixture.root(), "b").await;
        let (f, g) = (fixture.file(a.id, "f").await, fixture.file(b.id, "g").await);
        let names = ["a", "b", "f", "g", "x", "y"].map(|text| (text, name(text)));
        let root = fixture.store.getattr(&fixture.cx(), fixture.root()).await.unwrap();
        let mut scene = Self { fixture, root, a, b, f, g, names: names.into() };
        for object in [scene.a.id, scene.b.id] {
            scene.fixture.store.setattr(&scene.fixture.cx(), object, &mode(0o777)).await.unwrap();
        }
        scene.a = *scene.now(scene.a.id).await.unwrap();
        scene.b = *scene.now(scene.b.id).await.unwrap();
        scene
    }

    /// What an answer that is given now shows.
    async fn now(&self, object: ObjectId) -> Option<Box<Attributes>> {
        self.fixture.store.getattr(&self.fixture.cx(), object).await.ok().map(Box::new)
    }

    /// Has `call` wait for changes of one transaction. While it waits, others are made and committed.
    async fn behind<T>(
        &self,
        changes: &[Call],
        others: &[Call],
        call: impl Future<Output = Answer<T>>,
    ) -> (Answer<T>, Times) {
        let [holder, other] =
            [Session::open(&self.fixture).await, Session::open(&self.fixture).await];
        holder.client.batch_execute("BEGIN").await.unwrap();
        made(&holder, changes).await;
        let meanwhile = async {
            let waits = "wait_event_type = 'Lock' AND application_name = 'trunkfs'";
            until(&self.fixture.database, "the call waits", waits, 1).await;
            made(&other, others).await;
            let times = holder.client.query("SELECT id, ctime FROM files", &[]).await.unwrap();
            let times = times.iter().map(|row| (ObjectId(row.get(0)), row.get(1))).collect();
            holder.client.batch_execute("COMMIT").await.unwrap();
            times
        };
        let answer = tokio::join!(call, meanwhile);
        self.fixture.sound().await;
        answer
    }

    async fn link(&self, cx: &Context, object: &Attributes, to: &Attributes, as_: &str) -> Linked {
        self.fixture.store.link(cx, object.id, to.id, &self.names[as_]).await
    }

    async fn rename(&self, cx: &Context, from: Place<'_>, to: Place<'_>) -> Renamed {
        let (from_name, to_name) = (&self.names[from.1], &self.names[to.1]);
        self.fixture.store.rename(cx, from.0.id, from_name, to.0.id, to_name).await
    }

    /// That a refusal shows two objects as they are now.
    async fn refused<T: std::fmt::Debug, const N: usize>(
        &self,
        (answer, _): (Answer<T>, Times),
        shown: [&Attributes; N],
    ) -> Error {
        let refusal = answer.unwrap_err();
        let mut now = Vec::new();
        for object in shown {
            now.push(self.now(object.id).await);
        }
        now.resize(2, None);
        assert_eq!([refusal.first, refusal.second].as_slice(), now, "{:?}", refusal.error);
        refusal.error
    }

    /// That a change leads from what there was when the lock was free to what there is now.
    async fn follows(&self, change: &Change, times: &Times) {
        let (before, after) = (change.before.as_ref().unwrap(), &change.after);
        assert_eq!(times.get(&before.id), Some(&before.ctime.0), "{before:?}");
        assert!(after.ctime > before.ctime && after.id == before.id);
        assert_eq!(self.now(after.id).await.as_deref(), Some(after));
    }
}

type Linked = Answer<trunkfs::metadata::LinkTarget>;
type Renamed = Answer<trunkfs::metadata::Renamed>;
type Place<'a> = (&'a Attributes, &'a str);

async fn made(session: &Session, changes: &[Call]) {
    for (batch, change) in (1..).zip(changes) {
        assert_eq!(verdict(&session.call(batch, change).await.unwrap()), 0, "change {batch}");
    }
}

/// A caller who owns nothing.
fn stranger(scene: &Scene) -> Context {
    let credentials = Credentials { uid: 1000, gid: 1000, gids: Vec::new() };
    Context { credentials, ..scene.fixture.cx() }
}

#[tokio::test(flavor = "multi_thread")]
async fn link_to_a_name_that_is_taken_meanwhile() {
    let s = Scene::new().await;
    let changes = [Call::create((&s.b, "x")), Call::create((&s.b, "y"))];
    let others = [Call::chmod(&s.f, 0o600)];
    let call = async { s.link(&s.fixture.cx(), &s.f, &s.b, "x").await };
    let error = s.refused(s.behind(&changes, &others, call).await, [&s.f, &s.b]).await;
    assert!(matches!(error, Error::Exists), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn link_of_a_file_that_goes_meanwhile() {
    let s = Scene::new().await;
    let changes = [Call::create((&s.b, "x")), Call::remove((&s.a, "f"), &s.f)];
    let call = async { s.link(&s.fixture.cx(), &s.f, &s.b, "y").await };
    let error = s.refused(s.behind(&changes, &[], call).await, [&s.f, &s.b]).await;
    assert!(matches!(error, Error::Stale), "{error:?}");
    assert!(s.now(s.f.id).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn link_in_a_directory_that_goes_meanwhile() {
    let s = Scene::new().await;
    let changes = [Call::remove((&s.b, "g"), &s.g), Call::rmdir((&s.root, "b"), &s.b)];
    let others = [Call::chmod(&s.f, 0o600)];
    let call = async { s.link(&s.fixture.cx(), &s.f, &s.b, "y").await };
    let error = s.refused(s.behind(&changes, &others, call).await, [&s.f, &s.b]).await;
    assert!(matches!(error, Error::Stale), "{error:?}");
    assert!(s.now(s.b.id).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn link_in_a_directory_that_is_closed_meanwhile() {
    let s = Scene::new().await;
    let changes = [Call::create((&s.b, "x")), Call::chmod(&s.b, 0o755), Call::chmod(&s.f, 0o640)];
    let call = async { s.link(&stranger(&s), &s.f, &s.b, "y").await };
    let error = s.refused(s.behind(&changes, &[], call).await, [&s.f, &s.b]).await;
    assert!(matches!(error, Error::AccessDenied), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn link_goes_on_from_what_others_have_changed() {
    let s = Scene::new().await;
    let changes = [Call::create((&s.b, "x")), Call::chmod(&s.b, 0o770), Call::chmod(&s.f, 0o640)];
    let call = async { s.link(&s.fixture.cx(), &s.f, &s.b, "y").await };
    let (answer, times) = s.behind(&changes, &[], call).await;
    let linked = answer.unwrap();
    s.follows(&linked.directory, &times).await;
    assert_eq!(s.now(s.f.id).await.as_deref(), Some(&linked.object));
    assert_eq!((linked.object.nlink, linked.object.mode), (2, 0o640));
}

#[tokio::test(flavor = "multi_thread")]
async fn rename_over_a_directory_that_is_filled_meanwhile() {
    let s = Scene::new().await;
    let empty = s.fixture.directory(s.root.id, "x").await;
    let changes = [Call::create((&s.root, "y")), Call::create((&empty, "y"))];
    let call = async { s.rename(&s.fixture.cx(), (&s.root, "a"), (&s.root, "x")).await };
    let error = s.refused(s.behind(&changes, &[], call).await, [&s.root, &s.root]).await;
    assert!(matches!(error, Error::NotEmpty), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rename_into_a_directory_that_comes_to_lie_below_meanwhile() {
    let s = Scene::new().await;
    let changes = [
        Call::rename((&s.root, "b"), (&s.a, "b"), &s.b, None),
        Call::create((&s.root, "y")),
        Call::create((&s.b, "y")),
    ];
    let call = async { s.rename(&s.fixture.cx(), (&s.root, "a"), (&s.b, "a")).await };
    let error = s.refused(s.behind(&changes, &[], call).await, [&s.root, &s.b]).await;
    assert!(matches!(error, Error::Invalid), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rename_of_what_goes_meanwhile() {
    let s = Scene::new().await;
    let changes = [Call::create((&s.b, "y")), Call::remove((&s.a, "f"), &s.f)];
    let call = async { s.rename(&s.fixture.cx(), (&s.a, "f"), (&s.b, "g")).await };
    let error = s.refused(s.behind(&changes, &[], call).await, [&s.a, &s.b]).await;
    assert!(matches!(error, Error::NotFound), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rename_into_a_directory_that_goes_meanwhile() {
    let s = Scene::new().await;
    let changes = [
        Call::create((&s.a, "y")),
        Call::remove((&s.b, "g"), &s.g),
        Call::rmdir((&s.root, "b"), &s.b),
    ];
    let call = async { s.rename(&s.fixture.cx(), (&s.a, "f"), (&s.b, "x")).await };
    let error = s.refused(s.behind(&changes, &[], call).await, [&s.a, &s.b]).await;
    assert!(matches!(error, Error::Stale), "{error:?}");
    assert!(s.now(s.b.id).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn rename_over_a_name_that_becomes_a_directorys_meanwhile() {
    let s = Scene::new().await;
    let sub = s.fixture.directory(s.a.id, "x").await;
    let changes = [
        Call::remove((&s.b, "g"), &s.g),
        Call::rename((&s.a, "x"), (&s.b, "g"), &sub, None),
        Call::chmod(&s.a, 0o770),
    ];
    let call = async { s.rename(&s.fixture.cx(), (&s.a, "f"), (&s.b, "g")).await };
    let error = s.refused(s.behind(&changes, &[], call).await, [&s.a, &s.b]).await;
    assert!(matches!(error, Error::IsDirectory), "{error:?}");
}

/// In a sticky directory a file may be replaced by its owner, who is another one by then.
#[tokio::test(flavor = "multi_thread")]
async fn rename_over_a_file_that_gets_another_owner_meanwhile() {
    let s = Scene::new().await;
    let cx = s.fixture.cx();
    s.fixture.store.setattr(&cx, s.b.id, &mode(0o1777)).await.unwrap();
    let owned = SetAttributes { uid: Some(1000), ..SetAttributes::default() };
    s.fixture.store.setattr(&cx, s.g.id, &owned).await.unwrap();
    let [b, g] = [s.now(s.b.id).await.unwrap(), s.now(s.g.id).await.unwrap()];
    let changes = [Call::create((&b, "y")), Call::chown(&g, 0), Call::create((&s.a, "y"))];
    let call = async { s.rename(&stranger(&s), (&s.a, "f"), (&s.b, "g")).await };
    let error = s.refused(s.behind(&changes, &[], call).await, [&s.a, &s.b]).await;
    assert!(matches!(error, Error::NotPermitted), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rename_goes_on_from_what_others_have_changed() {
    // The replaced file changes, is another one, or is gone; the other directory changes while the call
    // waits.
    for replaced in 0..3 {
        let s = Scene::new().await;
        let h = s.fixture.file(s.b.id, "x").await;
        let change = match replaced {
            0 => Call::chmod(&s.g, 0o640),
            1 => Call::rename((&s.b, "x"), (&s.b, "g"), &h, Some(&s.g)),
            _ => Call::remove((&s.b, "g"), &s.g),
        };
        let changes = [Call::create((&s.a, "y")), change, Call::create((&s.b, "y"))];
        let others = [Call::chmod(&s.f, 0o600)];
        let call = async { s.rename(&s.fixture.cx(), (&s.a, "f"), (&s.b, "g")).await };
        let (answer, times) = s.behind(&changes, &others, call).await;
        let renamed = answer.unwrap();
        s.follows(&renamed.from, &times).await;
        s.follows(&renamed.to, &times).await;
        assert_eq!(s.now(s.f.id).await.as_deref(), Some(&renamed.object));
        assert_eq!(renamed.object.mode, 0o600);
        let gone = renamed.replaced.map(|gone| (gone.attributes.id, gone.attributes.mode));
        assert_eq!(gone, [Some((s.g.id, 0o640)), Some((h.id, 0o644)), None][replaced]);
    }
}

/// Of one directory there are two records, which agree.
#[tokio::test(flavor = "multi_thread")]
async fn rename_in_one_directory_shows_it_twice() {
    let s = Scene::new().await;
    let changes = [Call::create((&s.a, "y")), Call::chmod(&s.a, 0o770)];
    let call = async { s.rename(&s.fixture.cx(), (&s.a, "f"), (&s.a, "x")).await };
    let (answer, times) = s.behind(&changes, &[], call).await;
    let renamed = answer.unwrap();
    s.follows(&renamed.from, &times).await;
    assert_eq!(renamed.from, renamed.to);
}

#[tokio::test(flavor = "multi_thread")]
async fn rmdir_of_a_directory_that_is_filled_meanwhile() {
    let s = Scene::new().await;
    let empty = s.fixture.directory(s.root.id, "x").await;
    let changes = [Call::create((&s.root, "y")), Call::create((&empty, "y"))];
    let call = async { s.fixture.store.rmdir(&s.fixture.cx(), s.root.id, &s.names["x"]).await };
    let error = s.refused(s.behind(&changes, &[], call).await, [&s.root]).await;
    assert!(matches!(error, Error::NotEmpty), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rmdir_of_a_name_that_becomes_a_files_meanwhile() {
    let s = Scene::new().await;
    let empty = s.fixture.directory(s.a.id, "x").await;
    let changes =
        [Call::rmdir((&s.a, "x"), &empty), Call::rename((&s.a, "f"), (&s.a, "x"), &s.f, None)];
    let call = async { s.fixture.store.rmdir(&s.fixture.cx(), s.a.id, &s.names["x"]).await };
    let error = s.refused(s.behind(&changes, &[], call).await, [&s.a]).await;
    assert!(matches!(error, Error::NotDirectory), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_of_what_is_no_file_any_more() {
    for (moved, directory) in [(true, false), (true, true), (false, false)] {
        let s = Scene::new().await;
        let sub = s.fixture.directory(s.b.id, "x").await;
        let mut changes = vec![Call::remove((&s.a, "f"), &s.f)];
        if moved {
            let (from, object) = if directory { ("x", &sub) } else { ("g", &s.g) };
            changes.push(Call::rename((&s.b, from), (&s.a, "f"), object, None));
        }
        let cx = s.fixture.cx();
        let remove = s.fixture.store.remove(&cx, s.a.id, &s.names["f"]);
        let (answer, times) = s.behind(&changes, &[], remove).await;
        match (moved, directory) {
            (true, false) => {
                let removed = answer.unwrap();
                s.follows(&removed.directory, &times).await;
                assert_eq!(
                    (removed.object.attributes.id, removed.object.attributes.nlink),
                    (s.g.id, 0)
                );
            }
            (true, true) => {
                let error = s.refused((answer, times), [&s.a]).await;
                assert!(matches!(error, Error::IsDirectory), "{error:?}");
            }
            (false, _) => {
                let error = s.refused((answer, times), [&s.a]).await;
                assert!(matches!(error, Error::NotFound), "{error:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn setattr_whose_guard_or_right_goes_meanwhile() {
    let guarded = |s: &Scene| SetAttributes { guard: Some(s.f.ctime), ..mode(0o600) };
    let s = Scene::new().await;
    let set = guarded(&s);
    let cx = s.fixture.cx();
    let call = s.fixture.store.setattr(&cx, s.f.id, &set);
    let error = s.refused(s.behind(&[Call::flush(&s.f, 10)], &[], call).await, [&s.f]).await;
    assert!(matches!(error, Error::NotSync), "{error:?}");

    let s = Scene::new().await;
    let (set, cx) = (guarded(&s), s.fixture.cx());
    let call = s.fixture.store.setattr(&cx, s.f.id, &set);
    let gone = [Call::remove((&s.a, "f"), &s.f)];
    let error = s.refused(s.behind(&gone, &[], call).await, []).await;
    assert!(matches!(error, Error::Stale), "{error:?}");

    let s = Scene::new().await;
    let own = SetAttributes { uid: Some(1000), ..SetAttributes::default() };
    s.fixture.store.setattr(&s.fixture.cx(), s.f.id, &own).await.unwrap();
    let f = s.now(s.f.id).await.unwrap();
    let (set, cx) = (mode(0o600), stranger(&s));
    let call = s.fixture.store.setattr(&cx, s.f.id, &set);
    let error = s.refused(s.behind(&[Call::chown(&f, 0)], &[], call).await, [&s.f]).await;
    assert!(matches!(error, Error::NotPermitted), "{error:?}");
}

/// A move that is not permitted and would make a loop: whether it would is read together with the
/// directories, also where they change between two looks.
#[tokio::test(flavor = "multi_thread")]
async fn rename_that_is_refused_twice_over_shows_one_moment() {
    let database = TestDatabase::create().await;
    let gate = Gate::before(&database.settings()).await;
    let settings = coherent::settings(gate.settings(&database.settings()));
    let s = Scene::on(Fixture::on(settings, database).await).await;
    let session = Session::open(&s.fixture).await;
    let cx = stranger(&s);
    // Statements are prepared, and the next look is of three messages.
    s.rename(&cx, (&s.root, "a"), (&s.b, "a")).await.unwrap_err();
    gate.arm(Side::Client, 3);
    let meanwhile = async {
        gate.held().await;
        let moved = Call::rename((&s.root, "b"), (&s.a, "b"), &s.b, None);
        made(&session, &[moved, Call::create((&s.b, "y"))]).await;
        gate.open();
    };
    let renaming = async { s.rename(&cx, (&s.root, "a"), (&s.b, "a")).await };
    let (answer, ()) = tokio::join!(renaming, meanwhile);
    let error = s.refused((answer, Times::new()), [&s.root, &s.b]).await;
    assert!(matches!(error, Error::Invalid), "{error:?}");
}
