//! What this process knows of files that the metadata store does not know yet: the overlay.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::metadata::{Change, Flush, Written, rules};
use crate::types::{Attributes, ContentRef, FileType, ObjectId, Timestamp};
use crate::vfs::export::{Export, WriteBehind};

/// How long a file counts as one whose calls come to several servers.
const SPREAD_TIME: Duration = Duration::from_secs(60);
/// How often at most other servers are told that a client misses writes here.
const MISSED_PAUSE: Duration = Duration::from_secs(1);

/// One file's state.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// Shared by writers; exclusive for other changes of the size, and for removing the file.
    pub(super) io: tokio::sync::RwLock<()>,
    /// Held by the one flush under way.
    pub(super) flushing: tokio::sync::Mutex<()>,
    /// What is not flushed.
    pub(super) overlay: Mutex<Overlay>,
}

/// What is laid over a file's committed attributes.
#[derive(Debug)]
pub(super) struct Overlay {
    /// The file is gone.
    pub(super) dead: bool,
    pending: Option<Unflushed>,
    /// Counts writes.
    generation: u64,
    /// The last write that is flushed.
    flushed: u64,
    /// The last write that was dropped with the content it went to.
    lost: u64,
    atime: Option<(Timestamp, Instant)>,
    /// The content that is known to have nothing but zeros beyond the size that clients see.
    clean_tail: Option<ContentRef>,
    used: Instant,
    /// Until when the file counts as one whose calls come to several servers.
    spread: Option<Instant>,
    /// When a client last wanted writes durable that this server does not have.
    missed: Option<Instant>,
    /// The last write that a COMMIT here came after.
    committed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Unflushed {
    written: Written,
    bytes: u64,
    /// The file's size as the last of the writes left it.
    size: u64,
    /// Whether the file may have holes.
    holes: bool,
    /// Whether all of them lie within the committed size.
    inside: bool,
    /// What the content took as the last of them found it.
    used: u64,
    since: Instant,
    /// Whether some of them have no call that waits until they are durable.
    unattended: bool,
    /// Whether the call of some of them has ended without an answer.
    abandoned: bool,
}

impl Default for Overlay {
    fn default() -> Self {
        Self {
            dead: false,
            pending: None,
            generation: 0,
            flushed: 0,
            lost: 0,
            atime: None,
            clean_tail: None,
            used: Instant::now(),
            spread: None,
            missed: None,
            committed: 0,
        }
    }
}

/// What a flush has to record, and what it is then known to have recorded.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) flush: Flush,
    generation: u64,
    bytes: u64,
    /// The file's size and whether it may have holes, where something was written.
    pub(super) size: u64,
    pub(super) holes: bool,
    /// What the file takes, where the writes are known to leave that and the size as they are: they lie
    /// within a file without holes.
    pub(super) settled: Option<u64>,
}

/// What a flush has to do.
#[derive(Debug)]
pub(super) enum Task {
    /// Nothing: it is durable.
    Done,
    /// Nothing: it was dropped with the content it went to.
    Lost,
    Record(Snapshot),
}

impl Overlay {
    /// Whether nothing waits to be flushed.
    pub(super) fn is_clean(&self) -> bool {
        self.pending.is_none() && self.atime.is_none()
    }

    /// Whether it is as one that was just made.
    pub(super) fn is_empty(&self) -> bool {
        self.is_clean() && self.clean_tail.is_none() && !self.is_spread()
    }

    /// Since when an access time waits, where nothing else does.
    pub(super) fn only_accessed(&self) -> Option<Instant> {
        self.atime.filter(|_| self.pending.is_none()).map(|(_, since)| since)
    }

    /// Whether it was not used for as long as unflushed data may wait.
    pub(super) fn is_idle(&self, limits: &WriteBehind) -> bool {
        self.used.elapsed() >= limits.max_age && !self.is_spread()
    }

    /// Whether something has waited for too long.
    pub(super) fn is_old(&self, limits: &WriteBehind) -> bool {
        self.pending.is_some_and(|pending| pending.since.elapsed() >= limits.max_age)
            || self.atime.is_some_and(|(_, since)| since.elapsed() >= limits.atime_max_age)
    }

    /// The content that unflushed writes went to.
    pub(super) fn written_to(&self) -> Option<ContentRef> {
        self.pending.map(|pending| pending.written.content)
    }

    /// Bytes written and not flushed, and since when the oldest of them, where there are any.
    pub(super) fn unflushed(&self) -> Option<(u64, Instant)> {
        self.pending.map(|pending| (pending.bytes, pending.since))
    }

    /// Bytes written and not flushed.
    pub(super) fn unflushed_bytes(&self) -> u64 {
        self.pending.map_or(0, |pending| pending.bytes)
    }

