//! Every operation of a metadata store, each on a scene of its own, and what it makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkfs::metadata::{
    Answer, CreateHow, Error, Flush, Invariants, RootSpec, SetAttributes, Share, ShareSpec, Written,
};
use trunkfs::types::{
    Attributes, ContentId, Context, Cookie, DeviceNumbers, FileType, Fileid, Name, ObjectId,
    SymlinkTarget, Timestamp,
};
use uuid::Uuid;

/// When a scene is made, and when the call comes: so that the times of two scenes are the same.
const MADE: Timestamp = Timestamp(1_000_000_000_000_000_000);
const CALLED: Timestamp = Timestamp(1_100_000_000_000_000_000);
/// No call takes longer.
const CALL_LIMIT: Duration = Duration::from_secs(120);

/// An operation on a [`Scene`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Getattr,
    Lookup,
    LookupParent,
    Readlink,
    Readdir,
    Chmod,
    Truncate,
    Create,
    CreateExclusively,
    Mkdir,
    Symlink,
    Mknod,
    Remove,
    RemoveOneName,
    Rmdir,
    Rename,
    Replace,
    MoveDirectory,
    Link,
    Flush,
    BeginZeroing,
    /// Those without a context, which can only be dropped.
    OpenShare,
    Shares,
    Usage,
    Setting,
    SetSetting,
    Inconsistencies,
}

use Operation::{
    BeginZeroing, Chmod, Create, CreateExclusively, Flush as Record, Getattr, Inconsistencies,
    Link, Lookup, LookupParent, Mkdir, Mknod, MoveDirectory, OpenShare, Readdir, Readlink, Remove,
    RemoveOneName, Rename, Replace, Rmdir, SetSetting, Setting, Shares, Symlink, Truncate, Usage,
};

impl Operation {
    pub(crate) const READING: [Self; 5] = [Getattr, Lookup, LookupParent, Readlink, Readdir];
    pub(crate) const CHANGING: [Self; 16] = [
        Chmod,
        Truncate,
        Create,
        CreateExclusively,
        Mkdir,
        Symlink,
        Mknod,
        Remove,
        RemoveOneName,
        Rmdir,
        Rename,
        Replace,
        MoveDirectory,
        Link,
        Record,
        BeginZeroing,
    ];
    pub(crate) const WITHOUT_CONTEXT: [Self; 6] =
        [OpenShare, Shares, Usage, Setting, SetSetting, Inconsistencies];

    pub(crate) fn changes(self) -> bool {
        Self::CHANGING.contains(&self)
    }
}

/// A directory with what operations act on.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    store: Arc<dyn Invariants>,
    share: Share,
    pub(crate) dir: ObjectId,
    /// `file`, `other`, `linked` (also `second`), `empty`, `full`, `symlink`.
    made: Vec<(&'static str, Attributes)>,
}

/// Everything in a scene, by path. Ids are numbered, so that two scenes can be compared.
pub(crate) type State = BTreeMap<String, Attributes>;

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..SetAttributes::default() }
}

fn ended<T>(answer: Answer<T>) -> Result<(), Error> {
    answer.map(drop).map_err(|refusal| refusal.error)
}

impl Scene {
    /// A fresh scene in the share, whose root has it under a name of its own.
    pub(crate) async fn make(store: &Arc<dyn Invariants>, share: &Share) -> Self {
        let made = Vec::new();
        let mut scene = Self { store: store.clone(), share: share.clone(), dir: share.root, made };
        let own = ContentId::generate().0.simple().to_string();
        scene.dir = scene.directory(share.root, &own).await.id;
        let dir = scene.dir;
        for file in ["file", "other", "linked"] {
            let made = scene.file(dir, file).await;
            scene.made.push((file, made));
        }
        for directory in ["empty", "full"] {
            let made = scene.directory(dir, directory).await;
            scene.made.push((directory, made));
        }
        let (linked, full) = (scene.named("linked").id, scene.named("full").id);
        let cx = scene.at(MADE);
        scene.store.link(&cx, linked, full, &name("second")).await.unwrap();
        let target = SymlinkTarget::parse(b"file").unwrap();
        let symlink = scene.store.symlink(&cx, dir, &name("symlink"), &target, &mode(0o777)).await;
        scene.made.push(("symlink", symlink.unwrap().object));
        scene
    }

    fn at(&self, now: Timestamp) -> Context {
        Context { now, ..Context::internal(self.share.id, CALL_LIMIT) }
    }

