//! The tables as the operations see them.

use std::convert::Infallible;

use super::state::{Entries, MemoryTables};
use crate::metadata::single_writer::{Edge, Outcome, Tables};
use crate::metadata::{Capabilities, Error};
use crate::types::{
    Attributes, Cookie, Fileid, Fsid, Name, ObjectId, Replay, ShareId, SymlinkTarget,
};

impl Tables for MemoryTables {
    type Failure = Infallible;

    fn room(&self) -> Result<(), Error> {
        let full = "max_objects of the store in memory is reached";
        if self.has_room() { Ok(()) } else { Err(Error::NoSpace(full.into())) }
    }

    fn share(&self, share: ShareId) -> Option<(Fsid, Capabilities)> {
        self.shares.get(&share).map(|share| (share.fsid, share.capabilities))
    }

    fn object(&mut self, id: ObjectId) -> Outcome<Option<Attributes>, Self> {
        Ok(self.objects.get(&id).cloned())
    }

    fn verifier(&mut self, file: ObjectId) -> Outcome<Option<u64>, Self> {
        Ok(self.verifiers.get(&file).copied())
    }

    fn edge(&mut self, directory: ObjectId, name: &Name) -> Outcome<Option<Edge>, Self> {
        Ok(MemoryTables::edge(self, directory, name))
    }

    fn is_empty(&mut self, directory: ObjectId) -> Outcome<bool, Self> {
        Ok(self.entries.get(&directory).is_none_or(|entries| entries.by_name.is_empty()))
    }

    fn next_fileid(&mut self) -> Outcome<Fileid, Self> {
        Ok(MemoryTables::next_fileid(self))
    }

    fn next_cookie(&mut self) -> Outcome<Cookie, Self> {
        Ok(MemoryTables::next_cookie(self))
    }

    /// It goes with the process, as the replies do that are kept there.
    fn record(&mut self, _: &Replay, _: Option<ObjectId>) {}

    fn insert(
        &mut self,
        object: &Attributes,
        target: Option<&SymlinkTarget>,
        verifier: Option<u64>,
    ) -> Outcome<(), Self> {
        if object.file_type.is_directory() {
            self.entries.insert(object.id, Entries::default());
        }
        if let Some(target) = target {
            self.targets.insert(object.id, target.clone());
        }
        if let Some(verifier) = verifier {
            self.verifiers.insert(object.id, verifier);
        }
        MemoryTables::put(self, object.clone());
        Ok(())
    }

    fn put(&mut self, object: &Attributes) -> Outcome<(), Self> {
        MemoryTables::put(self, object.clone());
        Ok(())
    }

    fn forget_verifier(&mut self, file: ObjectId) -> Outcome<(), Self> {
        self.verifiers.remove(&file);
        Ok(())
    }

    fn discard(&mut self, object: ObjectId) -> Outcome<(), Self> {
        MemoryTables::discard(self, object);
        Ok(())
    }

    fn put_edge(&mut self, directory: ObjectId, name: &Name, edge: Edge) -> Outcome<(), Self> {
        MemoryTables::put_edge(self, directory, name, edge);
        Ok(())
    }

    fn remove_edge(
        &mut self,
        directory: ObjectId,
        name: &Name,
        _cookie: Cookie,
    ) -> Outcome<(), Self> {
        MemoryTables::remove_edge(self, directory, name);
        Ok(())
    }
}
