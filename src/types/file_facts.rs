//! What a file is, without its times.
//!
//! From Linux 6.13 on, a file whose times were asked for gets new ones with its next write, and the next sync
//! writes them too: each look at the file makes a sync slower. So nothing that is synced again and again
//! is looked at by fstat(2), which asks for the times.

use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, CWD, FileType, Stat};
use rustix::io::Result;

/// What is known of a file. See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// The device and the inode, which no other file has.
    pub identity: (u64, u64),
    /// What kind of file it is.
    pub kind: FileType,
    /// How many names it has.
    pub links: u64,
    /// Its length in bytes.
    pub length: u64,
    /// The bytes of its blocks.
    pub allocated: u64,
}

/// The unit of `st_blocks`, whatever the file system's blocks are (inode(7)).
const BLOCK_BYTES: u64 = 512;

impl FileFacts {
    /// Of an open file.
    ///
    /// # Errors
    /// See statx(2).
    pub fn of(file: impl AsFd) -> Result<Self> {
        Self::find(file.as_fd(), Path::new(""), AtFlags::EMPTY_PATH)
    }

    /// Of the file that a path leads to.
    ///
    /// # Errors
    /// See statx(2).
    pub fn at(path: &Path) -> Result<Self> {
        Self::find(CWD, path, AtFlags::empty())
    }

    #[cfg(target_os = "linux")]
    fn find(folder: BorrowedFd<'_>, path: &Path, flags: AtFlags) -> Result<Self> {
        use rustix::fs::{StatxFlags, makedev, statx};
        use rustix::io::Errno;

        let wanted = StatxFlags::TYPE
            | StatxFlags::NLINK
            | StatxFlags::INO
            | StatxFlags::SIZE
            | StatxFlags::BLOCKS;
        match statx(folder, path, flags, wanted) {
            Ok(found) => Ok(Self {
                identity: (makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino),
                kind: FileType::from_raw_mode(found.stx_mode.into()),
                links: found.stx_nlink.into(),
                length: found.stx_size,
                allocated: found.stx_blocks.saturating_mul(BLOCK_BYTES),
            }),
            // A kernel, or a filter of system calls, from before there was statx.
            Err(Errno::NOSYS) => Self::find_all(folder, path, flags),
            Err(errno) => Err(errno),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn find(folder: BorrowedFd<'_>, path: &Path, flags: AtFlags) -> Result<Self> {
        Self::find_all(folder, path, flags)
    }

    fn find_all(folder: BorrowedFd<'_>, path: &Path, flags: AtFlags) -> Result<Self> {
        let found: Stat = if path.as_os_str().is_empty() {
            rustix::fs::fstat(folder)?
        } else {
            rustix::fs::statat(folder, path, flags)?
        };
        Ok(Self {
            identity: (number(found.st_dev), number(found.st_ino)),
            kind: FileType::from_raw_mode(found.st_mode),
            links: number(found.st_nlink),
            length: number(found.st_size),
            allocated: number(found.st_blocks).saturating_mul(BLOCK_BYTES),
        })
    }
}

/// A number of a kind that differs between systems.
fn number(value: impl TryInto<u64>) -> u64 {
    value.try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn they_are_those_of_stat() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; 70_000]).unwrap();
        std::fs::hard_link(&path, folder.path().join("other")).unwrap();
        let known = std::fs::metadata(&path).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let by_path = FileFacts::at(&path).unwrap();
        for facts in [
            by_path,
            FileFacts::of(&file).unwrap(),
            FileFacts::find_all(CWD, &path, AtFlags::empty()).unwrap(),
        ] {
            assert_eq!(facts.identity, (known.dev(), known.ino()));
            assert_eq!(facts.kind, FileType::RegularFile);
            assert_eq!((facts.links, facts.length), (2, 70_000));
            assert_eq!(facts.allocated, known.blocks() * 512);
        }
        assert_eq!(
            FileFacts::find_all(file.as_fd(), Path::new(""), AtFlags::EMPTY_PATH),
            Ok(by_path)
        );
        assert_eq!(FileFacts::at(folder.path()).unwrap().kind, FileType::Directory);
        assert_eq!(FileFacts::at(&folder.path().join("none")), Err(rustix::io::Errno::NOENT));
    }
}
