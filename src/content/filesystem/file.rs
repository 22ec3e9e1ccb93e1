//! An open file: positional reads and writes, and what of it is not durable yet.

use std::io::IoSliceMut;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fd::OwnedFd;
use rustix::fs::{FallocateFlags, SeekFrom, copy_file_range, fallocate, ioctl_ficlone, seek};
use rustix::io::{Errno, ReadWriteFlags};

use super::descriptors::Permit;
use super::folder::{Access, Folder};
use crate::content::Error;
use crate::content::data_extents::DataExtents;
use crate::types::{ContentId, FileFacts, FilePages};

/// How many bytes are copied before the caller is asked again, and how many of them through memory.
const PIECE: u64 = 16 << 20;
const BUFFER: usize = 1 << 20;

/// One descriptor, shared by everybody who uses that id.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) id: ContentId,
    descriptor: Arc<OwnedFd>,
    pub(super) access: Access,
    /// Changes made through this descriptor and over.
    changes: AtomicU64,
    /// One more than the changes that are durable; 0 before the first sync. So even what was not
    /// changed here is synced once: another process may have changed it, and died.
    synced: AtomicU64,
    /// Held for a sync, so that those who wait find theirs done.
    pub(super) gate: Arc<tokio::sync::Mutex<()>>,
}

impl OpenFile {
    pub(super) fn new(id: ContentId, descriptor: OwnedFd, access: Access) -> Self {
        Self {
            id,
            descriptor: Arc::new(descriptor),
            access,
            changes: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            gate: Arc::default(),
        }
    }

    /// Length and links.
    pub(super) fn facts(&self, folder: &Folder) -> Result<FileFacts, Error> {
        FileFacts::of(&self.descriptor).map_err(|errno| self.failed("stat", folder, errno))
    }

    /// How many bytes from `offset` the page cache gave: from the front, without waiting for a
    /// device. 0 where there are none, or it cannot be said.
    pub(super) fn read_cached(&self, buffer: &mut [u8], offset: u64) -> usize {
        let mut buffers = [IoSliceMut::new(buffer)];
        // Whatever went wrong, the read that waits will say it.
        rustix::io::preadv2(&self.descriptor, &mut buffers, offset, ReadWriteFlags::NOWAIT)
            .unwrap_or(0)
    }

    /// A range of the file where all of it is in memory; the permit is given back when it is sent.
    pub(super) fn pages(&self, offset: u64, length: usize, permit: Permit) -> Option<FilePages> {
        FilePages::of(&self.descriptor, offset, length, permit)
    }

    /// Fills `buffer` from `offset`; answers how much of it, less only where the file ends.
    pub(super) fn read(
        &self,
        folder: &Folder,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<usize, Error> {
        let mut done = 0;
        while done < buffer.len() {
            let rest = &mut buffer[done..];
            match rustix::io::pread(&self.descriptor, rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("read", folder, errno)),
            }
        }
        Ok(done)
    }