    /// The context of the scene's operation.
    pub(crate) fn cx(&self) -> Context {
        self.at(CALLED)
    }

    async fn file(&self, directory: ObjectId, it: &str) -> Attributes {
        let how = CreateHow::Guarded(mode(0o644));
        self.store.create(&self.at(MADE), directory, &name(it), &how).await.unwrap().object
    }

    async fn directory(&self, directory: ObjectId, it: &str) -> Attributes {
        let set = mode(0o755);
        self.store.mkdir(&self.at(MADE), directory, &name(it), &set).await.unwrap().object
    }

    /// Makes the call.
    pub(crate) async fn call(&self, operation: Operation, cx: &Context) -> Result<(), Error> {
        let Self { store, share, .. } = self;
        let dir = self.dir;
        let id = |it: &str| self.named(it).id;
        let new = name("new");
        match operation {
            Getattr => store.getattr(cx, id("file")).await.map(drop),
            Lookup => ended(store.lookup(cx, dir, &name("file")).await),
            LookupParent => ended(store.lookup_parent(cx, id("full")).await),
            Readlink => ended(store.readlink(cx, id("symlink")).await),
            Readdir => ended(store.readdir(cx, dir, Cookie(0), 100, true).await),
            Chmod => ended(store.setattr(cx, id("file"), &mode(0o600)).await),
            Truncate => {
                let set = SetAttributes { size: Some(0), ..SetAttributes::default() };
                ended(store.setattr(cx, id("file"), &set).await)
            }
            Create => ended(store.create(cx, dir, &new, &CreateHow::Guarded(mode(0o640))).await),
            CreateExclusively => ended(store.create(cx, dir, &new, &CreateHow::Exclusive(7)).await),
            Mkdir => ended(store.mkdir(cx, dir, &new, &mode(0o750)).await),
            Symlink => {
                let target = SymlinkTarget::parse(b"elsewhere").unwrap();
                ended(store.symlink(cx, dir, &new, &target, &mode(0o777)).await)
            }
            Mknod => {
                let rdev = DeviceNumbers { major: 7, minor: 9 };
                let kind = FileType::CharacterDevice;
                ended(store.mknod(cx, dir, &new, kind, rdev, &mode(0o600)).await)
            }
            Remove => ended(store.remove(cx, dir, &name("file")).await),
            RemoveOneName => ended(store.remove(cx, dir, &name("linked")).await),
            Rmdir => ended(store.rmdir(cx, dir, &name("empty")).await),
            Rename => ended(store.rename(cx, dir, &name("file"), id("full"), &new).await),
            Replace => ended(store.rename(cx, dir, &name("file"), dir, &name("other")).await),
            MoveDirectory => ended(store.rename(cx, dir, &name("empty"), id("full"), &new).await),
            Link => ended(store.link(cx, id("file"), id("full"), &new).await),
            Record => ended(store.flush(cx, id("file"), &written(self.named("file"))).await),
            BeginZeroing => {
                let content = self.named("file").content.unwrap();
                ended(store.begin_zeroing(cx, id("file"), content).await)
            }
            OpenShare => {
                let root = RootSpec { uid: 0, gid: 0, mode: 0o755 };
                let chunk_size = share.chunk_size;
                let spec = ShareSpec { name: share.name.clone(), root, chunk_size };
                store.open_share(&spec).await.map(drop)
            }
            Shares => store.shares().await.map(drop),
            Usage => store.usage(share.id).await.map(drop),
            Setting => store.setting("none").await.map(drop),
            SetSetting => {
                // One of the scene's own.
                let key = dir.0.to_string();
                store.set_setting(&key, None, "value").await.map(drop)
            }
            Inconsistencies => store.inconsistencies().await.map(drop),
        }
    }

    /// What is there now.
    pub(crate) async fn state(&self) -> Result<State, Error> {
        let cx = self.at(CALLED);
        let mut state = State::new();
        let top = self.store.getattr(&cx, self.dir).await?;
        state.insert(String::new(), self.numbered(top));
        let mut pending = vec![(String::new(), self.dir)];
        while let Some((path, directory)) = pending.pop() {
            let page = self.store.readdir(&cx, directory, Cookie(0), 100, true).await;
            let page = page.map_err(|refusal| refusal.error)?;
            assert!(page.eof);
            for entry in page.entries {
                let path = format!("{path}/{}", entry.name);
                let attributes = entry.attributes.unwrap();
                assert_eq!(attributes.id, entry.object);
                if attributes.file_type.is_directory() {
                    pending.push((path.clone(), entry.object));
                }
                state.insert(path, self.numbered(attributes));
            }
        }
        Ok(state)
    }

