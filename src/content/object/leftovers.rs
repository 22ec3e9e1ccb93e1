//! What lies in the bucket, for copies and garbage collection: which chunks a content has, what they take,
//! and objects of starts that were killed.

use std::ops::Range;

use object_store::path::Path;

use super::Shared;
use super::bucket::Ended;
use super::layout::{Layout, TRAILER};
use super::open::is_probe;
use super::state::File;
use crate::content::data_extents::DataExtents;
use crate::content::{Error, Footprint};
use crate::types::{Call, ContentId, Timestamp};

/// How many pages of 1,000 objects are listed to count what a content takes.
const MOST_LISTED: usize = 4;

impl Shared {
    /// Where a content has bytes, by the sizes of its objects.
    pub(super) async fn data_extents(
        &self,
        call: &Call,
        file: &File,
    ) -> Result<Vec<Range<u64>>, Error> {
        let size = u64::from(file.chunk_size);
        let mut extents = DataExtents::default();
        // First what is not stored: what is stored meanwhile is then found in the bucket.
        let mut any = false;
        for (number, length) in file.state.lock().unstored_lengths() {
            any = true;
            extents.add(number * size..number * size + u64::from(length));
        }
        let mut token = None;
        loop {
            let mut backoff = self.bucket.backoff(Some(call));
            let page = backoff.run(|| self.bucket.objects(file.id, token.clone())).await;
            let page = page.map_err(Ended::into_error)?;
            for object in &page.objects {
                let Some(number) = Layout::number(&object.location) else {
                    if object.location == self.bucket.layout.removal(file.id) {
                        return Err(Error::Missing(file.id));
                    }
                    continue;
                };
                any = true;
                let start = number.saturating_mul(size);
                let length = object.size.saturating_sub(TRAILER as u64).min(size);
                extents.add(start..start.saturating_add(length));
            }
            token = match page.next {
                Some(next) => Some(next),
                None if any => return Ok(extents.all()),
                None => return Err(Error::Missing(file.id)),
            };
        }
    }

    /// How many bytes the objects of a content have of its first `length`. Their listing begins with the last
    /// chunk; what is not seen after [`MOST_LISTED`] pages is taken to be there.
    pub(super) async fn allocated(
        &self,
        call: &Call,
        file: &File,
        length: u64,
    ) -> Result<u64, Error> {
        let size = u64::from(file.chunk_size);
        let (mut bytes, mut rest, mut any) = (0_u64, length, false);
        let mut token = None;
        for _ in 0..MOST_LISTED {
            let mut backoff = self.bucket.backoff(Some(call));
            let page = backoff.run(|| self.bucket.objects(file.id, token.clone())).await;
            let page = page.map_err(Ended::into_error)?;
            for object in &page.objects {
                let Some(number) = Layout::number(&object.location) else { continue };
                any = true;
                rest = rest.min(number.saturating_mul(size));
                let stored = object.size.saturating_sub(TRAILER as u64).min(size);
                bytes = bytes.saturating_add(stored);
            }
            token = match page.next {
                Some(next) => Some(next),
                None if any => return Ok(bytes.min(length)),
                None => return Err(Error::Missing(file.id)),
            };
        }
        Ok(bytes.saturating_add(rest).min(length))
    }

    /// When the last of a content's objects was changed, and what they take together. What waits in memory
    /// counts as changed now.
    pub(super) async fn footprint(&self, id: ContentId) -> Result<Footprint, Error> {
        let unstored = self.files.existing(id).is_some_and(|file| !file.state.lock().is_clean());
        let mut found = unstored.then(|| Footprint { modified: Timestamp::now(), bytes: 0 });
        let mut token = None;
        loop {
            let mut backoff = self.bucket.backoff(None);
            let page = backoff.run(|| self.bucket.objects(id, token.clone())).await;
            let page = page.map_err(Ended::into_error)?;
            for object in &page.objects {
                let before = found.unwrap_or(Footprint { modified: Timestamp(i64::MIN), bytes: 0 });
                found = Some(Footprint {
                    modified: before.modified.max(modified(object)),
                    bytes: before.bytes.saturating_add(object.size),
                });
            }
            token = match page.next {
                Some(next) => Some(next),
                None => return found.ok_or(Error::Missing(id)),
            };
        }
    }

    /// Objects that were made to try the bucket, and whose maker was killed.
    pub(super) async fn leftovers(&self, before: Timestamp, remove: bool) -> Result<u64, Error> {
        let mut found = Vec::new();
        let mut token = None;
        let mut backoff = self.bucket.backoff(None);
        loop {
            let page = backoff.run(|| self.bucket.probes(token.clone())).await;
            let page = page.map_err(Ended::into_error)?;
            let old = page.objects.into_iter().filter(|object| {
                let name = object.location.filename().unwrap_or_default();
                is_probe(name) && modified(object) < before
            });
            found.extend(old.map(|object| object.location));
            token = match page.next {
                Some(next) => Some(next),
                None => break,
            };
        }
        let count = found.len() as u64;
        if remove {
            for keys in found.chunks(1_000).map(<[Path]>::to_vec) {
                let deleted = backoff.run(|| self.bucket.delete(keys.clone())).await;
                deleted.map_err(Ended::into_error)?;
            }
        }
        Ok(count)
    }
}

fn modified(object: &object_store::ObjectMeta) -> Timestamp {
    // What lies outside 1677 to 2262 is no time of an object.
    Timestamp(object.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX))
}
