//! The calls that wait for one poll. Its end wakes all of them, and nothing else does: neither a call's token
//! nor its time is looked at meanwhile, which would cost more than the answer. So the
//! poller ends each round soon, also where the poll takes long or fails.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// The most calls that wait for one poll; the others ask for themselves. They are not counted by client:
/// where one client has taken all places, another's calls get statements and connections in turn by client
/// (`readers`, `pool`), as those do that no poll is worth for.
const MOST: usize = 4096;

/// One poll, from before it is sent until it is over.
#[derive(Debug, Default)]
pub(super) struct Round(Mutex<State>);

#[derive(Debug)]
enum State {
    Open(Waiting),
    /// Whether the cache has what the poll has seen.
    Over(bool),
}

/// A place for each call, empty until it is polled and once it is gone.
#[derive(Debug, Default)]
struct Waiting {
    places: Vec<Option<Waker>>,
    calls: usize,
}

impl Default for State {
    fn default() -> Self {
        Self::Open(Waiting::default())
    }
}

/// A call's wait for the end of a round, which gives whether the cache has what the poll has seen.
#[derive(Debug)]
#[must_use = "a call waits where this is polled"]
pub(super) struct Joined {
    round: Arc<Round>,
    place: usize,
}

impl Round {
    /// Joins the round; also says whether it is the first call there. `None` where the round is full, or
    /// over.
    pub(super) fn join(self: &Arc<Self>) -> Option<(Joined, bool)> {
        match &mut *self.0.lock() {
            State::Open(waiting) if waiting.places.len() < MOST => {
                let place = waiting.places.len();
                waiting.places.push(None);
                waiting.calls += 1;
                Some((Joined { round: Arc::clone(self), place }, waiting.calls == 1))
            }
            State::Open(_) | State::Over(_) => None,
        }
    }

    /// How many calls wait.
    pub(super) fn calls(&self) -> usize {
        match &*self.0.lock() {
            State::Open(waiting) => waiting.calls,
            State::Over(_) => 0,
        }
    }

    /// Ends the round, unless it is over.
    pub(super) fn end(&self, outcome: bool) {
        let waiting = {
            let mut state = self.0.lock();
            match &mut *state {
                State::Over(_) => return,
                State::Open(waiting) => {
                    let waiting = std::mem::take(waiting);
                    *state = State::Over(outcome);
                    waiting
                }
            }
        };
        waiting.places.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Future for Joined {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        match &mut *self.round.0.lock() {
            State::Over(outcome) => Poll::Ready(*outcome),
            State::Open(waiting) => {
                if let Some(place) = waiting.places.get_mut(self.place) {
                    match place {
                        Some(waker) => waker.clone_from(context.waker()),
                        None => *place = Some(context.waker().clone()),
                    }
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut state = self.round.0.lock();
        let State::Open(waiting) = &mut *state else { return };
        waiting.calls -= 1;
        let left = waiting.places.get_mut(self.place).and_then(Option::take);
        if waiting.calls == 0 {
            waiting.places.clear();
        }
        drop(state);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(joined: &mut Joined, woken: &Arc<Woken>) -> Poll<bool> {
        Pin::new(joined).poll(&mut Context::from_waker(&Waker::from(Arc::clone(woken))))
    }

    #[test]
    fn the_end_wakes_each_call_once() {
        let (round, woken) = (Arc::<Round>::default(), Arc::<Woken>::default());
        let mut calls: Vec<_> = (0..3).map(|_| round.join().unwrap().0).collect();
        for joined in &mut calls {
            assert_eq!(poll(joined, &woken), Poll::Pending);
            assert_eq!(poll(joined, &woken), Poll::Pending);
        }
        round.end(true);
        round.end(false);
        assert_eq!(woken.0.load(Ordering::Relaxed), 3);
        assert!(calls.iter_mut().all(|joined| poll(joined, &woken) == Poll::Ready(true)));
        assert!(round.join().is_none());
        assert_eq!(round.calls(), 0);
    }

    #[test]
    fn a_call_that_goes_is_neither_counted_nor_woken() {
        let (round, woken) = (Arc::<Round>::default(), Arc::<Woken>::default());
        let ((mut first, is_first), (second, is_second)) =
            (round.join().unwrap(), round.join().unwrap());
        assert!(is_first && !is_second);
        assert_eq!(poll(&mut first, &woken), Poll::Pending);
        drop(first);
        assert_eq!(round.calls(), 1);
        drop(second);
        assert_eq!(round.calls(), 0);
        let (third, is_first) = round.join().unwrap();
        assert!(is_first && third.place == 0);
        round.end(true);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_full_round_takes_no_further_call() {
        let round = Arc::<Round>::default();
        let calls: Vec<_> = std::iter::from_fn(|| round.join()).collect();
        assert_eq!((calls.len(), round.calls()), (MOST, MOST));
        drop(calls);
        assert!(round.join().is_some());
    }
}
