//! The mix of SPEC SFS 2008 for NFSv3: its shares of the procedures, on a small set of files.
//!
//! The shares are those that Mike Eisler of the benchmark's committee published
//! (<http://blogs.netapp.com/eislers_nfs_blog/2008/04/more-on-spec-sf.html>). The benchmark's file set, sizes
//! of transfers and load curve are not taken over, so the numbers are no result of SPEC SFS.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;

use super::data::{WriteVerifier, read};
use super::listing::Listing;
use super::random::Random;
use crate::bench::call::{Call, CreateMode, Stability};
use crate::bench::fault::Fault;
use crate::bench::reply::Reply;
use crate::bench::source::{Source, Verdict};
use crate::xdr::DecodeError;

/// A procedure of the mix.
#[derive(Clone, Copy, Debug)]
enum Pick {
    Getattr,
    Lookup,
    Read,
    Access,
    Write,
    Setattr,
    Readdirplus,
    Readdir,
    Readlink,
    Create,
    Remove,
    Fsstat,
}

/// Per cent of the calls.
const SHARES: [(u64, Pick); 12] = [
    (26, Pick::Getattr),
    (24, Pick::Lookup),
    (18, Pick::Read),
    (11, Pick::Access),
    (10, Pick::Write),
    (4, Pick::Setattr),
    (2, Pick::Readdirplus),
    (1, Pick::Readdir),
    (1, Pick::Readlink),
    (1, Pick::Create),
    (1, Pick::Remove),
    (1, Pick::Fsstat),
];
/// WRITEs before a COMMIT. The mix has none of its own: clients make them as their WRITEs need them.
const WRITES: u32 = 8;
/// Names of files that were made and wait to be removed.
const MAX_CREATED: usize = 4096;

/// The files of a connection.
#[derive(Debug)]
pub(in crate::bench) struct MixedFiles {
    pub(in crate::bench) directory: Bytes,
    /// Names and handles.
    pub(in crate::bench) files: Vec<(String, Bytes)>,
    pub(in crate::bench) file_bytes: u64,
    /// A symbolic link.
    pub(in crate::bench) link: Bytes,
}

/// The mix on a connection.
#[derive(Debug)]
pub(in crate::bench) struct Mixed {
    files: MixedFiles,
    data: Bytes,
    random: Random,
    verifier: WriteVerifier,
    slots: Vec<Kind>,
    next: u64,
    created: VecDeque<String>,
    writes: u32,
    /// The file whose WRITEs want a COMMIT.
    dirty: Option<Bytes>,
}

/// A slot's call, as far as its reply needs it.
#[derive(Clone, Debug)]
enum Kind {
    /// Its status is all.
    Plain,
    Read {
        reaches_end: bool,
    },
    Write,
    Create(String),
    Listing {
        plus: bool,
    },
    Commit,
}

impl Mixed {
    pub(in crate::bench) fn new(
        files: MixedFiles,
        data: Bytes,
        (connection, depth): (usize, usize),
    ) -> Self {
        Self {
            files,
            data,
            random: Random::new(connection),
            verifier: WriteVerifier::default(),
            slots: vec![Kind::Plain; depth],
            next: 0,
            created: VecDeque::new(),
            writes: 0,
            dirty: None,
        }
    }

    fn pick(&mut self) -> Pick {
        let mut left = self.random.below(100);
        for (share, procedure) in SHARES {
            if left < share {
                return procedure;
            }
            left -= share;
        }
        Pick::Getattr
    }

    fn call(&mut self) -> Option<(Call, Kind)> {
        let pick = self.pick();
        let at = self.random.index(self.files.files.len());
        let blocks = self.files.file_bytes / self.data.len().max(1) as u64;
        let offset = self.random.below(blocks) * self.data.len() as u64;
        let directory = &self.files.directory;
        let (name, file) = self.files.files.get(at)?;
        let call = match pick {
            Pick::Getattr => Call::getattr(file),
            Pick::Lookup => Call::lookup(directory, name),
            Pick::Access => Call::access(file),
            Pick::Setattr => Call::chmod(file, 0o600 + u32::try_from(offset & 0o77).unwrap_or(0)),
            Pick::Readlink => Call::readlink(&self.files.link),
            Pick::Fsstat => Call::fsstat(directory),
            Pick::Read => {
                let count = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
                let reaches_end = offset + u64::from(count) >= self.files.file_bytes;
                return Some((Call::read(file, offset, count), Kind::Read { reaches_end }));
            }
            Pick::Write => {
                self.writes += 1;
                if self.writes.is_multiple_of(WRITES) {
                    self.dirty = Some(file.clone());
                }
                let call = Call::write(file, offset, Stability::Unstable, self.data.clone());
                return Some((call, Kind::Write));
            }
            Pick::Readdir => {
                return Some((
                    Listing::page(directory, false, 0, 0),
                    Kind::Listing { plus: false },
                ));
            }
            Pick::Readdirplus => {
                return Some((Listing::page(directory, true, 0, 0), Kind::Listing { plus: true }));
            }
            Pick::Remove if !self.created.is_empty() => {
                Call::remove(directory, self.created.pop_front()?)
            }
            // A file is made where none is there to be removed.
            Pick::Create | Pick::Remove => {
                self.next += 1;
                let name = format!("made-{}", self.next);
                let call = Call::create(directory, &name, CreateMode::Guarded);
                return Some((call, Kind::Create(name)));
            }
        };
        Some((call, Kind::Plain))
    }
}

impl Source for Mixed {
    fn next(&mut self, slot: usize, ended: bool) -> Option<Cow<'_, Call>> {
        if ended {
            return None;
        }
        let (call, kind) = match self.dirty.take() {
            Some(file) => (Call::commit(&file), Kind::Commit),
            None => self.call()?,
        };
        *self.slots.get_mut(slot)? = kind;
        Some(Cow::Owned(call))
    }

    fn reply(&mut self, slot: usize, reply: Result<Reply, Fault>) -> Result<Verdict, DecodeError> {
        let Some(kind) = self.slots.get(slot).cloned() else { return Ok(Verdict::DONE) };
        let mut results = match reply.and_then(Reply::succeeded) {
            Ok(results) => results,
            Err(fault) => return Ok(Verdict::Failed(fault)),
        };
        match kind {
            Kind::Plain => Ok(Verdict::DONE),
            Kind::Read { reaches_end } => {
                read(&mut results, u32::try_from(self.data.len()).unwrap_or(u32::MAX), reaches_end)
            }
            Kind::Write => self.verifier.write(&mut results, self.data.len(), Stability::Unstable),
            Kind::Create(name) => {
                if self.created.len() < MAX_CREATED {
                    self.created.push_back(name);
                }
                Ok(Verdict::DONE)
            }
            Kind::Listing { plus } => {
                let (_, entries, _, _) = Listing::read(&mut results, plus)?;
                Ok(Verdict::Done { bytes: 0, entries })
            }
            Kind::Commit => self.verifier.commit(&mut results, Verdict::Aside),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_all_calls() {
        assert_eq!(SHARES.iter().map(|(share, _)| share).sum::<u64>(), 100);
    }
}
