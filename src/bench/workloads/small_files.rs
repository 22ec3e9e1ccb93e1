//! Small files as a client writes them: CREATE, WRITE and COMMIT, one after the other.

use std::borrow::Cow;

use bytes::Bytes;

use super::data::WriteVerifier;
use crate::bench::call::{Call, CreateMode, Stability};
use crate::bench::fault::Fault;
use crate::bench::reply::Reply;
use crate::bench::source::{Source, Verdict};
use crate::xdr::DecodeError;

/// What a slot's next call is.
#[derive(Clone, Debug, Default)]
enum Step {
    #[default]
    Create,
    /// WRITE to the file.
    Write(Bytes),
    /// COMMIT of the file.
    Commit(Bytes),
}

/// Files that are made and written.
#[derive(Debug)]
pub(in crate::bench) struct SmallFiles {
    directory: Bytes,
    data: Bytes,
    next: u64,
    slots: Vec<Step>,
    verifier: WriteVerifier,
}

impl SmallFiles {
    pub(in crate::bench) fn new(directory: Bytes, data: Bytes, depth: usize) -> Self {
        let verifier = WriteVerifier::default();
        Self { directory, data, next: 0, slots: vec![Step::Create; depth], verifier }
    }
}

impl Source for SmallFiles {
    fn next(&mut self, slot: usize, ended: bool) -> Option<Cow<'_, Call>> {
        Some(Cow::Owned(match self.slots.get(slot)? {
            Step::Create if ended => return None,
            Step::Create => {
                self.next += 1;
                let name = format!("small-{}", self.next);
                Call::create(&self.directory, name, CreateMode::Guarded)
            }
            Step::Write(file) => Call::write(file, 0, Stability::Unstable, self.data.clone()),
            Step::Commit(file) => Call::commit(file),
        }))
    }

    fn reply(&mut self, slot: usize, reply: Result<Reply, Fault>) -> Result<Verdict, DecodeError> {
        let Some(place) = self.slots.get_mut(slot) else { return Ok(Verdict::DONE) };
        // After an error the slot begins another file.
        let step = std::mem::take(place);
        let mut results = match reply.and_then(Reply::succeeded) {
            Ok(results) => results,
            Err(fault) => return Ok(Verdict::Failed(fault)),
        };
        match step {
            Step::Create => {
                let Some(file) = results.optional_handle()? else {
                    return Ok(Verdict::Failed(Fault::Reply("CREATE: no handle")));
                };
                *place = Step::Write(file);
                Ok(Verdict::Step)
            }
            Step::Write(file) => {
                let verdict =
                    self.verifier.write(&mut results, self.data.len(), Stability::Unstable)?;
                if let Verdict::Failed(_) = verdict {
                    return Ok(verdict);
                }
                *place = Step::Commit(file);
                Ok(Verdict::Step)
            }
            Step::Commit(_) => {
                let done = Verdict::Done { bytes: self.data.len() as u64, entries: 0 };
                self.verifier.commit(&mut results, done)
            }
        }
    }
}
