//! The folder of a backup while it is being made: used by one process, and marked as unfinished until it is
//! whole.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::Error;
use super::manifest::{MANIFEST, Manifest, UNFINISHED};
use crate::ownership;

/// What a fresh file system has at its root.
const LOST_AND_FOUND: &str = "lost+found";

/// A folder that is to become a backup.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Keeps others away.
    _lock: File,
}

impl Folder {
    /// Takes a new or empty folder, or one to go on with.
    pub(super) fn take(path: &Path, resume: bool) -> Result<Self, Error> {
        let failed = Error::at(path);
        if resume && path.symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            return Err(Error::NothingToResume(path.to_path_buf()));
        }
        match ownership::create_dir(path, 0o700) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let mark = path.join(UNFINISHED);
        let marked = mark.exists();
        if path.join(MANIFEST).exists() {
            return Err(Error::Present(path.to_path_buf()));
        }
        for entry in fs::read_dir(path).map_err(&failed)? {
            let name = entry.map_err(&failed)?.file_name();
            if !marked && name != LOST_AND_FOUND && name != UNFINISHED {
                return Err(Error::Foreign(path.to_path_buf()));
            }
        }
        if resume && !marked {
            return Err(Error::NothingToResume(path.to_path_buf()));
        }
        let lock = ownership::lock_file(&mark).map_err(Error::at(&mark))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::Busy(path.to_path_buf()));
        }
        if marked && !resume {
            return Err(Error::Unfinished(path.to_path_buf()));
        }
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes everything durable, and then the folder a backup.
    pub(super) fn finish(self, manifest: &Manifest) -> Result<(), Error> {
        let failed = Error::at(&self.path);
        let folder = File::open(&self.path).map_err(&failed)?;
        // One call instead of one for each content.
        rustix::fs::syncfs(&folder).map_err(|errno| failed(errno.into()))?;
        manifest.write(&self.path)?;
        let mark = self.path.join(UNFINISHED);
        fs::remove_file(&mark).map_err(Error::at(&mark))?;
        folder.sync_all().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_new_or_empty_or_to_be_gone_on_with() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("backup");
        assert!(matches!(Folder::take(&path, true), Err(Error::NothingToResume(_))));
        assert!(!path.exists(), "and is not made");
        let first = Folder::take(&path, false).unwrap();
        assert!(matches!(Folder::take(&path, true), Err(Error::Busy(_))));
        assert!(matches!(Folder::take(&path, false), Err(Error::Busy(_))));
        drop(first);
        assert!(matches!(Folder::take(&path, false), Err(Error::Unfinished(_))));
        drop(Folder::take(&path, true).unwrap());
        fs::write(path.join(MANIFEST), "{}").unwrap();
        assert!(matches!(Folder::take(&path, true), Err(Error::Present(_))));
        let other = above.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::create_dir(other.join(LOST_AND_FOUND)).unwrap();
        drop(Folder::take(&other, false).unwrap());
        fs::remove_file(other.join(UNFINISHED)).unwrap();
        fs::write(other.join("thesis"), "").unwrap();
        for resume in [false, true] {
            assert!(matches!(Folder::take(&other, resume), Err(Error::Foreign(_))));
        }
        assert_eq!(fs::read_dir(&other).unwrap().count(), 2, "nothing is left in it");
    }
}
