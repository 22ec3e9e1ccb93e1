//! Reading: what is not stored yet laid over what is stored, whose chunks come from the cache or the bucket.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::Shared;
use super::bucket::{Ended, Got, Stored};
use super::cache::Image;
use super::error::foreign;
use super::layout::{Layout, Part, TRAILER, Trailer, parts};
use super::state::File;
use crate::content::Error;
use crate::types::Call;

/// How many chunks one call reads at once.
const AT_ONCE: usize = 8;
/// A part of a chunk that is smaller than one in so many is copied: a reply holds at most twice the bytes
/// that it has.
const COPIED: usize = 2;

/// One part of what is read.
struct Read {
    part: Part,
    /// The stored bytes of the part, as far as there are any.
    base: Bytes,
    /// Bytes that are not stored, with where they begin in the chunk; later ones lie over earlier ones.
    layers: Vec<(u32, Bytes)>,
    /// The content has at least this many bytes of the chunk.
    reach: u32,
    /// The bucket was just asked for the chunk and had none.
    missed: Option<Asked>,
}

/// When the bucket was asked for a chunk.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// On the cache's clock.
    at: u64,
    /// How many uploads had ended by then.
    uploads: u64,
}

/// What is read.
#[derive(Clone, Copy)]
struct Reading<'a> {
    call: &'a Call,
    file: &'a Arc<File>,
    offset: u64,
    end: u64,
    /// Whether the reader goes on from where it was.
    sequential: bool,
}

impl Shared {
    /// Up to `length` bytes from `offset`.
    pub(super) async fn read(
        self: &Arc<Self>,
        call: &Call,
        file: &Arc<File>,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, Error> {
        let end = offset.saturating_add(length as u64).min(self.max_length(file.chunk_size));
        let slack = 2 * u64::from(file.chunk_size);
        let (sequential, cuts) = {
            let mut state = file.state.lock();
            (state.reader.note(offset, end, slack), state.cuts())
        };
        let reader = Reading { call, file, offset, end, sequential };
        let (bytes, gaps) = self.read_once(&reader).await?;
        // Where nothing is stored there are zeros, unless it was being cut off just then.
        if !gaps || cuts % 2 == 0 && cuts == file.state.lock().cuts() {
            return Ok(bytes);
        }
        let turn = call.within(file.turn.read()).await;
        let _turn = turn.ok_or(Error::Cancelled)?;
        Ok(self.read_once(&reader).await?.0)
    }

    /// The bytes, and whether some of them are zeros because nothing is stored there.
    async fn read_once(self: &Arc<Self>, reading: &Reading<'_>) -> Result<(Bytes, bool), Error> {
        let Reading { call, file, offset, end, sequential } = *reading;
        let mut reads: Vec<Read> = Vec::new();
        let mut parts = parts(file.chunk_size, offset, end.saturating_sub(offset) as usize);
        loop {
            let some: Vec<_> = parts.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                break;
            }
            let each = futures_util::stream::iter(some);
            let each = each.map(|part| self.read_part(call, file, part, sequential));
            let some: Vec<Read> = each.buffered(AT_ONCE).try_collect().await?;
            let nothing = some.iter().all(|read| read.reach == 0);
            reads.extend(some);
            // A caller may ask for much more than there is.
            let reached = reads.iter().map(|read| read.part.len() as u64).sum::<u64>() + offset;
            if nothing && self.end(call, file, reached + 1).await?.is_none_or(|end| end <= reached)
            {
                break;
            }
        }
        let gaps = reads.iter().any(|read| read.reach < read.part.within.end);
        self.settle_holes(call, file, &reads).await?;
        let there = if !gaps && end > offset {
            end
        } else {
            self.end(call, file, end).await?.ok_or(Error::Missing(file.id))?
        };
        let last = reads.iter().rfind(|read| read.reach > read.part.within.start);
        let size = u64::from(file.chunk_size);
        // Bytes in hand are there, whatever was cut since.
        let in_hand = last.map_or(0, |read| read.part.number * size + u64::from(read.reach));
        let there = there.max(in_hand.min(end));
        if sequential {
            self.read_ahead(file, &reads);
        }
        Ok((assemble(reads, there.min(end).saturating_sub(offset) as usize), gaps))
    }

