//! Two operations that meet on a lock: the first stands still in its transaction, the second waits, then the
//! first ends either way. Random load finds few of these.

use trunkfs::metadata::Namespace as _;
use trunkfs::types::Attributes;

use crate::session::{Call, Form, Place, Session, interleave, verdict};
use crate::support::Fixture;

/// The verdicts of `answer`.
const DONE: i16 = 0;
const AGAIN: i16 = 1;
const NOT_EMPTY: i16 = 2;
const LOOP: i16 = 3;
const SUPERSEDED: i16 = 4;

const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

/// A share with directories `a` and `b` and a file `a/f`.
struct Scene {
    form: Form,
    fixture: Fixture,
    a: Attributes,
    b: Attributes,
    f: Attributes,
}

impl Scene {
    async fn new(form: Form) -> Self {
        let fixture = Fixture::new().await;
        let a = fixture.directory(fixture.root(), "a").await;
        let b = fixture.directory(fixture.root(), "b").await;
        let f = fixture.file(a.id, "f").await;
        Self { form, fixture, a, b, f }
    }

    async fn root(&self) -> Attributes {
        self.fixture.store.getattr(&self.fixture.cx(), self.fixture.root()).await.unwrap()
    }

    /// Gives `a/f` a second name.
    async fn second_name(&self, (directory, name): Place<'_>) {
        let (cx, name) = (self.fixture.cx(), crate::support::name(name));
        self.fixture.store.link(&cx, self.f.id, directory.id, &name).await.unwrap();
    }

    async fn links(&self) -> Option<u32> {
        let file = self.fixture.store.getattr(&self.fixture.cx(), self.f.id).await;
        file.ok().map(|file| file.nlink)
    }

    async fn run(&self, first: Call, second: Call, end: &str) -> i16 {
        verdict(&interleave(&self.fixture, self.form, first, second, end).await)
    }
}

/// Each case with single calls, and with calls of batches.
macro_rules! in_both_forms {
    ($($case:ident),* $(,)?) => {
        mod single {
            use crate::session::Form;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(Form::Single).await;
            })*
        }

        mod batched {
            use crate::session::Form;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(Form::Batched).await;
            })*
        }
    };
}

in_both_forms! {
    rmdir_sees_the_create_it_waited_for,
    create_finds_no_directory_after_the_rmdir_it_waited_for,
    link_finds_no_directory_after_the_rmdir_it_waited_for,
    the_second_create_of_a_name_decides_again,
    two_creates_in_a_directory_show_different_times,
    remove_leaves_the_file_that_a_link_under_way_names,
    link_finds_no_file_after_the_remove_it_waited_for,
    two_names_removed_at_once_take_the_file,
    of_three_names_two_removed_at_once_leave_one,
    two_links_at_once_both_count,
    two_directory_renames_make_no_cycle,
    renames_in_opposite_directions_do_not_deadlock,
    a_rename_does_not_replace_a_directory_that_is_being_filled,
    a_replaced_file_keeps_the_name_of_a_link_under_way,
    remove_and_rename_of_one_name_end_with_one_of_them,
    a_decision_does_not_outlive_the_mode_it_rests_on,
    a_flush_does_not_grow_what_was_truncated,
    a_flush_is_refused_after_zeroing_began,
    a_flush_never_shrinks,
}

async fn rmdir_sees_the_create_it_waited_for(form: Form) {
    for (end, expected) in [(COMMIT, NOT_EMPTY), (ROLLBACK, DONE)] {
        let s = Scene::new(form).await;
        let root = s.root().await;
        let (create, rmdir) = (Call::create((&s.b, "x")), Call::rmdir((&root, "b"), &s.b));
        assert_eq!(s.run(create, rmdir, end).await, expected, "{end}");
    }
}

async fn create_finds_no_directory_after_the_rmdir_it_waited_for(form: Form) {
    for (end, expected) in [(COMMIT, AGAIN), (ROLLBACK, DONE)] {
        let s = Scene::new(form).await;
        let root = s.root().await;
        let (rmdir, create) = (Call::rmdir((&root, "b"), &s.b), Call::create((&s.b, "x")));
        assert_eq!(s.run(rmdir, create, end).await, expected, "{end}");
    }
}

async fn link_finds_no_directory_after_the_rmdir_it_waited_for(form: Form) {
    for (end, expected) in [(COMMIT, AGAIN), (ROLLBACK, DONE)] {
        let s = Scene::new(form).await;
        let root = s.root().await;
        let (rmdir, link) = (Call::rmdir((&root, "b"), &s.b), Call::link((&s.b, "x"), &s.f));
        assert_eq!(s.run(rmdir, link, end).await, expected, "{end}");
    }
}

async fn the_second_create_of_a_name_decides_again(form: Form) {
    for (end, expected) in [(COMMIT, AGAIN), (ROLLBACK, DONE)] {
        let s = Scene::new(form).await;
        let (one, two) = (Call::create((&s.b, "x")), Call::create((&s.b, "x")));
        assert_eq!(s.run(one, two, end).await, expected, "{end}");
    }
}

