//! Files that several servers may write to.
//!
//! A server that stands still for a while may do at any later time what it was about to do, and nothing keeps
//! its bytes from a shared folder. So nothing is cut off or zeroed where it is: a file that becomes shorter
//! gets other content, a copy of its first bytes, in the one update that sets the size, and only if the file
//! is still what the copy was made from. What is written late to the content of before is nobody's. Beyond
//! the end of such content lies only what was written to this file, there, since it got that content.
//!
//! A server knows of the writes that came to itself. A COMMIT that comes to another one is answered with
//! another verifier, so the client sends its data again; a client whose calls are spread over servers for
//! good would never end. A server that finds signs of that answers writes to the file when they are durable,
//! and a COMMIT for writes that are all unknown moves the content's version, which every server sees.

use std::time::Duration;

use super::flush::FlushFor;
use super::read::{content_lost, content_of};
use super::state::FileState;
use crate::content;
use crate::metadata::{self, Change, NewContent, SetAttributes, rules};
use crate::types::{Attributes, ContentId, Context, FileType, ObjectId, Phase};
use crate::vfs::export::{BACKGROUND_TIME, Export};
use crate::vfs::{Error, Failure, Result};

/// How often a file's content is made anew because others change the file meanwhile.
pub(super) const ATTEMPTS: usize = 8;
/// How long other servers' writes are waited for that are under way beyond a file's end.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
];

impl Export {
    /// Whether no other server writes to the share's files.
    pub(super) fn is_alone(&self) -> bool {
        self.metadata.sole().is_some()
    }

    /// Whether writes to the file are durable before they are answered, whatever the client asks for. Bytes
    /// that wait in one server's memory might be stored after others that came later, to another server.
    pub(super) fn writes_through(&self, state: &FileState) -> bool {
        !self.is_alone() && (!self.content.shares_uncommitted() || state.overlay.lock().is_spread())
    }

    /// Notes a sign that calls for the file come to several servers.
    pub(super) fn note_spread(&self, state: &FileState) {
        if !self.is_alone() {
            state.overlay.lock().set_spread();
        }
    }

    /// A COMMIT that is for writes to other servers: their unflushed writes are theirs no more, so that the
    /// client sends these again and they are durable before the answer.
    pub(super) async fn tell_of_missed_writes(
        &self,
        cx: &Context,
        file: &Attributes,
    ) -> Result<()> {
        let state = self.files.hold(file.id);
        if !state.overlay.lock().misses_writes() {
            return Ok(());
        }
        self.note_spread(&state);
        let Some(content) = self.metadata.getattr(cx, file.id).await?.content else {
            return Ok(());
        };
        // Where it has moved already, whoever has unflushed writes finds that too.
        self.metadata.begin_zeroing(cx, file.id, content).await?;
        Ok(())
    }

    /// SETATTR of a size, alone against the file's writers in this process.
    pub(super) async fn replace_to_size(
        &self,
        cx: &Context,
        object: ObjectId,
        state: &FileState,
        set: &SetAttributes,
        size: u64,
    ) -> Result<Change> {
        let mut lost = None;
        for _ in 0..ATTEMPTS {
            let file = self.metadata.getattr(cx, object).await?;
            let (fresh, max) = (ContentId::generate(), self.share.capabilities.max_file_size);
            rules::set_attributes(&cx.credentials, &file, set, max, fresh, cx.now)
                .map_err(|error| Failure::of(error, &file))?;
            let new = match self.content_of_size(cx, &file, size).await? {
                Made::Ready(new) => new,
                Made::Short
                    if lost.replace((file.content, file.size))
                        == Some((file.content, file.size)) =>
                {
                    return Err(content_lost(&file));
                }
                Made::Short => continue,
            };
            let set = SetAttributes { content: new, ..set.clone() };
            if let Some(change) = self.set_content(cx, state, &file, &set).await? {
                return Ok(change);
            }
        }
        Err(Error::Busy.into())
    }

    /// Makes sure that nothing but zeros lies between the end that clients see and what is written next.
    pub(super) async fn replace_tail(
        &self,
        cx: &Context,
        object: ObjectId,
        state: &FileState,
    ) -> Result<()> {
        for pause in PAUSES {
            if self.is_tail_clean(cx, object, state).await? {
                return Ok(());
            }
            // What another server is writing becomes a part of the file.
            if cx.call.within(tokio::time::sleep(pause)).await.is_none() {
                return Err(Error::Busy.into());
            }
        }
        let _alone = state.io.write().await;
        if self.is_tail_clean(cx, object, state).await? {
            return Ok(());
        }
        self.note_spread(state);
        self.flush(cx, object, state, None, FlushFor::ExclusiveCall).await?;
        let file = self.committed(cx, object, state).await?;
        let new = if file.size == 0 {
            let content = content_of(&file)?;
            Some(NewContent { replaces: content, ctime: file.ctime, id: content.id })
        } else {
            match self.copy_of(cx, &file, file.size).await? {
                Made::Ready(new) => new,
                Made::Short => return Ok(()),
            }
        };
        let set = SetAttributes { size: Some(file.size), content: new, ..SetAttributes::default() };
        // Where the file has changed meanwhile, the write looks again.
        self.set_content(cx, state, &file, &set).await?;
        Ok(())
    }