    async fn read_part(
        &self,
        call: &Call,
        file: &File,
        part: Part,
        sequential: bool,
    ) -> Result<Read, Error> {
        // First what is not stored: what is stored meanwhile is then found in the bucket.
        let (layers, all) = file.state.lock().layers(part.number, &part.within);
        if all {
            let reach = part.within.end;
            return Ok(match layers.as_slice() {
                [(_, bytes)] => {
                    Read { part, base: bytes.clone(), layers: Vec::new(), reach, missed: None }
                }
                _ => Read { part, base: Bytes::new(), layers, reach, missed: None },
            });
        }
        let Base { bytes, reach, missed } = self.stored_part(call, file, &part, sequential).await?;
        let reach = layers.iter().map(|(at, bytes)| at + bytes.len() as u32).fold(reach, u32::max);
        Ok(Read { part, base: bytes, layers, reach, missed })
    }

    /// The stored bytes of a part, as far as there are any.
    async fn stored_part(
        &self,
        call: &Call,
        file: &File,
        part: &Part,
        sequential: bool,
    ) -> Result<Base, Error> {
        let cached = self.cache.get(file.id, part.number);
        if let Some((image, checked)) = &cached
            && self.is_valid(file, *checked)
        {
            return Ok(Base::of(image, &part.within));
        }
        let asked = Asked { at: self.cache.now(), uploads: file.state.lock().uploads };
        let small = part.len() < file.chunk_size as usize / 4;
        let whole = cached.is_some()
            || !small
            || sequential
            || self.is_on_disk(file, part.number)
            || file.state.lock().reader.touch(part.number);
        if !whole && let Some(found) = self.fetch_range(call, file, part, asked).await? {
            return Ok(found);
        }
        let image = self.fetch(Some(call), file, part.number).await?;
        let missed = matches!(image, Image::Absent).then_some(asked);
        Ok(Base { missed, ..Base::of(&image, &part.within) })
    }

