//! Every order in which a few transactions, a statement whose result is kept, polls, prunings and the
//! emptying of the list can take their steps, on a database that is modelled and the cache that is used:
//! after each poll the cache holds what the poll's snapshot holds, or nothing. Without any one of the rules
//! some order shows otherwise.

use super::poll::Seen;
use crate::metadata::cache::{Cache, ChangedEntry, Since, Touched};
use crate::metadata::postgres::explore::{self, explore};
use crate::metadata::{Capabilities, Lookup, RootSpec, Share, rules};
use crate::types::{Attributes, Fileid, Fsid, Name, ObjectId, ShareId, ShareName, Timestamp};

/// A transaction that changes the file's size, and may move it away from its name or back.
#[derive(Clone, Copy, Debug)]
struct Change {
    size: u64,
    is_named: bool,
    /// It holds the lease: the change begins a term, and is not listed.
    begins_term: bool,
}

/// What a transaction has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting,
    Open(i64),
    Committed(i64),
    Aborted(i64),
}

#[derive(Clone, Debug)]
struct Snapshot {
    xmax: i64,
    in_progress: Vec<i64>,
    /// By the order of commits.
    size: u64,
    is_named: bool,
    term: i64,
    pruned: i64,
    /// Not of the snapshot: where the list was when its rows were read.
    file: i64,
}

/// A step that somebody takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begin(usize),
    Commit(usize),
    Abort(usize),
    /// A statement is sent, and sees a snapshot; then its answer comes.
    Ask,
    Answer,
    /// The same of a poll, which reads the list in between: its snapshot may be older than the lock on it.
    Poll,
    Read,
    Apply,
    /// Every row that is seen is removed.
    Prune,
    /// The list is emptied, from under older snapshots too, and no term begins.
    Empty,
}

/// What makes the cache hold what a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A poll asks for what was in progress at the one before.
    InProgress,
    /// Rows that may have been pruned void everything.
    Pruned,
    /// So does a new term.
    Term,
    /// So does a list in another file.
    File,
    /// A result is not kept whose keys have changed since its statement was sent.
    Since,
    /// A result is kept at a poll that was sent after it was there.
    Later,
}

/// A statement: when the cache was asked before it, and what it saw.
type Asked = (Since, Snapshot);

/// A poll that is under way.
struct Sent {
    snapshot: Snapshot,
    /// The changes that it has read, or would.
    rows: Vec<i64>,
    is_read: bool,
    fills: Vec<Asked>,
}

struct World {
    without: Option<Rule>,
    changes: Vec<Change>,
    fates: Vec<Fate>,
    next: i64,
    /// The state after all commits so far.
    now: (u64, bool),
    term: i64,
    pruned: i64,
    file: i64,
    /// Numbers of rows that are there, and whether they are seen.
    rows: Vec<(i64, bool)>,
    cache: Cache,
    asked: Option<Asked>,
    answered: Vec<Asked>,
    sent: Option<Sent>,
    last: Option<Seen>,
    left: [usize; 5],
    hits: usize,
    /// The cache held something else.
    is_wrong: bool,
    scene: Scene,
}

/// A directory, and a file that may have a name in it.
struct Scene {
    share: Share,
    directory: Attributes,
    file: Attributes,
    name: Name,
}

impl Default for Scene {
    fn default() -> Self {
        let object = |number: u128| {
            let spec = RootSpec { uid: 0, gid: 0, mode: 0o755 };
            let id = ObjectId(uuid::Uuid::from_u128(number));
            rules::root(id, Fileid(1), Fsid(7), spec, Timestamp(1))
        };
        let share = Share {
            id: ShareId(1),
            name: ShareName::parse("/e").unwrap(),
            root: ObjectId(uuid::Uuid::from_u128(1)),
            fsid: Fsid(7),
            chunk_size: 1,
            capabilities: Capabilities::default(),
        };
        let name = Name::parse(b"name").unwrap();
        Self { share, directory: object(1), file: object(2), name }
    }
}

impl Scene {
    /// LOOKUP's answer in a snapshot. The sizes stand for whatever changes.
    fn found(&self, snapshot: &Snapshot) -> Lookup {
        let sized = |it: &Attributes| Attributes { size: snapshot.size, ..it.clone() };
        let object = snapshot.is_named.then(|| sized(&self.file));
        Lookup { directory: sized(&self.directory), object }
    }

    fn touched(&self) -> Touched {
        let place = (self.directory.id, self.name.clone());
        let objects = vec![self.directory.id, self.file.id];
        Touched { objects, entries: vec![ChangedEntry { place, before: None, after: None }] }
    }
}

