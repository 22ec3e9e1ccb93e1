//! The mutations of stores with one writer, in memory and in SQLite: each decides on the tables as they are,
//! and changes them only after its last check. No other call changes them meanwhile.

mod attributes;
mod create;
mod link;
mod remove;
mod rename;
mod steps;

pub(super) use attributes::{begin_zeroing, flush, setattr};
pub(super) use create::{create, mkdir, mknod, symlink};
pub(super) use link::link;
pub(super) use remove::{remove, rmdir};
pub(super) use rename::rename;
pub(super) use steps::counted_bytes;

use super::{Capabilities, Error, Refusal};
use crate::types::{
    Attributes, Cookie, Fileid, Fsid, Name, ObjectId, Replay, ShareId, SymlinkTarget,
};

/// Why an operation ends without a result.
#[derive(Debug)]
pub(super) enum OpError<F> {
    /// It was refused before it changed anything.
    Refused(Refusal),
    /// The tables failed: what it changed is to be undone.
    Failed(F),
}

impl<F> From<Refusal> for OpError<F> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<F> From<Error> for OpError<F> {
    fn from(error: Error) -> Self {
        Self::Refused(error.into())
    }
}

/// What an operation comes to on the tables `T`.
pub(super) type Outcome<R, T> = Result<R, OpError<<T as Tables>::Failure>>;

/// A directory's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    /// What it leads to.
    pub(super) child: ObjectId,
    /// Its place.
    pub(super) cookie: Cookie,
}

/// The tables, as the only writer sees them.
pub(super) trait Tables {
    /// Why they cannot be read or changed.
    type Failure;

    /// Whether there is room for an object or a name that is new; all else is tried.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where there is none.
    fn room(&self) -> Result<(), Error> {
        Ok(())
    }
    /// What operations must know of a share.
    fn share(&self, share: ShareId) -> Option<(Fsid, Capabilities)>;
    /// An object of any share.
    fn object(&mut self, id: ObjectId) -> Outcome<Option<Attributes>, Self>;
    /// The verifier of the exclusive create that made a file, if nothing was done to it since.
    fn verifier(&mut self, file: ObjectId) -> Outcome<Option<u64>, Self>;
    /// The entry of that name.
    fn edge(&mut self, directory: ObjectId, name: &Name) -> Outcome<Option<Edge>, Self>;
    /// Whether an object has no entries.
    fn is_empty(&mut self, directory: ObjectId) -> Outcome<bool, Self>;
    /// A number that no object ever had.
    fn next_fileid(&mut self) -> Outcome<Fileid, Self>;
    /// A place that no entry ever had.
    fn next_cookie(&mut self) -> Outcome<Cookie, Self>;

    /// Notes a call that was done, with what it has made, to be kept with the changes.
    fn record(&mut self, call: &Replay, made: Option<ObjectId>);

    /// Adds an object and what its kind has beside attributes.
    fn insert(
        &mut self,
        object: &Attributes,
        target: Option<&SymlinkTarget>,
        verifier: Option<u64>,
    ) -> Outcome<(), Self>;
    /// Records an object that is there as it is from now on.
    fn put(&mut self, object: &Attributes) -> Outcome<(), Self>;
    /// Forgets the verifier of the exclusive create that made a file.
    fn forget_verifier(&mut self, file: ObjectId) -> Outcome<(), Self>;
    /// Drops an object that is there and all that belongs to it, but its entry.
    fn discard(&mut self, object: ObjectId) -> Outcome<(), Self>;
    /// Puts an entry; one of the same name gives way.
    fn put_edge(&mut self, directory: ObjectId, name: &Name, edge: Edge) -> Outcome<(), Self>;
    /// Removes an entry, which has this cookie.
    fn remove_edge(
        &mut self,
        directory: ObjectId,
        name: &Name,
        cookie: Cookie,
    ) -> Outcome<(), Self>;
}