    /// Whether the content ends where clients see the file end. What came to lie beyond it later was written
    /// there.
    async fn is_tail_clean(
        &self,
        cx: &Context,
        object: ObjectId,
        state: &FileState,
    ) -> Result<bool> {
        let mut file = self.committed(cx, object, state).await?;
        state.overlay.lock().lay(&mut file);
        let content = content_of(&file)?;
        self.content.observed(content.id, file.ctime);
        let length = self.length_of(cx, &file, content.id).await?;
        let clean = length <= self.content_length(file.size);
        if clean {
            state.overlay.lock().set_clean_tail(Some(content));
        }
        Ok(clean)
    }

    /// Sets attributes with the size of `file`, for which content may have been made; `None` where the file
    /// is another by now.
    async fn set_content(
        &self,
        cx: &Context,
        state: &FileState,
        file: &Attributes,
        set: &SetAttributes,
    ) -> Result<Option<Change>> {
        let made =
            set.content.map(|new| new.id).filter(|id| Some(*id) != file.content.map(|it| it.id));
        let done = match self.metadata.setattr(cx, file.id, set).await {
            Ok(done) => done,
            Err(refusal) if matches!(refusal.error, metadata::Error::Superseded) => {
                self.discard(cx, made).await;
                return Ok(None);
            }
            // What was made is left to gc: an outcome that is not known must not cost a file its bytes.
            Err(refusal) => return Err(refusal.into()),
        };
        state.overlay.lock().set_clean_tail(done.change.after.content);
        self.discard(cx, done.freed).await;
        Ok(Some(done.change))
    }

    /// The content with which `file` has `size` bytes; none is needed where that is none, or the file has no
    /// content.
    async fn content_of_size(&self, cx: &Context, file: &Attributes, size: u64) -> Result<Made> {
        if file.file_type != FileType::Regular {
            return Ok(Made::Ready(None));
        }
        let content = content_of(file)?;
        let same = NewContent { replaces: content, ctime: file.ctime, id: content.id };
        self.content.observed(content.id, file.ctime);
        match size.cmp(&file.size) {
            _ if size == 0 => Ok(Made::Ready(None)),
            // A server that was alone may have recorded this size and died before it cut the content.
            std::cmp::Ordering::Equal => {
                let length = self.length_of(cx, file, content.id).await?;
                match length > self.content_length(size) {
                    true => self.copy_of(cx, file, size).await,
                    false => Ok(Made::Ready(Some(same))),
                }
            }
            std::cmp::Ordering::Less => self.copy_of(cx, file, size).await,
            std::cmp::Ordering::Greater => {
                let length = self.length_of(cx, file, content.id).await?;
                let wanted = self.content_length(size);
                if length < self.content_length(file.size) {
                    return Ok(Made::Short);
                }
                if length > self.content_length(file.size) {
                    return self.copy_of(cx, file, size).await;
                }
                let extended = async {
                    let extended = self.content.extend(&cx.call, content.id, wanted).await?;
                    // The size must not become durable before the bytes that it speaks of.
                    if extended {
                        self.content.commit(&cx.call, content.id).await?;
                    }
                    Ok(extended)
                };
                match cx.call.timing.timed(Phase::Content, extended).await {
                    Ok(true) => Ok(Made::Ready(Some(same))),
                    Ok(false) => self.copy_of(cx, file, size).await,
                    Err(content::Error::Missing(_)) => Ok(Made::Short),
                    Err(error) => Err(Failure::of(error, file)),
                }
            }
        }
    }

    /// Other content for `file`, with as many of its bytes as it has in `size`, and zeros behind them. Goes
    /// again where the call ends meanwhile.
    async fn copy_of(&self, cx: &Context, file: &Attributes, size: u64) -> Result<Made> {
        let (content, to) = (content_of(file)?, Unnamed::new(self, cx));
        let new = NewContent { replaces: content, ctime: file.ctime, id: to.id };
        self.content.observed(content.id, file.ctime);
        let (kept, length) = (self.content_length(file.size.min(size)), self.content_length(size));
        if kept > 0 {
            let copied = self.content.copy(&cx.call, content.id, to.id, kept);
            match cx.call.timing.timed(Phase::Content, copied).await {
                Ok(copied) if copied == kept => {}
                Ok(_) | Err(content::Error::Missing(_)) => return Ok(Made::Short),
                Err(error) => return Err(Failure::of(error, file)),
            }
        }
        if length > kept {
            let extended = async {
                self.content.truncate(&cx.call, to.id, length).await?;
                self.content.commit(&cx.call, to.id).await
            };
            let extended = cx.call.timing.timed(Phase::Content, extended).await;
            extended.map_err(|error| Failure::of(error, file))?;
        }
        to.named();
        Ok(Made::Ready(Some(new)))
    }
}

/// What came of making content.
enum Made {
    /// It is there and durable, where some is needed.
    Ready(Option<NewContent>),
    /// The file's content has fewer bytes than the file, or another server has just removed it.
    Short,
}

/// Content that was made and has no file yet.
struct Unnamed<'a> {
    export: &'a Export,
    cx: Context,
    id: ContentId,
    named: bool,
}

impl<'a> Unnamed<'a> {
    fn new(export: &'a Export, cx: &Context) -> Self {
        let cx = cx.detached(BACKGROUND_TIME);
        Self { export, cx, id: ContentId::generate(), named: false }
    }

    fn named(mut self) {
        self.named = true;
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if !self.named {
            drop(self.export.discard_later(&self.cx, self.id));
        }
    }
}
