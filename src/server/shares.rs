//! From the configuration's shares to exports: stores are opened, each share is held against the record of where its
//! content is, and only then are shares made and records written.

use std::collections::BTreeMap;

use super::homes::{self, Home, Verdict};
use super::stores::{StoreError, Stores};
use crate::config::{self, Config};
use crate::content::{ContentStore, Making};
use crate::metadata::{self, MetadataStore};
use crate::types::{ContentIdentity, ShareName};
use crate::vfs::ExportSettings;

/// Why a share is not served over the content that the configuration names.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The share has other content.
    #[error(
        "the share {share} keeps its content in the content store {recorded} (identity {identity}), but its \
         content_store {store} ({place}) holds {}: point content_store or its settings back to where the content \
         is, with its disk mounted, or move the content there whole{}",
        other(*found),
        going_on(*found)
    )]
    Elsewhere {
        /// The share.
        share: ShareName,
        /// The name that its content store had when it was last served.
        recorded: String,
        /// Its content.
        identity: ContentIdentity,
        /// The content store that the configuration names.
        store: String,
        /// Where that is.
        place: String,
        /// What it holds.
        found: Option<ContentIdentity>,
    },
    /// There is no content where the share's must be.
    #[error(
        "the share {share} keeps its content in the content store {recorded} (identity {identity}), but its \
         content_store {store} ({place}) holds no TrunkFS content: mount its disk, or correct the store's \
         settings; to go on with an empty store, without the bytes of any file there is, write content_identity: \
         {fresh} under the share"
    )]
    Absent {
        /// The share.
        share: ShareName,
        /// The name that its content store had when it was last served.
        recorded: String,
        /// Its content.
        identity: ContentIdentity,
        /// The content store that the configuration names.
        store: String,
        /// Where that is.
        place: String,
        /// An identity that nothing has.
        fresh: ContentIdentity,
    },
    /// The configuration accepts content that is not there.
    #[error(
        "the share {share} is to have the content {accepted} (content_identity), but its content_store {store} \
         ({place}) holds {}: correct content_store, or remove content_identity",
        other(*found)
    )]
    NotAccepted {
        /// The share.
        share: ShareName,
        /// What the configuration accepts.
        accepted: ContentIdentity,
        /// The content store that the configuration names.
        store: String,
        /// Where that is.
        place: String,
        /// What it holds.
        found: Option<ContentIdentity>,
    },
    /// A new share would begin beside content that belongs to no share of its metadata store.
    #[error(
        "the metadata store {metadata} has no share {share} yet, but its content_store {store} ({place}) holds \
         content of shares that this metadata store does not know: name the metadata store that has the share, or \
         an empty content store; to begin a new share beside that content, write content_identity: {found} under \
         the share"
    )]
    Leftover {
        /// The share.
        share: ShareName,
        /// Its metadata store.
        metadata: String,
        /// Its content store.
        store: String,
        /// Where that is.
        place: String,
        /// What it holds.
        found: ContentIdentity,
    },
}

fn other(found: Option<ContentIdentity>) -> String {
    found.map_or("nothing that lasts".to_owned(), |it| format!("the content {it}"))
}

fn going_on(found: Option<ContentIdentity>) -> String {
    found.map_or(String::new(), |it| {
        format!(
            "; to go on with what is there, without the bytes of any file there is, write content_identity: {it} \
             under the share"
        )
    })
}

/// What is known of a share before its content is opened.
struct Known<'c> {
    share: &'c config::Share,
    recorded: Option<Home>,
    /// Whether its metadata store has it.
    made: bool,
}

