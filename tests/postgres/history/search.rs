//! Whether a history of concurrent calls is linearizable: whether there is one order of all calls, each
//! between its call and its reply, in which every reply is right. Wing and Gong's search (1993), which takes
//! no state twice with the same calls done (Lowe 2017).

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hash, RandomState};

/// What calls do to a state.
pub(super) trait Model {
    type State: Clone + Eq + Hash;
    /// Steps that are equal do the same to every state.
    type Step: PartialEq;

    /// The states that the step may lead to; none where its reply would be wrong.
    fn next(&self, state: &Self::State, step: &Self::Step) -> Vec<Self::State>;
}

/// A call of a history. Times are ticks of one clock.
#[derive(Clone, Debug)]
pub(super) struct Call<S> {
    pub(super) called: u64,
    /// None of a call whose outcome is not known: it may have been done at any time since, or not at all.
    pub(super) returned: Option<u64>,
    pub(super) step: S,
}

/// What the search has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Linearizable,
    /// The longest order in which all replies are right, as indices of the history, and the calls of which
    /// none can follow.
    Wrong {
        order: Vec<usize>,
        stuck: Vec<usize>,
    },
    /// Neither, within the limit of states.
    Undecided,
}

/// More states than these are not looked at.
const MOST_STATES: usize = 60_000;

/// The calls that are done: of those that have returned, by the time of the call, all before `first` and
/// those of `beyond`; of those of unknown outcome, `pending`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Done {
    first: usize,
    beyond: Vec<usize>,
    pending: Vec<usize>,
}

struct Frame<S> {
    done: Done,
    /// The call that led here.
    by: usize,
    choices: std::vec::IntoIter<(usize, S)>,
}

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [Call<M::Step>],
    /// Calls that have returned, by the time of the call.
    returned: Vec<usize>,
    pending: Vec<usize>,
}

pub(super) fn check<M: Model>(model: &M, start: M::State, history: &[Call<M::Step>]) -> Verdict {
    let mut by_call: Vec<usize> = (0..history.len()).collect();
    by_call.sort_by_key(|&at| history[at].called);
    let (returned, pending) = by_call.into_iter().partition(|&at| history[at].returned.is_some());
    let search = Search { model, history, returned, pending };
    search.run(start)
}

impl<M: Model> Search<'_, M> {
    fn run(&self, start: M::State) -> Verdict {
        let hashers = (RandomState::new(), RandomState::new());
        let mut seen = HashSet::new();
        let (mut longest, mut stuck) = (Vec::new(), Vec::new());
        let mut frames: Vec<Frame<M::State>> = Vec::new();
        let mut entered = Some((usize::MAX, Done::default(), start));
        loop {
            if let Some((by, done, state)) = entered.take() {
                if done.first == self.returned.len() {
                    return Verdict::Linearizable;
                }
                // Two hashes of 64 bits stand for the state.
                let key = (&done, &state);
                if seen.insert((hashers.0.hash_one(key), hashers.1.hash_one(key))) {
                    let (candidates, choices) = self.choices(&done, &state);
                    frames.push(Frame { done, by, choices: choices.into_iter() });
                    if longest.len() + 1 < frames.len() || stuck.is_empty() {
                        longest = frames[1..].iter().map(|frame| frame.by).collect();
                        stuck = candidates;
                    }
                }
            }
            if seen.len() > MOST_STATES {
                return Verdict::Undecided;
            }
            let Some(frame) = frames.last_mut() else {
                return Verdict::Wrong { order: longest, stuck };
            };
            match frame.choices.next() {
                Some((call, state)) => entered = Some((call, self.with(&frame.done, call), state)),
                None => drop(frames.pop()),
            }
        }
    }

    /// The calls that may come next, and those of them that can, with the state after each.
    fn choices(&self, done: &Done, state: &M::State) -> (Vec<usize>, Vec<(usize, M::State)>) {
        let mut until = u64::MAX;
        let mut candidates = Vec::new();
        for (place, &call) in self.returned.iter().enumerate().skip(done.first) {
            let Call { called, returned, .. } = &self.history[call];
            if *called > until {
                break;
            }
            if !done.beyond.contains(&place) {
                until = until.min(returned.unwrap_or(u64::MAX));
                candidates.push(call);
            }
        }
        // A call comes before those that were made after its reply.
        candidates.retain(|&call| self.history[call].called < until);
        candidates.sort_by_key(|&call| self.history[call].returned);
        let pending = self.pending.iter().filter(|call| !done.pending.contains(call));
        let first = candidates.len();
        for &call in pending.filter(|&&call| self.history[call].called < until) {
            // Of equal ones the first that was called stands for all: it may stand wherever another may.
            let is_equal = |other: &usize| self.history[*other].step == self.history[call].step;
            if !candidates[first..].iter().any(is_equal) {
                candidates.push(call);
            }
        }
        let mut choices = Vec::new();
        for &call in &candidates {
            let states = self.model.next(state, &self.history[call].step);
            let changes_nothing = states.len() == 1 && states[0] == *state;
            let has_returned = self.history[call].returned.is_some();
            if changes_nothing && has_returned {
                // Wherever else it stood in an order, it may stand here.
                return (candidates, states.into_iter().map(|state| (call, state)).collect());
            }
            // One of unknown outcome that would change nothing may be left out.
            let steps = states.into_iter().filter(|next| has_returned || next != state);
            choices.extend(steps.map(|state| (call, state)));
        }
        (candidates, choices)
    }

    fn with(&self, done: &Done, call: usize) -> Done {
        let mut done = done.clone();
        if self.history[call].returned.is_none() {
            done.pending.push(call);
            done.pending.sort_unstable();
            return done;
        }
        let mut places = self.returned.iter().enumerate().skip(done.first);
        let place = places.find(|(_, known)| **known == call).map(|(place, _)| place);
        done.beyond.extend(place);
        done.beyond.sort_unstable();
        while done.beyond.first() == Some(&done.first) {
            done.beyond.remove(0);
            done.first += 1;
        }
        done
    }
}
