//! Whether all metadata stores that own shares of the content are asked what is in use.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{ContentSet, GcError};
use crate::content::{self, ContentStore};
use crate::metadata::StorePlace;
use crate::stores::owners::{self, Mark};
use crate::stores::{OfflineStores, lasting_metadata};

/// The metadata stores of the configuration: where each is, and what its shares are marked under.
async fn places(
    offline: &mut OfflineStores<'_>,
) -> Result<BTreeMap<String, BTreeSet<String>>, GcError> {
    let mut places = BTreeMap::new();
    for name in lasting_metadata(offline.config()) {
        let failed = |source| GcError::Metadata { name: name.clone(), source };
        let store = offline.metadata(&name).await?;
        let shares = store.shares().await.map_err(failed)?;
        if let Some(place) = store.place().await.map_err(failed)? {
            places.insert(place.id, shares.iter().map(owners::mark_key).collect());
        }
    }
    Ok(places)
}

/// Every mark is that of a metadata store of the configuration, or among those to `forget`.
pub(super) async fn check(
    offline: &mut OfflineStores<'_>,
    sets: &[ContentSet],
    forget: &[Uuid],
) -> Result<(), GcError> {
    let places = places(offline).await?;
    for ContentSet { name, store, .. } in sets {
        let failed = |source: content::Error| GcError::Content { name: name.clone(), source };
        let owners = store.owners().await.and_then(|text| owners::parse(text.as_deref()));
        let owners = owners.map_err(failed)?;
        let mut marks = owners.shares.into_values();
        let known =
            |mark: &Mark| places.contains_key(&mark.store.id) || forget.contains(&mark.claim);
        if let Some(mark) = marks.find(|mark| !known(mark)) {
            let Mark { share, claim, store: StorePlace { text: owner, .. }, since } = mark;
            return Err(GcError::Owned { name: name.clone(), share, claim, owner, since });
        }
    }
    Ok(())
}

/// Takes the marks out that are to be forgotten, and those of shares that their metadata stores have no more.
pub(super) async fn forget<'s>(
    offline: &mut OfflineStores<'_>,
    stores: impl Iterator<Item = (&'s str, &'s dyn ContentStore)>,
    forget: &[Uuid],
) -> Result<(), GcError> {
    let places = places(offline).await?;
    for (name, store) in stores {
        let failed = |source: content::Error| GcError::Content { name: name.to_owned(), source };
        let text = store.owners().await.map_err(failed)?;
        let mut owners = owners::parse(text.as_deref()).map_err(failed)?;
        let before = owners.shares.len();
        owners.shares.retain(|key, mark| {
            let present = places.get(&mark.store.id).is_none_or(|keys| keys.contains(key));
            present && !forget.contains(&mark.claim)
        });
        if owners.shares.len() == before {
            continue;
        }
        let fresh = serde_json::to_string_pretty(&owners);
        let fresh = fresh.map_err(|error| failed(content::Error::Io(error.into())))?;
        // Where a start was quicker the next collection does it.
        store.set_owners(text.as_deref(), &fresh).await.map_err(failed)?;
    }
    Ok(())
}
