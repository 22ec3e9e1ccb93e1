//! REMOVE and RMDIR.

use crate::metadata::{Answer, Error, Refusal, Removed, rules};
use crate::types::{Attributes, Context, Name, ObjectId};

use super::state::{State, entries_changed};

impl State {
    pub(super) fn remove(
        &mut self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
    ) -> Answer<Removed> {
        let (parent, object) = self.removable(cx, directory, name)?;
        if object.file_type.is_directory() {
            return Err(Refusal::of(Error::IsDirectory, &parent));
        }
        Ok(self.take(cx, &parent, name, object, 0))
    }

    pub(super) fn rmdir(
        &mut self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
    ) -> Answer<Removed> {
        let (parent, object) = self.removable(cx, directory, name)?;
        if !object.file_type.is_directory() {
            return Err(Refusal::of(Error::NotDirectory, &parent));
        }
        if !self.is_empty(object.id) {
            return Err(Refusal::of(Error::NotEmpty, &parent));
        }
        Ok(self.take(cx, &parent, name, object, -1))
    }

    /// A directory and the entry that the caller may remove from it.
    fn removable(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
    ) -> Answer<(Attributes, Attributes)> {
        let parent = self.searchable(cx, directory)?;
        let Some(object) = self.child(directory, name) else {
            return Err(Refusal::of(Error::NotFound, parent));
        };
        rules::may_remove(&cx.credentials, parent, object)
            .map_err(|error| Refusal::of(error, parent))?;
        Ok((parent.clone(), object.clone()))
    }

    fn take(
        &mut self,
        cx: &Context,
        parent: &Attributes,
        name: &Name,
        object: Attributes,
        subdirs: i32,
    ) -> Removed {
        let change = entries_changed(parent, cx.now, subdirs);
        self.remove_edge(parent.id, name);
        self.put(change.after.clone());
        Removed { directory: change, object: self.lose_name(object, cx.now) }
    }
}