async fn two_creates_in_a_directory_show_different_times(form: Form) {
    let s = Scene::new(form).await;
    let (one, two) = (Call::create((&s.b, "x")), Call::create((&s.b, "y")));
    let rows = interleave(&s.fixture, form, one, two, COMMIT).await;
    let ctime = |row: usize| rows[row].get::<_, i64>("ctime");
    assert!(ctime(0) > s.b.ctime.0, "the second saw the first's time before its own");
    assert!(ctime(1) > ctime(0));
}

async fn remove_leaves_the_file_that_a_link_under_way_names(form: Form) {
    for (end, left) in [(COMMIT, Some(1)), (ROLLBACK, None)] {
        let s = Scene::new(form).await;
        let (link, remove) = (Call::link((&s.b, "g"), &s.f), Call::remove((&s.a, "f"), &s.f));
        assert_eq!(s.run(link, remove, end).await, DONE, "{end}");
        assert_eq!(s.links().await, left, "{end}");
    }
}

async fn link_finds_no_file_after_the_remove_it_waited_for(form: Form) {
    for (end, expected, left) in [(COMMIT, AGAIN, None), (ROLLBACK, DONE, Some(2))] {
        let s = Scene::new(form).await;
        let (remove, link) = (Call::remove((&s.a, "f"), &s.f), Call::link((&s.b, "g"), &s.f));
        assert_eq!(s.run(remove, link, end).await, expected, "{end}");
        assert_eq!(s.links().await, left, "{end}");
    }
}

async fn two_names_removed_at_once_take_the_file(form: Form) {
    for (end, left) in [(COMMIT, None), (ROLLBACK, Some(1))] {
        let s = Scene::new(form).await;
        s.second_name((&s.b, "g")).await;
        let (one, two) = (Call::remove((&s.a, "f"), &s.f), Call::remove((&s.b, "g"), &s.f));
        assert_eq!(s.run(one, two, end).await, DONE, "{end}");
        assert_eq!(s.links().await, left, "{end}");
    }
}

async fn of_three_names_two_removed_at_once_leave_one(form: Form) {
    let s = Scene::new(form).await;
    s.second_name((&s.b, "g")).await;
    s.second_name((&s.root().await, "h")).await;
    let (one, two) = (Call::remove((&s.a, "f"), &s.f), Call::remove((&s.b, "g"), &s.f));
    assert_eq!(s.run(one, two, COMMIT).await, DONE);
    assert_eq!(s.links().await, Some(1));
}

async fn two_links_at_once_both_count(form: Form) {
    for (end, left) in [(COMMIT, 3), (ROLLBACK, 2)] {
        let s = Scene::new(form).await;
        let root = s.root().await;
        let (one, two) = (Call::link((&s.b, "g"), &s.f), Call::link((&root, "h"), &s.f));
        assert_eq!(s.run(one, two, end).await, DONE, "{end}");
        assert_eq!(s.links().await, Some(left), "{end}");
    }
}

async fn two_directory_renames_make_no_cycle(form: Form) {
    for (end, expected) in [(COMMIT, LOOP), (ROLLBACK, DONE)] {
        let s = Scene::new(form).await;
        let root = s.root().await;
        // Two levels, so that the two renames share no row: only the lock of directory moves lets them meet.
        let inner_a = s.fixture.directory(s.a.id, "inner").await;
        let inner_b = s.fixture.directory(s.b.id, "inner").await;
        let home_a = s.fixture.directory(root.id, "home-a").await;
        let home_b = s.fixture.directory(root.id, "home-b").await;
        let place = |name| crate::support::name(name);
        let (store, cx) = (&s.fixture.store, s.fixture.cx());
        store.rename(&cx, root.id, &place("a"), home_a.id, &place("a")).await.unwrap();
        store.rename(&cx, root.id, &place("b"), home_b.id, &place("b")).await.unwrap();
        let one = Call::rename((&home_a, "a"), (&inner_b, "a"), &s.a, None);
        let two = Call::rename((&home_b, "b"), (&inner_a, "b"), &s.b, None);
        assert_eq!(s.run(one, two, end).await, expected, "{end}");
    }
}

async fn renames_in_opposite_directions_do_not_deadlock(form: Form) {
    let s = Scene::new(form).await;
    let g = s.fixture.file(s.b.id, "g").await;
    let one = Call::rename((&s.a, "f"), (&s.b, "f"), &s.f, None);
    let two = Call::rename((&s.b, "g"), (&s.a, "g"), &g, None);
    assert_eq!(s.run(one, two, COMMIT).await, DONE);
}

async fn a_rename_does_not_replace_a_directory_that_is_being_filled(form: Form) {
    for (end, expected) in [(COMMIT, NOT_EMPTY), (ROLLBACK, DONE)] {
        let s = Scene::new(form).await;
        let root = s.root().await;
        let create = Call::create((&s.b, "x"));
        let rename = Call::rename((&root, "a"), (&root, "b"), &s.a, Some(&s.b));
        assert_eq!(s.run(create, rename, end).await, expected, "{end}");
    }
}

