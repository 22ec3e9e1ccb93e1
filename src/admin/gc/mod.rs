//! Collecting content that no file has: what a crash between the removal of a file and that of its bytes
//! left, or a load that replaced a share.
//!
//! The order makes it safe beside servers that go on. First loads are kept away, then a content store's ids
//! are listed, and then every metadata store says which ids its rows name. A row has its content's id before
//! the first byte is written and until it is removed, and no id is used twice: so an id that was listed and
//! is not named then is named never again. Age is asked for besides, which nothing here rests on.
//!
//! What would make it unsafe is a database that is not the content's, or not all of them. So every metadata
//! store of the configuration is asked, content must be the recorded home of a share of theirs, and where
//! most of it would go the administrator has to say so. A database that the configuration does not name is
//! known by its mark with the content, and ends it: a copy of a database beside its original too.

mod error;
mod findings;
mod owned;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Serialize;
use uuid::Uuid;

pub use self::error::GcError;
pub use self::findings::Collected;
use self::findings::Findings;
use crate::admin::{Progress, Unit};
use crate::config;
use crate::content::{self, ContentStore, CreateMode};
use crate::metadata::LoadFence;
use crate::stores::{OfflineStores, lasting_metadata};
use crate::types::{ContentId, ContentIdentity, Timestamp};

/// How many contents are removed between two confirmations that nothing was loaded.
const BATCH: usize = 256;
/// How many contents are removed at once.
const AT_ONCE: usize = 16;

/// What is collected.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct GcHow {
    /// Minimum age: keep content that was created or changed more recently
    #[arg(long, value_name = "AGE", default_value = "24h", value_parser = age)]
    pub older_than: Duration,
    /// Dry run: print what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Proceed even if more than half of a store's content is unused
    #[arg(long)]
    pub remove_most: bool,
    /// Also remove the content of a metadata store that is gone for good, by the claim in the error; may be
    /// repeated
    #[arg(long = "forget-owner", value_name = "CLAIM")]
    pub forget_owners: Vec<Uuid>,
}

/// An age from the command line.
fn age(text: &str) -> Result<Duration, String> {
    let millis = crate::types::settings::millis(text).map(Duration::from_millis);
    millis.ok_or_else(|| {
        "not a duration; write an integer and a unit (ms, s, m, h or d), such as 24h or 7d"
            .to_owned()
    })
}

/// What became of a collection.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// By content store.
    pub stores: Vec<Collected>,
    /// Whether nothing was to be removed.
    pub dry_run: bool,
    /// Whether it was stopped before its end.
    #[serde(rename = "interrupted")]
    pub stopped: bool,
}

/// A content store that is looked at.
struct ContentSet {
    name: String,
    identity: ContentIdentity,
    store: Arc<dyn ContentStore>,
}

/// A metadata store that is kept from loads.
struct Held {
    name: String,
    hold: Box<dyn LoadFence>,
}

