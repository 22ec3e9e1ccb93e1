//! Copies within a store, by reading and writing.

use super::{ContentStore, Error};
use crate::types::{Call, ContentId};

/// How many bytes are read at once.
const PIECE: u64 = 4 << 20;

/// [`ContentStore::copy`] of a store that has no quicker way. Holes stay holes.
pub(super) async fn through(
    store: &dyn ContentStore,
    call: &Call,
    from: ContentId,
    to: ContentId,
    length: u64,
) -> Result<u64, Error> {
    let there = store.length(call, from).await?.min(length);
    for extent in store.data_extents(call, from).await? {
        let (mut at, end) = (extent.start, extent.end.min(there));
        while at < end {
            let wanted = usize::try_from((end - at).min(PIECE)).unwrap_or(usize::MAX);
            let data = store.read(call, from, at, wanted).await?;
            if data.is_empty() {
                return Ok(at);
            }
            let count = data.len() as u64;
            store.write(call, to, at, data).await?;
            at += count;
        }
    }
    if !store.extend(call, to, there).await? {
        store.truncate(call, to, there).await?;
    }
    store.commit(call, to).await?;
    Ok(there)
}