    /// Where the file has bytes (lseek(2), SEEK_DATA and SEEK_HOLE; reads and writes are positional, so the
    /// file's offset is free for this). A file system that cannot tell says all of it. `wanted` is asked
    /// between two extents.
    pub(super) fn data_extents(
        &self,
        folder: &Folder,
        wanted: impl Fn() -> Result<(), Error>,
    ) -> Result<Vec<Range<u64>>, Error> {
        let mut extents = DataExtents::default();
        let mut reached = 0;
        loop {
            wanted()?;
            let found = seek(&self.descriptor, SeekFrom::Data(reached))
                .and_then(|start| Ok(start..seek(&self.descriptor, SeekFrom::Hole(start))?));
            match found {
                Ok(extent) if extent.end > reached => {
                    reached = extent.end;
                    extents.add(extent);
                }
                // No bytes from there on, or not any more.
                Ok(_) | Err(Errno::NXIO) => return Ok(extents.all()),
                Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                    let length = self.facts(folder)?.length;
                    extents.add(reached..length.max(reached));
                    return Ok(extents.all());
                }
                Err(errno) => return Err(self.failed("lseek", folder, errno)),
            }
        }
    }

    /// Writes all of `data`, or fails with a part of it written.
    pub(super) fn write(&self, folder: &Folder, data: &[u8], offset: u64) -> Result<(), Error> {
        let mut done = 0;
        let mut written = Ok(());
        while done < data.len() && written.is_ok() {
            match rustix::io::pwrite(&self.descriptor, &data[done..], offset + done as u64) {
                Ok(0) => written = Err(self.failed("write", folder, Errno::IO)),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) => written = Err(self.failed("write", folder, errno)),
            }
        }
        self.changed();
        written
    }

    /// Sets the length (ftruncate(2)).
    pub(super) fn truncate(&self, folder: &Folder, length: u64) -> Result<(), Error> {
        let cut = rustix::io::retry_on_intr(|| rustix::fs::ftruncate(&self.descriptor, length));
        self.changed();
        cut.map_err(|errno| self.failed("truncate", folder, errno))
    }

    /// Makes the file at least `length` bytes long, whoever writes to it meanwhile: fallocate(2) of its last
    /// byte changes no byte that is there. `false` where the file system does not know it.
    pub(super) fn extend(&self, folder: &Folder, length: u64) -> Result<bool, Error> {
        let Some(last) = length.checked_sub(1) else { return Ok(true) };
        let extended = rustix::io::retry_on_intr(|| {
            fallocate(&self.descriptor, FallocateFlags::empty(), last, 1)
        });
        self.changed();
        match extended {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(errno) => Err(self.failed("fallocate", folder, errno)),
        }
    }

    /// Takes the first `length` bytes of `source`, which has as many, into this file, which is new: by
    /// sharing its blocks where the file system can (ioctl_ficlone(2)), else its extents one after the other.
    /// `wanted` is asked in between.
    pub(super) fn copy_from(
        &self,
        folder: &Folder,
        source: &Self,
        length: u64,
        wanted: impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        if ioctl_ficlone(&self.descriptor, &source.descriptor).is_err() {
            for extent in source.data_extents(folder, &wanted)? {
                let (mut at, end) = (extent.start, extent.end.min(length));
                while at < end {
                    wanted()?;
                    let copied = self.copy_piece(folder, source, at, (end - at).min(PIECE))?;
                    if copied == 0 {
                        break;
                    }
                    at += copied;
                }
            }
        }
        self.truncate(folder, length)
    }

    /// How many bytes from `at` were copied, in the kernel where it can; none where the source ends.
    fn copy_piece(
        &self,
        folder: &Folder,
        source: &Self,
        at: u64,
        length: u64,
    ) -> Result<u64, Error> {
        let (mut from, mut to) = (at, at);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let copied = rustix::io::retry_on_intr(|| {
            let (from, to) = (Some(&mut from), Some(&mut to));
            copy_file_range(&source.descriptor, from, &self.descriptor, to, length)
        });
        if let Ok(copied) = copied {
            return Ok(copied as u64);
        }
        // The file system does not know it: whatever else is wrong, the read or the write says.
        let mut buffer = vec![0; length.min(BUFFER)];
        let count = source.read(folder, &mut buffer, at)?;
        self.write(folder, &buffer[..count], at)?;
        Ok(count as u64)
    }

    /// Counted when it is over: a sync that began in its middle does not cover it.
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// What a sync has to reach so that everything until now is durable.
    pub(super) fn sync_target(&self) -> u64 {
        self.changes.load(Ordering::SeqCst) + 1
    }

    pub(super) fn is_synced_to(&self, target: u64) -> bool {
        self.synced.load(Ordering::SeqCst) >= target
    }

    /// Whether this descriptor made changes that are not durable.
    pub(super) fn is_dirty(&self) -> bool {
        let target = self.sync_target();
        target > 1 && !self.is_synced_to(target)
    }

    /// Makes what was changed so far durable (fdatasync(2)), and the file's name with the first sync.
    /// To be called through [`super::Syncs`], which remembers a failure.
    pub(super) fn sync(&self, folder: &Folder) -> rustix::io::Result<()> {
        let target = self.sync_target();
        rustix::fs::fdatasync(&self.descriptor)?;
        if self.synced.load(Ordering::SeqCst) == 0 {
            folder.sync_names(self.id)?;
        }
        self.synced.fetch_max(target, Ordering::SeqCst);
        Ok(())
    }

    /// Makes the next sync sync everything anew, the name included.
    pub(super) fn forget_syncs(&self) {
        self.synced.store(0, Ordering::SeqCst);
    }

    fn failed(&self, call: &'static str, folder: &Folder, errno: Errno) -> Error {
        folder.failed(call, self.id, errno)
    }
}
