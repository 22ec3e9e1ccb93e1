//! Many lock calls: beside a model that has a cell for every byte, and at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use trunkfs::metadata::{LockKind, LockOutcome};
use trunkfs::types::ObjectId;

use crate::metadata::lockers::{END, Locker};
use crate::metadata::world::World;

/// Bytes that have cells of their own; the last cell stands for all behind them.
const BYTES: usize = 16;
const CALLS: usize = 5000;
const SESSIONS: usize = 8;
const ROUNDS: usize = 120;

type Cells = [Option<LockKind>; BYTES + 1];
/// An owner: its client, and its svid.
type Whose = (usize, i32);

fn random_ends(rng: &mut StdRng) -> (u64, u64) {
    let first = rng.random_range(0..=BYTES as u64);
    let last = rng.random_range(first..=BYTES as u64);
    (first, if last == BYTES as u64 { END } else { last })
}

fn cells((first, last): (u64, u64)) -> std::ops::RangeInclusive<usize> {
    first as usize..=last.min(BYTES as u64) as usize
}

/// What the cells of an owner come to as rows.
fn canonical(cells: &Cells) -> Vec<((u64, u64), LockKind)> {
    let mut rows: Vec<((u64, u64), LockKind)> = Vec::new();
    for (at, kind) in cells.iter().enumerate() {
        let Some(kind) = *kind else { continue };
        let last = if at == BYTES { END } else { at as u64 };
        match rows.last_mut() {
            Some((before, known)) if *known == kind && before.1 + 1 == at as u64 => before.1 = last,
            Some(_) | None => rows.push(((at as u64, last), kind)),
        }
    }
    rows
}

fn conflicts(
    model: &BTreeMap<Whose, Cells>,
    whose: Whose,
    ends: (u64, u64),
    kind: LockKind,
) -> bool {
    model
        .iter()
        .filter(|(other, _)| **other != whose)
        .any(|(_, its)| its[cells(ends)].iter().flatten().any(|held| held.conflicts(kind)))
}

pub(crate) async fn random_calls_are_answered_as_a_model_does(world: World) {
    let file = world.superuser().file(world.root, "f").await.id;
    let clients = [Locker::new(&world), Locker::new(&world)];
    let mut model: BTreeMap<Whose, Cells> = BTreeMap::new();
    for client in 0..2 {
        for svid in 0..2 {
            model.insert((client, svid), [None; BYTES + 1]);
        }
    }
    let mut rng = StdRng::seed_from_u64(19_795);
    for step in 0..CALLS {
        let whose = (rng.random_range(0..2), rng.random_range(0..2));
        let (client, ends) = (&clients[whose.0], random_ends(&mut rng));
        let kind = LockKind::of(rng.random());
        match rng.random_range(0..8) {
            0..3 => {
                client.unlock(file, whose.1, ends).await;
                model.get_mut(&whose).unwrap()[cells(ends)].fill(None);
            }
            3 => {
                let holder = client.test(file, whose.1, ends, kind).await;
                assert_eq!(holder.is_some(), conflicts(&model, whose, ends, kind), "step {step}");
            }
            _ => {
                let outcome = client.lock(file, whose.1, ends, kind).await;
                if conflicts(&model, whose, ends, kind) {
                    assert_eq!(outcome, LockOutcome::Denied, "step {step}");
                } else {
                    assert_eq!(outcome, LockOutcome::Granted, "step {step}");
                    model.get_mut(&whose).unwrap()[cells(ends)].fill(Some(kind));
                }
            }
        }
        if step % 10 == 0 {
            assert_rows(&clients, file, &model, step).await;
        }
    }
    assert_rows(&clients, file, &model, CALLS).await;
}

