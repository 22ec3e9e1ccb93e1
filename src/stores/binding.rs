//! Where a share's content is: recorded in the share's metadata store when it is first served, and held
//! against what the configuration names at every start. A share is never served over content that is not its
//! own.
//!
//! The record is a setting of the metadata store: the identity of the content, and the name that its store
//! had in the configuration.

use std::collections::BTreeMap;
use std::fmt;

use uuid::Uuid;

use super::StoreError;
use super::binding_error::BindingError;
use crate::config::{self, Config};
use crate::content::{CreateMode, Service};
use crate::metadata::{self, MetadataStore};
use crate::types::{ContentIdentity, ShareName};

/// Where a share's content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub identity: ContentIdentity,
    /// The name of its store in the configuration when it was recorded.
    pub store: String,
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.identity, self.store)
    }
}

impl Binding {
    pub(super) fn parse(text: &str) -> Result<Self, metadata::Error> {
        let parts = text.split_once(' ');
        let binding = parts.and_then(|(identity, store)| {
            let identity = ContentIdentity(Uuid::try_parse(identity).ok()?);
            Some(Self { identity, store: store.to_owned() })
        });
        binding.ok_or_else(|| {
            metadata::Error::Damaged(format!("{text:?} does not say where a share's content is"))
        })
    }
}

pub(super) fn key(share: &ShareName) -> String {
    format!("content of {share}")
}

/// What is recorded of a share.
pub(super) async fn recorded(
    store: &dyn MetadataStore,
    share: &ShareName,
) -> Result<Option<Binding>, metadata::Error> {
    store.setting(&key(share)).await?.map(|text| Binding::parse(&text)).transpose()
}

/// Records where a share's content is, and answers with what is recorded then: another instance may have been
/// first.
pub(super) async fn record(
    store: &dyn MetadataStore,
    share: &ShareName,
    seen: Option<&Binding>,
    binding: &Binding,
) -> Result<Option<Binding>, metadata::Error> {
    let seen = seen.map(Binding::to_string);
    let now = store.set_setting(&key(share), seen.as_deref(), &binding.to_string()).await?;
    now.map(|text| Binding::parse(&text)).transpose()
}

/// Records where a share's content is, whatever was recorded before: for a restore, which brings a share in
/// with its content.
pub async fn settle_binding(
    store: &dyn MetadataStore,
    share: &ShareName,
    binding: &Binding,
) -> Result<(), metadata::Error> {
    let mut seen = recorded(store, share).await?;
    while seen.as_ref() != Some(binding) {
        seen = record(store, share, seen.as_ref(), binding).await?;
    }
    Ok(())
}

/// What is known of a share before its content is opened.
pub(super) struct Facts<'c> {
    pub(super) config: &'c Config,
    pub(super) share: &'c config::Share,
    pub(super) recorded: Option<Binding>,
    /// Whether its metadata store has it.
    pub(super) made: bool,
    /// The other shares of its metadata store.
    pub(super) others: Vec<(ShareName, Option<Binding>)>,
}

/// What a share's content store has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// Content; without an identity where it goes with the process, or was made before there were identities.
    Content(Option<ContentIdentity>),
    Nothing,
}

/// What a start does with a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Content is created for it.
    Create {
        /// Whether the share had content, which it loses as the configuration permits.
        replaces: bool,
    },
    /// It is served over the content that was found.
    Serve(Serving),
}

/// How a share is served over the content that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Serving {
    /// What is recorded of it.
    pub(super) verdict: Verdict,
    /// Whether content that is not empty is refused: see [`Facts::leftover`].
    pub(super) only_if_empty: bool,
}

/// What a start does with a share, of which this was found.
pub(super) fn plan(facts: &Facts<'_>, found: Found) -> Result<Plan, StoreError> {
    match (found, facts.create_mode(), &facts.recorded) {
        (Found::Content(identity), _, _) => facts.serve(identity).map(Plan::Serve),
        (Found::Nothing, CreateMode::Never | CreateMode::ReadOnly, Some(binding)) => {
            Err(facts.missing(binding).into())
        }
        (Found::Nothing, CreateMode::As(_), Some(_)) => Ok(Plan::Create { replaces: true }),
        (Found::Nothing, _, _) => Ok(Plan::Create { replaces: false }),
    }
}

