//! Names: LOOKUP, READDIR, creating, removing, renaming and linking.

use super::export::{BACKGROUND_TIME, Export, Intent};
use super::{Error, Failure, ReadDirDone, Result, Vfs};
use crate::metadata::{
    self, Change, CreateHow, Created, Link, LinkTarget, Lookup, Replaced, Replayed, SetAttributes,
    rules,
};
use crate::types::{
    Attributes, BoundedChain, Caller, Component, Context, Cookie, DeviceNumbers, FileHandle,
    FileType, Name, SymlinkTarget,
};

impl Vfs {
    /// LOOKUP (RFC 1813 section 3.3.3); the object is always there in an answer. `.` is the directory,
    /// `..` its parent, which for a share's root is the root.
    pub async fn lookup(
        &self,
        caller: &Caller,
        directory: &FileHandle,
        name: &Component,
    ) -> Result<Lookup> {
        let (export, cx) = self.enter(caller, directory, Intent::Read).await?;
        let found = match name {
            Component::Current => {
                let attributes = export.metadata.getattr(&cx, directory.object).await?;
                Lookup { directory: attributes.clone(), object: Some(attributes) }
            }
            Component::Parent => export
                .refusal_with_overlay(export.metadata.lookup_parent(&cx, directory.object).await)?,
            Component::Name(name) => export
                .refusal_with_overlay(export.metadata.lookup(&cx, directory.object, name).await)?,
        };
        let directory = export.with_overlay(found.directory);
        if let Err(error) = rules::may_search(&cx.credentials, &directory) {
            return Err(Failure::of(error, &directory));
        }
        match found.object {
            Some(object) => Ok(Lookup { directory, object: Some(export.with_overlay(object)) }),
            None => Err(Failure::of(metadata::Error::NotFound, &directory)),
        }
    }

    /// READLINK (section 3.3.5).
    pub async fn readlink(&self, caller: &Caller, link: &FileHandle) -> Result<Link> {
        let (export, cx) = self.enter(caller, link, Intent::Read).await?;
        export.refusal_with_overlay(export.metadata.readlink(&cx, link.object).await)
    }

    /// A page of READDIR or READDIRPLUS (sections 3.3.16 and 3.3.17), without `.` and `..`. Attributes are
    /// there only for who may search the directory too.
    pub async fn readdir(
        &self,
        caller: &Caller,
        directory: &FileHandle,
        after: Cookie,
        max_entries: usize,
        with_attributes: bool,
    ) -> Result<ReadDirDone> {
        let (export, cx) = self.enter(caller, directory, Intent::Read).await?;
        let page = export
            .metadata
            .readdir(&cx, directory.object, after, max_entries, with_attributes)
            .await;
        let mut page = export.refusal_with_overlay(page)?;
        if let Err(error) = rules::may_list(&cx.credentials, &page.directory) {
            return Err(Failure::of(error, &export.with_overlay(page.directory)));
        }
        let searchable = rules::may_search(&cx.credentials, &page.directory).is_ok();
        for entry in &mut page.entries {
            match &mut entry.attributes {
                Some(attributes) if searchable => export.lay_overlay(attributes),
                hidden => *hidden = None,
            }
        }
        Ok(ReadDirDone { page, searchable })
    }

    /// CREATE (section 3.3.8). An UNCHECKED create of a file that is there sets its size, and
    /// nothing else, where a size is given.
    pub async fn create(
        &self,
        caller: &Caller,
        directory: &FileHandle,
        name: &Name,
        how: &CreateHow,
    ) -> Result<Created> {
        let (export, cx) = self.enter(caller, directory, Intent::Write).await?;
        // Found out later, it would leave a file behind.
        if size_asked_for(how).is_some_and(|size| size > export.share.capabilities.max_file_size) {
            return Err(metadata::Error::TooLarge.into());
        }
        // The others may be done again: they find the file.
        let recorded = match how {
            CreateHow::Guarded(set) if set.size.is_none() => cx.recorded(caller),
            CreateHow::Guarded(_) | CreateHow::Unchecked(_) | CreateHow::Exclusive(_) => cx.clone(),
        };
        let created = export.metadata.create(&recorded, directory.object, name, how);
        let mut created = match export.once(&recorded, created).await? {
            Once::Done(created) => created,
            Once::Before(call) => return export.created_before(&cx, directory, call).await,
        };
        // A write ends the verifier, which the store hears of with the flush.
        if matches!(how, CreateHow::Exclusive(_))
            && !created.made
            && export.is_unflushed(created.object.id)
        {
            return Err(Failure::of(metadata::Error::Exists, &created.directory.after));
        }
        created.object = export.with_overlay(created.object);
        if let Some(set) = size_to_apply(how, &created) {
            let object = created.object.id;
            let cx = if created.made { cx.detached(BACKGROUND_TIME) } else { cx };
            let set = export.setattr(&cx, object, &set).await;
            let change = set.map_err(|failure| {
                let error =
                    if created.made { left_behind(how, failure.error) } else { failure.error };
                Failure::of(error, &created.directory.after)
            })?;
            created.object = change.after;
        }
        Ok(created)
    }

