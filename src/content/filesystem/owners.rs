//! The record of the content's owners: a file beside the contents, replaced as a whole.

use std::io;

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::error::of_errno;
use super::folder::{Folder, MARKER};
use crate::content::{Error, MAX_OWNERS};

/// The record; `None` where there is none.
pub(super) fn read(folder: &Folder) -> Result<Option<String>, Error> {
    let failed = |error: io::Error| failed(folder, "read", &error);
    let bytes = folder.read_beside(&name(), MAX_OWNERS as u64 + 1).map_err(failed)?;
    bytes.map(String::from_utf8).transpose().map_err(|error| Error::Io(io::Error::other(error)))
}

/// Replaces the record where it is `seen`. Processes of one machine take turns; on a network file system
/// without locks two that replace it at once may both succeed.
pub(super) fn replace(folder: &Folder, seen: Option<&str>, text: &str) -> Result<bool, Error> {
    if text.len() > MAX_OWNERS {
        let long = format!("the record of the content's owners has more than {MAX_OWNERS} bytes");
        return Err(Error::Io(io::Error::other(long)));
    }
    // A descriptor of its own: a lock of this process's other descriptor would not keep its own threads
    // apart.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let turn = rustix::fs::openat(folder.base(), ".", flags, Mode::empty());
    let turn = turn.map_err(|errno| failed(folder, "open", &errno.into()))?;
    rustix::fs::flock(&turn, FlockOperation::LockExclusive).ok();
    if read(folder)?.as_deref() != seen {
        return Ok(false);
    }
    let written = folder.write_temporary(text).and_then(|(temporary, _)| {
        let renamed = rustix::fs::renameat(folder.base(), &temporary, folder.base(), name());
        if renamed.is_err() {
            folder.remove_beside(&temporary).ok();
        }
        renamed?;
        Ok(rustix::fs::fsync(folder.base())?)
    });
    written.map_err(|error| failed(folder, "write", &error))?;
    Ok(true)
}

fn name() -> String {
    format!("{MARKER}.owners")
}

fn failed(folder: &Folder, call: &'static str, error: &io::Error) -> Error {
    let errno = rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::IO);
    of_errno(call, folder.base_path().join(name()), folder.base_path(), errno)
}
