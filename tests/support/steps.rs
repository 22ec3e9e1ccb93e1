//! Calls that are given up half way, at every place where they wait, without knowing the places.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio_util::sync::CancellationToken;

/// How a call is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Giving {
    /// Its token fires, and its end is awaited.
    Up,
    /// Its future is dropped.
    Away,
}

/// What became of a call.
#[derive(Debug)]
pub(crate) enum Left<T> {
    /// It ended before it was to be given up.
    Done(T),
    /// It ended after its token had fired.
    Ended(T),
    /// It was dropped.
    Dropped,
}

/// How often a call is let wait before it is given up: once, twice, and so on, until it ends before. No call
/// has as many places to wait at.
pub(crate) fn every_wait() -> impl Iterator<Item = usize> {
    (1..500).chain(std::iter::once_with(|| panic!("the call never ends")))
}

/// Polls `work` until it has waited `waits` times, or ended.
pub(crate) async fn wait_times<F: Future>(
    mut work: Pin<&mut F>,
    waits: usize,
) -> Option<F::Output> {
    let mut left = waits;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        let poll = work.as_mut().poll(context).map(Some);
        left -= 1;
        if poll.is_pending() && left == 0 {
            return Poll::Ready(None);
        }
        poll
    })
    .await
}

/// Gives `work` up when it has waited `waits` times.
pub(crate) async fn give<F: Future>(
    giving: Giving,
    work: F,
    waits: usize,
    cancel: &CancellationToken,
) -> Left<F::Output> {
    let mut work = pin!(work);
    if let Some(done) = wait_times(work.as_mut(), waits).await {
        return Left::Done(done);
    }
    match giving {
        Giving::Up => {
            cancel.cancel();
            Left::Ended(work.await)
        }
        Giving::Away => Left::Dropped,
    }
}