const ASKS: usize = 0;
const POLLS: usize = 1;
const PRUNES: usize = 2;
const ABORTS: usize = 3;
const EMPTYINGS: usize = 4;

impl World {
    fn new(changes: &[Change], left: [usize; 5], without: Option<Rule>) -> Self {
        Self {
            without,
            changes: changes.to_vec(),
            fates: vec![Fate::Waiting; changes.len()],
            next: 1,
            now: (0, true),
            term: 0,
            pruned: 0,
            file: 0,
            rows: Vec::new(),
            cache: Cache::default(),
            asked: None,
            answered: Vec::new(),
            sent: None,
            last: Some(Seen { term: 0, pruned: 0, xmax: 1, in_progress: Vec::new(), file: 0 }),
            left,
            hits: 0,
            is_wrong: false,
            scene: Scene::default(),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let open = self.fates.iter().filter_map(|fate| match fate {
            Fate::Open(number) => Some(*number),
            Fate::Waiting | Fate::Committed(_) | Fate::Aborted(_) => None,
        });
        // As PostgreSQL has it: the one behind the newest that has ended.
        let ended = self.fates.iter().filter_map(|fate| match fate {
            Fate::Committed(number) | Fate::Aborted(number) => Some(*number + 1),
            Fate::Waiting | Fate::Open(_) => None,
        });
        let xmax = ended.max().unwrap_or(1);
        Snapshot {
            xmax,
            in_progress: open.filter(|number| *number < xmax).collect(),
            size: self.now.0,
            is_named: self.now.1,
            term: self.term,
            pruned: self.pruned,
            file: self.file,
        }
    }

    fn apply(&mut self) {
        let Some(Sent { snapshot, rows, mut fills, .. }) = self.sent.take() else { return };
        let Snapshot { xmax, ref in_progress, term, pruned, file, .. } = snapshot;
        let seen = Seen {
            term: if self.without == Some(Rule::Term) { 0 } else { term },
            pruned: if self.without == Some(Rule::Pruned) { 0 } else { pruned },
            xmax,
            in_progress: in_progress.clone(),
            file: if self.without == Some(Rule::File) { 0 } else { file },
        };
        if self.without == Some(Rule::Later) {
            fills.append(&mut self.answered);
        }
        match self.last.replace(seen) {
            Some(last) if self.last.as_ref().is_some_and(|seen| last.is_continued_by(seen)) => {
                if !rows.is_empty() {
                    self.cache.drop_changed(&self.scene.touched());
                }
                for (since, read) in fills {
                    let now = self.cache.since();
                    let since = if self.without == Some(Rule::Since) { now } else { since };
                    self.cache.keep_lookup(since, &self.scene.name, &self.scene.found(&read));
                }
            }
            Some(_) | None => drop(self.cache.forget()),
        }
        let Scene { share, directory, name, .. } = &self.scene;
        if let Ok(known) = self.cache.lookup(share, directory.id, name) {
            self.is_wrong |= known != self.scene.found(&snapshot);
            self.hits += 1;
        }
    }
}

impl explore::World for World {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, fate) in self.fates.iter().enumerate() {
            match fate {
                // The order in which the others begin is theirs alone.
                Fate::Waiting if self.fates[..at].iter().all(|it| *it != Fate::Waiting) => {
                    steps.push(Step::Begin(at));
                }
                Fate::Open(_) => {
                    steps.push(Step::Commit(at));
                    if self.left[ABORTS] > 0 {
                        steps.push(Step::Abort(at));
                    }
                }
                Fate::Waiting | Fate::Committed(_) | Fate::Aborted(_) => {}
            }
        }
        match &self.asked {
            Some(_) => steps.push(Step::Answer),
            None if self.left[ASKS] > 0 => steps.push(Step::Ask),
            None => {}
        }
        match &self.sent {
            Some(sent) if sent.is_read => steps.push(Step::Apply),
            Some(_) => steps.push(Step::Read),
            None if self.left[POLLS] > 0 => steps.push(Step::Poll),
            None => {}
        }
        if self.left[PRUNES] > 0 {
            steps.push(Step::Prune);
        }
        // It waits for every transaction that has a row in the list.
        let is_open = |at: usize| matches!(self.fates[at], Fate::Open(_));
        let mut listing = (0..self.changes.len()).filter(|at| !self.changes[*at].begins_term);
        if self.left[EMPTYINGS] > 0 && !listing.any(is_open) {
            steps.push(Step::Empty);
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Begin(at) => {
                self.fates[at] = Fate::Open(self.next);
                if !self.changes[at].begins_term {
                    self.rows.push((self.next, false));
                }
                self.next += 1;
            }
            Step::Commit(at) => {
                let Fate::Open(number) = self.fates[at] else { return };
                self.fates[at] = Fate::Committed(number);
                let Change { size, is_named, begins_term } = self.changes[at];
                self.now = (size, is_named);
                self.term += i64::from(begins_term);
                for row in self.rows.iter_mut().filter(|row| row.0 == number) {
                    row.1 = true;
                }
            }
            Step::Abort(at) => {
                self.left[ABORTS] -= 1;
                let Fate::Open(number) = self.fates[at] else { return };
                self.fates[at] = Fate::Aborted(number);
                self.rows.retain(|row| row.0 != number);
            }
            Step::Ask => {
                self.left[ASKS] -= 1;
                self.asked = Some((self.cache.since(), self.snapshot()));
            }
            Step::Answer => self.answered.extend(self.asked.take()),
            Step::Poll => {
                self.left[POLLS] -= 1;
                let snapshot = self.snapshot();
                let asks_again = self.without != Some(Rule::InProgress);
                let is_new = |number: i64| {
                    let last = self.last.as_ref();
                    last.is_some_and(|last| {
                        number >= last.xmax && number < snapshot.xmax
                            || asks_again && last.in_progress.contains(&number)
                    })
                };
                let rows = self.rows.iter().filter(|row| row.1 && is_new(row.0));
                let rows = rows.map(|row| row.0).collect();
                let fills = std::mem::take(&mut self.answered);
                // No step between the two is of interest where nobody empties the list.
                let is_read = self.left[EMPTYINGS] == 0;
                self.sent = Some(Sent { snapshot, rows, is_read, fills });
            }
            Step::Read => {
                if let Some(sent) = &mut self.sent {
                    sent.is_read = true;
                }
            }
            Step::Apply => self.apply(),
            Step::Prune => {
                self.left[PRUNES] -= 1;
                self.pruned = self.snapshot().xmax;
                self.rows.retain(|row| !row.1);
            }
            Step::Empty => {
                self.left[EMPTYINGS] -= 1;
                self.rows.clear();
                self.file += 1;
                if let Some(sent) = self.sent.as_mut().filter(|sent| !sent.is_read) {
                    sent.rows.clear();
                    sent.snapshot.file = self.file;
                }
            }
        }
    }

    fn is_wrong(&self) -> bool {
        self.is_wrong
    }
}

