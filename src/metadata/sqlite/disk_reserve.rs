//! Room for removing on a disk that is full.
//!
//! A removal writes, too: pages of the database, into the write-ahead log, and from there into the file. So
//! blocks are reserved beyond the end of both (fallocate(2) with FALLOC_FL_KEEP_SIZE). SQLite writes the log
//! from its front again and again, and cuts it no shorter than [`kept`]; beyond the file's end it frees what
//! is reserved when all of the log is moved, and then the file needs none. What makes objects or names is
//! refused while there is less than that left on the disk and in the file's own free pages: it would take the
//! reserve. So a removal that finds the log's reserve used up finds room at its front, since the log can
//! always be moved.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs, statvfs};
use rustix::io::Errno;

use super::lock::beside;
use super::wal::RESTART;
use crate::metadata::Error;
use crate::types::FileFacts;

/// Bytes that are reserved for each of the two, and that are left free, at most.
const MOST: u64 = 8 << 20;
/// What part of a small disk that is; and the log, which keeps what it once had.
const PART: u64 = 16;
/// Bytes of the log's index: more than it has for a log of [`RESTART`] and a reserve (32 KiB for each 16
/// MiB).
const INDEX: u64 = 192 << 10;

/// The reserve of a database.
#[derive(Debug)]
pub(super) struct DiskReserve {
    /// Never closed: that would take SQLite's locks on it along (sqlite.org/howtocorrupt.html section 2.2).
    file: ManuallyDrop<File>,
    /// The write-ahead log, on which SQLite has no locks.
    wal: File,
    /// Whether the file system reserves blocks.
    reserves: bool,
}

/// What the disk has, in bytes.
#[derive(Clone, Copy, Debug)]
struct Disk {
    available: u64,
    /// How much is reserved and left free.
    spare: u64,
}

/// What the log keeps of the disk when it is started anew, in bytes: with that it is long enough.
pub(super) fn kept(database: &Path) -> u64 {
    let disk = statvfs(crate::ownership::above(database));
    let total = disk.map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
    if total == 0 { RESTART } else { RESTART.min(total / PART) }
}

impl DiskReserve {
    /// The reserve of a database that is open.
    pub(super) fn open(database: &Path) -> Result<Self, Error> {
        let open = |path: &Path| {
            let file = File::options().write(true).open(path);
            file.map_err(|error| Error::Backend(Box::new(error)))
        };
        let index = ManuallyDrop::new(open(&beside(database, "-shm"))?);
        // From its front: SQLite writes a byte of each page, which is not all of its blocks where those are
        // small, and maps the rest. Best effort: it says what it cannot have.
        fallocate(&*index, FallocateFlags::KEEP_SIZE, 0, INDEX).ok();
        let file = ManuallyDrop::new(open(database)?);
        Ok(Self { file, wal: open(&beside(database, "-wal"))?, reserves: true })
    }

    /// Reserves what is not reserved yet beyond the end of the log, and beyond the `length` that the file has
    /// when it has all of the log. Answers whether there is room for something new; how much of the file is
    /// `unused` is asked for where that matters. All in bytes.
    pub(super) fn replenish(
        &mut self,
        end: u64,
        length: u64,
        unused: impl FnOnce() -> u64,
    ) -> bool {
        // Without an answer nothing is refused: the disk will say what it has not.
        let Some(mut disk) = self.disk() else { return true };
        let mut reserves = self.reserves;
        // A log that a start made on a disk with little left has what there is; the file grows only where
        // there is more.
        let least = disk.spare / 16;
        for (file, end, least) in [(&self.wal, end, least), (&*self.file, length, disk.spare)] {
            let present = blocks(file).max(end);
            let ahead = disk.spare.min(disk.available / 2);
            let lacks = present < end + disk.spare / 2;
            if lacks && reserves && disk.available >= least {
                let to = present.saturating_add(ahead).min(end + disk.spare);
                reserves = still_reserves(reserve(file, to));
                disk = self.disk().unwrap_or(disk);
            }
        }
        self.reserves = reserves;
        let lacks = length.saturating_sub(length_of(&self.file).max(blocks(&self.file)));
        let wanted = disk.spare.saturating_add(lacks);
        disk.available >= wanted || disk.available.saturating_add(unused()) >= wanted
    }

    /// None for a file system that does not tell.
    fn disk(&self) -> Option<Disk> {
        let disk = fstatvfs(&self.wal).ok().filter(|disk| disk.f_blocks > 0)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        let spare = MOST.min(bytes(disk.f_blocks) / PART);
        Some(Disk { available: bytes(disk.f_bavail), spare })
    }
}

/// Whether to try it again.
fn still_reserves(reserved: rustix::io::Result<bool>) -> bool {
    match reserved {
        Ok(reserves) => reserves,
        // Another process was quicker; it is tried again when there is room.
        Err(Errno::NOSPC | Errno::DQUOT | Errno::INTR) => true,
        Err(errno) => {
            tracing::info!(error = %io::Error::from(errno),
                "the file system cannot reserve blocks for the database: on a full disk removing files may \
                 fail");
            false
        }
    }
}

fn length_of(file: &File) -> u64 {
    FileFacts::of(file).map_or(0, |file| file.length)
}

/// How many bytes of the disk a file has, those beyond its end included: up to there where it has no holes.
fn blocks(file: &File) -> u64 {
    FileFacts::of(file).map_or(0, |file| file.allocated)
}

/// Gives a file blocks up to `to` bytes, beyond its end. False where the file system says that it did, and
/// did not.
fn reserve(file: &File, to: u64) -> rustix::io::Result<bool> {
    let from = length_of(file);
    if from < to {
        fallocate(file, FallocateFlags::KEEP_SIZE, from, to - from)?;
    }
    Ok(blocks(file) >= to)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database of 1 MiB.
    fn room(folder: &tempfile::TempDir) -> DiskReserve {
        for name in ["m", "m-wal", "m-shm"] {
            std::fs::write(folder.path().join(name), vec![1; 1 << 20]).unwrap();
        }
        DiskReserve::open(&folder.path().join("m")).unwrap()
    }

    #[test]
    fn blocks_are_reserved_beyond_the_end_and_lengths_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut room = room(&folder);
        for (end, length) in [(1 << 20, 1 << 20), (10 << 20, 3 << 20), (30 << 20, 30 << 20)] {
            let before = room.disk().unwrap();
            room.replenish(end, length, || 0);
            // Where this machine has no room, or reserves nothing, there is nothing to be seen.
            if room.reserves && before.available > 4 * MOST + end + length {
                assert!(blocks(&room.wal) >= end + before.spare / 2, "{}", blocks(&room.wal));
                assert!(blocks(&room.file) >= length + before.spare / 2, "{}", blocks(&room.file));
            }
            for file in [&room.wal, &*room.file] {
                assert_eq!(length_of(file), 1 << 20);
            }
        }
    }

    #[test]
    fn what_is_new_waits_for_what_the_file_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let mut room = room(&folder);
        room.reserves = false;
        let much = 1 << 60;
        assert!(!room.replenish(1 << 20, much, || 0));
        assert!(room.replenish(1 << 20, much, || much + (1 << 30)), "the file has room of its own");
    }
}
