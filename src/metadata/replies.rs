//! Replies that outlive the server that gave them. A change records the call that asked for it, in its own
//! transaction: a repeat that another server gets, or the next start, is told what the call came to.
//!
//! Only success is recorded, with the object that the call has made: the reply's other attributes are those
//! of the time of the repeat.

use super::single_writer::Tables;
use super::{Created, FlushOutcome, LinkTarget, Removed, Renamed, SettingDone, ZeroingOutcome};
use crate::types::{Context, ObjectId};

/// How long a repeat is told, in seconds.
pub(super) const KEPT_SECONDS: i64 = 120;

/// What a call came to that was done before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// What it has made.
    pub made: Option<ObjectId>,
}

/// What an operation has answered, as far as it is recorded.
pub(super) trait Recorded {
    /// What it has made; nothing where the answer is a step of a call.
    fn made(&self) -> Option<Option<ObjectId>>;
}

impl Recorded for Created {
    fn made(&self) -> Option<Option<ObjectId>> {
        Some(Some(self.object.id))
    }
}

macro_rules! made {
    ($made:expr; $($answer:ty)*) => {
        $(impl Recorded for $answer {
            fn made(&self) -> Option<Option<ObjectId>> {
                $made
            }
        })*
    };
}

made! { Some(None); SettingDone Removed Renamed LinkTarget }
made! { None; FlushOutcome ZeroingOutcome }

/// Records a call that the only writer has carried out, where it is one that may be repeated.
pub(super) fn record<T: Tables>(tables: &mut T, cx: &Context, answer: &impl Recorded) {
    if let (Some(replay), Some(made)) = (&cx.replay, answer.made()) {
        tables.record(replay, made);
    }
}
