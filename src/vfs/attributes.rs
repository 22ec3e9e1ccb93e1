//! Attributes: GETATTR, SETATTR, ACCESS and the calls about the file system.

use super::export::{Export, Intent};
use super::{AccessDone, Error, Failure, Result, Vfs};
use crate::content::Capacity;
use crate::metadata::{Capabilities, Change, SetAttributes, rules};
use crate::types::{Attributes, Caller, Context, FileHandle, ObjectId};

/// What is shown as free where a store has no bound: a pebibyte, so that no client's sum overflows.
const UNBOUNDED_BYTES: u64 = 1 << 50;
/// Objects that are shown as free: no store has a bound of its own.
const UNBOUNDED_FILES: u64 = 1 << 32;

/// FSSTAT's answer (RFC 1813 section 3.3.18).
#[derive(Clone, Debug)]
pub struct FsStat {
    /// The object of the call.
    pub attributes: Attributes,
    /// Size of the file system in bytes.
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// Bytes free to the caller.
    pub available_bytes: u64,
    /// Objects in all, free ones included.
    pub total_files: u64,
    /// Free objects.
    pub free_files: u64,
    /// Objects free to the caller.
    pub available_files: u64,
}

impl Vfs {
    /// GETATTR (section 3.3.1).
    pub async fn getattr(&self, caller: &Caller, handle: &FileHandle) -> Result<Attributes> {
        let (export, cx) = self.enter(caller, handle, Intent::Attach).await?;
        Ok(export.with_overlay(export.metadata.getattr(&cx, handle.object).await?))
    }

    /// SETATTR (section 3.3.2).
    pub async fn setattr(
        &self,
        caller: &Caller,
        handle: &FileHandle,
        set: &SetAttributes,
    ) -> Result<Change> {
        let (export, cx) = self.enter(caller, handle, Intent::Write).await?;
        if set.guard.is_none() {
            return export.setattr(&cx, handle.object, set).await;
        }
        let cx = cx.recorded(caller);
        if export.done_before(&cx, None).await?.is_some() {
            return export.present(&cx, handle).await;
        }
        let failure = match export.setattr(&cx, handle.object, set).await {
            Ok(change) => return Ok(change),
            Err(failure) => failure,
        };
        if let Error::Metadata(refused) = &failure.error
            && export.done_before(&cx, Some(refused)).await?.is_some()
        {
            return export.present(&cx, handle).await;
        }
        Err(failure)
    }

    /// ACCESS (section 3.3.4): what the mode bits grant, nothing of it that writes on a read-only
    /// export.
    pub async fn access(
        &self,
        caller: &Caller,
        handle: &FileHandle,
        requested: u32,
    ) -> Result<AccessDone> {
        let (export, cx) = self.enter(caller, handle, Intent::Read).await?;
        let attributes = export.seen(&cx, handle.object).await?;
        let mut granted = rules::access(&cx.credentials, &attributes, requested);
        if Self::is_read_only(&export, caller) {
            granted &= !rules::access::WRITING;
        }
        Ok(AccessDone { granted, attributes })
    }

    /// FSSTAT (section 3.3.18), from counters that are at most five seconds old.
    pub async fn fsstat(&self, caller: &Caller, handle: &FileHandle) -> Result<FsStat> {
        let (export, cx) = self.enter(caller, handle, Intent::Attach).await?;
        let attributes = export.seen(&cx, handle.object).await?;
        let usage = export.metadata.usage(export.share.id).await;
        let usage = usage.map_err(|error| Failure::of(error, &attributes))?;
        let capacity = export.content.capacity().await;
        let capacity = capacity.map_err(|error| Failure::of(error, &attributes))?;
        let capacity = capacity.unwrap_or(Capacity {
            total: usage.bytes.saturating_add(UNBOUNDED_BYTES),
            free: UNBOUNDED_BYTES,
            available: UNBOUNDED_BYTES,
        });
        Ok(FsStat {
            attributes,
            total_bytes: capacity.total,
            free_bytes: capacity.free,
            available_bytes: capacity.available,
            total_files: usage.objects.saturating_add(UNBOUNDED_FILES),
            free_files: UNBOUNDED_FILES,
            available_files: UNBOUNDED_FILES,
        })
    }

    /// FSINFO (section 3.3.19).
    pub async fn fsinfo(
        &self,
        caller: &Caller,
        handle: &FileHandle,
    ) -> Result<(Attributes, Capabilities)> {
        let (export, cx) = self.enter(caller, handle, Intent::Attach).await?;
        Ok((export.seen(&cx, handle.object).await?, export.share.capabilities))
    }

    /// PATHCONF (section 3.3.20).
    pub async fn pathconf(
        &self,
        caller: &Caller,
        handle: &FileHandle,
    ) -> Result<(Attributes, Capabilities)> {
        self.fsinfo(caller, handle).await
    }
}

impl Export {
    /// An object's attributes as clients see them.
    pub(super) async fn seen(&self, cx: &Context, object: ObjectId) -> Result<Attributes> {
        Ok(self.with_overlay(self.metadata.getattr(cx, object).await?))
    }
}
