//! Owners of the files that this program creates, and remedies for files that it may not open.
//!
//! Administrators run commands as root on folders of the service's user. So a file or folder that root
//! creates gets the owner and group of the folder that holds it: right after its creation, through its
//! descriptor, and before it gets its final name. Only files that this process created are given away. A path
//! in another user's folder may be a link to any file, so links are not followed and files that existed keep
//! their owner.

mod access;

pub use self::access::{Denied, check, others_may_write};

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Once;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

/// The owner of new files in one folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewOwner(Option<(Uid, Gid)>);

impl NewOwner {
    /// The folder's owner and group where this process is root and they are others; else the process's own.
    pub fn of_folder(folder: impl AsFd) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        let stat = rustix::fs::fstat(folder)?;
        let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        let own = (rustix::process::geteuid(), rustix::process::getegid());
        Ok(Self((owner != own).then_some(owner)))
    }

    /// Whether [`NewOwner::give`] has anything to do.
    #[must_use]
    pub fn is_another(self) -> bool {
        self.0.is_some()
    }

    /// Gives the folder's owner a file that this process just created. A file system without owners, and a
    /// root without the capability CAP_CHOWN, leave the file as it is.
    pub fn give(self, file: impl AsFd) -> io::Result<()> {
        static TOLD: Once = Once::new();
        let Some((uid, gid)) = self.0 else { return Ok(()) };
        match rustix::fs::fchown(file, Some(uid), Some(gid)) {
            Err(errno @ (Errno::PERM | Errno::INVAL | Errno::NOTSUP | Errno::NOSYS)) => {
                TOLD.call_once(|| {
                    tracing::warn!(
                        error = %io::Error::from(errno),
                        "cannot chown new files to the owner of their folder, {}:{}: they remain root's",
                        uid.as_raw(), gid.as_raw()
                    );
                });
                Ok(())
            }
            given => given.map_err(Into::into),
        }
    }
}

/// A path's folder, opened, and its last name.
struct Place<'a> {
    folder: OwnedFd,
    name: &'a OsStr,
    owner: NewOwner,
}

impl<'a> Place<'a> {
    fn of(path: &'a Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, above(path), flags, Mode::empty())?;
        let owner = NewOwner::of_folder(&folder)?;
        Ok(Self { folder, name, owner })
    }

    fn create(&self, mode: u32) -> io::Result<File> {
        create_at(&self.folder, self.name, mode, self.owner)
    }

    fn open(&self, more: OFlags) -> rustix::io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
        rustix::fs::openat(&self.folder, self.name, flags, Mode::empty()).map(File::from)
    }

    /// Creates the file where it is missing, and opens it with further flags where it is not.
    fn create_or_open(&self, mode: u32, more: OFlags) -> io::Result<File> {
        // Another process may create or remove it meanwhile.
        for _ in 0..100 {
            match self.create(mode) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => return created,
            }
            match self.open(more) {
                Err(Errno::NOENT) => {}
                opened => return Ok(opened?),
            }
        }
        Err(io::Error::other("other processes create and remove the file all the time"))
    }
}

/// Creates a file of a folder that is open, for reading and writing. The mode is subject to the umask.
///
/// # Errors
/// Those of openat(2), [`io::ErrorKind::AlreadyExists`] included.
pub fn create_at(folder: impl AsFd, name: &OsStr, mode: u32, owner: NewOwner) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(mode))?;
    owner.give(&file)?;
    Ok(file.into())
}

/// Creates a folder in a folder that is open. The mode is subject to the umask.
///
/// # Errors
/// Those of mkdirat(2), [`io::ErrorKind::AlreadyExists`] included.
pub fn create_dir_at(
    folder: impl AsFd,
    name: &OsStr,
    mode: u32,
    owner: NewOwner,
) -> io::Result<()> {
    rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(mode))?;
    if owner.is_another() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        owner.give(rustix::fs::openat(folder, name, flags, Mode::empty())?)?;
    }
    Ok(())
}

/// Creates a file for reading and writing. The mode is subject to the umask.
///
/// # Errors
/// Those of open(2), [`io::ErrorKind::AlreadyExists`] included.
pub fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    Place::of(path)?.create(mode)
}

/// Creates a file for reading and writing, or empties the one that exists.
pub fn create(path: &Path, mode: u32) -> io::Result<File> {
    Place::of(path)?.create_or_open(mode, OFlags::TRUNC)
}

/// Opens a lock file for reading and writing, created where it is missing; only its owner may open it.
pub fn lock_file(path: &Path) -> io::Result<File> {
    let file = Place::of(path)?.create_or_open(0o600, OFlags::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    // Earlier versions let everybody open it, and with it hold the lock.
    if stat.st_mode & 0o077 != 0 && stat.st_nlink == 1 {
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR).ok();
    }
    Ok(file)
}

/// Creates a folder. The mode is subject to the umask.
///
/// # Errors
/// Those of mkdir(2), [`io::ErrorKind::AlreadyExists`] included.
pub fn create_dir(path: &Path, mode: u32) -> io::Result<()> {
    let Place { folder, name, owner } = Place::of(path)?;
    create_dir_at(folder, name, mode, owner)
}

/// Creates a folder and the folders above it where they are missing, each name durable.
///
/// # Errors
/// Those of mkdir(2), and where the path is no folder.
pub fn create_dir_all(path: &Path, mode: u32) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    // A name that is not to be created: the system says which error that is.
    if path.file_name().is_none() {
        return std::fs::create_dir(path);
    }
    create_dir_all(above(path), mode)?;
    match create_dir(path, mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        created => {
            created?;
            File::open(above(path))?.sync_all()
        }
    }
}

/// Creates a file without a lasting name in a folder.
pub fn temporary_in(folder: &Path, prefix: &str) -> io::Result<tempfile::NamedTempFile> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let owner = NewOwner::of_folder(rustix::fs::openat(CWD, folder, flags, Mode::empty())?)?;
    let file = tempfile::Builder::new().prefix(prefix).tempfile_in(folder)?;
    owner.give(file.as_file())?;
    Ok(file)
}

/// The folder that holds a path.
#[must_use]
pub fn above(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("other"), "precious").unwrap();
        symlink(at("other"), at("link")).unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        for name in ["link", "dangling"] {
            assert!(create_new(&at(name), 0o600).is_err());
            assert!(create(&at(name), 0o600).is_err());
            assert!(lock_file(&at(name)).is_err());
            assert!(create_dir(&at(name), 0o700).is_err());
        }
        assert_eq!(std::fs::read(at("other")).unwrap(), b"precious");
        assert!(!at("nothing").exists());
    }

    #[test]
    fn folders_are_created_down_to_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        create_dir_all(&path, 0o700).unwrap();
        create_dir_all(&path, 0o700).unwrap();
        assert!(path.is_dir());
        std::fs::write(path.join("file"), "").unwrap();
        assert!(create_dir_all(&path.join("file/d"), 0o700).is_err());
        assert!(create_dir_all(&path.join("file"), 0o700).is_err());
    }

    #[test]
    fn lock_files_are_their_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, "earlier").unwrap();
        for _ in 0..2 {
            let file = lock_file(&path).unwrap();
            assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"earlier");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(lock_file(&path).unwrap().metadata().unwrap().mode() & 0o777, 0o600);
    }
}
