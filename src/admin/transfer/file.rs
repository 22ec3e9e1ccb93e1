//! A content in a file.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use tokio::task::{JoinHandle, spawn_blocking};

use super::checksum::HOLE;
use super::runs::runs;
use super::{BLOCK, Error, Piece, SPARSE, Sink, Source};
use crate::ownership;

/// A file that becomes a content.
pub(super) struct FileSink {
    path: PathBuf,
    file: Option<File>,
}

impl FileSink {
    /// Nothing is made before the first byte.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    fn make(&mut self) -> Result<&File, Error> {
        let file = match self.file.take() {
            Some(file) => file,
            None => fresh(&self.path).map_err(Error::at(&self.path))?,
        };
        Ok(self.file.insert(file))
    }
}

impl Sink for FileSink {
    async fn write(&mut self, at: u64, bytes: &Bytes) -> Result<(), Error> {
        let mut sink = Self { path: self.path.clone(), file: self.file.take() };
        let bytes = bytes.clone();
        let written = spawn_blocking(move || {
            let failed = Error::at(&sink.path);
            let file = sink.make()?;
            for run in runs(&bytes, HOLE) {
                file.write_all_at(&bytes[run.clone()], at + run.start as u64).map_err(&failed)?;
            }
            Ok::<_, Error>(sink)
        });
        *self = written.await??;
        Ok(())
    }

    async fn finish(mut self, length: u64) -> Result<(), Error> {
        if length == 0 && self.file.is_none() {
            return Ok(());
        }
        let finished = spawn_blocking(move || {
            let failed = Error::at(&self.path);
            let file = self.make()?;
            file.set_len(length).map_err(&failed)?;
            // Later backups may share the file.
            file.set_permissions(fs::Permissions::from_mode(0o400)).map_err(failed)
        });
        finished.await?
    }
}

/// A new file, whatever was there. What was there may be another backup's too, and is not written to.
fn fresh(path: &Path) -> io::Result<File> {
    remove(path)?;
    ownership::create_new(path, 0o600)
}

/// Removes a file; one that is not there is no error.
pub(in crate::admin) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The reader, and what it has read; no piece at the end of the file.
type Read = (Reader, Option<Piece>);

/// A file, read from its first byte to its last, a block ahead.
pub(super) struct FileSource {
    ahead: Option<JoinHandle<Result<Read, Error>>>,
    length: u64,
}

impl FileSource {
    /// An error is that of the first read.
    pub(super) fn open(path: &Path) -> Self {
        let path = path.to_path_buf();
        let ahead = spawn_blocking(move || Reader::open(path)?.read());
        Self { ahead: Some(ahead), length: 0 }
    }
}

impl Source for FileSource {
    async fn next(&mut self) -> Result<Option<Piece>, Error> {
        let Some(ahead) = self.ahead.take() else { return Ok(None) };
        let (reader, piece) = ahead.await??;
        self.length = reader.length;
        if piece.is_some() {
            self.ahead = Some(spawn_blocking(move || reader.read()));
        }
        Ok(piece)
    }

    fn length(&self) -> u64 {
        self.length
    }
}

struct Reader {
    path: PathBuf,
    file: File,
    length: u64,
    /// The bytes up to here were read.
    at: u64,
    /// Where the present bytes end, as far as that is known.
    end: u64,
}

impl Reader {
    fn open(path: PathBuf) -> Result<Self, Error> {
        let failed = Error::at(&path);
        let file = File::open(&path).map_err(&failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let end = if length < SPARSE { length } else { 0 };
        Ok(Self { path, file, length, at: 0, end })
    }

    /// The next bytes that lie in no hole; `None` behind the last.
    fn read(mut self) -> Result<Read, Error> {
        let failed = Error::at(&self.path);
        if self.at == self.end {
            let next = region(&self.file, self.at..self.length).map_err(&failed)?;
            (self.at, self.end) = (next.start, next.end);
        }
        let wanted = (self.end - self.at).min(BLOCK) as usize;
        let mut bytes = vec![0; wanted];
        let count = fill(&self.file, &mut bytes, self.at).map_err(&failed)?;
        bytes.truncate(count);
        let at = self.at;
        self.at += count as u64;
        if count < wanted {
            // Another process has cut it.
            (self.length, self.end) = (self.at, self.at);
        }
        let piece = Piece { at, bytes: Bytes::from(bytes), _permit: None };
        Ok((self, (count > 0).then_some(piece)))
    }
}

/// The first part of `within` that may have bytes (lseek(2)); an empty one at its end where all of it is a
/// hole.
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
    use std::sync::Arc;

    use sha2::{Digest as _, Sha256};

    use super::super::checksum::{Checksum, Coverage, Hasher, LARGE, Sum};
    use super::super::{Found, Transfers};
    use super::*;
    use crate::admin::{Progress, Unit};

    fn sum(coverage: Coverage, bytes: &[u8]) -> Option<Checksum> {
        let mut hasher = Hasher::new(coverage);
        hasher.add(0, bytes);
        (!bytes.is_empty()).then(|| hasher.finish(bytes.len() as u64))
    }

    /// The parts of a file that are read: where each begins, and its length.
    async fn parts(path: &Path) -> Vec<(u64, u64)> {
        let (mut source, mut parts) = (FileSource::open(path), Vec::new());
        while let Some(piece) = source.next().await.unwrap() {
            parts.push((piece.at, piece.bytes.len() as u64));
        }
        parts
    }

    /// What is found of a file, and how many bytes count as done.
    async fn hash(path: &Path, coverage: Coverage) -> (Found, u64) {
        let progress = Arc::new(Progress::default());
        progress.begin("test", Unit::Bytes, None);
        let found = Transfers::new(&progress).hash_file(path, coverage).await.unwrap();
        (found, progress.reading().done)
    }

    #[tokio::test]
    async fn a_file_with_holes_has_the_sum_of_all_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::create_new(&path).unwrap();
        for coverage in [Coverage::All, Coverage::Data] {
            assert_eq!(hash(&path, coverage).await, (Found { length: 0, checksum: None }, 0));
        }
        let at = 70 << 20;
        for length in [LARGE, at + 5, at + (1 << 20)] {
            file.set_len(length).unwrap();
            let mut bytes = vec![0; length as usize];
            if length > at {
                file.write_all_at(b"bytes", at).unwrap();
                bytes[at as usize..][..5].copy_from_slice(b"bytes");
            }
            let count: u64 = parts(&path).await.iter().map(|(_, count)| count).sum();
            assert!(count < 2 << 20, "holes are read: {count}");
            for coverage in [Coverage::All, Coverage::Data] {
                let (found, done) = hash(&path, coverage).await;
                assert_eq!(found, Found { length, checksum: sum(coverage, &bytes) });
                match coverage {
                    Coverage::All => assert_eq!(done, length, "zeros are summed up"),
                    Coverage::Data => assert_eq!(done, count, "holes cost nothing"),
                }
            }
        }
        file.set_len(BLOCK + 7).unwrap();
        assert_eq!(parts(&path).await, [(0, BLOCK), (BLOCK, 7)]);
        let plain = Checksum::All(Sum(Sha256::digest(vec![0; BLOCK as usize + 7]).into()));
        let found = hash(&path, Coverage::All).await.0;
        assert_eq!(found, Found { length: BLOCK + 7, checksum: Some(plain) });
    }
}