    /// MKDIR (section 3.3.9).
    pub async fn mkdir(
        &self,
        caller: &Caller,
        directory: &FileHandle,
        name: &Name,
        set: &SetAttributes,
    ) -> Result<Created> {
        let (export, cx) = self.enter(caller, directory, Intent::Write).await?;
        let cx = cx.recorded(caller);
        let made = export.metadata.mkdir(&cx, directory.object, name, set);
        match export.once(&cx, made).await? {
            Once::Done(created) => Ok(created),
            Once::Before(call) => export.created_before(&cx, directory, call).await,
        }
    }

    /// SYMLINK (section 3.3.10).
    pub async fn symlink(
        &self,
        caller: &Caller,
        directory: &FileHandle,
        name: &Name,
        target: &SymlinkTarget,
        set: &SetAttributes,
    ) -> Result<Created> {
        let (export, cx) = self.enter(caller, directory, Intent::Write).await?;
        let cx = cx.recorded(caller);
        let made = export.metadata.symlink(&cx, directory.object, name, target, set);
        match export.once(&cx, made).await? {
            Once::Done(created) => Ok(created),
            Once::Before(call) => export.created_before(&cx, directory, call).await,
        }
    }

    /// MKNOD (section 3.3.11).
    pub async fn mknod(
        &self,
        caller: &Caller,
        directory: &FileHandle,
        name: &Name,
        kind: FileType,
        rdev: DeviceNumbers,
        set: &SetAttributes,
    ) -> Result<Created> {
        let (export, cx) = self.enter(caller, directory, Intent::Write).await?;
        let cx = cx.recorded(caller);
        let made = export.metadata.mknod(&cx, directory.object, name, kind, rdev, set);
        match export.once(&cx, made).await? {
            Once::Done(created) => Ok(created),
            Once::Before(call) => export.created_before(&cx, directory, call).await,
        }
    }

    /// REMOVE (section 3.3.12): the directory.
    pub async fn remove(
        &self,
        caller: &Caller,
        directory: &FileHandle,
        name: &Name,
    ) -> Result<Change> {
        let (export, cx) = self.enter(caller, directory, Intent::Write).await?;
        let recorded = cx.recorded(caller);
        let removed = export.metadata.remove(&recorded, directory.object, name);
        match export.once(&recorded, removed).await? {
            Once::Done(removed) => {
                export.after_unlink(&cx, removed.object).await;
                Ok(removed.directory)
            }
            Once::Before(_) => export.present(&cx, directory).await,
        }
    }

    /// RMDIR (section 3.3.13): the directory.
    pub async fn rmdir(
        &self,
        caller: &Caller,
        directory: &FileHandle,
        name: &Name,
    ) -> Result<Change> {
        let (export, cx) = self.enter(caller, directory, Intent::Write).await?;
        let cx = cx.recorded(caller);
        match export.once(&cx, export.metadata.rmdir(&cx, directory.object, name)).await? {
            Once::Done(removed) => Ok(removed.directory),
            Once::Before(_) => export.present(&cx, directory).await,
        }
    }

