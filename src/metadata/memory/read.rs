//! LOOKUP, READLINK and READDIR.

use crate::metadata::{Answer, DirectoryEntry, Error, Link, Lookup, Page, Refusal};
use crate::types::{Context, Cookie, Name, ObjectId};

use super::state::MemoryTables;

impl MemoryTables {
    pub(super) fn lookup(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Lookup> {
        let directory = self.directory(cx, directory)?;
        let object = self.child(directory.id, name).cloned();
        Ok(Lookup { directory, object })
    }

    pub(super) fn lookup_parent(&self, cx: &Context, directory: ObjectId) -> Answer<Lookup> {
        let directory = self.directory(cx, directory)?;
        let parent = directory.parent.unwrap_or(directory.id);
        let parent = self.object(cx, parent).map_err(|error| Refusal::of(error, &directory))?;
        Ok(Lookup { object: Some(parent.clone()), directory })
    }

    pub(super) fn readlink(&self, cx: &Context, link: ObjectId) -> Answer<Link> {
        let link = self.object(cx, link)?;
        match self.targets.get(&link.id) {
            Some(target) => Ok(Link { attributes: link.clone(), target: target.clone() }),
            None => Err(Refusal::of(Error::Invalid, link)),
        }
    }

    pub(super) fn readdir(
        &self,
        cx: &Context,
        directory: ObjectId,
        after: Cookie,
        max_entries: usize,
        with_attributes: bool,
    ) -> Answer<Page> {
        let Lookup { directory, object: parent } = self.lookup_parent(cx, directory)?;
        let parent_fileid = parent.map_or(directory.fileid, |parent| parent.fileid);
        let mut rest = self
            .entries
            .get(&directory.id)
            .into_iter()
            .flat_map(|entries| entries.after(after))
            .filter_map(|(name, edge)| Some((name, edge, self.objects.get(&edge.child)?)));
        let entries = rest
            .by_ref()
            .take(max_entries)
            .map(|(name, edge, object)| DirectoryEntry {
                cookie: edge.cookie,
                name: name.clone(),
                fileid: object.fileid,
                object: object.id,
                attributes: with_attributes.then(|| object.clone()),
            })
            .collect();
        let eof = rest.next().is_none();
        Ok(Page { directory, parent_fileid, entries, eof })
    }
}
