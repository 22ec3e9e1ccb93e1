//! One content out of its store: into a file, or past a checksum alone; and into a store again.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::checksum::{Checksum, Coverage, LARGE};
use super::hashing::{Hashing, Source};
use super::{BLOCK, Error, HOLE};
use crate::admin::Progress;
use crate::content::{self, ContentStore};
use crate::ownership;
use crate::types::{Call, ContentId};

/// How many blocks of one content are read at once.
const READS: usize = 4;
/// How long one call may take. A store that is away for longer ends the job.
const CALL_LIMIT: Duration = Duration::from_secs(600);

/// A content store, and its name in the configuration.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) name: String,
    pub(super) content: Arc<dyn ContentStore>,
}

impl Store {
    /// What a call of this job on a content came to.
    pub(super) fn failed(&self, id: Uuid) -> impl Fn(content::Error) -> Error + use<> {
        let name = self.name.clone();
        move |source| match source {
            content::Error::Cancelled => Error::Interrupted,
            source => Error::Content { name: name.clone(), id, source },
        }
    }
}

/// A call that no client makes.
pub(super) fn internal(job: &Progress) -> Call {
    Call { cancel: job.cancel().clone(), ..Call::internal(CALL_LIMIT) }
}

/// What was found of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// How many of the bytes that were asked for there are.
    pub(super) length: u64,
    /// Their checksum; `None` where there are none.
    pub(super) checksum: Option<Checksum>,
}

/// Reads the first `size` bytes of a content, as far as there are so many, into the file `to`, which is made anew.
/// Holes of large contents are not read.
pub(super) async fn read_out(
    store: &Store,
    id: ContentId,
    size: u64,
    to: Option<PathBuf>,
    coverage: Coverage,
    job: &Arc<Progress>,
) -> Result<Found, Error> {
    let failed = store.failed(id.0);
    let (regions, mut reach) = extent(store, id, size, job).await.map_err(&failed)?;
    let reads = blocks(regions, reach).map(|(at, length)| async move {
        let data = block(store, id, at, length, job).await;
        data.map(|data| (at, data.len() == length, data))
    });
    let mut reads = std::pin::pin!(stream::iter(reads).buffered(READS));
    let mut sink = Sink::new(to, coverage, job);
    let mut next = reads.next().await;
    while let Some(read) = next {
        let (at, whole, data) = read.map_err(&failed)?;
        if !whole {
            reach = at + data.len() as u64;
        }
        let taken = spawn_blocking(move || sink.take(at, &data).map(|()| sink));
        let rest = async { if whole { reads.next().await } else { None } };
        let (taken, rest) = tokio::join!(taken, rest);
        (sink, next) = (taken??, rest);
    }
    spawn_blocking(move || sink.finish(reach)).await?
}

/// Where the first `size` bytes of a content may be others than zeros, and how many there are at most.
async fn extent(
    store: &Store,
    id: ContentId,
    size: u64,
    job: &Progress,
) -> Result<(Vec<Range<u64>>, u64), content::Error> {
    if size < LARGE {
        return Ok((std::iter::once(0..size).collect(), size));
    }
    let call = internal(job);
    let found = async {
        let length = store.content.length(&call, id).await?;
        Ok((store.content.data_extents(&call, id).await?, length.min(size)))
    };
    match found.await {
        Err(content::Error::Missing(_)) => Ok((Vec::new(), 0)),
        found => found,
    }
}

/// The regions below `reach` in blocks, each with where it begins and how long it is.
fn blocks(regions: Vec<Range<u64>>, reach: u64) -> impl Iterator<Item = (u64, usize)> {
    regions.into_iter().flat_map(move |region| {
        let end = region.end.min(reach);
        let starts = (region.start..end).step_by(BLOCK);
        starts.map(move |at| (at, (end - at).min(BLOCK as u64) as usize))
    })
}

/// Some bytes, fewer where the content ends and none where it is missing.
async fn block(
    store: &Store,
    id: ContentId,
    at: u64,
    length: usize,
    job: &Progress,
) -> Result<Bytes, content::Error> {
    match store.content.read(&internal(job), id, at, length).await {
        Err(content::Error::Missing(_)) => Ok(Bytes::new()),
        read => read,
    }
}

/// Takes the bytes of a content one after another.
struct Sink {
    path: Option<PathBuf>,
    file: Option<File>,
    hashing: Hashing,
}

impl Sink {
    fn new(path: Option<PathBuf>, coverage: Coverage, job: &Arc<Progress>) -> Self {
        Self { path, file: None, hashing: Hashing::new(coverage, job) }
    }