async fn a_replaced_file_keeps_the_name_of_a_link_under_way(form: Form) {
    for (end, left) in [(COMMIT, Some(1)), (ROLLBACK, None)] {
        let s = Scene::new(form).await;
        let g = s.fixture.file(s.a.id, "g").await;
        let link = Call::link((&s.b, "h"), &s.f);
        let rename = Call::rename((&s.a, "g"), (&s.a, "f"), &g, Some(&s.f));
        assert_eq!(s.run(link, rename, end).await, DONE, "{end}");
        assert_eq!(s.links().await, left, "{end}");
    }
}

async fn remove_and_rename_of_one_name_end_with_one_of_them(form: Form) {
    for (end, expected) in [(COMMIT, AGAIN), (ROLLBACK, DONE)] {
        let s = Scene::new(form).await;
        let rename = Call::rename((&s.a, "f"), (&s.b, "f"), &s.f, None);
        let remove = Call::remove((&s.a, "f"), &s.f);
        assert_eq!(s.run(rename, remove, end).await, expected, "{end}");
    }
}

async fn a_decision_does_not_outlive_the_mode_it_rests_on(form: Form) {
    for (end, expected) in [(COMMIT, AGAIN), (ROLLBACK, DONE)] {
        let s = Scene::new(form).await;
        let (chmod, create) = (Call::chmod(&s.b, 0o500), Call::create((&s.b, "x")));
        assert_eq!(s.run(chmod, create, end).await, expected, "{end}");
    }
}

async fn a_flush_does_not_grow_what_was_truncated(form: Form) {
    for (end, expected, size) in [(COMMIT, SUPERSEDED, 0), (ROLLBACK, DONE, 100)] {
        let s = Scene::new(form).await;
        assert_eq!(s.run(Call::truncate(&s.f), Call::flush(&s.f, 100), end).await, expected);
        let file = s.fixture.store.getattr(&s.fixture.cx(), s.f.id).await.unwrap();
        assert_eq!(file.size, size, "{end}");
    }
}

async fn a_flush_is_refused_after_zeroing_began(form: Form) {
    for (end, expected) in [(COMMIT, SUPERSEDED), (ROLLBACK, DONE)] {
        let s = Scene::new(form).await;
        assert_eq!(s.run(Call::zero(&s.f), Call::flush(&s.f, 100), end).await, expected);
    }
}

async fn a_flush_never_shrinks(form: Form) {
    let s = Scene::new(form).await;
    assert_eq!(s.run(Call::flush(&s.f, 100), Call::flush(&s.f, 50), COMMIT).await, DONE);
    let file = s.fixture.store.getattr(&s.fixture.cx(), s.f.id).await.unwrap();
    assert_eq!((file.size, file.used), (100, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn settling_waits_for_the_flight_and_tells_its_end() {
    for (end, applied) in [(COMMIT, true), (ROLLBACK, false)] {
        let s = Scene::new(Form::Single).await;
        let (one, two) = (Session::open(&s.fixture).await, Session::open(&s.fixture).await);
        one.client.batch_execute("BEGIN").await.unwrap();
        let answer = one.call(7, &Call::create((&s.b, "x"))).await.unwrap();
        let (writer, pid) = ((one.slot, one.epoch), two.pid);
        let settling = tokio::spawn(async move {
            let first = two.settle(writer, 7).await;
            (first, two.settle(writer, 7).await)
        });
        Session::waits(&s.fixture, pid).await;
        one.client.batch_execute(end).await.unwrap();
        let (first, second) = settling.await.unwrap();
        assert_eq!(!first.is_empty(), applied, "{end}");
        assert_eq!(second.len(), first.len(), "asking twice gives the same answer");
        for (settled, answered) in first.iter().zip(&answer) {
            assert_eq!(settled.get::<_, Option<i64>>("fileid"), answered.get("fileid"));
            assert_eq!(settled.get::<_, Option<i64>>("ctime"), answered.get("ctime"));
        }
        // Whoever held the slot changes nothing any more.
        let fenced = one.call(8, &Call::create((&s.b, "y"))).await.unwrap_err();
        assert_eq!(fenced.code().unwrap().code(), "TF001", "{fenced:?}");
        s.fixture.sound().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_settled_first_changes_nothing() {
    let s = Scene::new(Form::Single).await;
    let (one, two) = (Session::open(&s.fixture).await, Session::open(&s.fixture).await);
    assert!(two.settle((one.slot, one.epoch), 7).await.is_empty());
    let fenced = one.call(7, &Call::create((&s.b, "x"))).await.unwrap_err();
    assert_eq!(fenced.code().unwrap().code(), "TF001", "{fenced:?}");
    s.fixture.sound().await;
}