    /// RENAME (section 3.3.14): the two directories.
    pub async fn rename(
        &self,
        caller: &Caller,
        from: &FileHandle,
        from_name: &Name,
        to: &FileHandle,
        to_name: &Name,
    ) -> Result<[Change; 2]> {
        let (export, cx) = self.enter(caller, from, Intent::Write).await?;
        if from.share != to.share {
            self.enter(caller, to, Intent::Write).await?;
            return Err(super::Error::CrossShare.into());
        }
        let recorded = cx.recorded(caller);
        let (object, target) = (from.object, to.object);
        let renamed = export.metadata.rename(&recorded, object, from_name, target, to_name);
        match export.once(&recorded, renamed).await? {
            Once::Done(renamed) => {
                if let Some(replaced) = renamed.replaced {
                    export.after_unlink(&cx, replaced).await;
                }
                export.flush_after_change(&cx, renamed.object).await;
                Ok([renamed.from, renamed.to])
            }
            Once::Before(_) => {
                Ok([export.present(&cx, from).await?, export.present(&cx, to).await?])
            }
        }
    }

    /// LINK (section 3.3.15).
    pub async fn link(
        &self,
        caller: &Caller,
        object: &FileHandle,
        directory: &FileHandle,
        name: &Name,
    ) -> Result<LinkTarget> {
        let (export, cx) = self.enter(caller, object, Intent::Write).await?;
        if object.share != directory.share {
            self.enter(caller, directory, Intent::Write).await?;
            return Err(super::Error::CrossShare.into());
        }
        export.flush_before_change(&cx, object.object).await?;
        let cx = cx.recorded(caller);
        let linked = export.metadata.link(&cx, object.object, directory.object, name);
        let mut linked = match export.once(&cx, linked).await? {
            Once::Done(linked) => linked,
            Once::Before(_) => LinkTarget {
                object: export.metadata.getattr(&cx, object.object).await?,
                directory: export.present(&cx, directory).await?,
            },
        };
        linked.object = export.with_overlay(linked.object);
        Ok(linked)
    }
}

/// What a CREATE still has to set: the size of a file that was there, whatever it is, and one above 0
/// of a new file, beside what a new size would else change.
fn size_to_apply(how: &CreateHow, created: &Created) -> Option<SetAttributes> {
    let asked = match how {
        CreateHow::Unchecked(set) | CreateHow::Guarded(set) => set,
        CreateHow::Exclusive(_) => return None,
    };
    let size = asked.size.filter(|&size| !created.made || size > 0)?;
    let set = SetAttributes { size: Some(size), ..SetAttributes::default() };
    Some(if created.made {
        SetAttributes { mode: asked.mode, mtime: asked.mtime, ..set }
    } else {
        set
    })
}

