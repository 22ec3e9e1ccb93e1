//! What a start would say of the shares, from what is seen of their stores without opening them.

use std::collections::BTreeMap;

use crate::config::{self, Config};
use crate::content::CreateMode;
use crate::metadata::{Summary, claim_key};
use crate::stores::binding::{self, Binding};
use crate::stores::exports::{
    Known, judge, leftover, missing, moved, not_owner, refuse_twins, shared,
};
use crate::stores::{StoreError, owners};
use crate::types::{ContentIdentity, ShareName};

/// What is seen of a content store.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// Content.
    Content {
        /// Which; `None` where it goes with the process, or was made before there were identities.
        identity: Option<ContentIdentity>,
        /// Whether there is none yet.
        empty: bool,
        /// The record of its owners.
        owners: Option<String>,
    },
    /// Nothing yet.
    Nothing,
}

/// Each share whose two stores were seen: what the start makes of it, or why it refuses it.
pub(super) fn foresee(
    config: &Config,
    metadata: &BTreeMap<&str, Summary>,
    content: &BTreeMap<&str, Seen>,
) -> Vec<(ShareName, Result<String, StoreError>)> {
    let twins = refuse_twins(content.iter().map(|(store, seen)| match seen {
        Seen::Content { identity, .. } => (*store, *identity),
        Seen::Nothing => (*store, None),
    }));
    let mut twins = twins.err();
    let mut foreseen = Vec::new();
    for share in &config.shares {
        let stores = (metadata.get(&*share.metadata_store), content.get(&*share.content_store));
        let (Some(summary), Some(seen)) = stores else { continue };
        let outcome = match twins.take() {
            Some(error) => Err(error),
            None => known(share, summary).and_then(|known| one(config, metadata, &known, seen)),
        };
        foreseen.push((share.name.clone(), outcome));
    }
    foreseen
}

fn known<'c>(share: &'c config::Share, summary: &Summary) -> Result<Known<'c>, StoreError> {
    let binding = |name: &ShareName| -> Result<Option<Binding>, StoreError> {
        let text = summary.settings.get(&binding::key(name));
        text.map(|text| Binding::parse(text)).transpose().map_err(|source| StoreError::Share {
            share: name.clone(),
            store: share.metadata_store.clone(),
            source,
        })
    };
    let others = summary.shares.iter().filter(|name| **name != share.name);
    Ok(Known {
        share,
        recorded: binding(&share.name)?,
        made: summary.shares.contains(&share.name),
        others: others
            .map(|name| Ok((name.clone(), binding(name)?)))
            .collect::<Result<_, StoreError>>()?,
    })
}

fn one(
    config: &Config,
    metadata: &BTreeMap<&str, Summary>,
    known: &Known<'_>,
    seen: &Seen,
) -> Result<String, StoreError> {
    let share = known.share;
    let found = match seen {
        Seen::Content { identity, .. } => *identity,
        Seen::Nothing => None,
    };
    if known.begins(config) {
        let others = metadata.iter().filter(|(store, _)| **store != share.metadata_store);
        let other = others.into_iter().find(|(_, summary)| summary.shares.contains(&share.name));
        if let Some((other, _)) = other {
            return Err(moved(share, (*other).to_owned(), found));
        }
    }
    let Seen::Content { identity, empty, owners } = seen else {
        return match (
            binding::making(known.recorded.as_ref(), share.content_identity),
            &known.recorded,
        ) {
            (CreateMode::Never | CreateMode::ReadOnly, Some(binding)) => {
                Err(missing(config, share, binding))
            }
            (CreateMode::As(_), Some(_)) => {
                Ok("continues with empty content, as content_identity permits".to_owned())
            }
            (
                CreateMode::Never | CreateMode::ReadOnly | CreateMode::As(_) | CreateMode::Allowed,
                _,
            ) => Ok("is created at the start".to_owned()),
        };
    };
    judge(config, known, known.recorded.as_ref(), *identity)?;
    if let Some(found) = *identity
        && known.begins(config)
        && !shared(config, known, found)?
        && !empty
    {
        return Err(leftover(config, share, found));
    }
    let settings = metadata.get(&*share.metadata_store).map(|summary| &summary.settings);
    let claim = settings.and_then(|settings| settings.get(&claim_key(&share.name)));
    let moved = owners::foresee(owners.as_deref(), claim.map(String::as_str), share);
    if let Some(refusal) = moved.err().filter(|_| known.made) {
        return Err(not_owner(config, share, refusal));
    }
    Ok(match (known.made, &share.content_store) {
        (true, store) => format!("exists, with its content in {store}"),
        (false, _) => "is created at the start".to_owned(),
    })
}
