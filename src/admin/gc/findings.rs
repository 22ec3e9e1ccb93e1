//! What is garbage in a content store, and how much of it there is.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::{ContentSet, GcError};
use crate::admin::{Progress, Unit, as_text};
use crate::content::{self, ContentStore, Footprint};
use crate::types::{ContentId, ContentIdentity, Timestamp};

/// How many contents are looked at at once.
const AT_ONCE: usize = 32;
/// From so many contents on, a half of them is most.
const MANY: u64 = 100;

/// What was found in a content store, and done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Its name in the configuration.
    pub store: String,
    #[serde(serialize_with = "as_text")]
    pub identity: ContentIdentity,
    /// Contents that were there.
    pub listed: u64,
    /// Of these, a file's.
    pub named: u64,
    /// No file's, and made or changed too lately.
    pub young: u64,
    /// No file's, and of unknown age: no UUID v7, or from the future.
    pub undated: u64,
    /// To be removed.
    pub garbage: u64,
    /// What that takes, in bytes.
    pub garbage_bytes: u64,
    pub removed: u64,
    /// What that took, in bytes.
    pub removed_bytes: u64,
    /// Files or objects beside the contents that killed starts left.
    pub leftovers: u64,
    /// Not removed, because the store failed.
    pub failed: u64,
    /// How it failed first.
    #[serde(skip)]
    pub failure: Option<String>,
    /// Whether most of the content is to be removed.
    pub needs_consent: bool,
}

impl Collected {
    /// Nothing is found yet.
    fn new(store: String, identity: ContentIdentity, listed: u64) -> Self {
        Self {
            store,
            identity,
            listed,
            named: 0,
            young: 0,
            undated: 0,
            garbage: 0,
            garbage_bytes: 0,
            removed: 0,
            removed_bytes: 0,
            leftovers: 0,
            failed: 0,
            failure: None,
            needs_consent: false,
        }
    }

    /// Counts what became of some removals.
    pub(super) fn count(&mut self, removals: Vec<(u64, Result<(), content::Error>)>) {
        for (bytes, removed) in removals {
            match removed {
                Ok(()) => {
                    self.removed += 1;
                    self.removed_bytes += bytes;
                }
                Err(error) => {
                    self.failed += 1;
                    let said = || crate::types::Chain(&error).to_string();
                    self.failure.get_or_insert_with(said);
                }
            }
        }
    }
}

/// Content that no file has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Garbage {
    pub(super) id: ContentId,
    pub(super) bytes: u64,
}

/// What was found in a content store.
pub(super) struct Findings {
    pub(super) store: Arc<dyn ContentStore>,
    pub(super) garbage: Vec<Garbage>,
    pub(super) collected: Collected,
    before: Timestamp,
}

impl Findings {
    /// Counts what starts that were killed left beside the contents, and removes it where it is to be.
    pub(super) async fn sweep(&mut self, remove: bool) -> Result<(), GcError> {
        let failed = |source| GcError::Leftovers { name: self.collected.store.clone(), source };
        self.collected.leftovers =
            self.store.leftovers(self.before, remove).await.map_err(failed)?;
        Ok(())
    }
}

/// Looks at the contents `listed` that are not among the `named`, which are sorted; `before` are old enough.
pub(super) async fn look(
    set: ContentSet,
    listed: &[ContentId],
    named: &[ContentId],
    before: Timestamp,
    progress: &Progress,
) -> Result<Findings, GcError> {
    let ContentSet { name, identity, store } = set;
    let now = Timestamp::now();
    let mut collected = Collected::new(name, identity, listed.len() as u64);
    let mut old = Vec::new();
    for id in listed {
        if named.binary_search(id).is_ok() {
            collected.named += 1;
            continue;
        }
        match made(*id) {
            Some(made) if made < before => old.push(*id),
            Some(made) if made <= now => collected.young += 1,
            Some(_) | None => collected.undated += 1,
        }
    }
    let footprints = footprints(&*store, &old, progress).await;
    let failed = |source| GcError::Content { name: collected.store.clone(), source };
    let mut garbage = Vec::new();
    for (id, footprint) in footprints.map_err(failed)? {
        match footprint {
            Some(footprint) if footprint.modified < before => {
                collected.garbage_bytes += footprint.bytes;
                garbage.push(Garbage { id, bytes: footprint.bytes });
            }
            Some(_) => collected.young += 1,
            // Its server was about to remove it.
            None => {}
        }
    }
    collected.garbage = garbage.len() as u64;
    collected.needs_consent = is_most(&collected);
    Ok(Findings { store, garbage, collected, before })
}

fn is_most(found: &Collected) -> bool {
    let half = found.listed >= MANY && found.garbage.saturating_mul(2) > found.listed;
    found.garbage > 0 && (found.named == 0 || half)
}

async fn footprints(
    store: &dyn ContentStore,
    ids: &[ContentId],
    progress: &Progress,
) -> Result<Vec<(ContentId, Option<Footprint>)>, content::Error> {
    progress.begin("checked", Unit::Contents, Some(ids.len() as u64));
    let each = ids.iter().map(|id| async move {
        progress.pace_contents(1).await.map_err(|_| content::Error::Cancelled)?;
        let footprint = match store.footprint(*id).await {
            Ok(footprint) => Some(footprint),
            Err(content::Error::Missing(_)) => None,
            Err(error) => return Err(error),
        };
        progress.advance(1);
        Ok((*id, footprint))
    });
    futures_util::stream::iter(each).buffer_unordered(AT_ONCE).try_collect().await
}

/// When an id was made, which a UUID v7 says (RFC 9562 section 5.7).
fn made(id: ContentId) -> Option<Timestamp> {
    if id.0.get_version() != Some(uuid::Version::SortRand) {
        return None;
    }
    let (seconds, nanoseconds) = id.0.get_timestamp()?.to_unix();
    let seconds = i64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?;
    Some(Timestamp(seconds.checked_add(i64::from(nanoseconds))?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::{NoContext, Uuid};

    use super::*;

    #[test]
    fn ids_say_when_they_were_made() {
        let before = Timestamp::now().0 - 1_000_000;
        let id = made(ContentId::generate()).unwrap();
        assert!((before..=Timestamp::now().0).contains(&id.0));
        let then = Duration::from_millis(1_700_000_000_123);
        let then = uuid::Timestamp::from_unix(NoContext, then.as_secs(), then.subsec_nanos());
        assert_eq!(made(ContentId(Uuid::new_v7(then))), Some(Timestamp(1_700_000_000_123_000_000)));
        for other in [Uuid::new_v4(), Uuid::nil(), Uuid::max()] {
            assert_eq!(made(ContentId(other)), None, "{other}");
        }
    }

    #[test]
    fn most_is_more_than_half_or_all_that_is_known() {
        let none = Collected::new(String::new(), ContentIdentity::generate(), 0);
        for (listed, named, garbage, most) in [
            (0, 0, 0, false),
            (5, 0, 0, false),
            (5, 0, 1, true),
            (5, 1, 4, false),
            (99, 1, 98, false),
            (100, 50, 50, false),
            (100, 49, 51, true),
            (1_000, 0, 3, true),
        ] {
            let found = Collected { listed, named, garbage, ..none.clone() };
            assert_eq!(is_most(&found), most, "{listed} {named} {garbage}");
        }
    }
}
