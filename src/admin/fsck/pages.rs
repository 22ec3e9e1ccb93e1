//! A store's objects and entries, a page at a time.

use crate::metadata::{Checker, EntryState, Error, ObjectState};
use crate::types::ObjectId;

/// How much is read and kept at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows of a page: few enough to be one short read, many enough that the way to the store and back counts
    /// little.
    pub page: u32,
    /// How many objects are counted in one scan of all entries, at 72 bytes of memory each. More take further
    /// scans.
    pub counted: usize,
}

impl Default for Extent {
    fn default() -> Self {
        Self { page: 1024, counted: 4 << 20 }
    }
}

/// Where a scan of all objects is.
#[derive(Debug, Default)]
pub(super) struct Objects {
    after: Option<ObjectId>,
    ended: bool,
}

impl Objects {
    /// The next page; `None` behind the last.
    pub(super) async fn next(
        &mut self,
        checker: &dyn Checker,
        rows: u32,
    ) -> Result<Option<Vec<ObjectState>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let page = checker.objects(self.after, rows).await?;
        self.ended = page.len() < rows as usize;
        self.after = page.last().map(|last| last.id);
        Ok((!page.is_empty()).then_some(page))
    }
}

/// Where a scan of all entries is.
#[derive(Debug, Default)]
pub(super) struct Entries {
    after: Option<(ObjectId, Vec<u8>)>,
    ended: bool,
}

impl Entries {
    /// The next page; `None` behind the last.
    pub(super) async fn next(
        &mut self,
        checker: &dyn Checker,
        rows: u32,
    ) -> Result<Option<Vec<EntryState>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let after = self.after.as_ref().map(|(directory, name)| (*directory, &name[..]));
        let page = checker.entries(after, rows).await?;
        self.ended = page.len() < rows as usize;
        self.after = page.last().map(|last| (last.directory, last.name.clone()));
        Ok((!page.is_empty()).then_some(page))
    }
}
