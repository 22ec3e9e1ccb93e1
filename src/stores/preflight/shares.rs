//! What a start would say of the shares, from what is seen of their stores without opening them.

use std::collections::BTreeMap;

use crate::config::{self, Config};
use crate::metadata::{Summary, claim_key};
use crate::stores::binding::{self, Binding, Facts, Found, Plan, Serving, plan, refuse_twins};
use crate::stores::exports::not_owner;
use crate::stores::{StoreError, owners};
use crate::types::{ContentIdentity, ShareName};

/// What is seen of a content store.
#[derive(Clone, Debug)]
pub(super) enum Seen {
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
            None => facts(config, share, summary).and_then(|facts| one(metadata, &facts, seen)),
        };
        foreseen.push((share.name.clone(), outcome));
    }
    foreseen
}

fn facts<'c>(
    config: &'c Config,
    share: &'c config::Share,
    summary: &Summary,
) -> Result<Facts<'c>, StoreError> {
    let binding = |name: &ShareName| -> Result<Option<Binding>, StoreError> {
        let text = summary.settings.get(&binding::key(name));
        text.map(|text| Binding::parse(text)).transpose().map_err(|source| StoreError::Share {
            share: name.clone(),
            store: share.metadata_store.clone(),
            source,
        })
    };
    let others = summary.shares.iter().filter(|name| **name != share.name);
    Ok(Facts {
        config,
        share,
        recorded: binding(&share.name)?,
        made: summary.shares.contains(&share.name),
        others: others
            .map(|name| Ok((name.clone(), binding(name)?)))
            .collect::<Result<_, StoreError>>()?,
    })
}

fn one(
    metadata: &BTreeMap<&str, Summary>,
    facts: &Facts<'_>,
    seen: &Seen,
) -> Result<String, StoreError> {
    let share = facts.share;
    let found = match seen {
        Seen::Content { identity, .. } => Found::Content(*identity),
        Seen::Nothing => Found::Nothing,
    };
    if facts.begins() {
        let mut others = metadata.iter().filter(|(store, _)| **store != share.metadata_store);
        let other = others.find(|(_, summary)| summary.shares.contains(&share.name));
        if let Some((other, _)) = other {
            let identity = if let Found::Content(identity) = found { identity } else { None };
            return Err(facts.moved((*other).to_owned(), identity).into());
        }
    }
    let (only_if_empty, empty, identity, owners) = match (plan(facts, found)?, seen) {
        (Plan::Create { replaces: true }, _) => {
            return Ok("continues with empty content, as content_identity permits".to_owned());
        }
        (Plan::Serve(Serving { only_if_empty, .. }), Seen::Content { identity, empty, owners }) => {
            (only_if_empty, *empty, *identity, owners.as_deref())
        }
        (Plan::Create { .. } | Plan::Serve(_), _) => {
            return Ok("is created at the start".to_owned());
        }
    };
    if let Some(identity) = identity.filter(|_| only_if_empty && !empty) {
        return Err(facts.leftover(identity).into());
    }
    let settings = metadata.get(&*share.metadata_store).map(|summary| &summary.settings);
    let claim = settings.and_then(|settings| settings.get(&claim_key(&share.name)));
    let moved = owners::foresee(owners, claim.map(String::as_str), share);
    if let Some(refusal) = moved.err().filter(|_| facts.made) {
        return Err(not_owner(facts.config, share, refusal));
    }
    Ok(match (facts.made, &share.content_store) {
        (true, store) => format!("exists, with its content in {store}"),
        (false, _) => "is created at the start".to_owned(),
    })
}