    /// The attributes with numbers for ids: the scene's is 0, 1 up to 6 are what was made in it, and what is
    /// new to it has the last.
    fn numbered(&self, mut it: Attributes) -> Attributes {
        const NEW: usize = 99;
        let number = |found: Option<usize>| Uuid::from_u128(found.unwrap_or(NEW) as u128);
        let ids = || std::iter::once(self.dir).chain(self.made.iter().map(|made| made.1.id));
        let object = |id: &ObjectId| ObjectId(number(ids().position(|known| known == *id)));
        it.id = object(&it.id);
        // The share's root, for the scene itself.
        it.parent =
            it.parent.filter(|parent| *parent != self.share.root).map(|parent| object(&parent));
        it.fileid = Fileid(0);
        if let Some(content) = &mut it.content {
            let was = |made: &Attributes| made.content.is_some_and(|known| known.id == content.id);
            content.id = ContentId(number(self.made.iter().position(|made| was(&made.1))));
        }
        it
    }

    fn named(&self, it: &str) -> &Attributes {
        let found = self.made.iter().find(|made| made.0 == it);
        &found.unwrap_or_else(|| panic!("no {it} in the scene")).1
    }
}

/// A flush of ten bytes.
fn written(file: &Attributes) -> Flush {
    let written = Written {
        content: file.content.unwrap(),
        end: 10,
        mtime: CALLED,
        mtime_version: file.mtime_version,
        replaced_mtime: file.mtime,
        ctime: CALLED,
        clear_mode: 0,
        used: 10,
        seen: file.ctime,
    };
    Flush { atime: None, written: Some(written) }
}

/// A scene before and after an operation that nothing disturbs.
#[derive(Debug)]
pub(crate) struct Expected {
    operation: Operation,
    before: State,
    after: State,
}

/// Which of the two a scene is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Before,
    After,
}

impl Expected {
    pub(crate) async fn of(
        operation: Operation,
        store: &Arc<dyn Invariants>,
        share: &Share,
    ) -> Self {
        let scene = Scene::make(store, share).await;
        let before = scene.state().await.unwrap();
        scene.call(operation, &scene.cx()).await.unwrap();
        let after = scene.state().await.unwrap();
        assert_eq!(before != after, operation.changes(), "{operation:?}");
        Self { operation, before, after }
    }

    /// Which of the two the scene is after the call ended with `answer`; that one, or the test fails.
    #[track_caller]
    pub(crate) fn check(&self, answer: &Result<(), Error>, state: &State) -> Outcome {
        let operation = self.operation;
        match answer {
            Ok(()) => {
                assert_eq!(*state, self.after, "{operation:?} said it was done");
                Outcome::After
            }
            Err(Error::Cancelled) => {
                assert_eq!(*state, self.before, "{operation:?} said it was cancelled");
                Outcome::Before
            }
            Err(error) => panic!("{operation:?}: {error:?}"),
        }
    }

    /// Which of the two the scene is once a call that was dropped has come to its end. What it had sent may
    /// still come through, and the state is read piece by piece.
    pub(crate) async fn settle(&self, scene: &Scene) -> Outcome {
        let limit = Instant::now() + CALL_LIMIT;
        loop {
            let state = scene.state().await;
            match &state {
                Ok(state) if *state == self.before => return Outcome::Before,
                Ok(state) if *state == self.after => return Outcome::After,
                // A directory that went away while the state was read.
                Ok(_) | Err(Error::Stale) => {}
                Err(error) => panic!("{:?}: {error:?}", self.operation),
            }
            assert!(Instant::now() < limit, "{:?} is half done: {state:#?}", self.operation);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Fails unless the scene is what it was, or what a dropped call made of it since.
    pub(crate) async fn recheck(&self, scene: &Scene, outcome: Outcome, dropped: bool) {
        let state = scene.state().await.unwrap();
        let late = dropped && outcome == Outcome::Before && state == self.after;
        let expected = match outcome {
            Outcome::Before => &self.before,
            Outcome::After => &self.after,
        };
        assert!(late || state == *expected, "{:?} {outcome:?}: {state:#?}", self.operation);
    }
}
