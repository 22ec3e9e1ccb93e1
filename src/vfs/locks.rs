//! Who may lock a file. The locks themselves are the metadata store's, and no READ or WRITE looks at them.

use super::export::Intent;
use super::{Error, Vfs};
use crate::metadata::rules;
use crate::types::{Caller, FileHandle};

impl Vfs {
    /// Whether the caller may lock a file, or ask for its locks: the share's rules, then permission. A share
    /// that is read-only has locks too.
    ///
    /// # Errors
    /// Those of the rules, of GETATTR, and of [`rules::may_lock`].
    pub async fn may_lock(&self, caller: &Caller, file: &FileHandle) -> Result<(), Error> {
        let (export, cx) = self.enter(caller, file, Intent::Lock).await?;
        let attributes = export.metadata.getattr(&cx, file.object).await?;
        Ok(rules::may_lock(&cx.credentials, &attributes)?)
    }
}
