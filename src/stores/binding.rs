//! Where a share's content is: recorded in the share's metadata store when it is first served, and held against
//! what the configuration names at every start. A share is never served over content that is not its own.
//!
//! The record is a setting of the metadata store: the identity of the content, and the name that its store had in the
//! configuration.

use std::fmt;

use uuid::Uuid;

use crate::content::CreateMode;
use crate::metadata::{self, MetadataStore};
use crate::types::{ContentIdentity, ShareName};

/// Where a share's content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The content.
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

/// Records where a share's content is, whatever was recorded before: for whoever brings a share in together with its
/// content.
///
/// # Errors
/// The store's.
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

/// Whether content may be made for a share: not where the share has some already, unless the
/// configuration accepts other content.
pub(super) fn making(recorded: Option<&Binding>, accepted: Option<ContentIdentity>) -> CreateMode {
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
pub(super) fn judge(
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
        assert_eq!(making(None, None), CreateMode::Allowed);
        assert_eq!(making(Some(&binding), None), CreateMode::Never);
        assert_eq!(making(Some(&binding), Some(identity)), CreateMode::As(identity));
        assert_eq!(strictest(CreateMode::Allowed, CreateMode::Never), CreateMode::Never);
        assert_eq!(strictest(CreateMode::As(identity), CreateMode::Never), CreateMode::Never);
        assert_eq!(
            strictest(CreateMode::As(identity), CreateMode::Allowed),
            CreateMode::As(identity)
        );
    }
}