/// A file was made, and has no size yet.
#[derive(Debug, thiserror::Error)]
#[error("the file was made, but its size could not be set: set it, or remove the file")]
struct Unsized(#[source] Error);

/// The error of a CREATE that has made its file and could not set the size. An UNCHECKED one that is repeated
/// sets it; a GUARDED one would find its own file in the way, so it is not told to come again.
fn left_behind(how: &CreateHow, error: Error) -> Error {
    let passes = matches!(
        error,
        Error::Busy | Error::Metadata(metadata::Error::Unavailable(_) | metadata::Error::Cancelled)
    );
    match how {
        CreateHow::Guarded(_) if passes => {
            metadata::Error::Backend(Box::new(Unsized(error))).into()
        }
        CreateHow::Guarded(_) | CreateHow::Unchecked(_) | CreateHow::Exclusive(_) => error,
    }
}

fn size_asked_for(how: &CreateHow) -> Option<u64> {
    match how {
        CreateHow::Unchecked(set) | CreateHow::Guarded(set) => set.size,
        CreateHow::Exclusive(_) => None,
    }
}

/// What came of a change that must not be done twice.
enum Once<T> {
    Done(T),
    /// Another server has done it, or this one before its last start.
    Before(Replayed),
}

impl Export {
    /// Does a change, unless it is known to have been done for the same call before.
    async fn once<T>(
        &self,
        cx: &Context,
        change: impl Future<Output = metadata::Answer<T>>,
    ) -> Result<Once<T>> {
        if let Some(call) = self.done_before(cx, None).await? {
            return Ok(Once::Before(call));
        }
        let refusal = match change.await {
            Ok(done) => return Ok(Once::Done(done)),
            Err(refusal) => refusal,
        };
        match self.done_before(cx, Some(&refusal.error)).await? {
            Some(call) => Ok(Once::Before(call)),
            None => self.refusal_with_overlay(Err(refusal)),
        }
    }

    /// What a call came to that is known to have been done before it was begun, or before it was refused.
    pub(super) async fn done_before(
        &self,
        cx: &Context,
        refused: Option<&metadata::Error>,
    ) -> Result<Option<Replayed>> {
        let Some(call) = &cx.replay else { return Ok(None) };
        let asks = match refused {
            None => call.looks_first,
            // As the rules do to a call that finds its own work done.
            Some(
                metadata::Error::NotFound
                | metadata::Error::Exists
                | metadata::Error::NotDirectory
                | metadata::Error::IsDirectory
                | metadata::Error::NotEmpty
                | metadata::Error::Stale
                | metadata::Error::AccessDenied
                | metadata::Error::NotPermitted
                | metadata::Error::Invalid
                | metadata::Error::TooManyLinks
                | metadata::Error::NotSync,
            ) => call.may_be_repeat,
            Some(
                metadata::Error::BadType
                | metadata::Error::Superseded
                | metadata::Error::TooLarge
                | metadata::Error::NoSpace(_)
                | metadata::Error::ReadOnly(_)
                | metadata::Error::Unavailable(_)
                | metadata::Error::Cancelled
                | metadata::Error::Damaged(_)
                | metadata::Error::Schema(_)
                | metadata::Error::Backend(_),
            ) => false,
        };
        if !asks {
            return Ok(None);
        }
        Ok(self.metadata.replayed(cx, call).await?)
    }

    /// An object as it is, for a reply to a change that was made before: no attributes of then are known.
    pub(super) async fn present(&self, cx: &Context, object: &FileHandle) -> Result<Change> {
        let present = self.metadata.getattr(cx, object.object).await?;
        Ok(Change::none(self.with_overlay(present)))
    }

    async fn created_before(
        &self,
        cx: &Context,
        directory: &FileHandle,
        call: Replayed,
    ) -> Result<Created> {
        let made = call.made.ok_or(metadata::Error::Stale)?;
        let object = self.with_overlay(self.metadata.getattr(cx, made).await?);
        Ok(Created { directory: self.present(cx, directory).await?, object, made: true })
    }

    /// What the store answered. Where it refused, the objects it shows may be files with unflushed state: one
    /// that stands where a directory or a link was asked for.
    fn refusal_with_overlay<T>(&self, answer: metadata::Answer<T>) -> Result<T> {
        answer.map_err(|refusal| {
            let lay = |object: Option<Box<Attributes>>| {
                object.map(|attributes| Box::new(self.with_overlay(*attributes)))
            };
            let (first, second) = (lay(refusal.first), lay(refusal.second));
            Failure { error: refusal.error.into(), first, second }
        })
    }

    /// A file lost a name: with the last one its unflushed state and its content go; otherwise the state is
    /// flushed, since the change of its link count shows a newer ctime.
    async fn after_unlink(&self, cx: &Context, object: Replaced) -> Replaced {
        if object.attributes.nlink > 0 {
            let attributes = self.flush_after_change(cx, object.attributes).await;
            return Replaced { attributes, freed: object.freed };
        }
        self.discard_unlinked(cx, object.attributes.id, object.freed).await;
        object
    }

    /// The attributes that a client sees after a change that was not made through the file's own handle; what
    /// is unflushed goes to the store now. A failure keeps it for the next flush, which retries.
    async fn flush_after_change(&self, cx: &Context, attributes: Attributes) -> Attributes {
        if let Err(failure) = self.flush_before_change(cx, attributes.id).await {
            tracing::debug!(xid = cx.call.timing.xid, client = %cx.client, share = %self.share.name,
                object = %attributes.id, error = %BoundedChain(&failure.error), "unflushed state waits for the next flush");
        }
        self.with_overlay(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_create_that_made_its_file_is_not_told_to_come_again() {
        let away = || Error::from(metadata::Error::Unavailable("away".into()));
        let guarded = CreateHow::Guarded(SetAttributes::default());
        let error = left_behind(&guarded, away());
        assert!(matches!(error, Error::Metadata(metadata::Error::Backend(_))), "{error:?}");
        let lasting = left_behind(&guarded, metadata::Error::TooLarge.into());
        assert!(matches!(lasting, Error::Metadata(metadata::Error::TooLarge)), "{lasting:?}");
        let unchecked = CreateHow::Unchecked(SetAttributes::default());
        let again = left_behind(&unchecked, away());
        assert!(matches!(again, Error::Metadata(metadata::Error::Unavailable(_))), "{again:?}");
    }
}