/// Opens every share of the configuration, and the stores that they name.
pub(super) async fn open(
    stores: &mut Stores,
    config: &Config,
) -> Result<Vec<ExportSettings>, StoreError> {
    let mut all = Vec::with_capacity(config.shares.len());
    for share in &config.shares {
        all.push(look_up(stores, config, share).await?);
    }
    let mut making: BTreeMap<&str, Making> = BTreeMap::new();
    for Known { share, recorded, .. } in &all {
        let wanted = homes::making(recorded.as_ref(), share.content_identity);
        let strictest = making.entry(&share.content_store).or_insert(wanted);
        *strictest = homes::strictest(*strictest, wanted);
    }
    let mut verdicts = Vec::with_capacity(all.len());
    for known in &all {
        let making = making.get(known.share.content_store.as_str()).copied();
        let content = stores.content(config, known.share, making.unwrap_or(Making::Never)).await;
        let content = content.map_err(|error| absent(config, &all, error))?;
        let found = content.identity();
        let verdict = judge(config, known, known.recorded.as_ref(), found)?;
        refuse_leftovers(stores, config, known, &*content).await?;
        verdicts.push((verdict, found));
    }
    let mut exports = Vec::with_capacity(all.len());
    for (known, (verdict, found)) in all.iter().zip(verdicts) {
        let export = stores.export(config, known.share).await?;
        if let (Verdict::Record | Verdict::Replace, Some(found)) = (verdict, found) {
            record(config, known, &*export.metadata, found).await?;
        }
        exports.push(export);
    }
    warn_of_unnamed(config, &exports).await;
    Ok(exports)
}

fn failed(share: &config::Share) -> impl Fn(metadata::Error) -> StoreError {
    |source| StoreError::Share {
        share: share.name.clone(),
        store: share.metadata_store.clone(),
        source,
    }
}

async fn look_up<'c>(
    stores: &mut Stores,
    config: &Config,
    share: &'c config::Share,
) -> Result<Known<'c>, StoreError> {
    let metadata = stores.metadata(config, share).await?;
    let failed = failed(share);
    let recorded = homes::recorded(&*metadata, &share.name).await.map_err(&failed)?;
    let made = metadata.shares().await.map_err(&failed)?.contains(&share.name);
    Ok(Known { share, recorded, made })
}

/// Where a content store is, for messages.
fn place(config: &Config, share: &config::Share) -> String {
    config.content.get(&share.content_store).map_or_else(String::new, |content| match content {
        config::Content::Memory => "in memory".to_owned(),
        config::Content::Filesystem(filesystem) => filesystem.base_path.display().to_string(),
        config::Content::S3(s3) => {
            let endpoint = s3.endpoint.as_deref().unwrap_or("Amazon S3");
            format!("{}/{} at {endpoint}", s3.bucket, s3.common.prefix)
        }
        config::Content::Gcs(gcs) => {
            format!("{}/{} at Google Cloud Storage", gcs.bucket, gcs.common.prefix)
        }
        config::Content::Azure(azure) => {
            format!("{}/{}/{} at Azure", azure.account, azure.container, azure.common.prefix)
        }
    })
}

