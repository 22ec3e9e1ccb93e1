//! What a share uses: counters that writers keep in their slots, summed at most every five seconds.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::PostgresStore;
use super::execute::arguments;
use super::rows::{column, damaged};
use crate::counters::{HitRate, Measured, Readings};
use crate::metadata::{Error, Usage};
use crate::types::ShareId;

/// How old an answer may be.
const MAX_AGE: Duration = Duration::from_secs(5);

const SUM: &str = "SELECT COALESCE(sum(files), 0)::bigint, COALESCE(sum(bytes), 0)::text
                     FROM writer_slots WHERE share_id = $1";

/// The latest sums, by share.
#[derive(Debug)]
pub(super) struct Usages {
    sums: Cache<ShareId, Usage>,
    hits: HitRate,
}

impl Usages {
    pub(super) fn new() -> Self {
        // Every share has a number of 16 bits.
        let sums = Cache::builder().max_capacity(1 << 16).time_to_live(MAX_AGE).build();
        Self { sums, hits: HitRate::default() }
    }
}

impl Measured for Usages {
    fn read(&self, to: &mut Readings) {
        to.cache("usage", &self.hits);
    }
}

pub(super) async fn usage(store: &PostgresStore, share: ShareId) -> Result<Usage, Error> {
    store.share_by_id(share).await?;
    let Usages { sums, hits } = &store.usages;
    hits.count(sums.contains_key(&share));
    sums.try_get_with(share, sum(store, share))
        .await
        .map_err(|error| Arc::try_unwrap(error).unwrap_or_else(|it| Error::Unavailable(it.into())))
}

async fn sum(store: &PostgresStore, share: ShareId) -> Result<Usage, Error> {
    let rows = store.ask(SUM, arguments![share.0]).await?;
    let row = rows.first().ok_or_else(|| damaged("a sum has no row"))?;
    let objects: i64 = column(row, 0)?;
    let bytes: String = column(row, 1)?;
    // Sizes go up to 2⁶³−1, so that the sum may need more than 64 bits.
    let bytes: u128 = bytes.parse().map_err(|_| damaged(format_args!("{bytes} bytes used")))?;
    Ok(Usage {
        objects: u64::try_from(objects).map_err(|_| damaged(format_args!("{objects} objects")))?,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
    })
}
