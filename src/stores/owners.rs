//! Which metadata store a share's content belongs to: recorded with the content, and held against the
//! metadata store at every start. So an old state of a share that was moved away is not served by mistake,
//! and a copy of a database is told from its original.
//!
//! The content has a mark for each share, by its root and name: the share's claim and where its metadata
//! store is. A copy of a share that was restored under another name has a mark of its own. The metadata store
//! has the claim as a setting, and which claim it replaces. A store that takes a share over writes its
//! setting first and the mark after it, so that a start that was killed in between, or another instance, goes
//! on with it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config;
use crate::content::{self, ContentStore};
use crate::metadata::{self, LOADED, MetadataStore, Share, StorePlace, claim_key};
use crate::types::utc_now;

/// How often a start tries again where other instances change the same records.
const ATTEMPTS: usize = 100;

/// The record that is kept with the content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owners {
    /// By the id of the share's root and the share's name.
    pub(crate) shares: BTreeMap<String, Mark>,
}

/// The owner of one share's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The share's name.
    pub(crate) share: String,
    /// New whenever a metadata store takes the share over.
    pub(crate) claim: Uuid,
    /// The metadata store.
    pub(crate) store: StorePlace,
    /// When that was (RFC 3339).
    pub(crate) since: String,
}

/// What a metadata store has of its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// The share was loaded and not served since.
    Loaded,
    /// It was served.
    Served { claim: Uuid, replaces: Option<Uuid> },
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded => f.write_str(LOADED),
            Self::Served { claim, replaces: None } => write!(f, "{claim}"),
            Self::Served { claim, replaces: Some(replaces) } => write!(f, "{claim} {replaces}"),
        }
    }
}

impl Claim {
    fn parse(text: &str) -> Result<Self, metadata::Error> {
        let parsed = || {
            let (claim, replaces) = match text.split_once(' ') {
                Some((claim, replaces)) => (claim, Some(Uuid::try_parse(replaces).ok()?)),
                None => (text, None),
            };
            Some(Self::Served { claim: Uuid::try_parse(claim).ok()?, replaces })
        };
        if text == LOADED {
            return Ok(Self::Loaded);
        }
        parsed().ok_or_else(|| {
            metadata::Error::Damaged(format!("{text:?} is not a valid claim of a share"))
        })
    }
}

/// Why a share is not served by its metadata store.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Another metadata store took it over.
    Moved(Mark),
    /// The metadata store is a copy of the one that has it.
    Copy(Mark),
    /// The record with the content cannot be read or written.
    Content(content::Error),
    /// The claim cannot be read or written.
    Metadata(metadata::Error),
}

impl Refusal {
    /// The error, where the reason is a full disk.
    pub(crate) fn is_full(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Content(error @ content::Error::NoSpace(_)) => Some(error),
            Self::Metadata(error @ metadata::Error::NoSpace(_)) => Some(error),
            Self::Content(_) | Self::Metadata(_) | Self::Moved(_) | Self::Copy(_) => None,
        }
    }
}

impl From<content::Error> for Refusal {
    fn from(error: content::Error) -> Self {
        Self::Content(error)
    }
}

impl From<metadata::Error> for Refusal {
    fn from(error: metadata::Error) -> Self {
        Self::Metadata(error)
    }
}

/// Where the metadata store of a start is, seen from the mark's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Same,
    /// It has taken that one's place.
    Successor,
    Other,
}

/// What a start does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Serve,
    /// It writes the mark with its claim.
    Mark,
    /// It makes a claim that replaces the mark's.
    Claim,
    /// The share was moved away.
    Moved,
    /// The metadata store is a copy.
    Copy,
}

