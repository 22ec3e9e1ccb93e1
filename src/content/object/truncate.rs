//! Truncating and removing: what changes stored chunks without writing to them.

use std::cmp::Ordering;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::PutPayload;
use object_store::path::Path;

use super::Shared;
use super::bucket::{Ended, Expected, Stored};
use super::cache::Image;
use super::layout::{Layout, TRAILER, end_in};
use super::state::File;
use super::update::{Changed, ChunkUpdate, Known};
use crate::content::{Error, still_wanted};
use crate::types::{Call, ContentId};

impl Shared {
    /// Makes the content exactly `length` bytes long. Where stored bytes are cut off, that is done when it
    /// returns; what it adds is stored by a commit.
    pub(super) async fn truncate(
        self: &Arc<Self>,
        call: &Call,
        file: &Arc<File>,
        length: u64,
    ) -> Result<(), Error> {
        let alone = call.within(file.turn.write()).await;
        let _alone = alone.ok_or(Error::Cancelled)?;
        let (cutting, begun) = (Cutting::new(file), self.cache.now());
        file.state.lock().cut(file.chunk_size, length);
        let ended = self.cut_stored(call, file, length).await?;
        drop(cutting);
        let mut state = file.state.lock();
        if ended {
            state.reaches(length, begun);
        } else {
            state.extend(file.chunk_size, length, self.budget.nothing());
        }
        Ok(())
    }

    /// Cuts off what is stored from `length` on. Whether anything was, so that the stored content now ends
    /// there.
    async fn cut_stored(&self, call: &Call, file: &File, length: u64) -> Result<bool, Error> {
        let (last, end) = end_in(file.chunk_size, length);
        self.settle(call, file, last, end).await?;
        // The chunk that the content ends in goes first: a crash before the others leaves a content that is
        // too long, and never one that is too short.
        let mut ended = false;
        let mut token = None;
        loop {
            let mut backoff = self.bucket.backoff(Some(call));
            let page = backoff.run(|| self.bucket.objects(file.id, token.clone())).await;
            let page = page.map_err(Ended::into_error)?;
            let stored = page.objects.iter().filter_map(|object| {
                let number = Layout::number(&object.location)?;
                (object.size > TRAILER as u64).then_some(number)
            });
            let stored: Vec<_> = stored.collect();
            if stored.first().is_some_and(|first| *first >= last) && !ended {
                self.cut_chunk(call, file, last, Cut::To(end)).await?;
                ended = true;
            }
            let beyond = stored.iter().copied().filter(|number| *number > last);
            let cuts = beyond.map(|number| self.cut_chunk(call, file, number, Cut::To(0)));
            futures_util::stream::iter(cuts)
                .buffer_unordered(self.bucket.concurrency())
                .try_collect::<()>()
                .await?;
            let below = stored.last().is_some_and(|number| *number <= last);
            token = match page.next {
                Some(next) if !below => Some(next),
                _ => break,
            };
        }
        // What is behind has no bytes now, which a cut without an answer may have seen to.
        self.forget_chunks(file.id, last + 1..=u64::MAX);
        Ok(ended)
    }

    /// Changes the chunks with requests that may still be done, so that these are refused when they arrive:
    /// as they shall be where the content ends at `end` in the chunk `last`.
    async fn settle(&self, call: &Call, file: &File, last: u64, end: u32) -> Result<(), Error> {
        let doubtful = file.state.lock().doubtful();
        let cuts = doubtful.into_iter().map(|number| {
            let cut = match number.cmp(&last) {
                Ordering::Less => Cut::Nothing,
                Ordering::Equal => Cut::Down(end),
                Ordering::Greater => Cut::Down(0),
            };
            self.cut_chunk(call, file, number, cut)
        });
        let cuts = futures_util::stream::iter(cuts);
        cuts.buffer_unordered(self.bucket.concurrency()).try_collect().await
    }

    /// Cuts a chunk.
    async fn cut_chunk(
        &self,
        call: &Call,
        file: &File,
        number: u64,
        cut: Cut,
    ) -> Result<(), Error> {
        let begun = self.cache.now();
        let known = match self.cache.get(file.id, number) {
            Some((Image::Present(stored), _)) => Known::Present(stored),
            Some((Image::Absent, _)) | None => Known::Unknown,
        };
        let target = ChunkUpdate {
            bucket: &self.bucket,
            key: self.bucket.layout.chunk(file.id, number),
            chunk_size: file.chunk_size,
            needs_data: !matches!(cut, Cut::To(0) | Cut::Down(0)),
            keeps_data: true,
            alone: self.exclusive,
        };
        let backoff = self.bucket.backoff(Some(call));
        let change = |base: Option<&Stored>| cut.change(base);
        let mut doubt = Doubt { shared: self, file, number, settled: false };
        let stored = target.update(known, backoff, || still_wanted(call).is_ok(), change).await?;
        doubt.settled = true;
        drop(doubt);
        let mut state = file.state.lock();
        state.uploads += 1;
        state.set_doubtful(number, false);
        if let Some(stored) = stored {
            self.cache_chunk(file, number, Image::Present(stored), begun);
        }
        Ok(())
    }

