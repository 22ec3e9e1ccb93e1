//! Every operation is given up at every place where it waits: told to end, or dropped. The content is as
//! before or as after, of a write any of its bytes may be there, and nothing stays locked.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};
use trunkfs::content::{ContentStore, Error};
use trunkfs::types::{Call, ContentId};

use super::support::{CASE_LIMIT, call, id, pattern, put};
use crate::steps::{Giving, Left, every_wait, give};

/// Bytes of the content when the call comes: more than a store takes at once.
const LENGTH: usize = 300_000;

/// An operation on content of [`LENGTH`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Read,
    Length,
    Overwrite,
    Extend,
    Grow,
    Shrink,
    Commit,
    /// Those without a context, which can only be dropped.
    Remove,
    List,
    Capacity,
}

const WITH_CONTEXT: [Operation; 7] = {
    use Operation::{Commit, Extend, Grow, Length, Overwrite, Read, Shrink};
    [Read, Length, Overwrite, Extend, Grow, Shrink, Commit]
};
const WITHOUT: [Operation; 3] = [Operation::Remove, Operation::List, Operation::Capacity];

impl Operation {
    async fn call(self, store: &dyn ContentStore, call: &Call, id: ContentId) -> Result<(), Error> {
        let new = || Bytes::from(pattern(2, LENGTH));
        match self {
            Self::Read => store.read(call, id, 0, LENGTH).await.map(drop),
            Self::Length => store.length(call, id).await.map(drop),
            Self::Overwrite => store.write(call, id, 0, new()).await,
            Self::Extend => store.write(call, id, 100_000, new()).await,
            Self::Grow => store.truncate(call, id, 500_000).await,
            Self::Shrink => store.truncate(call, id, 70_000).await,
            Self::Commit => store.commit(call, id).await,
            Self::Remove => store.remove(id).await,
            Self::List => store.list(None, 10).await.map(drop),
            Self::Capacity => store.capacity().await.map(drop),
        }
    }
}

/// The content, where there is any.
async fn bytes_of(store: &dyn ContentStore, id: ContentId) -> Option<Bytes> {
    match store.read(&call(), id, 0, 1 << 20).await {
        Ok(bytes) => Some(bytes),
        Err(Error::Missing(_)) => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// What a content was and what the operation makes of it.
struct Expected {
    operation: Operation,
    before: Option<Bytes>,
    after: Option<Bytes>,
}

impl Expected {
    async fn of(store: &dyn ContentStore, operation: Operation) -> Self {
        let id = made(store).await;
        let before = bytes_of(store, id).await;
        operation.call(store, &call(), id).await.unwrap();
        Self { operation, before, after: bytes_of(store, id).await }
    }

    /// Whether the content is one of the two, or between them where the operation writes or truncates.
    fn holds(&self, found: &Option<Bytes>) -> bool {
        if found == &self.before || found == &self.after {
            return true;
        }
        let parts = matches!(
            self.operation,
            Operation::Overwrite | Operation::Extend | Operation::Shrink | Operation::Grow
        );
        let (Some(found), Some(before), Some(after)) = (found, &self.before, &self.after) else {
            return false;
        };
        // What has begun to change the length ends anywhere between, and has zeros where nothing came yet or
        // all went.
        let (least, most) = (before.len().min(after.len()), before.len().max(after.len()));
        let byte_of = |bytes: &Bytes, at: usize| bytes.get(at).copied().unwrap_or(0);
        let mut bytes = found.iter().enumerate();
        parts
            && (least..=most).contains(&found.len())
            && bytes.all(|(at, byte)| [byte_of(before, at), byte_of(after, at)].contains(byte))
    }

    fn check(&self, answer: &Result<(), Error>, found: &Option<Bytes>, ended: bool) {
        let operation = self.operation;
        match answer {
            Ok(()) => assert!(found == &self.after, "{operation:?} said it was done"),
            Err(Error::Cancelled) if ended => {
                assert!(self.holds(found), "{operation:?} was cancelled half way");
            }
            Err(error) => panic!("{operation:?}: {error:?}"),
        }
    }
}

/// Content as every operation finds it, durable and open or not as the store likes.
async fn made(store: &dyn ContentStore) -> ContentId {
    let id = id();
    put(store, id, 0, &pattern(1, LENGTH)).await;
    store.commit(&call(), id).await.unwrap();
    id
}

/// The next calls on the same content are served; they are out of the way of what a dropped one may still
/// write. `false` where another call took what was written meanwhile.
async fn is_served(store: &dyn ContentStore, id: ContentId) -> bool {
    let calls = async {
        store.commit(&call(), id).await.unwrap();
        put(store, id, 1 << 20, b"next").await;
        let found = match store.read(&call(), id, 1 << 20, 10).await {
            Ok(found) => found,
            Err(Error::Missing(_)) => return false,
            Err(error) => panic!("{error:?}"),
        };
        let length = match store.length(&call(), id).await {
            Ok(length) => length,
            Err(Error::Missing(_)) => return false,
            Err(error) => panic!("{error:?}"),
        };
        store.commit(&call(), id).await.unwrap();
        found == b"next"[..] && length == (1 << 20) + 4
    };
    timeout(CASE_LIMIT / 4, calls).await.expect("the content stays locked")
}

/// What was dropped comes through, or was never begun; then the next calls are served. Where it comes later
/// than is waited for here, which is a matter of luck, it comes once.
async fn settles(store: &dyn ContentStore, expected: &Expected, id: ContentId) {
    let limit = Instant::now() + Duration::from_millis(100);
    while bytes_of(store, id).await != expected.after && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let operation = expected.operation;
    let served = is_served(store, id).await || is_served(store, id).await;
    assert!(served, "{operation:?} was dropped, and something takes what is written");
}

async fn given_up(store: &dyn ContentStore, operation: Operation, giving: Giving) {
    let expected = Expected::of(store, operation).await;
    for waits in every_wait() {
        let (id, call) = (made(store).await, call());
        let left = give(giving, operation.call(store, &call, id), waits, &call.cancel).await;
        let found = bytes_of(store, id).await;
        match &left {
            Left::Done(answer) => expected.check(answer, &found, false),
            Left::Ended(answer) => expected.check(answer, &found, true),
            Left::Dropped => assert!(expected.holds(&found), "{operation:?} was dropped half way"),
        }
        let dropped = matches!(left, Left::Dropped);
        match operation {
            // It may still come, and would take what is written next.
            Operation::Remove | Operation::Shrink | Operation::Grow if dropped => {
                settles(store, &expected, id).await;
            }
            _ => assert!(is_served(store, id).await, "{operation:?}: what was written is lost"),
        }
        if let Left::Done(_) = left {
            return;
        }
    }
}

pub(crate) async fn every_operation_is_cancelled_wherever_it_waits(store: &dyn ContentStore) {
    for operation in WITH_CONTEXT {
        given_up(store, operation, Giving::Up).await;
    }
}

pub(crate) async fn every_operation_is_dropped_wherever_it_waits(store: &dyn ContentStore) {
    for operation in [&WITH_CONTEXT[..], &WITHOUT].concat() {
        given_up(store, operation, Giving::Away).await;
    }
}