fn judge(
    claim: Option<Claim>,
    mark: Option<Uuid>,
    relation: Relation,
    accepted: Option<Uuid>,
) -> Verdict {
    match (claim, mark) {
        // Content that earlier versions served has no mark, and what was loaded is meant to be served.
        (None, None) | (Some(Claim::Loaded), _) => Verdict::Claim,
        (Some(Claim::Served { .. }), None) => Verdict::Mark,
        (Some(Claim::Served { claim, .. }), Some(mark)) if claim == mark => match relation {
            Relation::Same => Verdict::Serve,
            Relation::Successor => Verdict::Mark,
            Relation::Other if accepted == Some(mark) => Verdict::Claim,
            Relation::Other => Verdict::Copy,
        },
        (Some(Claim::Served { replaces, .. }), Some(mark)) if replaces == Some(mark) => {
            Verdict::Mark
        }
        (_, Some(mark)) if accepted == Some(mark) => Verdict::Claim,
        (_, Some(_)) => Verdict::Moved,
    }
}

/// What the record has a share's mark under.
pub(crate) fn mark_key(share: &Share) -> String {
    format!("{} {}", share.root.0, share.name)
}

/// Reads the record.
pub(crate) fn parse(text: Option<&str>) -> Result<Owners, content::Error> {
    let parsed = text.map(serde_json::from_str).transpose();
    let damaged = |error: serde_json::Error| {
        let text = format!("the record of the content's owners is damaged: {error}");
        content::Error::Io(std::io::Error::other(text))
    };
    Ok(parsed.map_err(damaged)?.unwrap_or_default())
}

/// Finds that the share's content belongs to its metadata store, or makes it so. `accepted` is the claim that
/// the configuration lets it replace.
pub(crate) async fn settle(
    metadata: &dyn MetadataStore,
    content: &dyn ContentStore,
    share: &Share,
    accepted: Option<Uuid>,
) -> Result<(), Refusal> {
    if content.identity().is_none() {
        return Ok(());
    }
    let Some(place) = metadata.place().await? else { return Ok(()) };
    let key = claim_key(&share.name);
    let marked = mark_key(share);
    for _ in 0..ATTEMPTS {
        let text = content.owners().await?;
        let mut owners = parse(text.as_deref())?;
        let mark = owners.shares.get(&marked).cloned();
        let seen = metadata.setting(&key).await?;
        let claim = seen.as_deref().map(Claim::parse).transpose()?;
        let relation = match &mark {
            Some(mark) if mark.store.id == place.id => Relation::Same,
            Some(mark) if metadata.succeeds(&mark.store).await? => Relation::Successor,
            Some(_) | None => Relation::Other,
        };
        let present = mark.as_ref().map(|mark| mark.claim);
        match (judge(claim, present, relation, accepted), mark, claim) {
            (Verdict::Serve, _, _) => return Ok(()),
            (Verdict::Moved, Some(mark), _) => return Err(Refusal::Moved(mark)),
            (Verdict::Copy, Some(mark), _) => return Err(Refusal::Copy(mark)),
            (Verdict::Mark, before, Some(Claim::Served { claim, .. })) => {
                let fresh = Mark {
                    share: share.name.as_str().to_owned(),
                    claim,
                    store: place.clone(),
                    since: utc_now(),
                };
                owners.shares.insert(marked.clone(), fresh);
                let fresh = serde_json::to_string_pretty(&owners)
                    .map_err(|error| content::Error::Io(std::io::Error::other(error)))?;
                if content.set_owners(text.as_deref(), &fresh).await? {
                    told(share, before.as_ref(), &place);
                    return Ok(());
                }
            }
            (Verdict::Claim | Verdict::Mark | Verdict::Moved | Verdict::Copy, mark, _) => {
                let replaces = mark.map(|mark| mark.claim);
                let fresh = Claim::Served { claim: Uuid::now_v7(), replaces };
                // Of several instances the first decides; the others find its claim.
                metadata.set_setting(&key, seen.as_deref(), &fresh.to_string()).await?;
            }
        }
    }
    let text = "other processes change the records of the content's owners all the time";
    Err(metadata::Error::Unavailable(text.into()).into())
}

