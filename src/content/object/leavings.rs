//! What lies in the bucket, for whoever tidies up: what a content takes, and objects of starts that were killed.

use object_store::path::Path;

use super::Shared;
use super::bucket::Ended;
use super::open::is_probe;
use crate::content::{Error, Footprint};
use crate::types::{ContentId, Timestamp};

impl Shared {
    /// When the last of a content's objects was changed, and what they take together. What waits in memory counts as
    /// changed now.
    pub(super) async fn footprint(&self, id: ContentId) -> Result<Footprint, Error> {
        let unstored = self.files.existing(id).is_some_and(|file| !file.state.lock().is_clean());
        let mut found = unstored.then(|| Footprint { modified: Timestamp::now(), bytes: 0 });
        let mut token = None;
        loop {
            let mut patience = self.bucket.patience(None);
            let page = patience.run(|| self.bucket.objects(id, token.clone())).await;
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
        let mut patience = self.bucket.patience(None);
        loop {
            let page = patience.run(|| self.bucket.probes(token.clone())).await;
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
                let deleted = patience.run(|| self.bucket.delete(keys.clone())).await;
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