    fn make(&mut self) -> Result<(), Error> {
        if self.file.is_none()
            && let Some(path) = &self.path
        {
            self.file = Some(fresh(path).map_err(Error::at(path))?);
        }
        Ok(())
    }

    fn take(&mut self, at: u64, data: &[u8]) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        self.make()?;
        self.hashing.skip_to(at)?;
        if let (Some(file), Some(path)) = (&self.file, &self.path) {
            for (within, run) in runs(data) {
                file.write_all_at(run, at + within as u64).map_err(Error::at(path))?;
            }
        }
        self.hashing.add(data);
        Ok(())
    }

    /// There are `reach` bytes, whether they were read or lie in a hole.
    fn finish(mut self, reach: u64) -> Result<Found, Error> {
        if reach > 0 {
            self.make()?;
        }
        self.hashing.skip_to(reach)?;
        if let (Some(file), Some(path)) = (&self.file, &self.path) {
            let ended = file.set_len(reach).and_then(|()| {
                // Later backups may share the file.
                file.set_permissions(fs::Permissions::from_mode(0o400))
            });
            ended.map_err(Error::at(path))?;
        }
        Ok(self.hashing.found())
    }
}

/// A new file, whatever was there. What was there may be another backup's too, and is not written to.
fn fresh(path: &Path) -> io::Result<File> {
    remove(path)?;
    ownership::create_new(path, 0o600)
}

/// Removes a file; one that is not there is no error.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The parts of `data` that are not zeros throughout, each with where it begins.
fn runs(data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut pieces = data.chunks(HOLE).enumerate().peekable();
    std::iter::from_fn(move || {
        let is_hole = |piece: &[u8]| piece.iter().all(|byte| *byte == 0);
        let (first, piece) = pieces.by_ref().find(|(_, piece)| !is_hole(piece))?;
        let mut end = first * HOLE + piece.len();
        while let Some((_, piece)) = pieces.next_if(|(_, piece)| !is_hole(piece)) {
            end += piece.len();
        }
        Some((first * HOLE, &data[first * HOLE..end]))
    })
}

/// Reads a file of a backup to its end; what it has, and whether that is all that was written is for the caller to say.
pub(super) fn hash_file(
    path: &Path,
    coverage: Coverage,
    job: &Arc<Progress>,
) -> Result<Found, Error> {
    let mut source = Source::open(path, coverage, job)?;
    let mut buffer = Vec::new();
    while source.read(&mut buffer)?.is_some() {}
    Ok(source.found())
}

/// Writes a file of a backup into a content store as `id`, where nothing is, durably. What it wrote, and its sum.
pub(super) async fn write_in(
    store: &Store,
    id: ContentId,
    from: PathBuf,
    coverage: Coverage,
    job: &Arc<Progress>,
) -> Result<Found, Error> {
    let failed = store.failed(id.0);
    let opening = Arc::clone(job);
    let source = spawn_blocking(move || Source::open(&from, coverage, &opening)).await??;
    let (mut source, mut next) = read_on(source).await?;
    let mut end = 0;
    while let Some((at, data)) = next {
        let writing = async {
            for (within, run) in runs(&data) {
                let at = at + within as u64;
                end = at + run.len() as u64;
                store.content.write(&internal(job), id, at, data.slice_ref(run)).await?;
            }
            Ok(())
        };
        let (written, read) = tokio::join!(writing, read_on(source));
        written.map_err(&failed)?;
        (source, next) = read?;
    }
    let found = source.found();
    if end < found.length {
        store.content.truncate(&internal(job), id, found.length).await.map_err(&failed)?;
    }
    store.content.commit(&internal(job), id).await.map_err(&failed)?;
    Ok(found)
}

/// The next bytes of a file, on a thread that may block.
async fn read_on(mut source: Source) -> Result<(Source, Option<(u64, Bytes)>), Error> {
    let reading = spawn_blocking(move || {
        let mut buffer = Vec::new();
        let at = source.read(&mut buffer)?;
        Ok((source, at.map(|at| (at, Bytes::from(buffer)))))
    });
    reading.await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out_in_whole_pieces() {
        let mut data = vec![0; 5 * HOLE + 7];
        assert_eq!(runs(&data).count(), 0);
        data[HOLE] = 1;
        data[2 * HOLE + 5] = 1;
        data[5 * HOLE + 6] = 1;
        let found: Vec<_> = runs(&data).map(|(at, run)| (at, run.len())).collect();
        assert_eq!(found, [(HOLE, 2 * HOLE), (5 * HOLE, 7)]);
        assert!(runs(&data).all(|(at, run)| data[at..at + run.len()] == *run));
        assert_eq!(runs(&[]).count(), 0);
    }
}
