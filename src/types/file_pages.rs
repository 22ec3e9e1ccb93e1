//! Bytes of a file that a reply sends from the page cache (sendfile(2)), without a copy of them.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::sendfile;
use rustix::io::{ReadWriteFlags, pread, preadv2, retry_on_intr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::time::Instant;

use super::Permit;

/// One byte of so many is looked at: the kernel reads and evicts pages in runs.
const LOOK_AT: usize = 64 << 10;
/// How long a look at the pages counts.
const SEEN_FOR: Duration = Duration::from_millis(100);

/// A range of an open file whose pages were in memory at the last look. Bytes are sent as they are when they
/// are sent: a WRITE that comes after the READ may show.
#[derive(Clone, Debug)]
pub struct FilePages(Arc<Range>);

#[derive(Debug)]
struct Range {
    file: Arc<OwnedFd>,
    offset: u64,
    length: usize,
    /// When the pages were last seen in memory.
    seen: Mutex<Instant>,
    /// Counts the descriptor.
    _permit: Permit,
}

impl FilePages {
    /// A range of the file; `None` where a part of it is not in memory, or not there.
    #[must_use]
    pub fn of(file: &Arc<OwnedFd>, offset: u64, length: usize, permit: Permit) -> Option<Self> {
        let range = Range {
            file: Arc::clone(file),
            offset,
            length,
            seen: Mutex::new(Instant::now()),
            _permit: permit,
        };
        range.is_in_memory(0).then(|| Self(Arc::new(range)))
    }

    /// Whether a file's pages can be sent from where they lie.
    #[must_use]
    pub fn can_send(file: impl AsFd) -> bool {
        let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        pair.is_ok_and(|(socket, _peer)| sendfile(&socket, file, Some(&mut 0), 1).is_ok())
    }

    /// Bytes in all.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a range has bytes")]
    pub fn len(&self) -> usize {
        self.0.length
    }

    /// Sends what the socket takes of the bytes behind the first `skip`.
    ///
    /// # Errors
    /// Those of sendfile(2), and [`io::ErrorKind::UnexpectedEof`] where the file has become shorter.
    pub fn send(&self, socket: impl AsFd, skip: usize) -> io::Result<usize> {
        let Range { file, offset, length, .. } = &*self.0;
        let mut at = offset + skip as u64;
        match sendfile(socket, file, Some(&mut at), length - skip)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            sent => Ok(sent),
        }
    }

    /// Whether the bytes behind the first `skip` can be sent without waiting for a device.
    #[must_use]
    pub fn are_in_memory(&self, skip: usize) -> bool {
        let mut seen = self.0.seen.lock();
        if seen.elapsed() < SEEN_FOR {
            return true;
        }
        let is_there = self.0.is_in_memory(skip);
        if is_there {
            *seen = Instant::now();
        }
        is_there
    }

    /// Reads the pages of the bytes behind the first `skip` into memory. Blocks.
    ///
    /// # Errors
    /// Those of pread(2), and [`io::ErrorKind::UnexpectedEof`] where the file has become shorter.
    pub fn load(&self, skip: usize) -> io::Result<()> {
        self.0.read(skip, |_| {})?;
        *self.0.seen.lock() = Instant::now();
        Ok(())
    }

    /// A copy of the bytes. Blocks where they are not in memory.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn copy(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.0.length);
        self.0.read(0, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }
}

impl Range {
    /// Reads the bytes behind the first `skip` in pieces.
    fn read(&self, skip: usize, mut piece: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; LOOK_AT.min(self.length - skip)];
        let mut done = skip;
        while done < self.length {
            let most = buffer.len().min(self.length - done);
            let at = self.offset + done as u64;
            match retry_on_intr(|| pread(&self.file, &mut buffer[..most], at))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    piece(&buffer[..read]);
                    done += read;
                }
            }
        }
        Ok(())
    }

    /// Whether samples of the bytes behind the first `skip` are in memory: RWF_NOWAIT of preadv2(2).
    fn is_in_memory(&self, skip: usize) -> bool {
        let places = (skip..self.length).step_by(LOOK_AT);
        places.chain(self.length.checked_sub(1)).all(|place| {
            let mut byte = [0];
            let mut buffers = [IoSliceMut::new(&mut byte)];
            let at = self.offset + place as u64;
            preadv2(&self.file, &mut buffers, at, ReadWriteFlags::NOWAIT).is_ok_and(|read| read > 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use rustix::fs::{Advice, fadvise};

    use super::*;
    use crate::types::{Bounds, FairPermits};

    const BYTES: usize = 200_000;

    /// Content of which every byte tells where it is, and the right to one range of it.
    fn file() -> (File, Arc<OwnedFd>, FairPermits) {
        let bytes: Vec<u8> = (0..BYTES).map(|n| (n % 251) as u8).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        let open = file.reopen().unwrap();
        (file.into_file(), Arc::new(open.into()), FairPermits::new(1, Bounds::CALLS))
    }

    #[test]
    fn a_range_is_sent_in_parts() {
        let (_, file, permits) = file();
        let permit = permits.try_acquire(1).unwrap();
        let pages = FilePages::of(&file, 1000, 100_000, permit).unwrap();
        assert!(FilePages::can_send(&file));
        assert_eq!((pages.len(), permits.free()), (100_000, 0));
        let (to, mut from) = UnixStream::pair().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let mut sent = 0;
        while sent < pages.len() {
            sent += pages.send(&to, sent).unwrap();
        }
        drop((to, pages));
        let expected: Vec<u8> = (1000..101_000).map(|n| (n % 251) as u8).collect();
        assert!(reader.join().unwrap() == expected);
        assert_eq!(permits.free(), 1);
    }

    #[test]
    fn a_range_that_is_not_there_is_refused_or_found_out() {
        let (writable, file, permits) = file();
        let permit = || permits.try_acquire(1).unwrap();
        assert!(FilePages::of(&file, 1, BYTES, permit()).is_none());
        let pages = FilePages::of(&file, 0, BYTES, permit()).unwrap();
        pages.load(0).unwrap();
        writable.set_len(1000).unwrap();
        let (to, _from) = UnixStream::pair().unwrap();
        assert_eq!(pages.send(&to, 0).unwrap(), 1000);
        for failed in [pages.send(&to, 1000).map(drop), pages.load(1000)] {
            assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pages_are_looked_at_again_after_a_while() {
        let (writable, file, permits) = file();
        let permit = permits.try_acquire(1).unwrap();
        let pages = FilePages::of(&file, 0, BYTES, permit).unwrap();
        // Gone like a page that was evicted.
        writable.set_len(0).unwrap();
        for _ in 0..2 {
            assert!(pages.are_in_memory(0), "the last look counts");
            tokio::time::advance(SEEN_FOR / 2).await;
        }
        assert!(!pages.are_in_memory(0));
    }

    #[tokio::test(start_paused = true)]
    async fn pages_that_were_evicted_are_loaded() {
        let (writable, file, permits) = file();
        let pages = FilePages::of(&file, 0, BYTES, permits.try_acquire(1).unwrap()).unwrap();
        writable.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        tokio::time::advance(SEEN_FOR).await;
        // A file system in memory evicts nothing.
        if !pages.are_in_memory(0) {
            pages.load(0).unwrap();
            assert!(pages.are_in_memory(0));
        }
        assert_eq!(pages.copy().unwrap().len(), BYTES);
    }
}