async fn assert_rows(
    clients: &[Locker; 2],
    file: ObjectId,
    model: &BTreeMap<Whose, Cells>,
    step: usize,
) {
    let filter = trunkfs::metadata::LockFilter { file: Some(file), ..Default::default() };
    let records = clients[0].records(filter).await;
    for ((client, svid), cells) in model {
        let owner = clients[*client].owner(*svid);
        let rows: Vec<_> = records
            .iter()
            .filter(|record| record.owner == owner)
            .map(|record| ((record.range.first(), record.range.last()), record.kind))
            .collect();
        assert_eq!(rows, canonical(cells), "step {step}");
    }
}

/// What sessions hold, as they know it: marked after a lock was granted, until before it is given back.
#[derive(Default)]
struct Marks(Mutex<BTreeMap<Whose, Cells>>);

impl Marks {
    fn take(&self, whose: Whose, ends: (u64, u64), kind: LockKind) {
        let mut marks = self.0.lock();
        let two = conflicts(&marks, whose, ends, kind);
        assert!(!two, "{whose:?} has {ends:?} {kind:?} beside another: {marks:?}");
        marks.entry(whose).or_insert([None; BYTES + 1])[cells(ends)].fill(Some(kind));
    }

    fn give_back(&self, whose: Whose) {
        self.0.lock().remove(&whose);
    }
}

pub(crate) async fn two_owners_never_have_one_byte(world: World) {
    let root = world.superuser();
    let mut files = Vec::new();
    for name in ["f", "g", "h"] {
        files.push((root.file(world.root, name).await.id, Arc::new(Marks::default())));
    }
    let client = Locker::new(&world);
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let (files, client) = (files.clone(), client.clone());
            tokio::spawn(async move { session(number, files, client).await })
        })
        .collect();
    let mut granted = 0;
    for session in sessions {
        granted += session.await.unwrap();
    }
    assert!(granted > SESSIONS * ROUNDS / 10, "{granted} locks were granted");
    for (file, _) in &files {
        assert_eq!(client.on(*file).await, []);
    }
}

async fn session(number: usize, files: Vec<(ObjectId, Arc<Marks>)>, client: Locker) -> usize {
    let mut rng = StdRng::seed_from_u64(number as u64);
    let svid = number as i32;
    let mut granted = 0;
    for _ in 0..ROUNDS {
        let (file, marks) = &files[rng.random_range(0..files.len())];
        let whose = (0, svid);
        // No downgrades: others may have the bytes before the mark says so.
        let mut exclusive = false;
        for _ in 0..rng.random_range(1..4) {
            exclusive |= rng.random::<bool>();
            let (ends, kind) = (random_ends(&mut rng), LockKind::of(exclusive));
            let outcome = match rng.random() {
                true => client.lock(*file, svid, ends, kind).await,
                false => client.wait(*file, svid, ends, kind).await,
            };
            match outcome {
                LockOutcome::Granted => {
                    marks.take(whose, ends, kind);
                    granted += 1;
                }
                LockOutcome::Denied | LockOutcome::Deadlock => {}
                LockOutcome::Blocked => {
                    // Somebody gives up, or tries what waits.
                    if rng.random() {
                        client.cancel(*file, svid, ends, kind).await;
                    }
                    // What was held before is given back too.
                    marks.give_back(whose);
                    let all = client.store.reserve(&Locker::call(), *file, 100).await.unwrap();
                    for reservation in all {
                        client.settle(&reservation, false).await;
                    }
                    client.unlock(*file, svid, ends).await;
                    client.unlock(*file, svid, (0, END)).await;
                }
                LockOutcome::NoLocks => panic!("so many locks there are not"),
            }
        }
        marks.give_back(whose);
        client.unlock(*file, svid, (0, END)).await;
    }
    // What waits for other ranges than those that were given back.
    for (file, _) in &files {
        let filter = trunkfs::metadata::LockFilter {
            file: Some(*file),
            svid: Some(svid),
            ..Default::default()
        };
        client.store.break_locks(&filter).await.unwrap();
    }
    granted
}
