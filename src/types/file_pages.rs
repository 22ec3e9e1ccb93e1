//! Bytes of a file that a reply sends from the page cache (sendfile(2)), without a copy of them.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::sendfile;
use rustix::io::{ReadWriteFlags, pread, preadv2, retry_on_intr};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// Of so many bytes one is looked at: the kernel reads and evicts pages in runs.
const LOOK_AT: usize = 64 << 10;
/// For how long pages that were seen in memory are taken to be there.
const SEEN_FOR: Duration = Duration::from_millis(100);

/// A range of an open file, whose pages are in memory as far as is known. What is written to it before it is
/// sent may be sent.
#[derive(Clone, Debug)]
pub struct FilePages(Arc<Range>);

#[derive(Debug)]
struct Range {
    file: Arc<OwnedFd>,
    offset: u64,
    length: usize,
    /// When the pages were last seen in memory.
    seen: Mutex<Instant>,
    /// The right to keep the file open.
    _permit: OwnedSemaphorePermit,
}

impl FilePages {
    /// A range of the file; `None` where a part of it is not in memory, or not there.
    #[must_use]
    pub fn of(
        file: &Arc<OwnedFd>,
        offset: u64,
        length: usize,
        permit: OwnedSemaphorePermit,
    ) -> Option<Self> {
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
        let Ok((from, to)) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        ) else {
            return false;
        };
        let sent = sendfile(&from, file, Some(&mut 0), 1);
        drop(to);
        sent.is_ok()
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
        let there = seen.elapsed() < SEEN_FOR || self.0.is_in_memory(skip);
        if there {
            *seen = Instant::now();
        }
        there
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

    use tokio::sync::Semaphore;

    use super::*;

    const BYTES: usize = 200_000;

    /// Content of which every byte tells where it is, and the right to one range of it.
    fn file() -> (File, Arc<OwnedFd>, Arc<Semaphore>) {
        let bytes: Vec<u8> = (0..BYTES).map(|n| (n % 251) as u8).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        let open = file.reopen().unwrap();
        (file.into_file(), Arc::new(open.into()), Arc::new(Semaphore::new(1)))
    }

    #[test]
    fn a_range_is_sent_in_parts() {
        let (_, file, permits) = file();
        let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
        let pages = FilePages::of(&file, 1000, 100_000, permit).unwrap();
        assert!(FilePages::can_send(&file));
        assert_eq!((pages.len(), permits.available_permits()), (100_000, 0));
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
        assert_eq!(permits.available_permits(), 1);
    }

    #[test]
    fn a_range_that_is_not_there_is_refused_or_found_out() {
        let (writable, file, permits) = file();
        let permit = || Arc::clone(&permits).try_acquire_owned().unwrap();
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
        let permit = permits.clone().try_acquire_owned().unwrap();
        let pages = FilePages::of(&file, 0, BYTES, permit).unwrap();
        // Gone like a page that was evicted.
        writable.set_len(0).unwrap();
        assert!(pages.are_in_memory(0), "they were seen just now");
        tokio::time::advance(SEEN_FOR).await;
        assert!(!pages.are_in_memory(0));
    }
}
