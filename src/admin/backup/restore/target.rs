//! Which shares of a backup are wanted, and which stores they go into.

use std::collections::BTreeMap;

use super::Wanted;
use crate::admin::backup::Error;
use crate::admin::backup::manifest::{Manifest, ShareManifest, StoreManifest};
use crate::config::Config;
use crate::types::ShareName;

/// A share of the backup, and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) share: ShareManifest,
    pub(super) name: ShareName,
    pub(super) metadata: String,
    pub(super) content: String,
}

/// What goes from one metadata store into another at once.
pub(super) struct Group {
    pub(super) from: StoreManifest,
    pub(super) metadata: String,
    /// By the name in the backup.
    pub(super) targets: BTreeMap<String, Target>,
}

/// Where each share that is wanted goes.
pub(super) fn groups(
    config: &Config,
    wanted: &Wanted,
    manifest: &Manifest,
) -> Result<Vec<Group>, Error> {
    let all = || manifest.stores.iter().flat_map(|store| &store.shares);
    for share in &wanted.shares {
        if !all().any(|known| known.name == share.as_str()) {
            let known: Vec<_> = all().map(|share| share.name.clone()).collect();
            let (share, known) = (share.clone(), known.join(", "));
            return Err(Error::NoShare { share, place: "the backup".to_owned(), known });
        }
    }
    let chosen = |share: &ShareManifest| {
        wanted.shares.is_empty() || wanted.shares.iter().any(|it| it.as_str() == share.name)
    };
    if wanted.name.is_some() {
        if all().filter(|share| chosen(share)).count() != 1 {
            let text = "--as renames a single share: choose it with --share";
            return Err(Error::Unfit(text.to_owned()));
        }
        if !manifest.bytes {
            let text = "a backup without content uses the content where it is, which two shares cannot \
                        share: omit --as";
            return Err(Error::Unfit(text.to_owned()));
        }
    }
    let mut groups: Vec<Group> = Vec::new();
    for store in &manifest.stores {
        for share in store.shares.iter().filter(|share| chosen(share)) {
            let target = target(config, wanted, store, share)?;
            let found = groups
                .iter_mut()
                .find(|group| group.from == *store && group.metadata == target.metadata);
            match found {
                Some(group) => drop(group.targets.insert(share.name.clone(), target)),
                None => groups.push(Group {
                    from: store.clone(),
                    metadata: target.metadata.clone(),
                    targets: BTreeMap::from([(share.name.clone(), target)]),
                }),
            }
        }
    }
    Ok(groups)
}

fn target(
    config: &Config,
    wanted: &Wanted,
    store: &StoreManifest,
    share: &ShareManifest,
) -> Result<Target, Error> {
    let own = ShareName::parse(&share.name)
        .map_err(|error| Error::Unfit(format!("the share {:?}: {error}", share.name)))?;
    let name = wanted.name.clone().unwrap_or(own);
    let served = config.shares.iter().find(|served| served.name == name);
    let metadata = wanted
        .store
        .clone()
        .or_else(|| served.map(|share| share.metadata_store.clone()))
        .unwrap_or_else(|| store.name.clone());
    let content = wanted
        .content
        .clone()
        .or_else(|| served.map(|share| share.content_store.clone()))
        .or_else(|| share.content_store.clone());
    let content = content.ok_or_else(|| {
        Error::Unfit(format!(
            "no content store for {name}: use --content, or add the share to the configuration"
        ))
    })?;
    let unknown = |kind: &str, option: &str, name: &str, known: Vec<&String>| {
        let known: Vec<_> = known.into_iter().map(String::as_str).collect();
        Error::Unfit(format!(
            "the configuration has no {kind} store {name}; it has {}: use {option} NAME",
            known.join(", ")
        ))
    };
    if !config.metadata.contains_key(&metadata) {
        return Err(unknown("metadata", "--store", &metadata, config.metadata.keys().collect()));
    }
    if !config.content.contains_key(&content) {
        return Err(unknown("content", "--content", &content, config.content.keys().collect()));
    }
    Ok(Target { share: share.clone(), name, metadata, content })
}
