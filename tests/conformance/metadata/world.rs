//! What cases are written with: a fresh share, callers who act on it, and questions about answers.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunkfs::metadata::{
    Answer, Change, CreateHow, Created, DirectoryEntry, Error, Flush, FlushOutcome, Invariants,
    Link, LinkTarget, Lookup, Page, Refusal, Removed, Renamed, RootSpec, SetAttributes, SetTime,
    SettingDone, Share, ShareSpec, Usage, Written, ZeroingOutcome,
};
use trunkfs::types::{
    Attributes, Call, ContentRef, Context, Cookie, Credentials, DeviceNumbers, FileType, Name,
    ObjectId, ShareName, SymlinkTarget, Timestamp,
};

/// No case's call takes longer, nor anything else that is waited for.
const CALL_LIMIT: Duration = Duration::from_secs(120);
/// Two users of one group each, of their own number.
pub(crate) const ALICE: u32 = 1000;
pub(crate) const BOB: u32 = 2000;

/// A store with a share whose root everybody may change.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Arc<dyn Invariants>,
    pub(crate) share: Share,
    pub(crate) root: ObjectId,
}

/// A share name that was not used yet.
pub(crate) fn fresh_share_name() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    format!("/case-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn share_spec(name: &str) -> ShareSpec {
    ShareSpec {
        name: ShareName::parse(name).unwrap(),
        root: RootSpec { uid: 0, gid: 0, mode: 0o777 },
        chunk_size: 1 << 22,
    }
}

impl World {
    /// A fresh share, whose name no other has.
    pub(crate) async fn new(store: Arc<dyn Invariants>) -> Self {
        let share = store.open_share(&share_spec(&fresh_share_name())).await.unwrap();
        Self { store, root: share.root, share }
    }

    /// Another fresh share of the same store.
    pub(crate) async fn another(&self) -> Self {
        Self::new(self.store.clone()).await
    }

    pub(crate) fn caller(&self, credentials: Credentials) -> Caller {
        Caller {
            store: self.store.clone(),
            share: self.share.clone(),
            credentials,
            now: None,
            cancel: CancellationToken::new(),
            deadline: None,
        }
    }

    pub(crate) fn superuser(&self) -> Caller {
        self.caller(Credentials::ROOT)
    }

    /// A user whose only group has the user's number.
    pub(crate) fn user(&self, uid: u32) -> Caller {
        self.caller(Credentials { uid, gid: uid, gids: Vec::new() })
    }

    pub(crate) fn user_in(&self, uid: u32, gid: u32, gids: &[u32]) -> Caller {
        self.caller(Credentials { uid, gid, gids: gids.to_vec() })
    }

    /// Everything in the share, with cookies and attributes, by path.
    pub(crate) async fn snapshot(&self) -> BTreeMap<Vec<u8>, (u64, Attributes)> {
        let root = self.superuser();
        let attributes = root.attributes(self.root).await;
        let mut all = BTreeMap::from([(Vec::new(), (0, attributes))]);
        let mut pending = vec![(Vec::new(), self.root)];
        while let Some((path, directory)) = pending.pop() {
            for entry in root.list(directory).await {
                let path = [&path, entry.name.as_bytes()].join(&b'/');
                let attributes = entry.attributes.unwrap();
                if attributes.file_type.is_directory() {
                    pending.push((path.clone(), entry.object));
                }
                all.insert(path, (entry.cookie.0, attributes));
            }
        }
        all
    }

