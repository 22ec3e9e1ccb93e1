//! The checker is checked: it takes histories that are right, and finds what is wrong with others.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use trunkfs::metadata::memory::MemoryStore;
use trunkfs::metadata::{MetadataStore as _, Namespace as _};

use super::instance::Instance;
use super::load::{self, Recorder};
use super::model::{Cell, CellId, Cells, Change, Ctime, Effect, NAMES, Seen, Step};
use super::search::Call;
use crate::support::{context, mode, name, share_spec};

const DIRECTORY: CellId = NAMES;
const FILE: CellId = NAMES + 1;
const OTHER: CellId = NAMES + 2;

fn seen(ctime: i64) -> Cell {
    there(ctime, 0o600, 1)
}

fn there(ctime: i64, mode: u32, nlink: u32) -> Cell {
    Cell::There(Seen { ctime: Ctime::At(ctime), mode, size: 0, nlink })
}

/// A directory, a file that is there without a name at time 1, and one that is yet to be made.
fn cells() -> Cells {
    let mut start = vec![Cell::Absent; NAMES];
    start.extend([seen(1), seen(1), Cell::Unborn]);
    Cells { directories: vec![DIRECTORY], start }
}

fn call(called: u64, returned: u64, effects: &[(CellId, Effect)]) -> Call<Step> {
    Call { called, returned: Some(returned), step: Step::Done(effects.to_vec()) }
}

fn unknown(called: u64, change: Change) -> Call<Step> {
    Call { called, returned: None, step: Step::Perhaps(change) }
}

fn is(cell: CellId, what: Cell) -> (CellId, Effect) {
    (cell, Effect::Is(what))
}

fn becomes(cell: CellId, from: Cell, to: Cell) -> (CellId, Effect) {
    (cell, Effect::Becomes { from: Some(from), to })
}

#[track_caller]
fn right(history: &[Call<Step>]) {
    cells().check(history).unwrap();
}

#[track_caller]
fn wrong(history: &[Call<Step>], what: &str) {
    let told = cells().check(history).unwrap_err();
    assert!(told.starts_with(what), "{told}");
}

#[test]
fn a_stale_read_is_found() {
    let set = call(1, 4, &[becomes(FILE, seen(1), seen(2))]);
    right(&[set.clone(), call(2, 3, &[is(FILE, seen(1))]), call(5, 6, &[is(FILE, seen(2))])]);
    right(&[set.clone(), call(2, 3, &[is(FILE, seen(2))])]);
    wrong(&[set.clone(), call(5, 6, &[is(FILE, seen(1))])], "cell 4");
    // Before the reply of the change, but behind another read that has seen it.
    let reads = [call(2, 3, &[is(FILE, seen(2))]), call(5, 6, &[is(FILE, seen(1))])];
    let late = call(1, 9, &[becomes(FILE, seen(1), seen(2))]);
    wrong(&[reads.as_slice(), &[late]].concat(), "cell 4");
    // Of a name.
    let link = call(1, 2, &[becomes(0, Cell::Absent, Cell::Leads(FILE))]);
    right(&[link.clone(), call(3, 4, &[is(0, Cell::Leads(FILE)), is(1, Cell::Absent)])]);
    wrong(&[link.clone(), call(3, 4, &[is(0, Cell::Absent)])], "cell 0");
    wrong(&[link, call(3, 4, &[is(0, Cell::Leads(OTHER))])], "cell 0");
}

#[test]
fn a_lost_update_is_found() {
    let first = call(1, 5, &[becomes(FILE, seen(1), seen(2))]);
    right(&[first.clone(), call(2, 6, &[becomes(FILE, seen(2), seen(3))])]);
    wrong(&[first.clone(), call(2, 6, &[becomes(FILE, seen(1), seen(3))])], "cell 4");
    // Both of two guarded creates.
    let made = |object| becomes(0, Cell::Absent, Cell::Leads(object));
    wrong(&[call(1, 5, &[made(FILE)]), call(2, 6, &[made(OTHER)])], "cell 0");
    // A guard that had been overtaken.
    let guarded = call(7, 8, &[(FILE, Effect::IsNot(1))]);
    right(&[first, guarded.clone()]);
    wrong(&[guarded], "cell 4");
}

