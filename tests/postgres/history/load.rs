//! Clients that call one server or another, and the history of what they were told.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use parking_lot::{Mutex, RwLock};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Duration, Instant};
use trunkfs::metadata::{Change as Changed, CreateHow, Error, Namespace, Refusal, SetAttributes};
use trunkfs::types::{Attributes, Cookie, Name, ObjectId, ShareId, Timestamp};

use super::instance::Instance;
use super::model::{Cell, CellId, Cells, Change, Effect, NAMES, Step};
use super::search::Call;
use crate::support::{context, mode, name};

/// So many of the objects that were seen last are asked for and changed.
const KNOWN: usize = 6;
/// Reads at once, so that servers answer from memory.
const BURST: usize = 6;

/// The check of a history takes time by the square of its calls.
const MOST_CALLS: usize = 1500;

/// The servers that clients may call.
pub(super) type Servers = Vec<RwLock<Arc<Instance>>>;

/// Who has called what, and what was answered.
pub(super) struct Recorder {
    clock: AtomicU64,
    share: ShareId,
    directories: Vec<(ObjectId, Attributes)>,
    state: Mutex<Recorded>,
}

#[derive(Default)]
struct Recorded {
    calls: Vec<Call<Step>>,
    cells: HashMap<ObjectId, CellId>,
    /// Objects that a known call has made.
    made: HashSet<CellId>,
    /// Files and the last ctime seen of each.
    known: VecDeque<(ObjectId, Timestamp)>,
}

/// What a reply says.
enum Told {
    Done(Vec<(CellId, Effect)>),
    /// It may have been done.
    Perhaps(Change),
    /// It was not done, and says nothing.
    Nothing,
}

impl Recorder {
    /// Of two or more directories, which are empty.
    pub(super) fn new(share: ShareId, directories: Vec<Attributes>) -> Self {
        let names = directories.len() * NAMES;
        let cells = directories.iter().enumerate().map(|(at, it)| (it.id, names + at)).collect();
        let directories = directories.into_iter().map(|it| (it.id, it)).collect();
        let state = Mutex::new(Recorded { cells, ..Recorded::default() });
        Self { clock: AtomicU64::new(0), share, directories, state }
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn history(&self) -> (Cells, Vec<Call<Step>>) {
        let state = self.state.lock();
        let names = self.directories.len() * NAMES;
        let mut start = vec![Cell::Absent; names];
        start.resize(names + state.cells.len(), Cell::Unseen);
        for &made in &state.made {
            start[made] = Cell::Unborn;
        }
        let directories: Vec<CellId> = (names..names + self.directories.len()).collect();
        for (cell, (_, attributes)) in directories.iter().zip(&self.directories) {
            start[*cell] = Cell::There(attributes.into());
        }
        (Cells { directories, start }, state.calls.clone())
    }

    fn cell(&self, object: ObjectId) -> CellId {
        let mut state = self.state.lock();
        let next = self.directories.len() * NAMES + state.cells.len();
        *state.cells.entry(object).or_insert(next)
    }

    fn seen(&self, it: &Attributes) {
        if it.file_type.is_directory() {
            return;
        }
        let mut state = self.state.lock();
        state.known.retain(|(known, _)| *known != it.id);
        state.known.push_back((it.id, it.ctime));
        if state.known.len() > KNOWN {
            state.known.pop_front();
        }
    }

    /// What is there.
    fn is(&self, it: &Attributes) -> (CellId, Effect) {
        self.seen(it);
        (self.cell(it.id), Effect::Is(Cell::There(it.into())))
    }

    fn becomes(&self, from: Option<Cell>, it: &Attributes) -> (CellId, Effect) {
        self.seen(it);
        let to = if it.nlink == 0 { Cell::Gone } else { Cell::There(it.into()) };
        (self.cell(it.id), Effect::Becomes { from, to })
    }

    fn change(&self, change: &Changed) -> (CellId, Effect) {
        let Changed { before, after } = change;
        match before {
            Some(before) if before == after => self.is(after),
            before => self.becomes(before.as_ref().map(|it| Cell::There(it.into())), after),
        }
    }

    /// The attributes that a refusal carries.
    fn refused(&self, refusal: &Refusal, effect: (CellId, Effect)) -> Told {
        let carried = refusal.first.iter().chain(&refusal.second);
        let mut effects: Vec<_> = carried.map(|it| self.is(it)).collect();
        effects.dedup();
        effects.push(effect);
        Told::Done(effects)
    }

    /// An error that every change may end with.
    fn failed(error: &Error, change: Change) -> Told {
        match error {
            Error::Unavailable(_) | Error::Cancelled => Told::Nothing,
            Error::Backend(_) => Told::Perhaps(change),
            other => panic!("{change:?}: {other:?}"),
        }
    }

    fn record(&self, called: u64, told: Told) {
        let returned = self.tick();
        let (returned, step) = match told {
            Told::Done(effects) => (Some(returned), Step::Done(effects)),
            Told::Perhaps(change) => (None, Step::Perhaps(change)),
            Told::Nothing => return,
        };
        self.state.lock().calls.push(Call { called, returned, step });
    }
}

/// A name of a directory.
#[derive(Clone, Copy)]
struct Place {
    directory: ObjectId,
    name: usize,
    cell: CellId,
}

impl Place {
    fn text(self) -> Name {
        name(&self.name.to_string())
    }
}

/// A client.
struct Client {
    recorder: Arc<Recorder>,
    random: StdRng,
}

impl Client {
    fn place(&mut self) -> Place {
        let directory = self.random.random_range(0..self.recorder.directories.len());
        let name = self.random.random_range(0..NAMES);
        let cell = Cells::name(directory, name);
        Place { directory: self.recorder.directories[directory].0, name, cell }
    }

