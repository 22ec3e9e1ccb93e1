//! Where a share's content is: in the content store whose identity the metadata store records, whatever its
//! name is now.

use super::Error;
use crate::admin::transfer::Store;
use crate::content::CreateMode;
use crate::metadata::Share;
use crate::stores::{Binding, OfflineStores};
use crate::types::ContentIdentity;

/// A share's content store.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) store: Store,
    pub(super) identity: ContentIdentity,
}

/// Finds the content store of a share of the metadata store `metadata`; `None` where nothing says which it
/// is.
pub(super) async fn find(
    offline: &mut OfflineStores<'_>,
    metadata: &str,
    share: &Share,
) -> Result<Option<Place>, Error> {
    let home = offline.binding(metadata, &share.name).await?;
    let config = offline.config();
    let served = config
        .shares
        .iter()
        .find(|known| known.name == share.name && known.metadata_store == metadata);
    let mut names: Vec<String> = served.iter().map(|share| share.content_store.clone()).collect();
    if let Some(home) = &home {
        names.push(home.store.clone());
        names.extend(config.content.keys().cloned());
    }
    let mut tried: Vec<String> = Vec::new();
    let mut first = None;
    for name in names {
        if tried.contains(&name) || !config.content.contains_key(&name) {
            continue;
        }
        tried.push(name.clone());
        let content = match offline.content(&name, CreateMode::ReadOnly).await {
            Ok(content) => content,
            // Perhaps another store has it.
            Err(error) => {
                first.get_or_insert(error);
                continue;
            }
        };
        let Some(identity) = content.identity() else { continue };
        if home.as_ref().is_none_or(|home| home.identity == identity) {
            let store = Store::new(&name, &content, share.chunk_size);
            return Ok(Some(Place { store, identity }));
        }
    }
    match (first, home) {
        (Some(error), _) => Err(error.into()),
        (None, Some(Binding { identity, store })) => {
            Err(Error::Elsewhere { share: share.name.clone(), recorded: store, identity })
        }
        (None, None) => Ok(None),
    }
}
