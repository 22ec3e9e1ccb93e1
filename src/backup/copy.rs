//! One content out of its store: into a file, or past a checksum alone; and into a store again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use uuid::Uuid;

use super::list::Sum;
use super::{BLOCK, Error, HOLE, Job};
use crate::content::{self, ContentStore};
use crate::types::{ContentId, Context, Credentials, ShareId, Timestamp};

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

/// The context of a call that no client makes.
pub(super) fn context(job: &Job) -> Context {
    Context {
        credentials: Credentials::ROOT,
        client: ([127, 0, 0, 1], 0).into(),
        share: ShareId(0),
        now: Timestamp::now(),
        cancel: job.cancel.clone(),
        deadline: Instant::now() + CALL_LIMIT,
        trail: Arc::default(),
    }
}

/// What was found of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// How many of the bytes that were asked for there are.
    pub(super) length: u64,
    /// Their sum; `None` where there are none.
    pub(super) sum: Option<Sum>,
}

/// Reads the first `size` bytes of a content, as far as there are so many, into the file `to`, which is made anew.
pub(super) async fn read_out(
    store: &Store,
    id: ContentId,
    size: u64,
    to: Option<PathBuf>,
    job: &Job,
) -> Result<Found, Error> {
    let failed = store.failed(id.0);
    let mut sink = Sink::new(to);
    let mut next = block(store, id, 0, size, job).await.map_err(&failed)?;
    let mut offset = 0;
    while !next.is_empty() {
        let data = std::mem::take(&mut next);
        let whole = data.len() as u64 == (size - offset).min(BLOCK as u64);
        offset += data.len() as u64;
        job.advance(data.len() as u64);
        let written = spawn_blocking(move || sink.take(&data).map(|()| sink));
        let rest = async {
            if whole { block(store, id, offset, size, job).await } else { Ok(Bytes::new()) }
        };
        let (written, rest) = tokio::join!(written, rest);
        sink = written??;
        next = rest.map_err(&failed)?;
    }
    spawn_blocking(move || sink.finish()).await?
}

/// The bytes from `offset` on, at most a block of them and none from `size` on; none where the content is missing.
async fn block(
    store: &Store,
    id: ContentId,
    offset: u64,
    size: u64,
    job: &Job,
) -> Result<Bytes, content::Error> {
    let length = usize::try_from(size - offset).unwrap_or(BLOCK).min(BLOCK);
    if length == 0 {
        return Ok(Bytes::new());
    }
    match store.content.read(&context(job), id, offset, length).await {
        Err(content::Error::Missing(_)) => Ok(Bytes::new()),
        read => read,
    }
}

/// Takes the bytes of a content one after another.
struct Sink {
    path: Option<PathBuf>,
    file: Option<File>,
    digest: Sha256,
    length: u64,
}

impl Sink {
    fn new(path: Option<PathBuf>) -> Self {
        Self { path, file: None, digest: Sha256::new(), length: 0 }
    }

    fn take(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.file.is_none()
            && let Some(path) = &self.path
        {
            self.file = Some(fresh(path).map_err(Error::at(path))?);
        }
        self.digest.update(data);
        if let (Some(file), Some(path)) = (&self.file, &self.path) {
            for (at, run) in runs(data) {
                file.write_all_at(run, self.length + at as u64).map_err(Error::at(path))?;
            }
        }
        self.length += data.len() as u64;
        Ok(())
    }

    fn finish(self) -> Result<Found, Error> {
        if let (Some(file), Some(path)) = (&self.file, &self.path) {
            let ended = file.set_len(self.length).and_then(|()| {
                // Later backups may share the file.
                file.set_permissions(fs::Permissions::from_mode(0o400))
            });
            ended.map_err(Error::at(path))?;
        }
        let sum = (self.length > 0).then(|| Sum(self.digest.finalize().into()));
        Ok(Found { length: self.length, sum })
    }
}

/// A new file, whatever was there. What was there may be another backup's too, and is not written to.
fn fresh(path: &Path) -> io::Result<File> {
    remove(path)?;
    File::create_new(path)
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
pub(super) fn hash_file(path: &Path, job: &Job) -> Result<Found, Error> {
    let failed = Error::at(path);
    let file = File::open(path).map_err(&failed)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BLOCK.min(1 << 20)];
    let mut length = 0;
    loop {
        job.still_wanted()?;
        let count = file.read_at(&mut buffer, length).map_err(&failed)?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
        length += count as u64;
        job.advance(count as u64);
    }
    let sum = (length > 0).then(|| Sum(digest.finalize().into()));
    Ok(Found { length, sum })
}

/// Writes a file of a backup into a content store as `id`, where nothing is, durably. What it wrote, and its sum.
pub(super) async fn write_in(
    store: &Store,
    id: ContentId,
    from: PathBuf,
    job: &Job,
) -> Result<Found, Error> {
    let failed = store.failed(id.0);
    let (mut digest, mut offset, mut end) = (Sha256::new(), 0, 0);
    let mut file = Arc::new(File::open(&from).map_err(Error::at(&from))?);
    loop {
        let path = from.clone();
        let read = spawn_blocking(move || {
            let mut buffer = vec![0; BLOCK];
            let count = fill(&file, &mut buffer, offset).map_err(Error::at(&path))?;
            buffer.truncate(count);
            digest.update(&buffer);
            Ok::<_, Error>((file, digest, Bytes::from(buffer)))
        });
        let data;
        (file, digest, data) = read.await??;
        for (at, run) in runs(&data) {
            let run = data.slice_ref(run);
            end = offset + at as u64 + run.len() as u64;
            store
                .content
                .write(&context(job), id, offset + at as u64, run)
                .await
                .map_err(&failed)?;
        }
        offset += data.len() as u64;
        job.advance(data.len() as u64);
        if data.len() < BLOCK {
            break;
        }
    }
    if end < offset {
        store.content.truncate(&context(job), id, offset).await.map_err(&failed)?;
    }
    store.content.commit(&context(job), id).await.map_err(&failed)?;
    let sum = (offset > 0).then(|| Sum(digest.finalize().into()));
    Ok(Found { length: offset, sum })
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
