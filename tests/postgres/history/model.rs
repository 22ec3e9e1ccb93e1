//! What calls make of a few directories' names and of what these lead to. A state is a row of cells: one for
//! each name, then one for each object. A reply shows some of them, all at one moment; what a call of unknown
//! outcome has done depends on the others.

use trunkfs::types::Attributes;

use super::search::{Call, Model, Verdict, check};

/// Names in each directory.
pub(super) const NAMES: usize = 3;

/// A name's or an object's number among the cells.
pub(super) type CellId = usize;

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cell {
    /// It is not followed: anything may be there.
    Any,
    /// A name that leads nowhere.
    Absent,
    /// A name of an object.
    Leads(CellId),
    /// A name of some object, by a call of unknown outcome: one that no known call has made, if `is_new`.
    LeadsSomewhere {
        is_new: bool,
    },
    /// An object that is not made yet.
    Unborn,
    /// An object that a call of unknown outcome has made, and nobody has seen yet.
    Unseen,
    There(Seen),
    /// An object that was removed.
    Gone,
}

/// An object's attributes, as far as calls change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    pub(super) ctime: Ctime,
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) nlink: u32,
}

/// No two states of an object have the same, and it grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ctime {
    At(i64),
    /// Of a call of unknown outcome: some time after this one.
    After(i64),
}

impl From<&Attributes> for Seen {
    fn from(it: &Attributes) -> Self {
        Self { ctime: Ctime::At(it.ctime.0), mode: it.mode, size: it.size, nlink: it.nlink }
    }
}

impl Seen {
    /// What is known once `shown` was seen; none where it cannot have been.
    fn shown(self, shown: Self) -> Option<Self> {
        match (self.ctime, shown.ctime) {
            (Ctime::After(earlier), Ctime::At(now)) if now > earlier => {
                (Self { ctime: shown.ctime, ..self } == shown).then_some(shown)
            }
            (Ctime::At(_) | Ctime::After(_), _) => (self == shown).then_some(shown),
        }
    }

    fn changed(self) -> Self {
        let (Ctime::At(time) | Ctime::After(time)) = self.ctime;
        Self { ctime: Ctime::After(time), ..self }
    }
}

/// What a reply says of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Is(Cell),
    /// The name leads somewhere.
    IsTaken,
    /// The object has another ctime than a guard.
    IsNot(i64),
    /// It was `from`, where that is known, and is `to`.
    Becomes {
        from: Option<Cell>,
        to: Cell,
    },
}

/// A change whose outcome is not known. Where it would be refused it does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Create { name: CellId },
    Remove { name: CellId },
    Rename { from: CellId, to: CellId },
    Link { object: CellId, name: CellId },
    Setattr { object: CellId, mode: Option<u32>, size: Option<u64> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All at once.
    Done(Vec<(CellId, Effect)>),
    Perhaps(Change),
}

/// The cells of a history.
#[derive(Debug)]
pub(super) struct Cells {
    /// The directories' cells.
    pub(super) directories: Vec<CellId>,
    /// How each cell begins.
    pub(super) start: Vec<Cell>,
}

impl Cells {
    /// The cell of a directory's name.
    pub(super) fn name(directory: usize, name: usize) -> CellId {
        directory * NAMES + name
    }

    fn is_name(&self, cell: CellId) -> bool {
        cell < self.directories.len() * NAMES
    }

    fn directory_of(&self, name: CellId) -> CellId {
        self.directories[name / NAMES]
    }

