//! Names: LOOKUP, READDIR, creating, removing, renaming and linking.

use super::export::{BACKGROUND_TIME, Export, Intent};
use super::{Error, Failure, ReadDirDone, Result, Vfs};
use crate::metadata::{
    self, CreateHow, Created, Link, LinkTarget, Lookup, Removed, Renamed, Replaced, SetAttributes,
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
        let mut created = export
            .refusal_with_overlay(export.metadata.create(&cx, directory.object, name, how).await)?;
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
        export.refusal_with_overlay(export.metadata.mkdir(&cx, directory.object, name, set).await)
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
        export.refusal_with_overlay(
            export.metadata.symlink(&cx, directory.object, name, target, set).await,
        )
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
        export.refusal_with_overlay(
            export.metadata.mknod(&cx, directory.object, name, kind, rdev, set).await,
        )
    }

    /// REMOVE (section 3.3.12).
    pub async fn remove(
        &self,
        caller: &Caller,
        directory: &FileHandle,
        name: &Name,
    ) -> Result<Removed> {
        let (export, cx) = self.enter(caller, directory, Intent::Write).await?;
        let mut removed = export
            .refusal_with_overlay(export.metadata.remove(&cx, directory.object, name).await)?;
        removed.object = export.after_unlink(&cx, removed.object).await;
        Ok(removed)
    }

    /// RMDIR (section 3.3.13).
    pub async fn rmdir(
        &self,
        caller: &Caller,
        directory: &FileHandle,
        name: &Name,
    ) -> Result<Removed> {
        let (export, cx) = self.enter(caller, directory, Intent::Write).await?;
        export.refusal_with_overlay(export.metadata.rmdir(&cx, directory.object, name).await)
    }

    /// RENAME (section 3.3.14).
    pub async fn rename(
        &self,
        caller: &Caller,
        from: &FileHandle,
        from_name: &Name,
        to: &FileHandle,
        to_name: &Name,
    ) -> Result<Renamed> {
        let (export, cx) = self.enter(caller, from, Intent::Write).await?;
        if from.share != to.share {
            self.enter(caller, to, Intent::Write).await?;
            return Err(super::Error::CrossShare.into());
        }
        let renamed = export.metadata.rename(&cx, from.object, from_name, to.object, to_name).await;
        let mut renamed = export.refusal_with_overlay(renamed)?;
        if let Some(replaced) = renamed.replaced.take() {
            renamed.replaced = Some(export.after_unlink(&cx, replaced).await);
        }
        renamed.object = export.flush_after_change(&cx, renamed.object).await;
        Ok(renamed)
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
        let linked = export.metadata.link(&cx, object.object, directory.object, name).await;
        let mut linked = export.refusal_with_overlay(linked)?;
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

impl Export {
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