impl Facts<'_> {
    /// Whether the start creates it, and the configuration does not name its content.
    pub(super) fn begins(&self) -> bool {
        let metadata = self.config.metadata.get(&self.share.metadata_store);
        let lasting =
            metadata.is_some_and(|metadata| !matches!(metadata, config::Metadata::Memory { .. }));
        let known = self.made || self.recorded.is_some();
        lasting && !known && self.share.content_identity.is_none()
    }

    pub(super) fn create_mode(&self) -> CreateMode {
        create_mode(self.recorded.as_ref(), self.share.content_identity)
    }

    /// How the share is served over content of this identity.
    pub(super) fn serve(&self, found: Option<ContentIdentity>) -> Result<Serving, StoreError> {
        let verdict = self.judge(self.recorded.as_ref(), found)?;
        let only_if_empty = match found {
            Some(found) => self.begins() && !self.shared(found)?,
            None => false,
        };
        Ok(Serving { verdict, only_if_empty })
    }

    /// The record against the content that was found.
    pub(super) fn judge(
        &self,
        recorded: Option<&Binding>,
        found: Option<ContentIdentity>,
    ) -> Result<Verdict, StoreError> {
        let share = self.share;
        let (store, place) = (share.content_store.clone(), self.place());
        let verdict = judge(recorded, found, &store, share.content_identity);
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

    /// The error of a share that begins while the metadata store `other` has it.
    pub(super) fn moved(&self, other: String, found: Option<ContentIdentity>) -> BindingError {
        BindingError::Moved {
            share: self.share.name.clone(),
            metadata: self.share.metadata_store.clone(),
            other,
            accepting: found.unwrap_or_else(ContentIdentity::generate),
        }
    }

    /// The error of a new share in a new database over content that is full. The database was lost or
    /// mistaken: a collection of unused content would remove all of it.
    pub(super) fn leftover(&self, found: ContentIdentity) -> BindingError {
        BindingError::Leftover {
            share: self.share.name.clone(),
            metadata: self.share.metadata_store.clone(),
            store: self.share.content_store.clone(),
            place: self.place(),
            found,
        }
    }

    fn missing(&self, binding: &Binding) -> BindingError {
        BindingError::Absent {
            share: self.share.name.clone(),
            recorded: binding.store.clone(),
            identity: binding.identity,
            store: self.share.content_store.clone(),
            place: self.place(),
            fresh: ContentIdentity::generate(),
        }
    }

    /// Whether other shares of the metadata store have the content over which the share begins. One that the
    /// configuration does not name is an error: it may be this one, under the name that it had.
    fn shared(&self, found: ContentIdentity) -> Result<bool, StoreError> {
        let share = self.share;
        let on_it = |it: &Option<Binding>| it.as_ref().is_some_and(|it| it.identity == found);
        let mut others = self.others.iter().filter(|(_, it)| on_it(it)).map(|(name, _)| name);
        let named = |name: &ShareName| {
            let mut shares = self.config.shares.iter();
            shares.any(|it| it.metadata_store == share.metadata_store && it.name == *name)
        };
        if let Some(other) = others.clone().find(|name| !named(name)) {
            return Err(BindingError::Renamed {
                share: share.name.clone(),
                other: other.clone(),
                metadata: share.metadata_store.clone(),
                store: share.content_store.clone(),
                place: self.place(),
                found,
            }
            .into());
        }
        Ok(others.next().is_some())
    }

    fn place(&self) -> String {
        place(self.config, self.share)
    }
}

