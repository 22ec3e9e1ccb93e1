//! Why a share is not served over the content that the configuration names: what is wrong, where, and what to
//! write where it is meant.

use uuid::Uuid;

use crate::types::{ContentIdentity, ShareName};

/// Why a share is not served over the content that the configuration names.
#[derive(Debug, thiserror::Error)]
pub enum BindingError {
    /// The share has other content.
    #[error(
        "the share {share} keeps its content in the content store {recorded} (identity {identity}), but its \
         content_store {store} ({place}) holds {}: correct content_store or its settings, mount its disk, or \
         move all the content there{}",
        other(*found),
        continuing(*found)
    )]
    Elsewhere {
        share: ShareName,
        /// The name that its content store had when it was last served.
        recorded: String,
        identity: ContentIdentity,
        store: String,
        place: String,
        found: Option<ContentIdentity>,
    },
    /// There is no content where the share's must be.
    #[error(
        "the share {share} keeps its content in the content store {recorded} (identity {identity}), but its \
         content_store {store} ({place}) holds no TrunkFS content: mount its disk, or correct the store's \
         settings; to continue with an empty store, and lose the content of all existing files, write \
         content_identity: {fresh} under the share"
    )]
    Absent {
        share: ShareName,
        /// The name that its content store had when it was last served.
        recorded: String,
        identity: ContentIdentity,
        store: String,
        place: String,
        /// An identity that nothing has.
        fresh: ContentIdentity,
    },
    /// The configuration accepts content that is not there.
    #[error(
        "the content_identity of the share {share} is {accepted}, but its content_store {store} ({place}) \
         holds {}: correct content_store, or remove content_identity",
        other(*found)
    )]
    NotAccepted {
        share: ShareName,
        accepted: ContentIdentity,
        store: String,
        place: String,
        found: Option<ContentIdentity>,
    },
    /// A new share would begin beside content that belongs to no share of its metadata store.
    #[error(
        "the metadata store {metadata} has no share {share} yet, but its content_store {store} ({place}) \
         holds content of shares unknown to this metadata store: use the metadata store that has the share, \
         or an empty content store; to create a new share beside that content, write content_identity: \
         {found} under the share"
    )]
    Leftover {
        share: ShareName,
        metadata: String,
        store: String,
        place: String,
        found: ContentIdentity,
    },
    /// A new share would begin over the content of one that the configuration has lost.
    #[error(
        "the metadata store {metadata} has no share {share}, but it has {other} over the same content \
         (content_store {store}, {place}), which is not in the configuration: a share cannot be renamed, so \
         write name: {other} if that is the share; to create a new, empty share beside it, write \
         content_identity: {found} under {share}"
    )]
    Renamed {
        share: ShareName,
        other: ShareName,
        metadata: String,
        store: String,
        place: String,
        found: ContentIdentity,
    },
    /// A new share would begin in one metadata store while another has it.
    #[error(
        "the metadata store {metadata} has no share {share}, but the metadata store {other} has it: write \
         metadata_store: {other}, or move it there (trunkfs dump --store {other} --share {share} FILE, \
         trunkfs load --store {metadata} FILE); to create a new, empty share, write content_identity: \
         {accepting} under the share"
    )]
    Moved {
        share: ShareName,
        metadata: String,
        other: String,
        /// The identity of the content that is there, or one that nothing has.
        accepting: ContentIdentity,
    },
    /// Another metadata store took the share over.
    #[error(
        "the share {share} was moved: its content in {store} ({place}) belongs to the metadata store at \
         {owner} since {since}, and the metadata store {metadata} ({own}) has an old state of the share, \
         whose files may have lost their content: use the metadata store that has the share now; to serve \
         the old state anyway, and refuse the other store from then on, write content_owner: {claim} under \
         the share"
    )]
    MovedAway {
        share: ShareName,
        metadata: String,
        own: String,
        store: String,
        place: String,
        owner: String,
        since: String,
        claim: Uuid,
    },
    /// The metadata store is a copy of the one that has the share.
    #[error(
        "the metadata store {metadata} ({own}) is a copy of the one at {owner}, to which the content of the \
         share {share} in {store} ({place}) belongs since {since}: give the copy its own copy of the \
         content, in another folder or bucket; if it replaces the original for good, write content_owner: \
         {claim} under the share, and the original is refused from then on"
    )]
    Copy {
        share: ShareName,
        metadata: String,
        own: String,
        store: String,
        place: String,
        owner: String,
        since: String,
        claim: Uuid,
    },
    /// Two content stores are one.
    #[error(
        "the content stores {one} and {other} hold the same content ({identity}): one is a copy of the \
         other, or both are the same place; use only the one that was served last"
    )]
    Twins { one: String, other: String, identity: ContentIdentity },
}

fn other(found: Option<ContentIdentity>) -> String {
    found.map_or("content in memory".to_owned(), |it| format!("the content {it}"))
}

fn continuing(found: Option<ContentIdentity>) -> String {
    found.map_or(String::new(), |it| {
        format!(
            "; to continue with that content, and lose the content of all existing files, write \
             content_identity: {it} under the share"
        )
    })
}