    /// Says in the bucket that a removal has begun. Objects of one content do not go all at once, and a
    /// reader that misses one could take it for a hole.
    async fn mark(&self, mark: &Path) -> Result<(), Error> {
        let put = || self.bucket.put(mark, PutPayload::new(), &Expected::Nothing);
        match self.bucket.backoff(None).run(put).await {
            // An earlier removal was ended half way.
            Ok(_) | Err(Ended::Changed) => Ok(()),
            Err(ended) => Err(ended.into_error()),
        }
    }

    /// Removes a content. Uploads under way end first: none of them brings a chunk back.
    pub(super) async fn remove(self: &Arc<Self>, file: &Arc<File>) -> Result<(), Error> {
        file.state.lock().clear();
        file.uploaded.notify_waiters();
        let alone = Arc::clone(&file.turn).write_owned().await;
        let (shared, file) = (Arc::clone(self), Arc::clone(file));
        // What has begun comes to its end, whether anybody waits for it or not.
        let removing = tokio::spawn(async move {
            let removed = shared.remove_stored(&file).await;
            drop(alone);
            removed
        });
        removing.await.map_err(|panicked| Error::Io(std::io::Error::other(panicked)))?
    }

    async fn remove_stored(&self, file: &File) -> Result<(), Error> {
        let _cutting = Cutting::new(file);
        let mark = self.bucket.layout.removal(file.id);
        let (mut token, mut marked) = (None, false);
        loop {
            let mut backoff = self.bucket.backoff(None);
            let page = backoff.run(|| self.bucket.objects(file.id, token.clone())).await;
            let page = page.map_err(Ended::into_error)?;
            let keys: Vec<Path> = page.objects.into_iter().map(|object| object.location).collect();
            marked |= keys.contains(&mark);
            if keys.len() > 1 && !marked {
                self.mark(&mark).await?;
                marked = true;
            }
            let others: Vec<Path> = keys.into_iter().filter(|key| *key != mark).collect();
            let deleted = backoff.run(|| self.bucket.delete(others.clone())).await;
            deleted.map_err(Ended::into_error)?;
            token = match page.next {
                Some(next) => Some(next),
                None => break,
            };
        }
        if marked {
            let mut backoff = self.bucket.backoff(None);
            let deleted = backoff.run(|| self.bucket.delete(vec![mark.clone()])).await;
            deleted.map_err(Ended::into_error)?;
        }
        let mut state = file.state.lock();
        state.uploads += 1;
        self.forget_chunks(file.id, 0..=u64::MAX);
        Ok(())
    }

    /// Up to `limit` contents after `after`, in order, those that are not stored yet among them.
    pub(super) async fn list(
        &self,
        after: Option<ContentId>,
        limit: usize,
    ) -> Result<Vec<ContentId>, Error> {
        let mut found = self.files.unstored(after);
        found.truncate(limit);
        let mut stored = Vec::new();
        let mut token = None;
        while stored.len() < limit {
            let most = limit - stored.len();
            let mut backoff = self.bucket.backoff(None);
            let page = backoff.run(|| self.bucket.contents(after, most, token.clone())).await;
            let page = page.map_err(Ended::into_error)?;
            // Not every server knows where to begin.
            let ids = page.folders.iter().filter_map(Layout::content);
            stored.extend(ids.filter(|id| after.is_none_or(|after| *id > after)));
            token = match page.next {
                Some(next) => Some(next),
                None => break,
            };
        }
        found.extend(stored);
        found.sort_unstable();
        found.dedup();
        found.truncate(limit);
        Ok(found)
    }
}

/// What becomes of a chunk.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// It has so many bytes. Without an object it becomes one of so many zeros, unless that is none.
    To(u32),
    /// It has at most so many bytes, and is another object than before.
    Down(u32),
    /// It keeps its bytes, and is another object than before.
    Nothing,
}

impl Cut {
    fn change(self, base: Option<&Stored>) -> Option<Changed> {
        let had = base.map_or(0, |base| base.length);
        let (length, wanted) = match self {
            Self::To(end) => (end, had != end),
            Self::Down(end) => (had.min(end), true),
            Self::Nothing => (had, true),
        };
        let kept = base.map(|base| base.data.slice(..base.data.len().min(length as usize)));
        wanted.then(|| Changed { segments: kept.into_iter().collect(), length })
    }
}

/// A truncate or a removal under way.
struct Cutting<'a>(&'a File);

impl<'a> Cutting<'a> {
    fn new(file: &'a File) -> Self {
        file.state.lock().begin_cut();
        Self(file)
    }
}

impl Drop for Cutting<'_> {
    fn drop(&mut self) {
        self.0.state.lock().end_cut();
    }
}

/// A chunk's change under way. Where it ends without an answer, the state of the chunk is unknown.
struct Doubt<'a> {
    shared: &'a Shared,
    file: &'a File,
    number: u64,
    settled: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.settled {
            let mut state = self.file.state.lock();
            state.uploads += 1;
            state.set_doubtful(self.number, true);
            self.shared.forget_chunks(self.file.id, self.number..=self.number);
        }
    }
}