    fn object(&mut self) -> Option<(ObjectId, Timestamp)> {
        let state = self.recorder.state.lock();
        let count = state.known.len();
        (count > 0).then(|| state.known[self.random.random_range(0..count)])
    }

    /// One call, or several reads at once.
    async fn step(&mut self, server: &Instance) {
        match self.random.random_range(0..100) {
            0..45 => {
                let mut reads = Vec::new();
                for _ in 0..BURST {
                    reads.push((self.random.random_range(0..10), self.place(), self.object()));
                }
                join_all(reads.into_iter().map(|it| self.read(server, it))).await;
            }
            45..63 => self.create(server).await,
            63..76 => self.remove(server).await,
            76..86 => self.rename(server).await,
            86..92 => self.link(server).await,
            _ => self.setattr(server).await,
        }
    }

    async fn read(
        &self,
        server: &Instance,
        (kind, place, object): (u32, Place, Option<(ObjectId, Timestamp)>),
    ) {
        let recorder = &self.recorder;
        let (cx, directory, text) = (context(recorder.share), place.directory, place.text());
        let called = recorder.tick();
        let told = match (kind, object) {
            (0..4, _) => {
                let call = |store: Arc<dyn Namespace>| async move {
                    store.lookup(&cx, directory, &text).await
                };
                match server.call(call).await {
                    Some(Ok(found)) => {
                        let led = found.object.as_ref().map(|it| Cell::Leads(recorder.cell(it.id)));
                        let name = (place.cell, Effect::Is(led.unwrap_or(Cell::Absent)));
                        let shown = std::iter::once(&found.directory).chain(&found.object);
                        Told::Done(shown.map(|it| recorder.is(it)).chain([name]).collect())
                    }
                    Some(Err(refusal)) if busy(&refusal.error) => Told::Nothing,
                    Some(Err(refusal)) => panic!("LOOKUP: {refusal:?}"),
                    None => Told::Nothing,
                }
            }
            (4..7, Some((object, _))) => {
                let call =
                    |store: Arc<dyn Namespace>| async move { store.getattr(&cx, object).await };
                match server.call(call).await {
                    Some(Ok(it)) => Told::Done(vec![recorder.is(&it)]),
                    Some(Err(Error::Stale)) => {
                        Told::Done(vec![(recorder.cell(object), Effect::Is(Cell::Gone))])
                    }
                    Some(Err(error)) if busy(&error) => Told::Nothing,
                    Some(Err(error)) => panic!("GETATTR: {error:?}"),
                    None => Told::Nothing,
                }
            }
            (_, _) => {
                let call = |store: Arc<dyn Namespace>| async move {
                    store.readdir(&cx, directory, Cookie(0), 100, true).await
                };
                match server.call(call).await {
                    Some(Ok(page)) => {
                        let mut effects = vec![recorder.is(&page.directory)];
                        let first = place.cell - place.name;
                        let mut names = vec![Cell::Absent; NAMES];
                        for entry in &page.entries {
                            let at = (0..NAMES).find(|at| name(&at.to_string()) == entry.name);
                            names[at.unwrap()] = Cell::Leads(recorder.cell(entry.object));
                            effects.push(recorder.is(entry.attributes.as_ref().unwrap()));
                        }
                        let names = names.into_iter().enumerate();
                        effects.extend(names.map(|(at, cell)| (first + at, Effect::Is(cell))));
                        Told::Done(effects)
                    }
                    Some(Err(refusal)) if busy(&refusal.error) => Told::Nothing,
                    Some(Err(refusal)) => panic!("READDIR: {refusal:?}"),
                    None => Told::Nothing,
                }
            }
        };
        recorder.record(called, told);
    }