/// Where a content store is, for messages.
pub(super) fn place(config: &Config, share: &config::Share) -> String {
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

/// Whether content may be made for a share: not where the share has some already, unless the
/// configuration accepts other content.
fn create_mode(recorded: Option<&Binding>, accepted: Option<ContentIdentity>) -> CreateMode {
    match (recorded, accepted) {
        (_, Some(identity)) => CreateMode::As(identity),
        (Some(_), None) => CreateMode::Never,
        (None, None) => CreateMode::Allowed,
    }
}

/// What holds for several shares of one content store: the strictest.
pub(super) fn strictest(one: CreateMode, other: CreateMode) -> CreateMode {
    match (one, other) {
        (CreateMode::Never | CreateMode::ReadOnly, _)
        | (_, CreateMode::Never | CreateMode::ReadOnly) => CreateMode::Never,
        (CreateMode::As(identity), _) | (_, CreateMode::As(identity)) => CreateMode::As(identity),
        (CreateMode::Allowed, CreateMode::Allowed) => CreateMode::Allowed,
    }
}

/// What to do with a share whose record and content are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is served as it is.
    Serve,
    /// It is served, and recorded.
    Record,
    /// It is served over other content than before, as the configuration accepts, and recorded.
    Replace,
    /// Its content is elsewhere.
    Elsewhere,
    /// The configuration accepts other content than what is there.
    NotAccepted,
}

/// Holds the record against the content that the configuration names, which is `found` and under `store`.
fn judge(
    recorded: Option<&Binding>,
    found: Option<ContentIdentity>,
    store: &str,
    accepted: Option<ContentIdentity>,
) -> Verdict {
    match (recorded, found) {
        (Some(binding), Some(found)) if binding.identity == found => {
            if binding.store == store {
                Verdict::Serve
            } else {
                Verdict::Record
            }
        }
        (Some(_), Some(_)) if accepted == found => Verdict::Replace,
        (Some(_), _) => Verdict::Elsewhere,
        (None, found) if accepted.is_some() && accepted != found => Verdict::NotAccepted,
        (None, Some(_)) => Verdict::Record,
        // In memory: there is nothing to find again.
        (None, None) => Verdict::Serve,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written() {
        let binding = Binding { identity: ContentIdentity::generate(), store: "disk_2".to_owned() };
        assert_eq!(Binding::parse(&binding.to_string()).unwrap(), binding);
        for text in ["", "disk", "x disk", &binding.identity.to_string()] {
            assert!(Binding::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn content_that_is_not_the_shares_is_not_served() {
        let [one, other] = [(); 2].map(|()| ContentIdentity::generate());
        let binding = Binding { identity: one, store: "disk".to_owned() };
        let binding = Some(&binding);
        for (recorded, found, store, accepted, verdict) in [
            (binding, Some(one), "disk", None, Verdict::Serve),
            (binding, Some(one), "renamed", None, Verdict::Record),
            (binding, Some(one), "disk", Some(other), Verdict::Serve),
            (binding, Some(other), "disk", None, Verdict::Elsewhere),
            (binding, Some(other), "disk", Some(other), Verdict::Replace),
            (binding, Some(other), "disk", Some(one), Verdict::Elsewhere),
            (binding, None, "memory", None, Verdict::Elsewhere),
            (None, Some(one), "disk", None, Verdict::Record),
            (None, Some(one), "disk", Some(one), Verdict::Record),
            (None, Some(one), "disk", Some(other), Verdict::NotAccepted),
            (None, None, "memory", Some(one), Verdict::NotAccepted),
            (None, None, "memory", None, Verdict::Serve),
        ] {
            assert_eq!(judge(recorded, found, store, accepted), verdict, "{recorded:?} {found:?}");
        }
    }

    #[test]
    fn content_is_made_for_new_shares_alone() {
        let identity = ContentIdentity::generate();
        let binding = Binding { identity, store: "disk".to_owned() };
        assert_eq!(create_mode(None, None), CreateMode::Allowed);
        assert_eq!(create_mode(Some(&binding), None), CreateMode::Never);
        assert_eq!(create_mode(Some(&binding), Some(identity)), CreateMode::As(identity));
        assert_eq!(strictest(CreateMode::Allowed, CreateMode::Never), CreateMode::Never);
        assert_eq!(strictest(CreateMode::As(identity), CreateMode::Never), CreateMode::Never);
        assert_eq!(
            strictest(CreateMode::As(identity), CreateMode::Allowed),
            CreateMode::As(identity)
        );
    }
}
