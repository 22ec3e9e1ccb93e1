//! From the configuration's shares to exports: stores are opened, each share is held against the record of
//! where its content is, and only then are shares made and records written.

use std::collections::BTreeMap;

use super::binding::{self, Binding, Facts, Found, Serving, Verdict, place, plan};
use super::binding_error::BindingError;
use super::owners::{self, Mark, Refusal};
use super::{StoreError, Stores};
use crate::config::{self, Config};
use crate::content::{ContentStore, CreateMode};
use crate::metadata::{self, MetadataStore, StorePlace};
use crate::types::{Chain, ContentIdentity};
use crate::vfs::ExportSettings;

/// Opens every share of the configuration, and the stores that they name.
pub(crate) async fn open(
    stores: &mut Stores,
    config: &Config,
) -> Result<Vec<ExportSettings>, StoreError> {
    let exports = open_those(stores, config, |_| true).await?;
    warn_of_unnamed(stores, config).await;
    Ok(exports)
}

/// Opens the shares of the configuration that `wanted` picks, and the stores that they name and that are not
/// open yet. What was opened in vain stays open.
pub(crate) async fn open_those(
    stores: &mut Stores,
    config: &Config,
    wanted: impl Fn(&config::Share) -> bool,
) -> Result<Vec<ExportSettings>, StoreError> {
    let mut all = Vec::with_capacity(config.shares.len());
    for share in config.shares.iter().filter(|share| wanted(share)) {
        all.push(look_up(stores, config, share).await?);
    }
    for facts in all.iter().filter(|facts| facts.begins()) {
        if let Some(other) = stores.other_with(config, facts.share).await {
            return Err(facts.moved(other, None).into());
        }
    }
    let mut modes: BTreeMap<&str, CreateMode> = BTreeMap::new();
    for facts in &all {
        let wanted = facts.create_mode();
        let strictest = modes.entry(&facts.share.content_store).or_insert(wanted);
        *strictest = binding::strictest(*strictest, wanted);
    }
    let mut verdicts = Vec::with_capacity(all.len());
    for facts in &all {
        let mode = modes.get(facts.share.content_store.as_str()).copied();
        let content = stores.content(config, facts.share, mode.unwrap_or(CreateMode::Never)).await;
        let content = content.map_err(|error| absent(&all, error))?;
        let found = content.identity();
        let Serving { verdict, only_if_empty } = facts.serve(found)?;
        if only_if_empty {
            refuse_leftovers(facts, &*content).await?;
        }
        verdicts.push((verdict, found));
    }
    let open = stores.content.iter();
    binding::refuse_twins(open.map(|(name, content)| (&**name, content.identity())))?;
    let mut exports = Vec::with_capacity(all.len());
    for (facts, (verdict, found)) in all.iter().zip(verdicts) {
        if let (Verdict::Serve | Verdict::Record, Some(named), Some(found)) =
            (verdict, facts.share.content_identity, found)
            && named != found
        {
            let (share, store) = (&facts.share.name, &facts.share.content_store);
            tracing::warn!(
                "{share}: content_identity is {named}, but content_store {store} holds {found}, the present \
                 content of the share: correct content_store, or remove content_identity"
            );
        }
        let metadata = stores.metadata(config, facts.share).await?;
        let export = stores.export(config, facts.share).await?;
        if let (Verdict::Record | Verdict::Replace, Some(found)) = (verdict, found) {
            record(facts, &*metadata, found).await?;
        }
        own(config, facts, &*metadata, &export).await?;
        exports.push(export);
    }
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
    config: &'c Config,
    share: &'c config::Share,
) -> Result<Facts<'c>, StoreError> {
    let metadata = stores.metadata(config, share).await?;
    let failed = failed(share);
    let recorded = binding::recorded(&*metadata, &share.name).await.map_err(&failed)?;
    let mut made = false;
    let mut others = Vec::new();
    for metadata::Share { name, .. } in metadata.shares().await.map_err(&failed)? {
        if name == share.name {
            made = true;
        } else {
            let binding = binding::recorded(&*metadata, &name).await.map_err(&failed)?;
            others.push((name, binding));
        }
    }
    Ok(Facts { config, share, recorded, made, others })
}

/// The error of a content store that is not there, as a share meets it that has its content there.
fn absent(all: &[Facts<'_>], error: StoreError) -> StoreError {
    let StoreError::NoContent { name, .. } = &error else { return error };
    let mut bound = all.iter().filter(|facts| facts.share.content_store == *name);
    bound.find_map(|facts| plan(facts, Found::Nothing).err()).unwrap_or(error)
}

/// Refuses content over which a share begins, unless it is empty.
async fn refuse_leftovers(facts: &Facts<'_>, content: &dyn ContentStore) -> Result<(), StoreError> {
    let Some(found) = content.identity() else { return Ok(()) };
    let listed = content.list(None, 1).await.map_err(|source| StoreError::Unlisted {
        name: facts.share.content_store.clone(),
        source,
    })?;
    if listed.is_empty() { Ok(()) } else { Err(facts.leftover(found).into()) }
}

/// Records where the share's content is. Of several instances that start together the first decides.
async fn record(
    facts: &Facts<'_>,
    metadata: &dyn MetadataStore,
    found: ContentIdentity,
) -> Result<(), StoreError> {
    let share = facts.share;
    let binding = Binding { identity: found, store: share.content_store.clone() };
    let now = binding::record(metadata, &share.name, facts.recorded.as_ref(), &binding).await;
    let now = now.map_err(failed(share))?;
    facts.judge(now.as_ref(), Some(found))?;
    match &facts.recorded {
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
            "{}: switched to the content {found} in {}, as content_identity permits; it was {} in {}: files \
             written before have lost their content unless it was moved",
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
    facts: &Facts<'_>,
    metadata: &dyn MetadataStore,
    export: &ExportSettings,
) -> Result<(), StoreError> {
    let accepted = facts.share.content_owner;
    let settled = owners::settle(metadata, &*export.content, &export.share, accepted).await;
    if let Err(refusal) = &settled
        && let Some(error) = refusal.is_full()
    {
        // Clients make room there by removing files; a later start writes the record.
        tracing::warn!(
            error = %Chain(error),
            "{}: disk full: the owner of its content cannot be recorded",
            facts.share.name
        );
        return Ok(());
    }
    settled.map_err(|refusal| not_owner(config, facts.share, refusal))
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

/// Warns of shares in the metadata stores that the configuration does not serve.
async fn warn_of_unnamed(stores: &Stores, config: &Config) {
    for (store, open) in &stores.metadata {
        // What cannot be listed now was listed a moment ago, and is needed for a warning only.
        let Ok(shares) = open.shares().await else { continue };
        for metadata::Share { name, .. } in shares {
            let named =
                |share: &config::Share| share.metadata_store == *store && share.name == name;
            if !config.shares.iter().any(named) {
                tracing::warn!(
                    "the metadata store {store} has the share {name}, which is not in the configuration: it \
                     is kept, but not served; add it under shares to serve it"
                );
            }
        }
    }
}
