//! The bytes of a content as they go past: their checksum, and how many. Holes are not read; where the checksum is of all bytes
//! they count as the zeros that they read as.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::checksum::{Coverage, Hasher, LARGE};
use super::copy::Found;
use super::{BLOCK, Error};
use crate::admin::Progress;

/// Zeros that are summed up between two looks at whether anybody wants them.
const ZEROS: &[u8] = &[0; 1 << 20];

/// A content, from its first byte on.
pub(super) struct Hashing {
    hasher: Hasher,
    length: u64,
    job: Arc<Progress>,
}

impl Hashing {
    pub(super) fn new(coverage: Coverage, job: &Arc<Progress>) -> Self {
        Self { hasher: Hasher::new(coverage), length: 0, job: Arc::clone(job) }
    }

    pub(super) fn add(&mut self, data: &[u8]) {
        self.hasher.add(self.length, data);
        self.length += data.len() as u64;
        self.job.advance(data.len() as u64);
    }

    /// Zeros up to `end`.
    pub(super) fn skip_to(&mut self, end: u64) -> Result<(), Error> {
        match self.hasher.coverage() {
            Coverage::All => {
                while self.length < end {
                    self.job.check()?;
                    let count = (end - self.length).min(ZEROS.len() as u64);
                    self.add(&ZEROS[..count as usize]);
                }
            }
            Coverage::Data => {
                self.job.skip(end.saturating_sub(self.length));
                self.length = self.length.max(end);
            }
        }
        Ok(())
    }

    pub(super) fn found(self) -> Found {
        let checksum = (self.length > 0).then(|| self.hasher.finish(self.length));
        Found { length: self.length, checksum }
    }
}

/// A file of a backup, read from its first byte to its last.
pub(super) struct Source {
    path: PathBuf,
    file: File,
    length: u64,
    /// Where bytes are, as far as that is known.
    data: Range<u64>,
    hashing: Hashing,
}

impl Source {
    pub(super) fn open(
        path: &Path,
        coverage: Coverage,
        job: &Arc<Progress>,
    ) -> Result<Self, Error> {
        let failed = Error::at(path);
        let file = File::open(path).map_err(&failed)?;
        let length = file.metadata().map_err(&failed)?.len();
        let data = 0..if length < LARGE { length } else { 0 };
        let hashing = Hashing::new(coverage, job);
        Ok(Self { path: path.to_path_buf(), file, length, data, hashing })
    }

    /// Fills the buffer with the next bytes that are in no hole; where they begin. `None` behind the last.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>) -> Result<Option<u64>, Error> {
        self.hashing.job.check()?;
        let failed = Error::at(&self.path);
        if self.hashing.length == self.data.end {
            let next = region(&self.file, self.data.end..self.length).map_err(&failed)?;
            self.hashing.skip_to(next.start)?;
            self.data = next;
        }
        let at = self.hashing.length;
        let wanted = (self.data.end - at).min(BLOCK as u64) as usize;
        buffer.resize(wanted, 0);
        let count = fill(&self.file, buffer, at).map_err(&failed)?;
        buffer.truncate(count);
        self.hashing.add(buffer);
        if count < wanted {
            // Somebody has cut it.
            (self.length, self.data) = (at + count as u64, at..at + count as u64);
        }
        Ok((count > 0).then_some(at))
    }

    pub(super) fn found(self) -> Found {
        self.hashing.found()
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
    use crate::admin::Unit;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::admin::backup::checksum::{Checksum, Sum};

    fn sum(coverage: Coverage, bytes: &[u8]) -> Option<Checksum> {
        let mut hasher = Hasher::new(coverage);
        hasher.add(0, bytes);
        (!bytes.is_empty()).then(|| hasher.finish(bytes.len() as u64))
    }

    /// What is read of a file, where, what that sums up to, and how many bytes count as done.
    fn read(path: &Path, coverage: Coverage) -> (Vec<(u64, usize)>, Found, u64) {
        let job = Arc::new(Progress::default());
        let mut source = Source::open(path, coverage, &job).unwrap();
        let (mut buffer, mut parts) = (Vec::new(), Vec::new());
        while let Some(at) = source.read(&mut buffer).unwrap() {
            parts.push((at, buffer.len()));
        }
        (parts, source.found(), job.reading().done)
    }

    #[test]
    fn a_file_with_holes_has_the_sum_of_all_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::create_new(&path).unwrap();
        for coverage in [Coverage::All, Coverage::Data] {
            let nothing = Found { length: 0, checksum: None };
            assert_eq!(read(&path, coverage), (Vec::new(), nothing, 0));
        }
        let at = 70 << 20;
        for length in [LARGE, at + 5, at + (1 << 20)] {
            file.set_len(length).unwrap();
            let mut bytes = vec![0; length as usize];
            if length > at {
                file.write_all_at(b"bytes", at).unwrap();
                bytes[at as usize..][..5].copy_from_slice(b"bytes");
            }
            for coverage in [Coverage::All, Coverage::Data] {
                let (parts, found, done) = read(&path, coverage);
                assert_eq!(found, Found { length, checksum: sum(coverage, &bytes) });
                let count: usize = parts.iter().map(|(_, count)| count).sum();
                assert!(count < 2 << 20, "holes are read: {parts:?}");
                match coverage {
                    Coverage::All => assert_eq!(done, length, "zeros are summed up"),
                    Coverage::Data => assert_eq!(done, count as u64, "holes cost nothing"),
                }
            }
        }
        file.set_len(BLOCK as u64 + 7).unwrap();
        let (parts, found, _) = read(&path, Coverage::All);
        assert_eq!(parts, [(0, BLOCK), (BLOCK as u64, 7)]);
        let plain = Checksum::All(Sum(Sha256::digest(vec![0; BLOCK + 7]).into()));
        assert_eq!(found, Found { length: BLOCK as u64 + 7, checksum: Some(plain) });
    }

    #[test]
    fn a_hole_of_exabytes_takes_no_time() {
        let job = Arc::new(Progress::default());
        job.begin("test", Unit::Bytes, Some(u64::MAX));
        let mut hashing = Hashing::new(Coverage::Data, &job);
        hashing.add(b"some");
        hashing.skip_to(u64::MAX).unwrap();
        let reading = job.reading();
        assert_eq!((reading.done, reading.total), (4, Some(4)));
        assert_eq!(hashing.found().length, u64::MAX);
    }

    #[test]
    fn zeros_end_when_nobody_wants_them() {
        let job = Arc::new(Progress::default());
        let mut hashing = Hashing::new(Coverage::All, &job);
        hashing.add(b"some");
        job.cancel().cancel();
        assert!(matches!(hashing.skip_to(u64::MAX), Err(Error::Interrupted)));
        hashing.skip_to(4).unwrap();
        assert_eq!(hashing.found(), Found { length: 4, checksum: sum(Coverage::All, b"some") });
    }
}
