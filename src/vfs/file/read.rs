//! READ (RFC 1813 section 3.3.6).

use bytes::Bytes;

use crate::content;
use crate::metadata::{self, rules};
use crate::types::{Attributes, Caller, Context, FileHandle, ObjectId, Phase};
use crate::vfs::export::{Export, Intent};
use crate::vfs::{Data, Error, Failure, ReadDone, Result, Vfs};

/// How often a read is begun anew because the file was truncated or replaced meanwhile.
const ATTEMPTS: usize = 8;

impl Vfs {
    /// Reads up to `count` bytes, at most the share's `max_read`.
    pub async fn read(
        &self,
        caller: &Caller,
        handle: &FileHandle,
        offset: u64,
        count: u32,
    ) -> Result<ReadDone> {
        let (export, cx) = self.enter(caller, handle, Intent::Read).await?;
        let mut previous = None;
        for _ in 0..ATTEMPTS {
            let committed = export.metadata.getattr(&cx, handle.object).await?;
            if let Some(content) = committed.content {
                export.content.observed(content.id, committed.ctime);
            }
            let attributes = export.with_overlay(committed);
            if let Err(error) = rules::may_read(&cx.credentials, &attributes) {
                return Err(Failure::of(error, &attributes));
            }
            if let Some(data) = export.bytes(&cx, &attributes, offset, count).await? {
                return Ok(export.read_done(&cx, attributes, offset, data));
            }
            let state = (attributes.content, attributes.size);
            if previous.replace(state) == Some(state) {
                return Err(content_lost(&attributes));
            }
        }
        Err(Error::Busy.into())
    }
}

impl Export {
    /// The bytes that the file has in the range; `None` where its content has fewer.
    async fn bytes(
        &self,
        cx: &Context,
        file: &Attributes,
        offset: u64,
        count: u32,
    ) -> Result<Option<Data>> {
        let count = count.min(self.share.capabilities.max_read);
        let there = file.size.saturating_sub(offset).min(u64::from(count));
        if there == 0 {
            return Ok(Some(Data::Bytes(Bytes::new())));
        }
        let content = content_of(file)?;
        let wanted = usize::try_from(there).unwrap_or(usize::MAX);
        let stored = self.content_length(file.size).saturating_sub(offset).min(there);
        let stored = usize::try_from(stored).unwrap_or(usize::MAX);
        if stored == wanted
            && stored >= content::PAGES_FROM
            && let Some(pages) = self.content.pages(content.id, offset, stored)
        {
            return Ok(Some(Data::Pages(pages)));
        }
        let read = self.content.read(&cx.call, content.id, offset, stored);
        match cx.call.timing.timed(Phase::Content, read).await {
            Ok(data) if data.len() == wanted => Ok(Some(Data::Bytes(data))),
            Ok(data) if data.len() == stored => {
                let mut bytes = data.to_vec();
                bytes.resize(wanted, 0);
                Ok(Some(Data::Bytes(bytes.into())))
            }
            Ok(_) | Err(content::Error::Missing(_)) => Ok(None),
            Err(error) => Err(Failure::of(error, file)),
        }
    }

    fn read_done(
        &self,
        cx: &Context,
        mut attributes: Attributes,
        offset: u64,
        data: Data,
    ) -> ReadDone {
        if rules::moves_atime(&attributes, cx.now) {
            self.files.record_access(attributes.id, cx.now);
            attributes.atime = cx.now;
        }
        let end = offset.saturating_add(data.len() as u64);
        ReadDone { eof: end >= attributes.size, data, attributes }
    }
}

/// The namespace has a size that the content has no bytes for: said loudly, never shown as zeros.
pub(super) fn content_lost(file: &Attributes) -> Failure {
    match content_of(file) {
        Ok(content) => {
            Failure::of(Error::ContentLost { content: content.id, size: file.size }, file)
        }
        Err(failure) => failure,
    }
}

/// Where a regular file's bytes are.
pub(super) fn content_of(file: &Attributes) -> Result<crate::types::ContentRef> {
    let damaged = || damaged(file.id);
    Ok(file.content.ok_or_else(damaged)?)
}

fn damaged(file: ObjectId) -> metadata::Error {
    metadata::Error::Damaged(format!("regular file {file} has no content id"))
}
