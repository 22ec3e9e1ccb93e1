//! Whether this user may open what is in the folder: found out when the folder is opened, before a client is
//! refused.

use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::Dir;
use rustix::io::Errno;

use super::error::OpenError;
use super::folder::{Folder, MARKER, Opening, parse_name};
use crate::content::Error;
use crate::ownership;
use crate::types::ContentId;

impl Folder {
    /// Opens one content of each of the 256 folders: commands that root ran on the folder may have left files
    /// that this user cannot open. Warns where other users may write to the folder.
    ///
    /// # Errors
    /// [`OpenError::Denied`], and where a part of the folder is no folder.
    pub(super) fn check_permissions(&self) -> Result<(), OpenError> {
        let base = self.base_path();
        if let Some(why) = ownership::others_may_write(base) {
            tracing::warn!(
                "other users may write to the content folder {}, and so to the files of its shares: {why}; \
                 give that folder to the server's user or to root, and run chmod go-w on it",
                base.display()
            );
        }
        for part in 0..=u8::MAX {
            let path = self.part_path(part);
            ownership::check(&path, base).map_err(OpenError::Denied)?;
            let Some(id) = self.first_of(part).map_err(|source| OpenError::Unreachable {
                path: path.clone(),
                source: source.into(),
            })?
            else {
                continue;
            };
            match self.open_file(id, Opening::Existing) {
                Err(Error::Io(error)) if error.kind() == ErrorKind::PermissionDenied => {
                    ownership::Denied::of(&self.path(id), base)
                        .map_or(Ok(()), |denied| Err(OpenError::Denied(denied)))?;
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Any content of one of the 256 folders.
    fn first_of(&self, part: u8) -> rustix::io::Result<Option<ContentId>> {
        let folder = match self.open_part(part) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened?,
        };
        for entry in Dir::new(folder)? {
            if let Some(id) = entry?.file_name().to_str().ok().and_then(parse_name) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

/// The error of opening a folder, with the file that is another user's where that is the reason.
pub(super) fn explained(base: &Path, error: OpenError) -> OpenError {
    let (OpenError::Unreachable { source, .. } | OpenError::NotWritable { source, .. }) = &error
    else {
        return error;
    };
    if source.kind() != ErrorKind::PermissionDenied {
        return error;
    }
    let parts = (0..=u8::MAX).map(|part| format!("{part:02x}"));
    let names = [String::new(), MARKER.to_owned(), format!("{MARKER}.id")].into_iter().chain(parts);
    let mut paths =
        names.map(|name| if name.is_empty() { base.to_path_buf() } else { base.join(name) });
    let denied = paths.find_map(|path| ownership::check(&path, base).err());
    denied.map_or(error, OpenError::Denied)
}
