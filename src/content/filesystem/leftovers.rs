//! What lies in the folder, for garbage collection: what a content takes, and files that never got their
//! name.

use std::ffi::CStr;

use rustix::fs::{AtFlags, Dir, Stat};
use rustix::io::Errno;

use super::error::of_errno;
use super::folder::{Folder, MARKER};
use crate::content::{Error, Footprint};
use crate::types::{ContentId, Timestamp};

/// The unit of `st_blocks`, whatever the file system's blocks are (inode(7)).
const BLOCK_BYTES: u64 = 512;

/// File systems whose `st_blocks` is right as soon as a file is synced (statfs(2)): ext2 to ext4, XFS, tmpfs,
/// and overlayfs, which shows that of the file system under it. ZFS counts later, others compress, and
/// network and FUSE file systems show the numbers of a server.
const COUNTING_BLOCKS: [u64; 4] = [0xef53, 0x5846_5342, 0x0102_1994, 0x794c_7630];

fn is_counting_blocks(file_system: u64) -> bool {
    COUNTING_BLOCKS.contains(&file_system)
}

/// The bytes of a file's blocks.
fn allocated(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES)
}

impl Folder {
    /// Whether the blocks of a synced file tell what it takes.
    pub(super) fn counts_blocks(&self) -> bool {
        rustix::fs::fstatfs(self.base())
            .is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(is_counting_blocks))
    }

    /// When a content's file was changed, and what it takes on the disk.
    pub(super) fn footprint(&self, id: ContentId) -> Result<Footprint, Error> {
        match self.stat(id) {
            Ok(stat) => Ok(Footprint { modified: modified(&stat), bytes: allocated(&stat) }),
            Err(Errno::NOENT) => Err(Error::Missing(id)),
            Err(errno) => Err(self.failed("stat", id, errno)),
        }
    }

    /// Files that were to become a marker or an identity, and whose writer was killed.
    pub(super) fn leftovers(&self, before: Timestamp, remove: bool) -> Result<u64, Error> {
        let path = || self.base_path().to_path_buf();
        let failed = |call| move |errno| of_errno(call, path(), self.base_path(), errno);
        let mut found = 0;
        for entry in Dir::read_from(self.base()).map_err(failed("list"))? {
            let entry = entry.map_err(failed("list"))?;
            let name = entry.file_name();
            if !is_temporary(name) {
                continue;
            }
            match rustix::fs::statat(self.base(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if modified(&stat) >= before => continue,
                Ok(_) => {}
                // It got its name meanwhile.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(failed("stat")(errno)),
            }
            found += 1;
            if remove {
                match rustix::fs::unlinkat(self.base(), name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(failed("unlink")(errno)),
                }
            }
        }
        Ok(found)
    }
}

fn is_temporary(name: &CStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    let middle = name.strip_prefix(MARKER).and_then(|rest| rest.strip_suffix(".tmp"));
    middle.and_then(|middle| middle.strip_prefix('.')).is_some_and(|id| id.len() == 36)
}

fn modified(stat: &Stat) -> Timestamp {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Timestamp(stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_zfs_btrfs_network_and_fuse_folders_are_not_counted() {
        for counted in [0xef53, 0x5846_5342, 0x0102_1994, 0x794c_7630] {
            assert!(is_counting_blocks(counted), "{counted:#x}");
        }
        // ZFS, btrfs, NFS, SMB, CIFS, FUSE, Ceph, 9P, AFS.
        for other in [
            0x2fc1_2fc1,
            0x9123_683e,
            0x6969,
            0xfe53_4d42,
            0xff53_4d42,
            0x6573_5546,
            0x00c3_6400,
            0x0102_1997,
            0x5346_414f,
        ] {
            assert!(!is_counting_blocks(other), "{other:#x}");
        }
    }
}