    async fn create(&mut self, server: &Instance) {
        let place = self.place();
        let (cx, directory, text) = (context(self.recorder.share), place.directory, place.text());
        let set = mode(self.random.random_range(0o600..0o700));
        let how = match self.random.random_range(0..3) {
            0 => CreateHow::Unchecked(set),
            _ => CreateHow::Guarded(set),
        };
        let recorder = &self.recorder;
        let called = recorder.tick();
        let call = |store: Arc<dyn Namespace>| async move {
            store.create(&cx, directory, &text, &how).await
        };
        let change = Change::Create { name: place.cell };
        let told = match server.call(call).await {
            None => Told::Perhaps(change),
            Some(Ok(created)) if was_lost(&created.directory) => Told::Perhaps(change),
            Some(Ok(created)) => {
                let object = recorder.cell(created.object.id);
                let leads = Cell::Leads(object);
                let directory = recorder.change(&created.directory);
                Told::Done(match created.made {
                    true => {
                        recorder.state.lock().made.insert(object);
                        let (from, to) = (Some(Cell::Absent), leads);
                        let name = (place.cell, Effect::Becomes { from, to });
                        let made = recorder.becomes(Some(Cell::Unborn), &created.object);
                        vec![directory, name, made]
                    }
                    false => {
                        let name = (place.cell, Effect::Is(leads));
                        vec![directory, name, recorder.is(&created.object)]
                    }
                })
            }
            Some(Err(refusal)) => match refusal.error {
                Error::Exists => recorder.refused(&refusal, (place.cell, Effect::IsTaken)),
                ref error => Recorder::failed(error, change),
            },
        };
        recorder.record(called, told);
    }

    async fn remove(&mut self, server: &Instance) {
        let place = self.place();
        let recorder = &self.recorder;
        let (cx, directory, text) = (context(recorder.share), place.directory, place.text());
        let called = recorder.tick();
        let call =
            |store: Arc<dyn Namespace>| async move { store.remove(&cx, directory, &text).await };
        let change = Change::Remove { name: place.cell };
        let told = match server.call(call).await {
            None => Told::Perhaps(change),
            Some(Ok(removed)) if was_lost(&removed.directory) => Told::Perhaps(change),
            Some(Ok(removed)) => {
                let object = &removed.object.attributes;
                let from = Some(Cell::Leads(recorder.cell(object.id)));
                let name = (place.cell, Effect::Becomes { from, to: Cell::Absent });
                let lost = recorder.becomes(None, object);
                Told::Done(vec![recorder.change(&removed.directory), name, lost])
            }
            Some(Err(refusal)) => match refusal.error {
                Error::NotFound => {
                    recorder.refused(&refusal, (place.cell, Effect::Is(Cell::Absent)))
                }
                ref error => Recorder::failed(error, change),
            },
        };
        recorder.record(called, told);
    }

    async fn rename(&mut self, server: &Instance) {
        let (from, to) = (self.place(), self.place());
        let recorder = &self.recorder;
        let cx = context(recorder.share);
        let called = recorder.tick();
        let call = |store: Arc<dyn Namespace>| async move {
            store.rename(&cx, from.directory, &from.text(), to.directory, &to.text()).await
        };
        let change = Change::Rename { from: from.cell, to: to.cell };
        let told = match server.call(call).await {
            None => Told::Perhaps(change),
            Some(Ok(renamed)) => {
                let leads = Cell::Leads(recorder.cell(renamed.object.id));
                let mut effects = vec![recorder.change(&renamed.from)];
                if from.directory != to.directory {
                    effects.push(recorder.change(&renamed.to));
                }
                if renamed.from.before.as_ref() == Some(&renamed.from.after) {
                    effects.push(recorder.is(&renamed.object));
                    effects.extend([from.cell, to.cell].map(|cell| (cell, Effect::Is(leads))));
                } else {
                    let replaced = renamed.replaced.map(|it| it.attributes);
                    let before = replaced.as_ref().map(|it| Cell::Leads(recorder.cell(it.id)));
                    let before = before.unwrap_or(Cell::Absent);
                    let moved = Effect::Becomes { from: Some(leads), to: Cell::Absent };
                    effects.push((from.cell, moved));
                    effects.push((to.cell, Effect::Becomes { from: Some(before), to: leads }));
                    effects.push(recorder.becomes(None, &renamed.object));
                    effects.extend(replaced.map(|it| recorder.becomes(None, &it)));
                }
                Told::Done(effects)
            }
            Some(Err(refusal)) => match refusal.error {
                Error::NotFound => {
                    recorder.refused(&refusal, (from.cell, Effect::Is(Cell::Absent)))
                }
                ref error => Recorder::failed(error, change),
            },
        };
        recorder.record(called, told);
    }

