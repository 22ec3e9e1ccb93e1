//! From the configuration's shares to exports: stores are opened, each share is held against the record of where its
//! content is, and only then are shares made and records written.

use std::collections::BTreeMap;

use super::binding::{self, Binding, Verdict};
use super::binding_error::BindingError;
use super::owners::{self, Mark, Refusal};
use super::{StoreError, Stores};
use crate::config::{self, Config};
use crate::content::{ContentStore, CreateMode, Service};
use crate::metadata::{self, MetadataStore, StorePlace};
use crate::types::{Chain, ContentIdentity, ShareName};
use crate::vfs::ExportSettings;

/// What is known of a share before its content is opened.
pub(super) struct Known<'c> {
    pub(super) share: &'c config::Share,
    pub(super) recorded: Option<Binding>,
    /// Whether its metadata store has it.
    pub(super) made: bool,
    /// What else its metadata store has.
    pub(super) others: Vec<(ShareName, Option<Binding>)>,
}

impl Known<'_> {
    /// Whether the start makes it, and nothing says that this is meant whatever else there is.
    pub(super) fn begins(&self, config: &Config) -> bool {
        let metadata = config.metadata.get(&self.share.metadata_store);
        let lasting =
            metadata.is_some_and(|metadata| !matches!(metadata, config::Metadata::Memory { .. }));
        let known = self.made || self.recorded.is_some();
        lasting && !known && self.share.content_identity.is_none()
    }
}

