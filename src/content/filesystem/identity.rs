//! Which body of content a folder holds: a file with a UUID, made once, that is copied with the rest.

use std::io;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use uuid::Uuid;

use super::error::OpenError;
use super::folder::{Folder, MARKER};
use crate::content::CreateMode;
use crate::types::ContentIdentity;

/// More than the file has.
const MOST_BYTES: u64 = 100;

/// The identity that the folder has, or from now on has. Several processes may ask at once: one makes it.
pub(super) fn find_or_make(
    folder: &Folder,
    mode: CreateMode,
) -> Result<ContentIdentity, OpenError> {
    if let Some(identity) = find(folder)? {
        return Ok(identity);
    }
    let fresh = match mode {
        CreateMode::As(identity) => identity,
        // Content that an earlier version made has none yet.
        CreateMode::Allowed | CreateMode::Never | CreateMode::ReadOnly => {
            ContentIdentity::generate()
        }
    };
    make(folder, fresh).map_err(|source| folder.not_writable(source))?;
    find(folder)?.ok_or_else(|| OpenError::Identity { path: folder.base_path().join(name()) })
}

/// The identity that the folder has, if it has one.
pub(super) fn find(folder: &Folder) -> Result<Option<ContentIdentity>, OpenError> {
    let path = || folder.base_path().join(name());
    let read = folder.read_beside(&name(), MOST_BYTES);
    let Some(text) = read.map_err(|source| OpenError::Unreachable { path: path(), source })? else {
        return Ok(None);
    };
    let identity =
        std::str::from_utf8(&text).ok().and_then(|text| Uuid::try_parse(text.trim_end()).ok());
    let identity = identity.ok_or_else(|| OpenError::Identity { path: path() })?;
    Ok(Some(ContentIdentity(identity)))
}

fn name() -> String {
    format!("{MARKER}.id")
}

/// Puts the file there whole and durable, unless another is there.
fn make(folder: &Folder, identity: ContentIdentity) -> io::Result<()> {
    let (temporary, _) = folder.write_temporary(&format!("{identity}\n"))?;
    let (base, name) = (folder.base(), name());
    let unless_there = RenameFlags::NOREPLACE;
    let renamed = match rustix::fs::renameat_with(base, &temporary, base, &name, unless_there) {
        // Some network file systems rename no other way than over what is there, but link.
        Err(Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::linkat(base, &temporary, base, &name, AtFlags::empty())
        }
        renamed => renamed,
    };
    // Gone by the rename, but left by a link, a failure, and another that was first.
    folder.remove_beside(&temporary)?;
    match renamed {
        Ok(()) | Err(Errno::EXIST) => Ok(rustix::fs::fsync(base)?),
        Err(errno) => Err(errno.into()),
    }
}
