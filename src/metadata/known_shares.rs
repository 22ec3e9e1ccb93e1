//! The shares that the process has read. A share is made once and never changes, so what was read holds for
//! as long as the process runs.

use std::collections::HashMap;

use parking_lot::RwLock;

use super::{Capabilities, Share};
use crate::types::{Fsid, ShareId};

/// The shares of one store, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct KnownShares(RwLock<HashMap<ShareId, Share>>);

impl KnownShares {
    /// A share; `None` where none of that number is known.
    pub(super) fn find(&self, id: ShareId) -> Option<Share> {
        self.0.read().get(&id).cloned()
    }

    /// A share's file system identity and capabilities.
    pub(super) fn facts(&self, id: ShareId) -> Option<(Fsid, Capabilities)> {
        self.0.read().get(&id).map(|share| (share.fsid, share.capabilities))
    }

    /// A share's file system identity.
    pub(super) fn fsid(&self, id: ShareId) -> Option<Fsid> {
        self.facts(id).map(|(fsid, _)| fsid)
    }

    /// The share that has a file system identity.
    pub(super) fn by_fsid(&self, fsid: Fsid) -> Option<ShareId> {
        self.0.read().values().find(|share| share.fsid == fsid).map(|share| share.id)
    }

    /// Shares that were read.
    pub(super) fn add(&self, shares: &[Share]) {
        self.0.write().extend(shares.iter().map(|share| (share.id, share.clone())));
    }
}
