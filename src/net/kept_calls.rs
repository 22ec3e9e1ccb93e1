//! Calls of a connection that wait for something short. The connection's own task polls each once more when
//! it is woken: what wakes many calls at once, as a poll of a database does, costs one wake-up of a
//! connection, and their replies one write. A call that still waits then, or waits longer than [`PATIENCE`],
//! becomes a task of its own: it delays no other call, and its time is looked at.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};

use super::reply_queue::{ReplyQueue, Slot};
use crate::rpc::{Running, Task};

/// The most calls that are kept.
const MOST: usize = 64;
/// How long a call is kept at most.
const PATIENCE: Duration = Duration::from_millis(20);

/// The calls that are kept. Used by the connection's task alone; those that are left at its end become tasks.
pub(super) struct KeptCalls {
    state: Mutex<State>,
    replies: Arc<ReplyQueue>,
}

#[derive(Default)]
struct State {
    places: Vec<Place>,
    /// The places without a call.
    free: Vec<usize>,
    woken: Arc<Woken>,
    /// When all that is kept becomes tasks; while something is kept.
    limit: Option<Pin<Box<Sleep>>>,
}

struct Place {
    waker: Waker,
    key: Arc<Key>,
    call: Option<(Box<Running>, Slot)>,
}

/// The places whose calls were woken.
#[derive(Default)]
struct Woken {
    places: Mutex<Vec<usize>>,
    connection: AtomicWaker,
}

/// Wakes the connection for the call of a place, or for nothing where it has another call by now.
struct Key {
    place: usize,
    is_woken: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for Key {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let is_first = {
            let mut places = self.woken.places.lock();
            places.push(self.place);
            places.len() == 1
        };
        if is_first {
            self.woken.connection.wake();
        }
    }
}

impl State {
    /// A place without a call; `None` where all are taken.
    fn free(&mut self) -> Option<usize> {
        if self.free.is_empty() && self.places.len() < MOST {
            let place = self.places.len();
            let woken = Arc::clone(&self.woken);
            let key = Arc::new(Key { place, is_woken: AtomicBool::new(false), woken });
            self.places.push(Place { waker: Waker::from(Arc::clone(&key)), key, call: None });
            self.free.push(place);
        }
        self.free.last().copied()
    }
}

impl KeptCalls {
    pub(super) fn new(replies: Arc<ReplyQueue>) -> Self {
        Self { state: Mutex::default(), replies }
    }

    /// The waker of the next call that is kept.
    pub(super) fn waker(&self) -> Waker {
        let mut state = self.state.lock();
        let place = state.free().and_then(|place| state.places.get(place));
        place.map_or_else(|| Waker::noop().clone(), |place| place.waker.clone())
    }

    /// Keeps a call that waits, polled with [`KeptCalls::waker`].
    pub(super) fn keep(&self, call: Box<Running>, slot: Slot) {
        let mut state = self.state.lock();
        let Some(number) = state.free.pop() else {
            drop(state);
            return self.run(Box::pin(call.end()), slot);
        };
        state.limit.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        if let Some(place) = state.places.get_mut(number) {
            place.call = Some((call, slot));
        }
    }

    /// Runs a call as a task.
    pub(super) fn run(&self, task: Task, slot: Slot) {
        // The runtime may be about to end.
        let Ok(runtime) = Handle::try_current() else { return };
        let replies = Arc::clone(&self.replies);
        runtime.spawn(async move {
            if let Some(answer) = task.await {
                slot.answer(answer);
                replies.wake_writer();
            }
        });
    }

    /// Goes on with calls that are woken.
    pub(super) async fn go_on(&self) -> Infallible {
        poll_fn(|context| {
            self.poll(context);
            Poll::Pending
        })
        .await
    }

    fn poll(&self, context: &mut Context<'_>) {
        let state = &mut *self.state.lock();
        state.woken.connection.register(context.waker());
        let woken = std::mem::take(&mut *state.woken.places.lock());
        let mut are_answered = false;
        for number in woken {
            let Some(place) = state.places.get_mut(number) else { continue };
            place.key.is_woken.swap(false, Ordering::AcqRel);
            let Some((mut call, slot)) = place.call.take() else { continue };
            let polled = call.poll(&mut Context::from_waker(&place.waker));
            state.free.push(number);
            match polled {
                Poll::Ready(Some(answer)) => {
                    slot.answer(answer);
                    are_answered = true;
                }
                Poll::Ready(None) => {}
                Poll::Pending => self.run(Box::pin(call.end()), slot),
            }
        }
        if are_answered {
            self.replies.wake_writer();
        }
        let is_over = |limit: &mut Pin<Box<Sleep>>| limit.as_mut().poll(context).is_ready();
        if state.limit.as_mut().is_some_and(is_over) {
            self.release(state);
        }
    }

    /// All that is kept becomes tasks. Nothing is allocated while nothing is kept.
    fn release(&self, state: &mut State) {
        for place in std::mem::take(state).places {
            if let Some((call, slot)) = place.call {
                self.run(Box::pin(call.end()), slot);
            }
        }
    }
}

impl Drop for KeptCalls {
    fn drop(&mut self) {
        let mut state = std::mem::take(self.state.get_mut());
        self.release(&mut state);
    }
}

#[cfg(test)]
mod tests;
