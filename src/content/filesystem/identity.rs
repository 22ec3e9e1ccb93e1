//! Which body of content a folder holds: a file with a UUID, made once, that is copied with the rest.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use uuid::Uuid;

use super::error::OpenError;
use super::folder::MARKER;
use crate::content::Making;
use crate::types::ContentIdentity;

/// More than the file has.
const MOST_BYTES: u64 = 100;

/// The identity that the folder has, or from now on has. Several processes may ask at once: one makes it.
pub(super) fn find_or_make(base_path: &Path, making: Making) -> Result<ContentIdentity, OpenError> {
    let path = file(base_path);
    if let Some(identity) = read(&path)? {
        return Ok(identity);
    }
    let fresh = match making {
        Making::As(identity) => identity,
        // Content that an earlier version made has none yet.
        Making::Allowed | Making::Never => ContentIdentity::generate(),
    };
    make(base_path, &path, fresh)
        .map_err(|source| OpenError::NotWritable { path: base_path.to_path_buf(), source })?;
    read(&path)?.ok_or(OpenError::Identity { path })
}

/// The identity that the folder has, if it has one.
pub(super) fn find(base_path: &Path) -> Result<Option<ContentIdentity>, OpenError> {
    read(&file(base_path))
}

fn file(base_path: &Path) -> PathBuf {
    base_path.join(format!("{MARKER}.id"))
}

fn read(path: &Path) -> Result<Option<ContentIdentity>, OpenError> {
    let unreachable = |source| OpenError::Unreachable { path: path.to_path_buf(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreachable(error)),
    };
    let mut text = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut text).map_err(unreachable)?;
    let identity =
        std::str::from_utf8(&text).ok().and_then(|text| Uuid::try_parse(text.trim_end()).ok());
    let identity = identity.ok_or_else(|| OpenError::Identity { path: path.to_path_buf() })?;
    Ok(Some(ContentIdentity(identity)))
}

/// Puts the file there whole and durable, unless another is there.
fn make(base_path: &Path, path: &Path, identity: ContentIdentity) -> io::Result<()> {
    let temporary = base_path.join(format!("{MARKER}.{}.tmp", Uuid::now_v7()));
    let mut file = File::create_new(&temporary)?;
    let written = writeln!(file, "{identity}").and_then(|()| file.sync_all()).and_then(|()| {
        match rustix::fs::renameat_with(CWD, &temporary, CWD, path, RenameFlags::NOREPLACE) {
            // Some network file systems rename no other way than over what is there, but link.
            Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(&temporary, path),
            renamed => renamed.map_err(Into::into),
        }
    });
    // Gone by the rename, but left by a link, a failure, and another that was first.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    match written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => File::open(base_path)?.sync_all(),
    }
}
