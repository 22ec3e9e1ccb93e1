//! Chunks that memory has no room for, in files of a folder with a size limit: a second cache behind the
//! first.
//!
//! What is there is known to this process alone and begins empty: the folder's files are removed when it is
//! opened. A file is a chunk and a trailer with the object's nonce and a check of the bytes, so that one
//! which is not what was written is found out.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use object_store::UpdateVersion;
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::bucket::Stored;
use super::cache::Key;
use super::layout::{TRAILER, Trailer};
use crate::content::lru::LruMap;
use crate::ownership;
use crate::types::ContentId;

/// What the names of its files end with.
const SUFFIX: &str = "chunk";
/// How many chunks may wait in memory for a disk that is slow; beyond them chunks are not kept.
const WRITES: usize = 8;
/// The file whose lock says that a process uses the folder.
const LOCK: &str = "lock";

/// A folder of chunks, and how much of the disk they may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DiskCacheSettings {
    /// The folder, made where it is missing; of this process alone.
    pub folder: PathBuf,
    /// Bytes.
    pub size: u64,
}

/// The open folder.
#[derive(Debug)]
pub(super) struct DiskCache {
    folder: PathBuf,
    limit: u64,
    index: Mutex<Index>,
    writes: Arc<Semaphore>,
    /// Whether a failure was told.
    failed: AtomicBool,
    _lock: File,
}

#[derive(Debug, Default)]
struct Index {
    chunks: LruMap<Key, DiskChunk>,
    /// The name of the last file.
    last_file: u64,
}

#[derive(Clone, Debug)]
struct DiskChunk {
    /// The file's name.
    file: u64,
    /// Whether the file is all there.
    written: bool,
    nonce: Uuid,
    version: UpdateVersion,
    checked: u64,
}

impl DiskCache {
    /// Opens a folder and empties it.
    pub(super) fn open(settings: &DiskCacheSettings) -> io::Result<Self> {
        ownership::create_dir_all(&settings.folder, 0o700)?;
        let lock = ownership::lock_file(&settings.folder.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            rustix::io::Errno::WOULDBLOCK => io::Error::other("another process uses it"),
            errno => errno.into(),
        })?;
        for entry in std::fs::read_dir(&settings.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == SUFFIX) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(Self {
            folder: settings.folder.clone(),
            limit: settings.size,
            index: Mutex::default(),
            writes: Arc::new(Semaphore::new(WRITES)),
            failed: AtomicBool::new(false),
            _lock: lock,
        })
    }

    fn path(&self, file: u64) -> PathBuf {
        self.folder.join(format!("{file}.{SUFFIX}"))
    }

    /// Keeps a chunk, soon.
    pub(super) fn put(self: &Arc<Self>, key: Key, stored: Stored, checked: u64) {
        let bytes = (stored.data.len() + TRAILER) as u64;
        let turn = Arc::clone(&self.writes).try_acquire_owned();
        let (Ok(turn), true) = (turn, bytes <= self.limit / 2) else {
            return self.forget(key);
        };
        let (file, old) = {
            let mut index = self.index.lock();
            index.last_file += 1;
            let file = index.last_file;
            let Stored { nonce, version, .. } = stored.clone();
            let chunk = DiskChunk { file, written: false, nonce, version, checked };
            let replaced = index.chunks.insert(key, chunk, bytes);
            let evicted = index.chunks.evict(self.limit).into_iter().map(|(_, chunk)| chunk);
            (file, replaced.into_iter().chain(evicted).collect::<Vec<_>>())
        };
        let disk = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            disk.discard_all(&old);
            let path = disk.path(file);
            let written = write(&path, &stored.data, &trailer(&stored).encode());
            drop((stored, turn));
            let mut index = disk.index.lock();
            let current = index.chunks.peek_mut(key).filter(|chunk| chunk.file == file);
            match (written, current) {
                (Ok(()), Some(entry)) => entry.written = true,
                (Ok(()), None) => {
                    drop(index);
                    disk.discard(file);
                }
                (Err(error), current) => {
                    if current.is_some() {
                        index.chunks.remove(key);
                    }
                    drop(index);
                    disk.discard(file);
                    disk.complain(&error);
                }
            }
        });
    }

    /// Whether a chunk is there.
    pub(super) fn has(&self, key: Key) -> bool {
        self.index.lock().chunks.peek(key).is_some()
    }

    /// A chunk, and when it was surely what the bucket had.
    pub(super) async fn get(self: &Arc<Self>, key: Key) -> Option<(Stored, u64)> {
        let entry = self.index.lock().chunks.get(key).filter(|chunk| chunk.written)?.clone();
        let (path, checked) = (self.path(entry.file), entry.checked);
        // A file that was discarded meanwhile is as good as none.
        let read = move || {
            let object = Bytes::from(std::fs::read(path).ok()?);
            let found = Trailer::decode(&object)?;
            let data = object.slice(..object.len() - TRAILER);
            let DiskChunk { version, nonce, .. } = entry;
            let stored = Stored { data, length: found.length, nonce, version };
            (found == trailer(&stored)).then_some(stored)
        };
        let stored = tokio::task::spawn_blocking(read).await.ok()??;
        Some((stored, checked))
    }

    /// Forgets a chunk: what is kept may not be what the bucket has any more.
    pub(super) fn forget(self: &Arc<Self>, key: Key) {
        let old = self.index.lock().chunks.remove(key);
        self.discard_later(old.into_iter().collect());
    }

    /// Forgets a content's chunks `numbers`.
    pub(super) fn forget_all(self: &Arc<Self>, id: ContentId, numbers: RangeInclusive<u64>) {
        let keys = (id, *numbers.start())..=(id, *numbers.end());
        let old = self.index.lock().chunks.remove_range(keys);
        self.discard_later(old);
    }

    fn discard_later(self: &Arc<Self>, old: Vec<DiskChunk>) {
        if !old.is_empty() {
            let disk = Arc::clone(self);
            tokio::task::spawn_blocking(move || disk.discard_all(&old));
        }
    }

    fn discard_all(&self, chunks: &[DiskChunk]) {
        chunks.iter().for_each(|chunk| self.discard(chunk.file));
    }

    fn discard(&self, file: u64) {
        match std::fs::remove_file(self.path(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => self.complain(&error),
            _ => {}
        }
    }

    /// Says once that the folder fails: chunks are then read from the bucket.
    fn complain(&self, error: &io::Error) {
        if !self.failed.swap(true, Ordering::Relaxed) {
            tracing::warn!(folder = %self.folder.display(), error = error as &dyn std::error::Error,
                "cache_folder failed; reading from the bucket instead");
        }
    }
}

