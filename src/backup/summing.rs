//! The bytes of a content as they go past: their sum, and how many. A hole is summed up as the zeros that it reads as, without
//! being read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::copy::Found;
use super::list::Sum;
use super::{BLOCK, Error, Job};

/// From this size on holes are looked for.
pub(super) const LARGE: u64 = 64 << 20;
/// Zeros that are summed up between two looks at whether anybody wants them.
const ZEROS: &[u8] = &[0; 1 << 20];

/// A content, from its first byte on.
pub(super) struct Summing {
    digest: Sha256,
    length: u64,
    job: Arc<Job>,
}

impl Summing {
    pub(super) fn new(job: &Arc<Job>) -> Self {
        Self { digest: Sha256::new(), length: 0, job: Arc::clone(job) }
    }

    pub(super) fn add(&mut self, data: &[u8]) {
        self.digest.update(data);
        self.length += data.len() as u64;
        self.job.advance(data.len() as u64);
    }

    /// Zeros up to `end`.
    pub(super) fn skip_to(&mut self, end: u64) -> Result<(), Error> {
        while self.length < end {
            self.job.still_wanted()?;
            let count = (end - self.length).min(ZEROS.len() as u64);
            self.add(&ZEROS[..count as usize]);
        }
        Ok(())
    }

    pub(super) fn found(self) -> Found {
        let sum = (self.length > 0).then(|| Sum(self.digest.finalize().into()));
        Found { length: self.length, sum }
    }
}

/// A file of a backup, read from its first byte to its last.
pub(super) struct Source {
    path: PathBuf,
    file: File,
    length: u64,
    /// Where bytes are, as far as that is known.
    data: Range<u64>,
    summing: Summing,
}

impl Source {
    pub(super) fn open(path: &Path, job: &Arc<Job>) -> Result<Self, Error> {
        let failed = Error::at(path);
        let file = File::open(path).map_err(&failed)?;
        let length = file.metadata().map_err(&failed)?.len();
        let data = 0..if length < LARGE { length } else { 0 };
        Ok(Self { path: path.to_path_buf(), file, length, data, summing: Summing::new(job) })
    }

    /// Fills the buffer with the next bytes that are in no hole; where they begin. `None` behind the last.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>) -> Result<Option<u64>, Error> {
        self.summing.job.still_wanted()?;
        let failed = Error::at(&self.path);
        if self.summing.length == self.data.end {
            let next = region(&self.file, self.data.end..self.length).map_err(&failed)?;
            self.summing.skip_to(next.start)?;
            self.data = next;
        }
        let at = self.summing.length;
        let wanted = (self.data.end - at).min(BLOCK as u64) as usize;
        buffer.resize(wanted, 0);
        let count = fill(&self.file, buffer, at).map_err(&failed)?;
        buffer.truncate(count);
        self.summing.add(buffer);
        if count < wanted {
            // Somebody has cut it.
            (self.length, self.data) = (at + count as u64, at..at + count as u64);
        }
        Ok((count > 0).then_some(at))
    }

    pub(super) fn found(self) -> Found {
        self.summing.found()
    }
}

/// The first part of `within` that may have bytes (lseek(2)); an empty one at its end where all of it is a hole.
fn region(file: &File, within: Range<u64>) -> io::Result<Range<u64>> {
    if within.is_empty() {
        return Ok(within);
    }
    let found = seek(file, SeekFrom::Data(within.start))
        .and_then(|start| Ok(start..seek(file, SeekFrom::Hole(start))?));
    match found {
        Ok(found) if found.start < within.end => Ok(found.start..found.end.min(within.end)),
        Ok(_) | Err(Errno::NXIO) => Ok(within.end..within.end),
        // The file system does not know.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(within),
        Err(errno) => Err(errno.into()),
    }
}

fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> Option<Sum> {
        (!bytes.is_empty()).then(|| Sum(Sha256::digest(bytes).into()))
    }

    /// What is read of a file, where, and what that sums up to.
    fn read(path: &Path) -> (Vec<(u64, usize)>, Found) {
        let job = Arc::new(Job::default());
        let mut source = Source::open(path, &job).unwrap();
        let (mut buffer, mut parts) = (Vec::new(), Vec::new());
        while let Some(at) = source.read(&mut buffer).unwrap() {
            parts.push((at, buffer.len()));
        }
        let found = source.found();
        assert_eq!(job.reading().done, found.length, "holes count as done too");
        (parts, found)
    }

    #[test]
    fn a_file_with_holes_has_the_sum_of_all_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::create_new(&path).unwrap();
        assert_eq!(read(&path), (Vec::new(), Found { length: 0, sum: None }));
        let at = 70 << 20;
        for length in [LARGE, at + 5, at + (1 << 20)] {
            file.set_len(length).unwrap();
            let mut bytes = vec![0; length as usize];
            if length > at {
                file.write_all_at(b"bytes", at).unwrap();
                bytes[at as usize..][..5].copy_from_slice(b"bytes");
            }
            let (parts, found) = read(&path);
            assert_eq!(found, Found { length, sum: sum(&bytes) });
            let count: usize = parts.iter().map(|(_, count)| count).sum();
            assert!(count < 2 << 20, "holes are read: {parts:?}");
        }
        file.set_len(BLOCK as u64 + 7).unwrap();
        let (parts, found) = read(&path);
        assert_eq!(parts, [(0, BLOCK), (BLOCK as u64, 7)]);
        assert_eq!(found, Found { length: BLOCK as u64 + 7, sum: sum(&vec![0; BLOCK + 7]) });
    }

    #[test]
    fn zeros_end_when_nobody_wants_them() {
        let job = Arc::new(Job::default());
        let mut summing = Summing::new(&job);
        summing.add(b"some");
        job.cancel.cancel();
        assert!(matches!(summing.skip_to(u64::MAX), Err(Error::Interrupted)));
        summing.skip_to(4).unwrap();
        assert_eq!(summing.found(), Found { length: 4, sum: sum(b"some") });
    }
}