#[test]
fn an_object_is_there_from_its_create_to_its_removal() {
    let made = call(
        3,
        4,
        &[becomes(0, Cell::Absent, Cell::Leads(OTHER)), becomes(OTHER, Cell::Unborn, seen(5))],
    );
    let removed = |called| {
        let lost = (OTHER, Effect::Becomes { from: None, to: Cell::Gone });
        call(called, called + 1, &[becomes(0, Cell::Leads(OTHER), Cell::Absent), lost])
    };
    right(&[made.clone(), removed(5), call(7, 8, &[is(OTHER, Cell::Gone)])]);
    right(&[made.clone(), removed(5), call(5, 8, &[is(OTHER, seen(5))])]);
    wrong(&[made.clone(), removed(5), call(7, 8, &[is(OTHER, seen(5))])], "cell 5");
    wrong(&[made.clone(), removed(5), removed(7)], "cell 0");
    wrong(&[made.clone(), call(1, 2, &[is(OTHER, seen(5))])], "cell 5");
    wrong(&[made, call(5, 6, &[is(OTHER, Cell::Gone)])], "cell 5");
}

#[test]
fn half_a_rename_is_found_by_all_cells_together() {
    let linked = call(1, 2, &[becomes(0, Cell::Absent, Cell::Leads(FILE))]);
    let moved =
        [becomes(0, Cell::Leads(FILE), Cell::Absent), becomes(1, Cell::Absent, Cell::Leads(FILE))];
    let history = [linked, call(3, 6, &moved)];
    let with = |look: &[(CellId, Effect)]| [history.as_slice(), &[call(4, 5, look)]].concat();
    right(&with(&[is(0, Cell::Leads(FILE)), is(1, Cell::Absent)]));
    right(&with(&[is(0, Cell::Absent), is(1, Cell::Leads(FILE))]));
    wrong(&with(&[is(0, Cell::Leads(FILE)), is(1, Cell::Leads(FILE))]), "all cells");
    wrong(&with(&[is(0, Cell::Absent), is(1, Cell::Absent)]), "all cells");
}

#[test]
fn what_is_not_known_may_have_been_done_once() {
    let chmod = unknown(1, Change::Setattr { object: FILE, mode: Some(0o644), size: None });
    let (old, new) = (there(1, 0o600, 1), there(9, 0o644, 1));
    let look = |called, what| call(called, called + 1, &[is(FILE, what)]);
    right(&[chmod.clone(), look(3, old)]);
    right(&[chmod.clone(), look(3, old), look(5, new), look(7, new)]);
    wrong(&[chmod.clone(), look(3, new), look(5, old)], "cell 4");
    wrong(&[chmod.clone(), look(3, new), look(5, there(10, 0o644, 1))], "cell 4");
    wrong(&[chmod.clone(), look(3, there(9, 0o640, 1))], "cell 4");
    wrong(&[chmod.clone(), look(3, there(1, 0o644, 1))], "cell 4");
    let early = Call { called: 5, ..chmod };
    wrong(&[early, look(3, new)], "cell 4");
}