    /// Lays what is not flushed over committed attributes. Writes to content that the file no
    /// longer has, or has under a newer version, are not shown.
    pub(super) fn lay(&self, attributes: &mut Attributes) {
        if let Some(Unflushed { written, bytes, .. }) = self.pending
            && attributes.content == Some(written.content)
        {
            attributes.size = attributes.size.max(written.end);
            attributes.mtime = written.mtime_over(attributes);
            // Before they are measured, the bytes written count as if they had filled holes.
            let most = attributes.size.min(attributes.used.saturating_add(bytes));
            attributes.used = attributes.used.max(rules::most_used(most));
            attributes.ctime = attributes.ctime.max(written.ctime);
            attributes.mode &= !written.clear_mode;
        }
        if let Some((atime, _)) = self.atime {
            attributes.atime = attributes.atime.max(atime);
        }
    }

    /// Whether nothing but zeros lies beyond the file's end.
    pub(super) fn has_clean_tail(&self, content: ContentRef) -> bool {
        self.clean_tail == Some(content)
    }

    /// Forgets which content is known to have nothing but zeros beyond the end, and says it.
    pub(super) fn take_clean_tail(&mut self) -> Option<ContentRef> {
        self.clean_tail.take()
    }

    /// Notes what is known of the bytes beyond the end.
    pub(super) fn set_clean_tail(&mut self, content: Option<ContentRef>) {
        self.clean_tail = content;
    }

    /// Notes that calls for the file come to several servers, or that a client lost writes to one of them.
    pub(super) fn set_spread(&mut self) {
        self.spread = Some(Instant::now() + SPREAD_TIME);
    }

    /// Whether calls for the file come to several servers, as far as is known here. Its writes are durable
    /// before they are answered: a client whose COMMIT comes to another server than its WRITE would send the
    /// same data for ever.
    pub(super) fn is_spread(&self) -> bool {
        self.spread.is_some_and(|until| Instant::now() < until)
    }

    /// Notes a COMMIT; whether none of the writes that it is for can have come here, and this was not said a
    /// moment ago.
    pub(super) fn misses_writes(&mut self) -> bool {
        let missing = self.committed == self.generation;
        self.committed = self.generation;
        let lately = self.missed.is_some_and(|since| since.elapsed() < MISSED_PAUSE);
        if !missing || lately {
            return false;
        }
        self.missed = Some(Instant::now());
        true
    }

    /// Notes that a call that waited for its write has ended without an answer.
    pub(super) fn abandon(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.abandoned = true;
        }
    }

    /// Whether a call for some of the unflushed writes has ended without an answer: its client may have sent
    /// them again, to another server.
    pub(super) fn is_abandoned(&self) -> bool {
        self.pending.is_some_and(|pending| pending.abandoned)
    }

    /// Whether some of the unflushed writes have no call that waits until they are durable.
    pub(super) fn is_unattended(&self) -> bool {
        self.pending.is_some_and(|pending| pending.unattended)
    }

    /// Notes a write: what the file was seen as before and is seen as from now on, the number of the write,
    /// and whether unflushed writes to other content were dropped.
    pub(super) fn record(
        &mut self,
        committed: &Attributes,
        NewWrite { content, end, length, now, clear_mode, attended }: NewWrite,
    ) -> Recorded {
        let mut before = committed.clone();
        self.lay(&mut before);
        let earlier = self.pending.filter(|pending| pending.written.content == content);
        let dropped = self.pending.is_some() && earlier.is_none();
        if dropped {
            self.lost = self.generation;
        }
        let times_hold =
            earlier.filter(|pending| pending.written.mtime_version == committed.mtime_version);
        self.pending = Some(Unflushed {
            written: Written {
                content,
                end: earlier.map_or(end, |pending| pending.written.end.max(end)),
                mtime: times_hold.map_or(now, |pending| pending.written.mtime.max(now)),
                mtime_version: committed.mtime_version,
                replaced_mtime: committed.mtime,
                ctime: now.after(before.ctime),
                clear_mode: clear_mode | earlier.map_or(0, |pending| pending.written.clear_mode),
                used: 0,
                seen: earlier.map_or(committed.ctime, |pending| pending.written.seen),
            },
            bytes: earlier.map_or(0, |pending| pending.bytes) + length,
            size: before.size.max(end),
            holes: earlier.is_some_and(|pending| pending.holes)
                || committed.used < committed.size
                || end - length > before.size,
            inside: end <= committed.size && earlier.is_none_or(|pending| pending.inside),
            used: committed.used,
            since: earlier.map_or_else(Instant::now, |pending| pending.since),
            unattended: !attended || earlier.is_some_and(|pending| pending.unattended),
            abandoned: earlier.is_some_and(|pending| pending.abandoned),
        });
        self.generation += 1;
        self.used = Instant::now();
        let mut after = committed.clone();
        self.lay(&mut after);
        Recorded {
            change: Change { before: Some(before), after },
            generation: self.generation,
            dropped,
        }
    }

    /// Notes a read.
    pub(super) fn record_access(&mut self, now: Timestamp) {
        let since = self.atime.map_or_else(Instant::now, |(_, since)| since);
        self.atime = Some((now, since));
        self.used = Instant::now();
    }

    /// The content's version was bumped by this process, which keeps what it wrote under the old.
    pub(super) fn moved(&mut self, from: ContentRef, to: ContentRef) {
        if let Some(pending) = &mut self.pending
            && pending.written.content == from
        {
            pending.written.content = to;
        }
    }

    /// What a flush has to record so that write number `upto`, or all of them, is durable.
    pub(super) fn task(&self, upto: Option<u64>) -> Task {
        if let Some(generation) = upto {
            // First: a write that was dropped is not durable because a later one is.
            if self.lost >= generation {
                return Task::Lost;
            }
            if self.flushed >= generation {
                return Task::Done;
            }
        }
        if self.is_clean() {
            return Task::Done;
        }
        let flush = Flush {
            atime: self.atime.map(|(atime, _)| atime),
            written: self.pending.map(|pending| pending.written),
        };
        Task::Record(Snapshot {
            flush,
            generation: self.generation,
            bytes: self.unflushed_bytes(),
            size: self.pending.map_or(0, |pending| pending.size),
            holes: self.pending.is_some_and(|pending| pending.holes),
            settled: self.pending.and_then(|it| (it.inside && !it.holes).then_some(it.used)),
        })
    }

    /// The number of the last write.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// A flush recorded the snapshot; the store shows `recorded` now.
    pub(super) fn flushed(&mut self, snapshot: &Snapshot, recorded: &Attributes) {
        self.flushed = self.flushed.max(snapshot.generation);
        if self.generation == snapshot.generation {
            self.pending = None;
        } else if let Some(pending) = &mut self.pending {
            pending.since = Instant::now();
            pending.bytes = pending.bytes.saturating_sub(snapshot.bytes);
            pending.written.replaced_mtime = recorded.mtime;
            pending.written.ctime = pending.written.ctime.after(recorded.ctime);
            pending.written.seen = recorded.ctime;
        }
        if self.atime.map(|(atime, _)| atime) == snapshot.flush.atime {
            self.atime = None;
        }
    }

    /// The content that was written to is no longer the file's.
    pub(super) fn superseded(&mut self, snapshot: &Snapshot) {
        let old = snapshot.flush.written.map(|written| written.content);
        if self.pending.map(|pending| pending.written.content) == old {
            self.pending = None;
            self.lost = self.generation;
        }
        self.clean_tail = None;
    }

    /// The file is gone, and all that waited with it.
    pub(super) fn discard(&mut self) {
        self.dead = true;
        self.pending = None;
        self.atime = None;
        self.clean_tail = None;
    }
}