    async fn link(&mut self, server: &Instance) {
        let (place, Some((object, _))) = (self.place(), self.object()) else { return };
        let recorder = &self.recorder;
        let (cx, directory, text) = (context(recorder.share), place.directory, place.text());
        let called = recorder.tick();
        let call = |store: Arc<dyn Namespace>| async move {
            store.link(&cx, object, directory, &text).await
        };
        let cell = recorder.cell(object);
        let change = Change::Link { object: cell, name: place.cell };
        let told = match server.call(call).await {
            None => Told::Perhaps(change),
            Some(Ok(linked)) => {
                let (from, to) = (Some(Cell::Absent), Cell::Leads(cell));
                let name = (place.cell, Effect::Becomes { from, to });
                let linked =
                    [recorder.change(&linked.directory), recorder.becomes(None, &linked.object)];
                Told::Done(linked.into_iter().chain([name]).collect())
            }
            Some(Err(refusal)) => match refusal.error {
                Error::Exists => recorder.refused(&refusal, (place.cell, Effect::IsTaken)),
                Error::Stale => recorder.refused(&refusal, (cell, Effect::Is(Cell::Gone))),
                ref error => Recorder::failed(error, change),
            },
        };
        recorder.record(called, told);
    }

    async fn setattr(&mut self, server: &Instance) {
        let Some((object, ctime)) = self.object() else { return };
        let mut set = SetAttributes::default();
        match self.random.random_range(0..4) {
            0 => set.size = Some(self.random.random_range(0..4)),
            _ => set.mode = Some(self.random.random_range(0o600..0o700)),
        }
        set.guard = self.random.random_bool(0.3).then_some(ctime);
        let recorder = &self.recorder;
        let (cell, cx) = (recorder.cell(object), context(recorder.share));
        let change = Change::Setattr { object: cell, mode: set.mode, size: set.size };
        let guard = set.guard;
        let called = recorder.tick();
        let call =
            |store: Arc<dyn Namespace>| async move { store.setattr(&cx, object, &set).await };
        let told = match server.call(call).await {
            None => Told::Perhaps(change),
            Some(Ok(done)) if was_lost(&done.change) => Told::Perhaps(change),
            Some(Ok(done)) => {
                if let (Some(before), Some(guard)) = (&done.change.before, guard) {
                    assert_eq!(before.ctime, guard, "the guard is kept");
                }
                Told::Done(vec![recorder.change(&done.change)])
            }
            Some(Err(refusal)) => match (&refusal.error, guard) {
                (Error::Stale, _) => Told::Done(vec![(cell, Effect::Is(Cell::Gone))]),
                (Error::NotSync, Some(guard)) => {
                    recorder.refused(&refusal, (cell, Effect::IsNot(guard.0)))
                }
                (error, _) => Recorder::failed(error, change),
            },
        };
        recorder.record(called, told);
    }
}

/// A read that could not be answered now.
fn busy(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::Cancelled)
}

/// Whether the answer of a change was lost. Its attributes are those of a later moment, perhaps after other
/// changes.
fn was_lost(change: &Changed) -> bool {
    change.before.is_none()
}

/// Clients that call the servers at random for a time, or until there are [`MOST_CALLS`].
pub(super) async fn run(
    recorder: &Arc<Recorder>,
    servers: &Arc<Servers>,
    clients: u64,
    time: Duration,
    seed: u64,
) {
    let end = Instant::now() + time;
    let clients = (0..clients).map(|number| {
        let random = StdRng::seed_from_u64(seed ^ (number << 32));
        let mut client = Client { recorder: Arc::clone(recorder), random };
        let servers = Arc::clone(servers);
        tokio::spawn(async move {
            while Instant::now() < end && client.recorder.state.lock().calls.len() < MOST_CALLS {
                let server = client.random.random_range(0..servers.len());
                let server = Arc::clone(&servers[server].read());
                client.step(&server).await;
            }
        })
    });
    for client in join_all(clients).await {
        client.unwrap();
    }
}