#[test]
fn changes_of_names_that_are_not_known_may_have_been_done_once() {
    let linked = call(1, 2, &[becomes(0, Cell::Absent, Cell::Leads(FILE))]);
    let remove = unknown(3, Change::Remove { name: 0 });
    let look = |called, name, what| call(called, called + 1, &[is(name, what)]);
    let gone = call(7, 8, &[is(FILE, Cell::Gone)]);
    right(&[linked.clone(), remove.clone(), look(5, 0, Cell::Leads(FILE)), gone.clone()]);
    right(&[linked.clone(), remove.clone(), look(5, 0, Cell::Absent), gone.clone()]);
    wrong(&[linked.clone(), gone.clone()], "cell 4");
    let again = [look(5, 0, Cell::Absent), look(7, 0, Cell::Leads(FILE))];
    wrong(&[[linked.clone(), remove.clone()].as_slice(), &again].concat(), "cell 0");
    // The object was removed and not its name.
    let after = [gone, look(9, 0, Cell::Leads(FILE))];
    wrong(&[[linked.clone(), remove].as_slice(), &after].concat(), "all cells");
    let rename = unknown(3, Change::Rename { from: 0, to: 1 });
    let moved = [look(5, 1, Cell::Leads(FILE)), look(7, 0, Cell::Absent)];
    right(&[[linked.clone(), rename.clone()].as_slice(), &moved].concat());
    let both = [look(5, 1, Cell::Leads(FILE)), look(7, 0, Cell::Leads(FILE))];
    wrong(&[[linked, rename].as_slice(), &both].concat(), "all cells");
    let create = unknown(3, Change::Create { name: 2 });
    right(&[create.clone(), look(5, 2, Cell::Absent)]);
    wrong(&[create, look(5, 2, Cell::Leads(FILE))], "cell 2");
    let link = unknown(3, Change::Link { object: FILE, name: 2 });
    let twice = call(5, 6, &[is(FILE, there(4, 0o600, 2)), is(2, Cell::Leads(FILE))]);
    right(&[link.clone(), twice]);
    let once = call(5, 6, &[is(FILE, there(4, 0o600, 1)), is(2, Cell::Leads(FILE))]);
    wrong(&[link, once], "cell 4");
}

/// What clients of the store in memory see.
async fn in_memory(seed: u64) -> (Cells, Vec<Call<Step>>) {
    let store = Arc::new(MemoryStore::new());
    let share = store.open_share(&share_spec()).await.unwrap();
    let cx = context(share.id);
    let mut directories = Vec::new();
    for text in ["a", "b"] {
        let made = store.mkdir(&cx, share.root, &name(text), &mode(0o755)).await.unwrap();
        directories.push(made.object);
    }
    let servers = Arc::new(vec![RwLock::new(Arc::new(Instance::here(store)))]);
    let recorder = Arc::new(Recorder::new(share.id, directories));
    load::run(&recorder, &servers, 6, Duration::from_millis(60), seed).await;
    recorder.history()
}

/// An answer about an object that was right before a change whose reply came before the call.
fn make_stale(history: &mut [Call<Step>], random: &mut StdRng) -> bool {
    let shown = |call: &Call<Step>| match &call.step {
        Step::Done(effects) => match effects[..] {
            [(cell, Effect::Is(Cell::There(seen)))] => Some((cell, seen)),
            _ => None,
        },
        Step::Perhaps(_) => None,
    };
    let start = random.random_range(0..history.len());
    for at in (0..history.len()).map(|at| (start + at) % history.len()) {
        let Some((cell, _)) = shown(&history[at]) else { continue };
        let before = history.iter().filter(|call| call.returned < Some(history[at].called));
        let earlier = before.filter_map(shown).find(|(of, old)| {
            let Ctime::At(old) = old.ctime else { return false };
            let newer = |call: &Call<Step>| match &call.step {
                Step::Done(effects) => effects.iter().any(|(id, effect)| match effect {
                    Effect::Becomes {
                        to: Cell::There(Seen { ctime: Ctime::At(new), .. }), ..
                    } => *id == cell && *new > old,
                    _ => false,
                }),
                Step::Perhaps(_) => false,
            };
            *of == cell
                && history.iter().any(|it| it.returned < Some(history[at].called) && newer(it))
        });
        if let Some((_, old)) = earlier {
            history[at].step = Step::Done(vec![is(cell, Cell::There(old))]);
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_memory_is_linearizable_and_a_stale_answer_in_its_history_is_found() {
    let (mut altered, first) = (0, rand::random::<u64>());
    for seed in (0..8).map(|add| first.wrapping_add(add)) {
        println!("seed {seed}");
        let (cells, mut history) = in_memory(seed).await;
        cells.check(&history).unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        if make_stale(&mut history, &mut random) {
            altered += 1;
            assert!(cells.check(&history).is_err(), "seed {seed}");
        }
    }
    assert!(altered >= 4, "{altered} histories could be altered");
}