    /// Waits until the share's usage is `expected`: it may be five seconds old.
    pub(crate) async fn usage_becomes(&self, objects: u64, bytes: u64) {
        let expected = Usage { objects, bytes };
        let end = Instant::now() + CALL_LIMIT;
        loop {
            let usage = self.store.usage(self.share.id).await.unwrap();
            if usage == expected {
                return;
            }
            assert!(Instant::now() < end, "usage stays {usage:?}, not {expected:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Somebody who calls the store.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) store: Arc<dyn Invariants>,
    pub(crate) share: Share,
    pub(crate) credentials: Credentials,
    /// The time of every call; the clock's where unset.
    pub(crate) now: Option<Timestamp>,
    pub(crate) cancel: CancellationToken,
    /// When every call's time is over; late where unset.
    pub(crate) deadline: Option<Instant>,
}

pub(crate) fn name(bytes: impl AsRef<[u8]>) -> Name {
    Name::parse(bytes.as_ref()).unwrap()
}

pub(crate) fn target(bytes: impl AsRef<[u8]>) -> SymlinkTarget {
    SymlinkTarget::parse(bytes.as_ref()).unwrap()
}

pub(crate) fn mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..SetAttributes::default() }
}

pub(crate) fn size(size: u64) -> SetAttributes {
    SetAttributes { size: Some(size), ..SetAttributes::default() }
}

pub(crate) fn owner(uid: Option<u32>, gid: Option<u32>) -> SetAttributes {
    SetAttributes { uid, gid, ..SetAttributes::default() }
}

pub(crate) fn times(atime: SetTime, mtime: SetTime) -> SetAttributes {
    SetAttributes { atime, mtime, ..SetAttributes::default() }
}

/// A flush of writes up to `end`, made at `at` on what `file` shows.
pub(crate) fn written(file: &Attributes, end: u64, at: Timestamp) -> Flush {
    let written = Written {
        content: file.content.unwrap(),
        end,
        mtime: at,
        mtime_version: file.mtime_version,
        replaced_mtime: file.mtime,
        ctime: at,
        clear_mode: 0,
        used: end,
        seen: file.ctime,
    };
    Flush { atime: None, written: Some(written) }
}

impl Caller {
    pub(crate) fn at(&self, now: i64) -> Self {
        Self { now: Some(Timestamp(now)), ..self.clone() }
    }

    pub(crate) fn cx(&self) -> Context {
        Context {
            call: Call {
                cancel: self.cancel.clone(),
                deadline: self.deadline.unwrap_or_else(|| Instant::now() + CALL_LIMIT),
                ..Call::internal(CALL_LIMIT)
            },
            credentials: self.credentials.clone(),
            now: self.now.unwrap_or_else(Timestamp::now),
            ..Context::internal(self.share.id, CALL_LIMIT)
        }
    }

    /// The attributes of what is there.
    pub(crate) async fn attributes(&self, object: ObjectId) -> Attributes {
        self.getattr(object).await.unwrap()
    }

    pub(crate) async fn getattr(&self, object: ObjectId) -> Result<Attributes, Error> {
        self.store.getattr(&self.cx(), object).await
    }

    pub(crate) async fn lookup(&self, directory: ObjectId, it: impl AsRef<[u8]>) -> Answer<Lookup> {
        self.store.lookup(&self.cx(), directory, &name(it)).await
    }

    /// What a directory that is there has under a name.
    pub(crate) async fn find(
        &self,
        directory: ObjectId,
        it: impl AsRef<[u8]>,
    ) -> Option<Attributes> {
        self.lookup(directory, it).await.unwrap().object
    }

    pub(crate) async fn parent(&self, directory: ObjectId) -> Answer<Lookup> {
        self.store.lookup_parent(&self.cx(), directory).await
    }

    pub(crate) async fn readlink(&self, link: ObjectId) -> Answer<Link> {
        self.store.readlink(&self.cx(), link).await
    }

    pub(crate) async fn page(&self, directory: ObjectId, after: u64, most: usize) -> Answer<Page> {
        self.store.readdir(&self.cx(), directory, Cookie(after), most, true).await
    }