/// What a start would say that has the record and the setting alone, without the share's root. A copy is not
/// told from its original.
pub(crate) fn foresee(
    owners: Option<&str>,
    claim: Option<&str>,
    share: &config::Share,
) -> Result<(), Refusal> {
    let owners = parse(owners)?;
    let claim = claim.map(Claim::parse).transpose()?;
    let named = owners.shares.into_values().filter(|mark| mark.share == share.name.as_str());
    let verdict = |mark: &Mark| judge(claim, Some(mark.claim), Relation::Same, share.content_owner);
    let mut refused = None;
    for mark in named {
        match verdict(&mark) {
            Verdict::Moved | Verdict::Copy => refused = Some(mark),
            Verdict::Serve | Verdict::Mark | Verdict::Claim => return Ok(()),
        }
    }
    refused.map_or(Ok(()), |mark| Err(Refusal::Moved(mark)))
}

fn told(share: &Share, before: Option<&Mark>, place: &StorePlace) {
    match before {
        Some(before) if before.store != *place => tracing::info!(
            "{}: its content belonged to the metadata store at {} and now belongs to the one at {}",
            share.name,
            before.store.text,
            place.text
        ),
        Some(_) | None => {
            tracing::info!(
                "{}: its content belongs to the metadata store at {}",
                share.name,
                place.text
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_reads_as_it_was_written() {
        let [claim, other] = [(); 2].map(|()| Uuid::now_v7());
        for it in [
            Claim::Loaded,
            Claim::Served { claim, replaces: None },
            Claim::Served { claim, replaces: Some(other) },
        ] {
            assert_eq!(Claim::parse(&it.to_string()).unwrap(), it);
        }
        for text in ["", "x", "loaded x", &format!("{claim} x"), &format!("{claim} ")] {
            assert!(Claim::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn content_is_served_by_its_owner_alone() {
        let [own, other, third] = [(); 3].map(|()| Uuid::now_v7());
        let served = |replaces| Some(Claim::Served { claim: own, replaces });
        let loaded = Some(Claim::Loaded);
        use Relation::{Other, Same, Successor};
        for (claim, mark, relation, accepted, verdict) in [
            (None, None, Other, None, Verdict::Claim),
            (served(None), None, Other, None, Verdict::Mark),
            (served(None), Some(own), Same, None, Verdict::Serve),
            (served(Some(other)), Some(own), Same, None, Verdict::Serve),
            (served(Some(other)), Some(other), Other, None, Verdict::Mark),
            (served(None), Some(own), Successor, None, Verdict::Mark),
            (served(None), Some(own), Other, None, Verdict::Copy),
            (served(None), Some(own), Other, Some(other), Verdict::Copy),
            (served(None), Some(own), Other, Some(own), Verdict::Claim),
            (served(None), Some(other), Other, None, Verdict::Moved),
            (served(Some(third)), Some(other), Same, None, Verdict::Moved),
            (served(None), Some(other), Other, Some(third), Verdict::Moved),
            (served(None), Some(other), Other, Some(other), Verdict::Claim),
            (loaded, Some(other), Other, None, Verdict::Claim),
            (loaded, None, Other, None, Verdict::Claim),
            // An old state of before there were claims.
            (None, Some(other), Other, None, Verdict::Moved),
            (None, Some(other), Other, Some(other), Verdict::Claim),
        ] {
            let found = judge(claim, mark, relation, accepted);
            assert_eq!(found, verdict, "{claim:?} {mark:?} {relation:?} {accepted:?}");
        }
    }

    #[test]
    fn a_damaged_record_is_no_empty_one() {
        assert_eq!(parse(None).unwrap(), Owners::default());
        for text in ["", "{}", "[]", "{\"shares\":{\"x\":1}}"] {
            assert!(parse(Some(text)).is_err(), "{text}");
        }
    }
}