/// A content store that is not there, as a share sees it that has its content there.
fn absent(config: &Config, all: &[Known<'_>], error: StoreError) -> StoreError {
    let StoreError::NoContent { name, .. } = &error else { return error };
    let mut homes = all.iter().filter(|known| known.share.content_store == *name);
    let home = homes.find_map(|known| {
        let accepted = known.share.content_identity.is_some();
        known.recorded.as_ref().filter(|_| !accepted).map(|home| (known.share, home))
    });
    let Some((share, home)) = home else { return error };
    HomeError::Absent {
        share: share.name.clone(),
        recorded: home.store.clone(),
        identity: home.identity,
        store: share.content_store.clone(),
        place: place(config, share),
        fresh: ContentIdentity::generate(),
    }
    .into()
}

fn judge(
    config: &Config,
    known: &Known<'_>,
    recorded: Option<&Home>,
    found: Option<ContentIdentity>,
) -> Result<Verdict, StoreError> {
    let share = known.share;
    let (store, place) = (share.content_store.clone(), place(config, share));
    let verdict = homes::judge(recorded, found, &store, share.content_identity);
    match (verdict, recorded, share.content_identity) {
        (Verdict::Elsewhere, Some(home), _) => Err(HomeError::Elsewhere {
            share: share.name.clone(),
            recorded: home.store.clone(),
            identity: home.identity,
            store,
            place,
            found,
        }
        .into()),
        (Verdict::NotAccepted, _, Some(accepted)) => {
            let share = share.name.clone();
            Err(HomeError::NotAccepted { share, accepted, store, place, found }.into())
        }
        (verdict, _, _) => Ok(verdict),
    }
}

/// A new share in a new database over content that is full is a database that was lost or mistaken: whatever collects
/// content without files would take it all away.
async fn refuse_leftovers(
    stores: &mut Stores,
    config: &Config,
    known: &Known<'_>,
    content: &dyn ContentStore,
) -> Result<(), StoreError> {
    let share = known.share;
    let lasting = config
        .metadata
        .get(&share.metadata_store)
        .is_some_and(|metadata| *metadata != config::Metadata::Memory);
    let Some(found) = content.identity() else { return Ok(()) };
    if known.made || known.recorded.is_some() || share.content_identity.is_some() || !lasting {
        return Ok(());
    }
    let metadata = stores.metadata(config, share).await?;
    for other in metadata.shares().await.map_err(failed(share))? {
        let home = homes::recorded(&*metadata, &other).await.map_err(failed(share))?;
        if home.is_some_and(|home| home.identity == found) {
            return Ok(());
        }
    }
    let listed = content
        .list(None, 1)
        .await
        .map_err(|source| StoreError::Unlisted { name: share.content_store.clone(), source })?;
    if listed.is_empty() {
        return Ok(());
    }
    Err(HomeError::Leftover {
        share: share.name.clone(),
        metadata: share.metadata_store.clone(),
        store: share.content_store.clone(),
        place: place(config, share),
        found,
    }
    .into())
}

/// Records where the share's content is. Of several instances that start together the first decides.
async fn record(
    config: &Config,
    known: &Known<'_>,
    metadata: &dyn MetadataStore,
    found: ContentIdentity,
) -> Result<(), StoreError> {
    let share = known.share;
    let home = Home { identity: found, store: share.content_store.clone() };
    let now = homes::record(metadata, &share.name, known.recorded.as_ref(), &home).await;
    let now = now.map_err(failed(share))?;
    judge(config, known, now.as_ref(), Some(found))?;
    match &known.recorded {
        None => tracing::info!("{}: its content is in {}, {found}", share.name, home.store),
        Some(before) if before.identity == found => {
            tracing::info!(
                "{}: its content store {} is now {}",
                share.name,
                before.store,
                home.store
            );
        }
        Some(before) => tracing::warn!(
            "{}: its content is now {found} in {}, as content_identity accepts; it was {} in {}, and files from \
             that time have no bytes unless they were moved",
            share.name,
            home.store,
            before.identity,
            before.store
        ),
    }
    Ok(())
}

/// Says which shares the metadata stores have that nobody is served.
async fn warn_of_unnamed(config: &Config, exports: &[ExportSettings]) {
    let mut seen: Vec<&str> = Vec::new();
    for (share, export) in config.shares.iter().zip(exports) {
        let store = share.metadata_store.as_str();
        if seen.contains(&store) {
            continue;
        }
        seen.push(store);
        // What cannot be listed now was listed a moment ago, and is needed for a warning only.
        let Ok(names) = export.metadata.shares().await else { continue };
        for name in names {
            let named = |share: &config::Share| share.metadata_store == store && share.name == name;
            if !config.shares.iter().any(named) {
                tracing::warn!(
                    "the metadata store {store} has the share {name}, which the configuration does not name: it is \
                     kept and not served; add it under shares to serve it"
                );
            }
        }
    }
}