    /// All entries of a directory that is there.
    pub(crate) async fn list(&self, directory: ObjectId) -> Vec<DirectoryEntry> {
        let mut all: Vec<DirectoryEntry> = Vec::new();
        loop {
            let after = all.last().map_or(0, |entry| entry.cookie.0);
            let page = self.page(directory, after, 500).await.unwrap();
            all.extend(page.entries);
            if page.eof {
                return all;
            }
        }
    }

    pub(crate) async fn names(&self, directory: ObjectId) -> Vec<String> {
        self.list(directory).await.iter().map(|entry| entry.name.to_string()).collect()
    }

    pub(crate) async fn setattr(
        &self,
        object: ObjectId,
        set: SetAttributes,
    ) -> Answer<SettingDone> {
        self.store.setattr(&self.cx(), object, &set).await
    }

    pub(crate) async fn create_how(
        &self,
        directory: ObjectId,
        it: impl AsRef<[u8]>,
        how: CreateHow,
    ) -> Answer<Created> {
        self.store.create(&self.cx(), directory, &name(it), &how).await
    }

    pub(crate) async fn create(
        &self,
        directory: ObjectId,
        it: impl AsRef<[u8]>,
    ) -> Answer<Created> {
        self.create_how(directory, it, CreateHow::Guarded(mode(0o644))).await
    }

    pub(crate) async fn unchecked(
        &self,
        directory: ObjectId,
        it: impl AsRef<[u8]>,
    ) -> Answer<Created> {
        self.create_how(directory, it, CreateHow::Unchecked(mode(0o644))).await
    }

    pub(crate) async fn exclusive(
        &self,
        directory: ObjectId,
        it: impl AsRef<[u8]>,
        verifier: u64,
    ) -> Answer<Created> {
        self.create_how(directory, it, CreateHow::Exclusive(verifier)).await
    }

    pub(crate) async fn mkdir(&self, directory: ObjectId, it: impl AsRef<[u8]>) -> Answer<Created> {
        self.mkdir_with(directory, it, mode(0o755)).await
    }

    pub(crate) async fn mkdir_with(
        &self,
        directory: ObjectId,
        it: impl AsRef<[u8]>,
        set: SetAttributes,
    ) -> Answer<Created> {
        self.store.mkdir(&self.cx(), directory, &name(it), &set).await
    }

    pub(crate) async fn symlink(
        &self,
        directory: ObjectId,
        it: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
    ) -> Answer<Created> {
        let set = SetAttributes::default();
        self.store.symlink(&self.cx(), directory, &name(it), &target(to), &set).await
    }