/// Takes all orders of steps: how many there were, and how often the cache had an answer; or one order that
/// leads to a wrong answer.
fn explored(
    changes: &[Change],
    left: [usize; 5],
    without: Option<Rule>,
) -> Result<(usize, usize), Vec<Step>> {
    let mut hits = 0;
    let runs = explore(|| World::new(changes, left, without), |world| hits += world.hits)?;
    Ok((runs, hits))
}

const LISTED: Change = Change { size: 1, is_named: false, begins_term: false };
const AGAIN: Change = Change { size: 2, is_named: true, begins_term: false };
const UNLISTED: Change = Change { size: 3, is_named: true, begins_term: true };

/// Changes, and how many statements, polls, prunings, roll-backs and emptyings there are.
const CASES: [(&[Change], [usize; 5]); 7] = [
    (&[LISTED, AGAIN], [1, 3, 0, 0, 0]),
    (&[LISTED, AGAIN], [1, 2, 0, 1, 0]),
    (&[LISTED, AGAIN], [1, 2, 1, 0, 0]),
    (&[LISTED, UNLISTED], [1, 2, 0, 0, 0]),
    (&[LISTED], [2, 2, 1, 0, 0]),
    (&[LISTED], [1, 3, 0, 0, 1]),
    (&[LISTED], [1, 2, 1, 0, 1]),
];

#[test]
fn no_order_shows_anything_else_than_a_snapshot() {
    for (changes, left) in CASES {
        let (runs, hits) = explored(changes, left, None).unwrap();
        assert!(runs > 5_000 && hits > runs / 100, "{hits} hits in {runs} runs of {left:?}");
    }
}

#[test]
fn every_rule_is_needed() {
    for rule in [Rule::InProgress, Rule::Pruned, Rule::Term, Rule::File, Rule::Since, Rule::Later] {
        let found =
            CASES.iter().any(|(changes, left)| explored(changes, *left, Some(rule)).is_err());
        assert!(found, "{rule:?}");
    }
}