/// What stands behind a chunk's bytes; the check of these is where an object has the size of chunks.
fn trailer(stored: &Stored) -> Trailer {
    let check = crc32fast::hash(&stored.data);
    Trailer { chunk_size: check, length: stored.length, nonce: stored.nonce }
}

fn write(path: &Path, data: &[u8], trailer: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let mut file = ownership::create_new(path, 0o600)?;
    file.write_all(data)?;
    file.write_all(trailer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(byte: u8, bytes: usize) -> Stored {
        Stored {
            data: vec![byte; bytes].into(),
            length: bytes as u32,
            nonce: Uuid::new_v4(),
            version: UpdateVersion { e_tag: Some("tag".to_owned()), version: None },
        }
    }

    async fn written(disk: &Arc<DiskCache>, key: Key) -> Option<(Stored, u64)> {
        while disk.index.lock().chunks.peek(key).is_some_and(|chunk| !chunk.written) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        disk.get(key).await
    }

    #[tokio::test]
    async fn chunks_come_back_and_the_limit_holds() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DiskCacheSettings { folder: folder.path().join("cache"), size: 10_000 };
        let disk = Arc::new(DiskCache::open(&settings).unwrap());
        assert!(DiskCache::open(&settings).is_err(), "one process alone");
        let id = ContentId::generate();
        for number in 0..4 {
            disk.put((id, number), stored(number as u8 + 1, 3_000), 7);
            let (found, checked) = written(&disk, (id, number)).await.unwrap();
            assert_eq!((found.data, checked), (vec![number as u8 + 1; 3_000].into(), 7));
        }
        assert!(disk.get((id, 0)).await.is_none(), "the oldest went");
        disk.put((id, 3), stored(9, 100), 8);
        assert_eq!(written(&disk, (id, 3)).await.unwrap().0.data, vec![9; 100]);
        disk.forget((id, 3));
        assert!(disk.get((id, 3)).await.is_none());
        disk.forget_all(id, 0..=u64::MAX);
        assert_eq!(disk.index.lock().chunks.weight(), 0);
        // Threads that still discard files have the folder too.
        while Arc::strong_count(&disk) > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        drop(disk);
        let again = Arc::new(DiskCache::open(&settings).unwrap());
        let names = std::fs::read_dir(&settings.folder).unwrap().count();
        assert_eq!(names, 1, "the lock alone");
        assert!(again.get((id, 1)).await.is_none());
    }

    #[tokio::test]
    async fn a_file_that_was_changed_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DiskCacheSettings { folder: folder.path().to_owned(), size: 10_000 };
        let disk = Arc::new(DiskCache::open(&settings).unwrap());
        let key = (ContentId::generate(), 0);
        disk.put(key, stored(1, 100), 1);
        written(&disk, key).await.unwrap();
        let path = disk.path(disk.index.lock().chunks.peek(key).unwrap().file);
        let whole = std::fs::read(&path).unwrap();
        for at in [0, 50, 99] {
            let mut other = whole.clone();
            other[at] ^= 1;
            std::fs::write(&path, other).unwrap();
            assert!(disk.get(key).await.is_none(), "byte {at}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(disk.get(key).await.is_some());
        std::fs::write(&path, b"something else").unwrap();
        assert!(disk.get(key).await.is_none());
    }

    /// A disk that does nothing for a while.
    #[test]
    fn chunks_do_not_pile_up_in_front_of_a_slow_disk() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).enable_time().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let settings = DiskCacheSettings { folder: folder.path().to_owned(), size: 1 << 20 };
            let disk = Arc::new(DiskCache::open(&settings).unwrap());
            let (go_on, held) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || held.recv());
            let id = ContentId::generate();
            let buffers: Vec<_> = (0..100).map(|_| stored(1, 1_000)).collect();
            for (number, stored) in buffers.iter().enumerate() {
                disk.put((id, number as u64), stored.clone(), 1);
            }
            let held: usize = buffers.iter().filter(|it| !it.data.is_unique()).count();
            assert!((1..=WRITES).contains(&held), "{held} chunks wait");
            go_on.send(()).unwrap();
            busy.await.unwrap().unwrap();
            assert!(written(&disk, (id, 0)).await.is_some());
            disk.put((id, 99), stored(9, 1_000), 1);
            assert_eq!(written(&disk, (id, 99)).await.unwrap().0.data, vec![9; 1_000]);
        });
    }
}