    pub(crate) async fn mknod(
        &self,
        directory: ObjectId,
        it: impl AsRef<[u8]>,
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> Answer<Created> {
        let rdev = DeviceNumbers { major, minor };
        self.store.mknod(&self.cx(), directory, &name(it), kind, rdev, &mode(0o600)).await
    }

    pub(crate) async fn fifo(&self, directory: ObjectId, it: impl AsRef<[u8]>) -> Answer<Created> {
        self.mknod(directory, it, FileType::Fifo, (0, 0)).await
    }

    pub(crate) async fn remove(
        &self,
        directory: ObjectId,
        it: impl AsRef<[u8]>,
    ) -> Answer<Removed> {
        self.store.remove(&self.cx(), directory, &name(it)).await
    }

    pub(crate) async fn rmdir(&self, directory: ObjectId, it: impl AsRef<[u8]>) -> Answer<Removed> {
        self.store.rmdir(&self.cx(), directory, &name(it)).await
    }

    pub(crate) async fn rename(
        &self,
        from: ObjectId,
        from_name: impl AsRef<[u8]>,
        to: ObjectId,
        to_name: impl AsRef<[u8]>,
    ) -> Answer<Renamed> {
        self.store.rename(&self.cx(), from, &name(from_name), to, &name(to_name)).await
    }

    pub(crate) async fn link(
        &self,
        object: ObjectId,
        directory: ObjectId,
        it: impl AsRef<[u8]>,
    ) -> Answer<LinkTarget> {
        self.store.link(&self.cx(), object, directory, &name(it)).await
    }

    pub(crate) async fn flush(&self, file: ObjectId, flush: &Flush) -> Answer<FlushOutcome> {
        self.store.flush(&self.cx(), file, flush).await
    }

    /// The file after a flush of writes up to `end`, without holes.
    pub(crate) async fn wrote(&self, file: ObjectId, end: u64) -> Attributes {
        let present = self.attributes(file).await;
        match self.flush(file, &written(&present, end, present.ctime)).await.unwrap() {
            FlushOutcome::Recorded(change) => change.after,
            FlushOutcome::Superseded(present) => panic!("superseded: {present:?}"),
        }
    }

    pub(crate) async fn begin_zeroing(
        &self,
        file: ObjectId,
        content: ContentRef,
    ) -> Answer<ZeroingOutcome> {
        self.store.begin_zeroing(&self.cx(), file, content).await
    }

    /// A new file of mode 0644.
    pub(crate) async fn file(&self, directory: ObjectId, it: impl AsRef<[u8]>) -> Attributes {
        self.create(directory, it).await.unwrap().object
    }

    /// A new directory of mode 0755.
    pub(crate) async fn dir(&self, directory: ObjectId, it: impl AsRef<[u8]>) -> Attributes {
        self.mkdir(directory, it).await.unwrap().object
    }

    /// A new directory of that mode.
    pub(crate) async fn dir_of(
        &self,
        directory: ObjectId,
        it: impl AsRef<[u8]>,
        bits: u32,
    ) -> Attributes {
        self.mkdir_with(directory, it, mode(bits)).await.unwrap().object
    }

    /// One object of each kind, `file`, `dir`, `symlink`, `fifo`, `socket`, `block`, `character`; devices
    /// need the superuser.
    pub(crate) async fn one_of_each(&self, directory: ObjectId) -> Vec<(&'static str, Attributes)> {
        let device = (7, 9);
        vec![
            ("file", self.file(directory, "file").await),
            ("dir", self.dir(directory, "dir").await),
            ("symlink", self.symlink(directory, "symlink", "file").await.unwrap().object),
            ("fifo", self.fifo(directory, "fifo").await.unwrap().object),
            ("socket", self.made(directory, "socket", FileType::Socket, (0, 0)).await),
            ("block", self.made(directory, "block", FileType::BlockDevice, device).await),
            (
                "character",
                self.made(directory, "character", FileType::CharacterDevice, device).await,
            ),
        ]
    }

    async fn made(
        &self,
        directory: ObjectId,
        it: &str,
        kind: FileType,
        rdev: (u32, u32),
    ) -> Attributes {
        self.mknod(directory, it, kind, rdev).await.unwrap().object
    }
}

/// Whether two errors are of one kind.
pub(crate) fn same_kind(a: &Error, b: &Error) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// The refusal, which must be of that kind.
#[track_caller]
pub(crate) fn refused<T: Debug>(answer: Answer<T>, expected: Error) -> Refusal {
    let refusal = answer.expect_err("a refusal");
    assert!(same_kind(&refusal.error, &expected), "{:?}, not {expected:?}", refusal.error);
    refusal
}

#[track_caller]
pub(crate) fn stale(answer: Result<Attributes, Error>) {
    assert!(matches!(answer, Err(Error::Stale)), "{answer:?}");
}

/// A directory whose entries changed: mtime and ctime move together, beyond what they were.
#[track_caller]
pub(crate) fn entries_changed(change: &Change, subdirs: i32) {
    let Change { before, after } = change;
    let before = before.as_ref().unwrap();
    assert!(after.ctime > before.ctime, "{change:?}");
    let expected = Attributes {
        ctime: after.ctime,
        mtime: after.ctime,
        nlink: before.nlink.checked_add_signed(subdirs).unwrap(),
        ..before.clone()
    };
    assert_eq!(after, &expected);
}