/// A write to be noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewWrite {
    pub(super) content: ContentRef,
    /// Where it ends.
    pub(super) end: u64,
    pub(super) length: u64,
    /// When it was made.
    pub(super) now: Timestamp,
    /// Mode bits that it clears.
    pub(super) clear_mode: u32,
    /// Whether its call waits until it is durable.
    pub(super) attended: bool,
}

/// What came of noting a write.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) change: Change,
    pub(super) generation: u64,
    pub(super) dropped: bool,
}

impl Export {
    /// Whether writes wait to be flushed.
    pub(in crate::vfs) fn is_unflushed(&self, file: ObjectId) -> bool {
        self.files.existing(file).is_some_and(|state| state.overlay.lock().pending.is_some())
    }

    /// Attributes as clients see them: what is not flushed laid over the committed ones.
    pub(in crate::vfs) fn with_overlay(&self, mut attributes: Attributes) -> Attributes {
        self.lay_overlay(&mut attributes);
        attributes
    }

    /// The same in place.
    pub(in crate::vfs) fn lay_overlay(&self, attributes: &mut Attributes) {
        if attributes.file_type == FileType::Regular
            && let Some(state) = self.files.existing(attributes.id)
        {
            state.overlay.lock().lay(attributes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::RootSpec;
    use crate::types::{ContentId, ContentVersion, Fileid, Fsid};

    fn content() -> ContentRef {
        ContentRef { id: ContentId::generate(), version: ContentVersion(0) }
    }

    fn file(content: ContentRef) -> Attributes {
        let spec = RootSpec { uid: 0, gid: 0, mode: 0o644 };
        let object = rules::root(ObjectId::generate(), Fileid(1), Fsid(7), spec, Timestamp(1));
        Attributes {
            file_type: FileType::Regular,
            size: 0,
            used: 0,
            content: Some(content),
            ..object
        }
    }

    fn write(content: ContentRef) -> NewWrite {
        NewWrite { content, end: 9, length: 9, now: Timestamp(5), clear_mode: 0, attended: true }
    }

    /// Writes under way at once, of which some have gone to content that another server has replaced.
    #[test]
    fn a_write_that_was_dropped_is_not_durable_because_a_later_one_is() {
        let (mut overlay, old, new) = (Overlay::default(), content(), content());
        let dropped = overlay.record(&file(old), write(old)).generation;
        let kept = overlay.record(&file(new), write(new));
        assert!(kept.dropped);
        let Task::Record(snapshot) = overlay.task(Some(kept.generation)) else {
            panic!("the later write waits");
        };
        overlay.flushed(&snapshot, &file(new));
        assert!(matches!(overlay.task(Some(dropped)), Task::Lost));
        assert!(matches!(overlay.task(Some(kept.generation)), Task::Done));
    }
}
