//! Whether two stores have the same bytes of a content.

use std::ops::Range;

use super::store::blocks;
use super::{Error, SPARSE, Store, Transfers, internal};
use crate::content;
use crate::types::{Call, ContentId};

impl Transfers {
    /// Whether both stores have the same first `size` bytes of a content, and no more. The one that it comes
    /// from must have them all.
    pub(in crate::admin) async fn is_same(
        &self,
        from: &Store,
        to: &Store,
        id: ContentId,
        size: u64,
    ) -> Result<bool, Error> {
        self.progress.check()?;
        let call = internal(self.progress.cancel());
        let [from_end, to_end] = [from, to].map(|store| size.min(store.content.max_length()));
        let (unread, unwritten) = (from.unread(id), to.unwritten(id));
        if from_end > 0 {
            let length = from.content.length(&call, id).await.map_err(&unread)?;
            if length < from_end {
                return Err(Error::Short { length, size: from_end });
            }
        }
        match to.content.length(&call, id).await {
            Ok(length) if length == to_end => {}
            // A file to which nothing was ever written.
            Err(content::Error::Missing(_)) if to_end == 0 => return Ok(true),
            Ok(_) | Err(content::Error::Missing(_)) => return Ok(false),
            Err(error) => return Err(unwritten(error)),
        }
        let mut compared = 0;
        for region in extents_of_either(&call, from, to, id, from_end).await? {
            for (at, length) in blocks(region, from_end) {
                let [here, there] =
                    [from, to].map(|store| store.content.read(&call, id, at, length as usize));
                let (here, there) = tokio::join!(here, there);
                let (here, there) = (here.map_err(&unread)?, there.map_err(&unwritten)?);
                if (here.len() as u64) < length {
                    let (length, size) = (at + here.len() as u64, at + length);
                    return Err(Error::Short { length, size });
                }
                if here != there {
                    return Ok(false);
                }
                compared += length;
                self.progress.advance(length);
            }
        }
        self.progress.skip(from_end.saturating_sub(compared));
        Ok(true)
    }
}

/// Where one of the two contents may have bytes other than zeros: extents in order and apart from each other.
async fn extents_of_either(
    call: &Call,
    from: &Store,
    to: &Store,
    id: ContentId,
    end: u64,
) -> Result<Vec<Range<u64>>, Error> {
    if end < SPARSE {
        return Ok(std::iter::once(0..end).collect());
    }
    let mut extents = from.content.data_extents(call, id).await.map_err(from.unread(id))?;
    extents.extend(to.content.data_extents(call, id).await.map_err(to.unwritten(id))?);
    extents.sort_unstable_by_key(|region| region.start);
    extents.dedup_by(|next, before| {
        let touches = next.start <= before.end;
        if touches {
            before.end = before.end.max(next.end);
        }
        touches
    });
    Ok(extents)
}