/// Opens every share of the configuration, and the stores that they name.
pub(crate) async fn open(
    stores: &mut Stores,
    config: &Config,
) -> Result<Vec<ExportSettings>, StoreError> {
    let mut all = Vec::with_capacity(config.shares.len());
    for share in &config.shares {
        all.push(look_up(stores, config, share).await?);
    }
    for known in all.iter().filter(|known| known.begins(config)) {
        if let Some(other) = stores.other_with(config, known.share).await {
            return Err(moved(known.share, other, None));
        }
    }
    let mut making: BTreeMap<&str, CreateMode> = BTreeMap::new();
    for Known { share, recorded, .. } in &all {
        let wanted = binding::making(recorded.as_ref(), share.content_identity);
        let strictest = making.entry(&share.content_store).or_insert(wanted);
        *strictest = binding::strictest(*strictest, wanted);
    }
    let mut verdicts = Vec::with_capacity(all.len());
    for known in &all {
        let making = making.get(known.share.content_store.as_str()).copied();
        let content =
            stores.content(config, known.share, making.unwrap_or(CreateMode::Never)).await;
        let content = content.map_err(|error| absent(config, &all, error))?;
        let found = content.identity();
        let verdict = judge(config, known, known.recorded.as_ref(), found)?;
        refuse_leftovers(config, known, &*content).await?;
        verdicts.push((verdict, found));
    }
    let stores_found = all.iter().zip(&verdicts);
    refuse_twins(stores_found.map(|(known, (_, found))| (&*known.share.content_store, *found)))?;
    let mut exports = Vec::with_capacity(all.len());
    for (known, (verdict, found)) in all.iter().zip(verdicts) {
        if let (Verdict::Serve | Verdict::Record, Some(named), Some(found)) =
            (verdict, known.share.content_identity, found)
            && named != found
        {
            let (share, store) = (&known.share.name, &known.share.content_store);
            tracing::warn!(
                "{share}: content_identity is {named}, but content_store {store} holds {found}, the present content of the \
                 share: correct content_store, or remove content_identity"
            );
        }
        let export = stores.export(config, known.share).await?;
        if let (Verdict::Record | Verdict::Replace, Some(found)) = (verdict, found) {
            record(config, known, &*export.metadata, found).await?;
        }
        own(config, known, &export).await?;
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
    let recorded = binding::recorded(&*metadata, &share.name).await.map_err(&failed)?;
    let mut made = false;
    let mut others = Vec::new();
    for name in metadata.shares().await.map_err(&failed)? {
        if name == share.name {
            made = true;
        } else {
            let binding = binding::recorded(&*metadata, &name).await.map_err(&failed)?;
            others.push((name, binding));
        }
    }
    Ok(Known { share, recorded, made, others })
}

/// Where a content store is, for messages.
fn place(config: &Config, share: &config::Share) -> String {
    config.content.get(&share.content_store).map_or_else(String::new, |content| match content {
        config::Content::Memory { .. } => "in memory".to_owned(),
        config::Content::Filesystem(filesystem) => filesystem.base_path.display().to_string(),
        config::Content::Object(settings) => {
            let prefix = &settings.prefix;
            match &settings.service {
                Service::S3(s3) => {
                    let endpoint = s3.endpoint.as_deref().unwrap_or("Amazon S3");
                    format!("{}/{prefix} at {endpoint}", s3.bucket)
                }
                Service::Gcs(gcs) => format!("{}/{prefix} at Google Cloud Storage", gcs.bucket),
                Service::Azure(it) => format!("{}/{}/{prefix} at Azure", it.account, it.container),
            }
        }
    })
}

/// The share is in another metadata store than the configuration says.
pub(super) fn moved(
    share: &config::Share,
    other: String,
    found: Option<ContentIdentity>,
) -> StoreError {
    BindingError::Moved {
        share: share.name.clone(),
        metadata: share.metadata_store.clone(),
        other,
        accepting: found.unwrap_or_else(ContentIdentity::generate),
    }
    .into()
}

/// A content store that is not there, as a share sees it that has its content there.
fn absent(config: &Config, all: &[Known<'_>], error: StoreError) -> StoreError {
    let StoreError::NoContent { name, .. } = &error else { return error };
    let mut bindings = all.iter().filter(|known| known.share.content_store == *name);
    let binding = bindings.find_map(|known| {
        let accepted = known.share.content_identity.is_some();
        known.recorded.as_ref().filter(|_| !accepted).map(|binding| (known.share, binding))
    });
    let Some((share, binding)) = binding else { return error };
    missing(config, share, binding)
}

/// There is nothing where the share's content must be.
pub(super) fn missing(config: &Config, share: &config::Share, binding: &Binding) -> StoreError {
    BindingError::Absent {
        share: share.name.clone(),
        recorded: binding.store.clone(),
        identity: binding.identity,
        store: share.content_store.clone(),
        place: place(config, share),
        fresh: ContentIdentity::generate(),
    }
    .into()
}

pub(super) fn judge(
    config: &Config,
    known: &Known<'_>,
    recorded: Option<&Binding>,
    found: Option<ContentIdentity>,
) -> Result<Verdict, StoreError> {
    let share = known.share;
    let (store, place) = (share.content_store.clone(), place(config, share));
    let verdict = binding::judge(recorded, found, &store, share.content_identity);
    match (verdict, recorded, share.content_identity) {
        (Verdict::Elsewhere, Some(binding), _) => Err(BindingError::Elsewhere {
            share: share.name.clone(),
            recorded: binding.store.clone(),
            identity: binding.identity,
            store,
            place,
            found,
        }
        .into()),
        (Verdict::NotAccepted, _, Some(accepted)) => {
            let share = share.name.clone();
            Err(BindingError::NotAccepted { share, accepted, store, place, found }.into())
        }
        (verdict, _, _) => Ok(verdict),
    }
}

/// A new share in a new database over content that is full is a database that was lost or mistaken: whatever collects
/// content without files would take it all away.
async fn refuse_leftovers(
    config: &Config,
    known: &Known<'_>,
    content: &dyn ContentStore,
) -> Result<(), StoreError> {
    let Some(found) = content.identity() else { return Ok(()) };
    if !known.begins(config) || shared(config, known, found)? {
        return Ok(());
    }
    let listed = content.list(None, 1).await.map_err(|source| StoreError::Unlisted {
        name: known.share.content_store.clone(),
        source,
    })?;
    if listed.is_empty() { Ok(()) } else { Err(leftover(config, known.share, found)) }
}

/// Whether other shares of the metadata store have the content over which a share begins. One that the
/// configuration does not name is an error: it may be this one, under the name that it had.
pub(super) fn shared(
    config: &Config,
    known: &Known<'_>,
    found: ContentIdentity,
) -> Result<bool, StoreError> {
    let share = known.share;
    let on_it = |binding: &Option<Binding>| {
        binding.as_ref().is_some_and(|binding| binding.identity == found)
    };
    let mut others =
        known.others.iter().filter(|(_, binding)| on_it(binding)).map(|(name, _)| name);
    let named = |name: &ShareName| {
        let mut shares = config.shares.iter();
        shares.any(|it| it.metadata_store == share.metadata_store && it.name == *name)
    };
    if let Some(other) = others.clone().find(|name| !named(name)) {
        return Err(BindingError::Renamed {
            share: share.name.clone(),
            other: other.clone(),
            metadata: share.metadata_store.clone(),
            store: share.content_store.clone(),
            place: place(config, share),
            found,
        }
        .into());
    }
    Ok(others.next().is_some())
}

/// Content without a share, where one begins.
pub(super) fn leftover(
    config: &Config,
    share: &config::Share,
    found: ContentIdentity,
) -> StoreError {
    BindingError::Leftover {
        share: share.name.clone(),
        metadata: share.metadata_store.clone(),
        store: share.content_store.clone(),
        place: place(config, share),
        found,
    }
    .into()
}

/// Refuses two content stores that are the same content: what is written to one is missing in the other.
pub(super) fn refuse_twins<'s>(
    stores: impl Iterator<Item = (&'s str, Option<ContentIdentity>)>,
) -> Result<(), StoreError> {
    let mut seen: BTreeMap<ContentIdentity, &str> = BTreeMap::new();
    for (store, identity) in stores {
        let Some(identity) = identity else { continue };
        let first = *seen.entry(identity).or_insert(store);
        if first != store {
            let (one, other) = (first.to_owned(), store.to_owned());
            return Err(BindingError::Twins { one, other, identity }.into());
        }
    }
    Ok(())
}

/// Records where the share's content is. Of several instances that start together the first decides.
async fn record(
    config: &Config,
    known: &Known<'_>,
    metadata: &dyn MetadataStore,
    found: ContentIdentity,
) -> Result<(), StoreError> {
    let share = known.share;
    let binding = Binding { identity: found, store: share.content_store.clone() };
    let now = binding::record(metadata, &share.name, known.recorded.as_ref(), &binding).await;
    let now = now.map_err(failed(share))?;
    judge(config, known, now.as_ref(), Some(found))?;
    match &known.recorded {
        None => tracing::info!("{}: its content is in {}, {found}", share.name, binding.store),
        Some(before) if before.identity == found => {
            tracing::info!(
                "{}: its content store {} is now {}",
                share.name,
                before.store,
                binding.store
            );
        }
        Some(before) => tracing::warn!(
            "{}: switched to the content {found} in {}, as content_identity permits; it was {} in {}: files written before \
             have lost their content unless it was moved",
            share.name,
            binding.store,
            before.identity,
            before.store
        ),
    }
    Ok(())
}

/// Finds that the content belongs to the share's metadata store.
async fn own(
    config: &Config,
    known: &Known<'_>,
    export: &ExportSettings,
) -> Result<(), StoreError> {
    let (metadata, content) = (&*export.metadata, &*export.content);
    let accepted = known.share.content_owner;
    let settled = owners::settle(metadata, content, &export.share, accepted).await;
    if let Err(refusal) = &settled
        && let Some(error) = refusal.is_full()
    {
        // Clients make room there by removing files; a later start writes the record.
        tracing::warn!(
            error = %Chain(error),
            "{}: disk full: the owner of its content cannot be recorded",
            known.share.name
        );
        return Ok(());
    }
    settled.map_err(|refusal| not_owner(config, known.share, refusal))
}

/// Why a share is not served by its metadata store.
pub(super) fn not_owner(config: &Config, share: &config::Share, refusal: Refusal) -> StoreError {
    let (mark, is_copy) = match refusal {
        Refusal::Moved(mark) => (mark, false),
        Refusal::Copy(mark) => (mark, true),
        Refusal::Metadata(error) => return failed(share)(error),
        Refusal::Content(source) => {
            let name = share.content_store.clone();
            return StoreError::Content { name, source: Box::new(source) };
        }
    };
    let own = config.metadata.get(&share.metadata_store).map(|metadata| match metadata {
        config::Metadata::Memory { .. } => "in memory".to_owned(),
        config::Metadata::Sqlite(sqlite) => sqlite.path.display().to_string(),
        config::Metadata::Postgres(postgres) => postgres.target.to_string(),
    });
    let own = own.unwrap_or_default();
    let (name, metadata) = (share.name.clone(), share.metadata_store.clone());
    let (store, place) = (share.content_store.clone(), place(config, share));
    let Mark { claim, store: StorePlace { text: owner, .. }, since, .. } = mark;
    match is_copy {
        false => BindingError::MovedAway {
            share: name,
            metadata,
            own,
            store,
            place,
            owner,
            since,
            claim,
        },
        true => {
            BindingError::Copy { share: name, metadata, own, store, place, owner, since, claim }
        }
    }
    .into()
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
                    "the metadata store {store} has the share {name}, which is not in the configuration: it is kept, but \
                     not served; add it under shares to serve it"
                );
            }
        }
    }
}