    fn files(&self) -> impl Iterator<Item = CellId> + '_ {
        (0..self.start.len())
            .filter(|cell| !self.is_name(*cell) && !self.directories.contains(cell))
    }

    /// Whether a step says or does anything about a cell.
    fn concerns(&self, step: &Step, cell: CellId) -> bool {
        match step {
            Step::Done(effects) => effects.iter().any(|(of, _)| *of == cell),
            Step::Perhaps(change) => {
                let names: &[CellId] = match change {
                    Change::Create { name } | Change::Remove { name } => &[*name],
                    Change::Rename { from, to } => &[*from, *to],
                    Change::Link { name, .. } => &[*name],
                    Change::Setattr { object, .. } => return *object == cell,
                };
                // Which objects a name leads to depends on other cells.
                let all_files = matches!(change, Change::Remove { .. } | Change::Rename { .. });
                let link = matches!(change, Change::Link { object, .. } if *object == cell);
                let is_file = !self.is_name(cell) && !self.directories.contains(&cell);
                let named = |name: &CellId| *name == cell || self.directory_of(*name) == cell;
                names.iter().any(named) || link || all_files && is_file
            }
        }
    }

    /// What a step says and does of one cell alone. Steps that do the same to it are equal.
    fn of_cell(&self, step: &Step, cell: CellId) -> Step {
        let change = match step {
            Step::Done(effects) => {
                let of_it = effects.iter().filter(|(of, _)| *of == cell).copied();
                return Step::Done(of_it.collect());
            }
            Step::Perhaps(change) => *change,
        };
        if self.directories.contains(&cell) {
            // Whichever of its names it is.
            return Step::Perhaps(Change::Setattr { object: cell, mode: None, size: None });
        }
        // Names other than it.
        let [one, another] = match cell {
            0 => [1, 2],
            1 => [0, 2],
            _ => [0, 1],
        };
        let other = |name: CellId, stands_in: CellId| if name == cell { cell } else { stands_in };
        Step::Perhaps(match change {
            Change::Remove { name } => Change::Remove { name: other(name, one) },
            Change::Rename { from, to } if from != to => {
                Change::Rename { from: other(from, one), to: other(to, another) }
            }
            Change::Link { object, name } => Change::Link { object, name: other(name, one) },
            same @ (Change::Create { .. } | Change::Rename { .. } | Change::Setattr { .. }) => same,
        })
    }

    /// Checks each cell by itself, then all of them together. Answers with what is wrong.
    pub(super) fn check(&self, history: &[Call<Step>]) -> Result<(), String> {
        let mut undecided = 0;
        for cell in 0..self.start.len() {
            let mut start = vec![Cell::Any; self.start.len()];
            start[cell] = self.start[cell];
            let concerned: Vec<_> =
                history.iter().filter(|call| self.concerns(&call.step, cell)).cloned().collect();
            let mut of_it = concerned.clone();
            of_it.iter_mut().for_each(|call| call.step = self.of_cell(&call.step, cell));
            let verdict = check(self, start, &of_it);
            if matches!(verdict, Verdict::Undecided) {
                println!("cell {cell}: there are too many orders");
                undecided += 1;
                continue;
            }
            self.told(&concerned, verdict, &format!("cell {cell}"))?;
        }
        // Calls of unknown outcome may stand anywhere; most cells are decided nevertheless.
        if undecided * 4 > self.start.len() {
            return Err(format!("{undecided} of {} cells are not decided", self.start.len()));
        }
        let all = check(self, self.start.clone(), history);
        if matches!(all, Verdict::Undecided) {
            // Calls of unknown outcome may stand anywhere. Each cell by itself is right.
            println!("all cells: there are too many orders");
            return Ok(());
        }
        self.told(history, all, "all cells")
    }

    fn told(&self, history: &[Call<Step>], verdict: Verdict, what: &str) -> Result<(), String> {
        let (order, stuck) = match verdict {
            Verdict::Linearizable => return Ok(()),
            Verdict::Undecided => return Err(format!("{what}: there are too many orders")),
            Verdict::Wrong { order, stuck } => (order, stuck),
        };
        let lines = |calls: &[usize]| -> String {
            let line = |&at: &usize| {
                let Call { called, returned, step } = &history[at];
                format!(
                    "\n  {called}..{} {step:?}",
                    returned.map_or(String::new(), |at| at.to_string())
                )
            };
            calls.iter().map(line).collect()
        };
        let last = &order[order.len().saturating_sub(12)..];
        Err(format!(
            "{what}: {} of {} calls in order, the last of them{}\nand none of these can follow{}",
            order.len(),
            history.len(),
            lines(last),
            lines(&stuck),
        ))
    }
}

type State = Vec<Cell>;

/// What is known of a cell after a reply has said something of it; none where that is wrong.
fn told(cells: &Cells, cell: Cell, effect: Effect) -> Option<Cell> {
    let is = |cell: Cell, shown: Cell| match (cell, shown) {
        (Cell::There(known), Cell::There(shown)) => known.shown(shown).map(Cell::There),
        (Cell::Unseen, Cell::There(_)) => Some(shown),
        (Cell::LeadsSomewhere { is_new }, Cell::Leads(object)) => {
            (!is_new || cells.start[object] == Cell::Unseen).then_some(shown)
        }
        (known, shown) => (known == shown).then_some(shown),
    };
    match (cell, effect) {
        (Cell::Any, _) => Some(Cell::Any),
        (cell, Effect::Is(shown)) => is(cell, shown),
        (Cell::Leads(_) | Cell::LeadsSomewhere { .. }, Effect::IsTaken) => Some(cell),
        (_, Effect::IsTaken) => None,
        (Cell::There(known), Effect::IsNot(guard)) => {
            (known.ctime != Ctime::At(guard)).then_some(cell)
        }
        (_, Effect::IsNot(_)) => (cell == Cell::Unseen).then_some(cell),
        (cell, Effect::Becomes { from, to }) => {
            let before = from.map_or(Some(cell), |from| is(cell, from))?;
            match (before, to) {
                // Times go on, also where it is not known what was there.
                (Cell::There(before), Cell::There(after)) => {
                    let (Ctime::At(old) | Ctime::After(old)) = before.ctime;
                    matches!(after.ctime, Ctime::At(new) if new > old).then_some(to)
                }
                (Cell::Gone, Cell::There(_) | Cell::Gone) => None,
                (Cell::Unborn, Cell::There(_)) => (from == Some(Cell::Unborn)).then_some(to),
                (_, to) => Some(to),
            }
        }
    }
}