    fn is_on_disk(&self, file: &File, number: u64) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.has((file.id, number)))
    }

    /// Whether what was surely so at `checked` is new enough for the file's readers.
    fn is_valid(&self, file: &File, checked: u64) -> bool {
        self.exclusive || file.state.lock().seen.is_some_and(|(_, since)| checked >= since)
    }

    /// Reads a whole chunk, or asks whether the cached one still holds. Several that want it get it from one.
    pub(super) async fn fetch(
        &self,
        call: Option<&Call>,
        file: &File,
        number: u64,
    ) -> Result<Image, Error> {
        let lock = file.fetch_lock(number);
        let _alone = match call {
            Some(call) => call.within(lock.lock()).await.ok_or(Error::Cancelled)?,
            None => lock.lock().await,
        };
        let uploads = file.state.lock().uploads;
        let cached = match self.cached(file, number).await {
            Some((image, checked)) if self.is_valid(file, checked) => {
                self.keep(file, number, image.clone(), checked, uploads);
                return Ok(image);
            }
            Some((Image::Present(stored), _)) => Some(stored),
            Some((Image::Absent, _)) | None => None,
        };
        let begun = self.cache.now();
        let key = self.bucket.layout.chunk(file.id, number);
        let tag = cached.as_ref().and_then(|stored| stored.version.e_tag.as_deref());
        let got =
            self.bucket.backoff(call).run(|| self.bucket.chunk(&key, file.chunk_size, tag)).await;
        let image = match (got, cached) {
            (Ok(stored), _) => Image::Present(stored),
            (Err(Ended::Absent), _) => Image::Absent,
            (Err(Ended::Unchanged), Some(stored)) => Image::Present(stored),
            (Err(ended), _) => return Err(ended.into_error()),
        };
        // A chunk that is not there may be a hole.
        if let Image::Present(stored) = &image {
            self.observe(file, stored.length);
            self.keep(file, number, image.clone(), begun, uploads);
        }
        Ok(image)
    }

    /// A chunk from memory, or from the disk.
    async fn cached(&self, file: &File, number: u64) -> Option<(Image, u64)> {
        if let Some(found) = self.cache.get(file.id, number) {
            return Some(found);
        }
        let (stored, checked) = self.disk.as_ref()?.get((file.id, number)).await?;
        Some((Image::Present(stored), checked))
    }

    /// Notes that a chunk of so many bytes came from the bucket. Others may have cut it: how far the content
    /// reaches is to be learned after that.
    fn observe(&self, file: &File, length: u32) {
        if !self.exclusive && length < file.chunk_size {
            file.state.lock().observed = self.cache.now();
        }
    }

    /// Keeps what was read, unless something was stored meanwhile, which may be newer.
    fn keep(&self, file: &File, number: u64, image: Image, begun: u64, uploads: u64) {
        let state = file.state.lock();
        if state.uploads == uploads {
            self.cache_chunk(file, number, image, begun);
        }
    }

    /// Reads a part of a chunk alone; `None` where that does not say enough.
    async fn fetch_range(
        &self,
        call: &Call,
        file: &File,
        part: &Part,
        asked: Asked,
    ) -> Result<Option<Base>, Error> {
        let key = self.bucket.layout.chunk(file.id, part.number);
        // With so much more a small chunk comes whole.
        let range = u64::from(part.within.start)..u64::from(part.within.end) + TRAILER as u64;
        let start = range.start;
        let mut backoff = self.bucket.backoff(Some(call));
        let got = backoff.run(|| self.bucket.get(&key, Some(range.clone()), None)).await;
        let got = match got {
            Ok(got) => got,
            Err(Ended::BeyondEnd) => return Ok(None),
            Err(Ended::Absent) => {
                let missed = Some(asked);
                return Ok(Some(Base { missed, ..Base::of(&Image::Absent, &part.within) }));
            }
            Err(ended) => return Err(ended.into_error()),
        };
        let data_end = got.size.saturating_sub(TRAILER as u64);
        if start + (got.bytes.len() as u64) < got.size {
            let bytes = got.bytes.slice(..part.len().min(got.bytes.len()));
            let reach = data_end.min(u64::from(file.chunk_size)) as u32;
            return Ok(Some(Base { bytes, reach, missed: None }));
        }
        let Some(trailer) = Trailer::decode(&got.bytes) else {
            return Ok(None);
        };
        self.observe(file, trailer.length);
        if trailer.chunk_size != file.chunk_size {
            return Err(foreign(key.as_ref(), "its content is in chunks of another size"));
        }
        let Got { bytes, version, .. } = got;
        let data = bytes.slice(..bytes.len() - TRAILER);
        let data =
            data.slice(..data.len().min((trailer.length as usize).saturating_sub(start as usize)));
        if start == 0 {
            let Trailer { length, nonce, .. } = trailer;
            let stored = Stored { data: data.clone(), length, nonce, version };
            self.keep(file, part.number, Image::Present(stored), asked.at, asked.uploads);
        }
        let bytes = data.slice(..data.len().min(part.len()));
        Ok(Some(Base { bytes, reach: trailer.length, missed: None }))
    }

    /// Where the content ends; `None` where there is none. Where it is known to reach `enough`, since the
    /// last chunk was read, that is answer enough.
    pub(super) async fn end(
        &self,
        call: &Call,
        file: &File,
        enough: u64,
    ) -> Result<Option<u64>, Error> {
        let unstored = {
            let state = file.state.lock();
            let unstored = state.unstored_end(file.chunk_size);
            let known = state.reach(state.observed).max(unstored.unwrap_or(0));
            if known >= enough && known > 0 {
                return Ok(Some(known));
            }
            unstored
        };
        let stored = self.stored_end(call, file).await?;
        Ok(stored.max(unstored))
    }

    /// What the bucket had no chunk of is a hole, unless the content is gone or being removed. What is known
    /// to be a hole is kept.
    async fn settle_holes(&self, call: &Call, file: &File, reads: &[Read]) -> Result<(), Error> {
        let missed = || reads.iter().filter_map(|read| Some((read.part.number, read.missed?)));
        if missed().next().is_none() {
            return Ok(());
        }
        let mut backoff = self.bucket.backoff(Some(call));
        let page = backoff.run(|| self.bucket.objects(file.id, None)).await;
        let page = page.map_err(Ended::into_error)?;
        let removed = match page.objects.first() {
            Some(first) => first.location == self.bucket.layout.removal(file.id),
            None => file.state.lock().is_clean(),
        };
        if removed {
            return Err(Error::Missing(file.id));
        }
        for (number, Asked { at, uploads }) in missed() {
            self.keep(file, number, Image::Absent, at, uploads);
        }
        Ok(())
    }

    /// Where the stored content ends; `None` where nothing is stored.
    async fn stored_end(&self, call: &Call, file: &File) -> Result<Option<u64>, Error> {
        let (begun, cuts) = (self.cache.now(), file.state.lock().cuts());
        let end = self.look_for_end(call, file).await?;
        let mut state = file.state.lock();
        if let Some(end) = end
            && cuts == state.cuts()
        {
            state.reaches(end, begun);
        }
        Ok(end)
    }

    async fn look_for_end(&self, call: &Call, file: &File) -> Result<Option<u64>, Error> {
        let mut token = None;
        let mut any = false;
        loop {
            let mut backoff = self.bucket.backoff(Some(call));
            let page = backoff.run(|| self.bucket.objects(file.id, token.clone())).await;
            let page = page.map_err(Ended::into_error)?;
            for object in &page.objects {
                let Some(number) = Layout::number(&object.location) else {
                    if object.location == self.bucket.layout.removal(file.id) {
                        return Ok(None);
                    }
                    continue;
                };
                any = true;
                if object.size <= TRAILER as u64 && number > 0 {
                    continue;
                }
                let trailer = backoff.run(|| {
                    self.bucket.trailer(&object.location, file.chunk_size, Some(object.size))
                });
                match trailer.await {
                    // Cut meanwhile.
                    Ok(stored) if stored.length == 0 && number > 0 => {}
                    Ok(stored) => {
                        let size = u64::from(file.chunk_size);
                        return Ok(Some(number * size + u64::from(stored.length)));
                    }
                    // Removed meanwhile.
                    Err(Ended::Absent) => {}
                    Err(ended) => return Err(ended.into_error()),
                }
            }
            token = match page.next {
                Some(next) => Some(next),
                None => return Ok(any.then_some(0)),
            };
        }
    }

    /// Begins to read the chunks behind those that were read.
    fn read_ahead(self: &Arc<Self>, file: &Arc<File>, reads: &[Read]) {
        let Some(last) = reads.last() else { return };
        // A content that ends here has nothing behind.
        if self.read_ahead == 0 || last.reach < file.chunk_size {
            return;
        }
        let wanted = file.state.lock().reader.ahead(last.part.number, self.read_ahead);
        for number in wanted {
            let Ok(turn) = Arc::clone(&self.prefetches).try_acquire_owned() else { return };
            let (shared, file) = (Arc::clone(self), Arc::clone(file));
            tokio::spawn(async move {
                if let Err(error) = shared.fetch(None, &file, number).await {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "a chunk could not be read ahead"
                    );
                }
                drop(turn);
            });
        }
    }
}