/// Collects in the content stores that are named. Whatever is not as it must be ends it before anything is
/// removed.
///
/// # Errors
/// Nothing was removed, except where [`GcError::Unconfirmed`] says how much was.
pub async fn collect(
    offline: &mut OfflineStores<'_>,
    names: &[String],
    how: &GcHow,
    progress: &Progress,
) -> Result<Outcome, GcError> {
    let stop = progress.cancel();
    let prepared = async {
        let sets = open(offline, names).await?;
        let held = hold_all(offline).await?;
        check_bindings(offline, &sets).await?;
        owned::check(offline, &sets, &how.forget_owners).await?;
        let mut listed = Vec::with_capacity(sets.len());
        for ContentSet { name, store, .. } in &sets {
            progress.note(format!("gc: listing {name}"));
            let ids = store.list(None, usize::MAX).await;
            listed.push(ids.map_err(|source| GcError::Content { name: name.clone(), source })?);
        }
        let named = named(&held, progress).await?;
        let before = Timestamp::now().0.saturating_sub(nanoseconds(how.older_than));
        let mut found = Vec::with_capacity(sets.len());
        for (set, ids) in sets.into_iter().zip(listed) {
            found.push(findings::look(set, &ids, &named, Timestamp(before), progress).await?);
        }
        // What was found must be there after a crash too before anything rests on it.
        confirm(&held, &found).await?;
        Ok::<_, GcError>((held, found))
    };
    let (held, mut found) = tokio::select! {
        prepared = prepared => prepared?,
        () = stop.cancelled() => return Err(GcError::Stopped),
    };
    let needless = how.dry_run || how.remove_most;
    if let Some(most) = found.iter().find(|found| found.collected.needs_consent && !needless) {
        return Err(GcError::Most(Box::new(most.collected.clone())));
    }
    if !how.dry_run {
        remove(&held, &mut found, progress).await?;
    }
    let stopped = !how.dry_run && stop.is_cancelled();
    if !how.dry_run && !stopped {
        let stores = found.iter().map(|found| (found.collected.store.as_str(), &*found.store));
        owned::forget(offline, stores, &how.forget_owners).await?;
    }
    for each in found.iter_mut().filter(|_| !stopped) {
        each.sweep(!how.dry_run).await?;
    }
    let stores = found.into_iter().map(|found| found.collected).collect();
    Ok(Outcome { stores, dry_run: how.dry_run, stopped })
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Opens the content stores; two names of one set of content are one.
async fn open(
    offline: &mut OfflineStores<'_>,
    names: &[String],
) -> Result<Vec<ContentSet>, GcError> {
    let config = offline.config();
    let mut sets: Vec<ContentSet> = Vec::new();
    for name in names {
        let in_memory = config.shares.iter().find(|share| {
            let metadata = config.metadata.get(&share.metadata_store);
            share.content_store == *name
                && matches!(metadata, Some(config::Metadata::Memory { .. }))
        });
        if let Some(share) = in_memory {
            return Err(GcError::NamesInMemory {
                name: name.clone(),
                share: share.name.clone(),
                metadata: share.metadata_store.clone(),
            });
        }
        let store = offline.content(name, CreateMode::Never).await?;
        let identity = store.identity().ok_or_else(|| GcError::Fleeting(name.clone()))?;
        if sets.iter().all(|set| set.identity != identity) {
            sets.push(ContentSet { name: name.clone(), identity, store });
        }
    }
    Ok(sets)
}

async fn hold_all(offline: &mut OfflineStores<'_>) -> Result<Vec<Held>, GcError> {
    let mut held = Vec::new();
    for name in lasting_metadata(offline.config()) {
        let store = offline.metadata(&name).await?;
        let hold = store.fence_loads().await;
        let hold = hold.map_err(|source| GcError::Metadata { name: name.clone(), source })?;
        held.push(Held { name, hold });
    }
    Ok(held)
}

/// Content is looked at where a share of the metadata stores has its own there: else these are not its
/// databases.
async fn check_bindings(
    offline: &mut OfflineStores<'_>,
    sets: &[ContentSet],
) -> Result<(), GcError> {
    let mut bound = BTreeSet::new();
    for share in offline.bound_shares().await? {
        bound.extend(share.binding.map(|binding| binding.identity));
    }
    match sets.iter().find(|set| !bound.contains(&set.identity)) {
        Some(set) => Err(GcError::NoHome {
            name: set.name.clone(),
            identity: set.identity,
            metadata: lasting_metadata(offline.config()),
        }),
        None => Ok(()),
    }
}

/// What the rows of all metadata stores name, sorted.
async fn named(held: &[Held], progress: &Progress) -> Result<Vec<ContentId>, GcError> {
    let mut named = Vec::new();
    for Held { name, hold } in held {
        progress.note(format!("gc: reading the files of {name}"));
        let ids = hold.named().await;
        named.extend(ids.map_err(|source| GcError::Metadata { name: name.clone(), source })?);
    }
    named.sort_unstable();
    Ok(named)
}

/// Nothing was loaded until now.
async fn confirm(held: &[Held], found: &[Findings]) -> Result<(), GcError> {
    for Held { name, hold } in held {
        hold.confirm().await.map_err(|source| GcError::Unconfirmed {
            name: name.clone(),
            removed: found.iter().map(|found| found.collected.removed).sum(),
            source,
        })?;
    }
    Ok(())
}

/// Removes what was found, a batch at a time. What was begun is ended where it is told to stop.
async fn remove(held: &[Held], found: &mut [Findings], progress: &Progress) -> Result<(), GcError> {
    let stop = progress.cancel();
    let total = found.iter().map(|found| found.garbage.len() as u64).sum();
    progress.begin("removed", Unit::Contents, Some(total));
    for each in 0..found.len() {
        let garbage = std::mem::take(&mut found[each].garbage);
        for batch in garbage.chunks(BATCH) {
            if stop.is_cancelled() {
                return Ok(());
            }
            if progress.pace_contents(batch.len()).await.is_err() {
                return Ok(());
            }
            confirm(held, found).await?;
            let store = &found[each].store;
            let removals =
                batch.iter().filter(|_| !stop.is_cancelled()).map(|garbage| async move {
                    let removed = store.remove(garbage.id).await;
                    progress.advance(1);
                    (garbage.bytes, removed)
                });
            let removals: Vec<(u64, Result<(), content::Error>)> =
                futures_util::stream::iter(removals).buffer_unordered(AT_ONCE).collect().await;
            found[each].collected.count(removals);
        }
    }
    Ok(())
}