/// The object in one more state: it has lost a name.
fn unlinked(cell: Cell) -> Vec<Cell> {
    match cell {
        Cell::There(seen) if seen.nlink <= 1 => vec![Cell::Gone],
        Cell::There(seen) => vec![Cell::There(Seen { nlink: seen.nlink - 1, ..seen.changed() })],
        // It may have had another name.
        Cell::Unseen => vec![Cell::Unseen, Cell::Gone],
        other => vec![other],
    }
}

fn changed(cell: Cell) -> Cell {
    match cell {
        Cell::There(seen) => Cell::There(seen.changed()),
        other => other,
    }
}

impl Cells {
    /// The states after a change that was done, if it could be.
    fn perhaps(&self, state: &State, change: &Change) -> Vec<State> {
        let mut after = state.clone();
        match *change {
            Change::Create { name } => {
                after[name] = match state[name] {
                    Cell::Absent => Cell::LeadsSomewhere { is_new: true },
                    Cell::Any => Cell::Any,
                    _ => return Vec::new(),
                };
                self.enter(&mut after, name);
                vec![after]
            }
            Change::Remove { name } => {
                if state[name] == Cell::Absent {
                    return Vec::new();
                }
                if state[name] != Cell::Any {
                    after[name] = Cell::Absent;
                }
                self.enter(&mut after, name);
                self.lost(&after, state[name])
            }
            Change::Rename { from, to } => self.renamed(state, from, to),
            Change::Link { object, name } => {
                after[name] = match state[name] {
                    Cell::Absent => Cell::Leads(object),
                    Cell::Any => Cell::Any,
                    _ => return Vec::new(),
                };
                after[object] = match state[object] {
                    Cell::There(seen) => {
                        Cell::There(Seen { nlink: seen.nlink + 1, ..seen.changed() })
                    }
                    Cell::Gone | Cell::Unborn => return Vec::new(),
                    other => other,
                };
                self.enter(&mut after, name);
                vec![after]
            }
            Change::Setattr { object, mode, size } => {
                after[object] = match state[object] {
                    Cell::There(seen) => {
                        let (mode, size) = (mode.unwrap_or(seen.mode), size.unwrap_or(seen.size));
                        Cell::There(Seen { mode, size, ..seen.changed() })
                    }
                    Cell::Gone | Cell::Unborn => return Vec::new(),
                    other => other,
                };
                vec![after]
            }
        }
    }

    /// A directory's entries have changed.
    fn enter(&self, state: &mut State, name: CellId) {
        let directory = self.directory_of(name);
        state[directory] = changed(state[directory]);
    }

    /// What a name led to has lost it.
    fn lost(&self, state: &State, led: Cell) -> Vec<State> {
        let with = |file: CellId| {
            unlinked(state[file]).into_iter().map(move |cell| {
                let mut state = state.clone();
                state[file] = cell;
                state
            })
        };
        match led {
            Cell::Leads(object) => with(object).collect(),
            // One of those that are followed, or none of them.
            Cell::Any => {
                let followed = self.files().filter(|file| state[*file] != Cell::Any);
                std::iter::once(state.clone()).chain(followed.flat_map(with)).collect()
            }
            // Nobody has seen the object.
            _ => vec![state.clone()],
        }
    }

    fn renamed(&self, state: &State, from: CellId, to: CellId) -> Vec<State> {
        let (moved, replaced) = (state[from], state[to]);
        let is_one_object =
            matches!((moved, replaced), (Cell::Leads(one), Cell::Leads(other)) if one == other);
        if moved == Cell::Absent || from == to || is_one_object {
            return Vec::new();
        }
        let mut after = state.clone();
        if moved != Cell::Any {
            after[from] = Cell::Absent;
        }
        if replaced != Cell::Any {
            after[to] = match moved {
                Cell::Any => Cell::LeadsSomewhere { is_new: false },
                other => other,
            };
        }
        self.enter(&mut after, from);
        if self.directory_of(to) != self.directory_of(from) {
            self.enter(&mut after, to);
        }
        let mut states = match replaced {
            Cell::Absent => vec![after],
            replaced => self.lost(&after, replaced),
        };
        match moved {
            Cell::Leads(object) => {
                for state in &mut states {
                    state[object] = changed(state[object]);
                }
            }
            Cell::Any => {
                let also: Vec<State> = states
                    .iter()
                    .flat_map(|state| {
                        self.files().filter(|file| state[*file] != Cell::Any).map(|file| {
                            let mut state = state.clone();
                            state[file] = changed(state[file]);
                            state
                        })
                    })
                    .collect();
                states.extend(also);
            }
            _ => {}
        }
        states
    }
}

impl Model for Cells {
    type State = State;
    type Step = Step;

    fn next(&self, state: &State, step: &Step) -> Vec<State> {
        match step {
            Step::Perhaps(change) => self.perhaps(state, change),
            Step::Done(effects) => {
                let mut after = state.clone();
                for (cell, effect) in effects {
                    match told(self, after[*cell], *effect) {
                        Some(told) => after[*cell] = told,
                        None => return Vec::new(),
                    }
                }
                vec![after]
            }
        }
    }
}