/// What is stored of a part.
struct Base {
    /// As far as there are any.
    bytes: Bytes,
    /// How many bytes the content has of the chunk at least.
    reach: u32,
    /// See [`Read::missed`].
    missed: Option<Asked>,
}

impl Base {
    /// A range of a chunk.
    fn of(image: &Image, range: &Range<u32>) -> Self {
        let Image::Present(stored) = image else {
            return Self { bytes: Bytes::new(), reach: 0, missed: None };
        };
        let end = stored.data.len().min(range.end as usize);
        let start = end.min(range.start as usize);
        // A small part must not hold the chunk for as long as its reader takes.
        let bytes = match end - start < stored.data.len() / COPIED {
            true => Bytes::copy_from_slice(&stored.data[start..end]),
            false => stored.data.slice(start..end),
        };
        Self { bytes, reach: stored.length, missed: None }
    }
}

/// The first `length` bytes of what was read.
fn assemble(reads: Vec<Read>, length: usize) -> Bytes {
    if let [Read { base, layers, .. }] = reads.as_slice()
        && layers.is_empty()
        && base.len() >= length
    {
        return base.slice(..length);
    }
    let mut bytes = vec![0; length];
    for Read { part, base, layers, .. } in reads {
        lay(&mut bytes, part.at, &base);
        for (at, layer) in layers {
            lay(&mut bytes, part.at + (at - part.within.start) as usize, &layer);
        }
    }
    bytes.into()
}

fn lay(bytes: &mut [u8], at: usize, piece: &[u8]) {
    let Some(target) = bytes.get_mut(at..) else { return };
    let count = target.len().min(piece.len());
    target[..count].copy_from_slice(&piece[..count]);
}
