//! What a check of a store reads, and what a repair changes: piece by piece, each as of one moment and none
//! for long.
//!
//! A name, a link or a rename of an object changes its ctime, which grows strictly. So where an object's
//! ctime is the same before and after a scan of all entries, the names that the scan found are those it has:
//! that is how the names of a file, which no index finds, are counted without a snapshot that lasts or a
//! lock.

use super::{Dump, Error, Load, MetadataStore, Share};
use crate::types::{ContentRef, FileType, ObjectId, ShareId, Timestamp};

/// What a check looks at of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectState {
    /// Identity.
    pub id: ObjectId,
    /// The share's number, which need not be one that there is.
    pub share: ShareId,
    /// Kind.
    pub file_type: FileType,
    /// Bytes.
    pub size: u64,
    /// Bytes that it takes on its content store, as recorded.
    pub used: u64,
    /// Last change of the bytes.
    pub mtime: Timestamp,
    /// Last change of anything.
    pub ctime: Timestamp,
    /// Owner.
    pub uid: u32,
    /// Names, as recorded; of no meaning for a directory.
    pub names: u64,
    /// Subdirectories, as recorded.
    pub subdirs: u64,
    /// A regular file's bytes.
    pub content: Option<ContentRef>,
    /// A directory's parent, as recorded.
    pub parent: Option<ObjectId>,
    /// Number, as recorded.
    pub fileid: i64,
    /// What is wrong with it by itself.
    pub flaws: Vec<Flaw>,
}

/// What is wrong with an object by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Its mode has bits that no mode has.
    Mode,
    /// It is a symbolic link that is not as long as its target.
    TargetSize,
    /// It has the verifier of an exclusive create, and is no regular file.
    Verifier,
    /// It takes more than its size in whole blocks; or it has no content, and takes another number of bytes
    /// than its size.
    Used,
}

impl Flaw {
    /// The flaws that an object has, by four columns that say so in this order.
    pub(super) fn read<E>(column: impl Fn(usize) -> Result<bool, E>) -> Result<Vec<Self>, E> {
        let all = [Self::Mode, Self::TargetSize, Self::Verifier, Self::Used];
        let found = all.into_iter().enumerate().map(|(at, flaw)| Ok(column(at)?.then_some(flaw)));
        found.filter_map(Result::transpose).collect()
    }
}

/// The highest file number and cookie that is taken for one: what is beyond was not given out by counting.
pub(crate) const HIGHEST_NUMBER: i64 = 1 << 62;

/// Numbers that are given out one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// File numbers.
    Fileids,
    /// Cookies of entries.
    Cookies,
}

/// An entry with what its ids lead to, all as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// The directory that the entry says it is in.
    pub directory: ObjectId,
    /// The name, which need not be one that a client could give.
    pub name: Vec<u8>,
    /// What it names.
    pub child: ObjectId,
    /// Its place in READDIR, as recorded.
    pub cookie: i64,
    /// The share and kind of what the directory's id leads to.
    pub holder: Option<(ShareId, FileType)>,
    /// What the child's id leads to.
    pub object: Option<ObjectState>,
}

/// What is wrong with an entry by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It lies in what is no directory.
    OutsideDirectory,
    /// It names an object that is not there.
    Dangling,
    /// It names an object of another share.
    OtherShare,
    /// It names the root of a share.
    NamesRoot,
    /// It names a directory that has another parent.
    OtherParent,
}

impl EntryState {
    /// What is wrong with it, where the roots of all shares are these.
    #[must_use]
    pub fn fault(&self, roots: &[ObjectId]) -> Option<Fault> {
        let Some((share, FileType::Directory)) = self.holder else {
            return Some(Fault::OutsideDirectory);
        };
        let Some(object) = &self.object else { return Some(Fault::Dangling) };
        if object.share != share {
            Some(Fault::OtherShare)
        } else if roots.contains(&object.id) {
            Some(Fault::NamesRoot)
        } else if object.file_type.is_directory() && object.parent != Some(self.directory) {
            Some(Fault::OtherParent)
        } else {
            None
        }
    }
}

/// A directory with what is counted around it, all as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryState {
    /// The directory.
    pub object: ObjectState,
    /// Its entries that name directories.
    pub subdirs: u64,
    /// The entries of its recorded parent that name it.
    pub names: u64,
    /// Whether its parents lead to a root.
    pub reaches_root: bool,
}

/// Objects and bytes. Signed: counters that are wrong may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Objects, roots included.
    pub objects: i128,
    /// The sum of what regular files and symbolic links take.
    pub bytes: i128,
}

/// What a share uses, as of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageState {
    pub share: ShareId,
    /// By its counters.
    pub recorded: Totals,
    /// By its objects.
    pub counted: Totals,
}

/// A change that corrects one thing, in a transaction of its own that looks first whether it is still broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Removes an entry that has the fault. With [`Fault::OtherParent`] only where the directory has an entry
    /// in its recorded parent.
    RemoveEntry {
        /// The directory that the entry says it is in.
        directory: ObjectId,
        name: Vec<u8>,
        /// What it names.
        child: ObjectId,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Records the parent of a directory that has its one entry there and none in the parent that is
    /// recorded.
    SetParent {
        parent: ObjectId,
        /// The entry's name.
        name: Vec<u8>,
        directory: ObjectId,
    },
    /// Leaves a directory the oldest of several names in its parent.
    KeepOneName { directory: ObjectId },
    /// Records how many names an object has.
    SetNames {
        /// What is no directory.
        object: ObjectId,
        /// Its ctime when the names were counted.
        ctime: Timestamp,
        /// At least one.
        names: u64,
    },
    /// Gives an object without a name one: its id.
    Adopt {
        object: ObjectId,
        /// Its ctime when it was found to have no name; of no meaning for a directory.
        ctime: Timestamp,
        /// The directory that gets it.
        into: ObjectId,
    },
    /// Records how many subdirectories a directory has.
    SetSubdirs { directory: ObjectId },
    /// Forgets the count of names of what has none to count.
    ForgetNames {
        /// Not there, or a directory.
        object: ObjectId,
    },
    /// Sets a share's counters.
    SetUsage { share: ShareId },
    /// Takes away what is wrong with an object by itself: the bits, the verifier, the size that is not the
    /// target's, what it cannot take.
    Amend {
        object: ObjectId,
        /// What is wrong.
        flaw: Flaw,
    },
    /// Records what a file takes on its content store, and counts it.
    SetUsed {
        /// The file.
        object: ObjectId,
        /// Its ctime when its content was measured.
        ctime: Timestamp,
        /// At most the size in whole blocks.
        used: u64,
    },
    /// Gives an object a new file number.
    Renumber {
        object: ObjectId,
        /// The number that it has.
        fileid: i64,
    },
    /// Gives an entry a new cookie.
    SetCookie {
        directory: ObjectId,
        name: Vec<u8>,
        /// The cookie that it has.
        cookie: i64,
    },
    /// Names an entry by the id of what it names.
    Rename {
        directory: ObjectId,
        /// The name, which no client could give.
        name: Vec<u8>,
        /// What it names.
        child: ObjectId,
    },
    /// Has numbers given out beyond the highest that is there. What sessions have drawn already they give out
    /// all the same.
    Raise {
        numbers: Numbers,
        /// The highest that is there.
        highest: i64,
    },
}

/// What became of a [`Repair`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// It is repaired, durably.
    Done,
    /// Another change came first: nothing was changed.
    Changed,
    /// The name that it needs is taken: nothing was changed.
    NameTaken,
}

/// Reads a store for a check. Every answer is of one moment, and no moment is before that of an earlier
/// answer. Pages come in the order of ids, or of directories' ids and names.
#[async_trait::async_trait]
pub trait Checker: std::fmt::Debug + Send + Sync {
    /// About how many objects there are.
    async fn recorded_objects(&self) -> Result<u64, Error>;

    /// Every share.
    async fn shares(&self) -> Result<Vec<Share>, Error>;

    /// Up to `limit` objects after one.
    async fn objects(&self, after: Option<ObjectId>, limit: u32)
    -> Result<Vec<ObjectState>, Error>;

    /// Those of these objects that are there, in no order.
    async fn objects_of(&self, ids: &[ObjectId]) -> Result<Vec<ObjectState>, Error>;

    /// Up to `limit` entries after one.
    async fn entries(
        &self,
        after: Option<(ObjectId, &[u8])>,
        limit: u32,
    ) -> Result<Vec<EntryState>, Error>;

    /// Up to `limit` objects after one that have a recorded count of names, each with whether it has names to
    /// count.
    async fn counts(
        &self,
        after: Option<ObjectId>,
        limit: u32,
    ) -> Result<Vec<(ObjectId, bool)>, Error>;

    /// A directory; `None` where there is none. Reads all entries of it and of its parent.
    async fn directory(&self, id: ObjectId) -> Result<Option<DirectoryState>, Error>;

    /// A name of an object in a directory, of which it reads all entries.
    async fn name_in(
        &self,
        directory: ObjectId,
        object: ObjectId,
    ) -> Result<Option<Vec<u8>>, Error>;

    /// Those of these objects that are there, each with how many entries name it. Reads every entry of the
    /// store.
    async fn names_of(&self, ids: &[ObjectId]) -> Result<Vec<(ObjectState, u64)>, Error>;

    /// The objects that have one of these file numbers, with their shares. Reads every object of the store.
    async fn numbered(&self, fileids: &[i64]) -> Result<Vec<(ShareId, i64, ObjectId)>, Error>;

    /// The highest file number, and the highest cookie, that may have been given out.
    async fn last_numbers(&self) -> Result<(i64, i64), Error>;

    /// What every share uses. Reads every object of the store.
    async fn usages(&self) -> Result<Vec<UsageState>, Error>;
}

/// Repairs a store, alone.
#[async_trait::async_trait]
pub trait Repairer: Checker {
    /// Repairs, wholly or not at all, and durably.
    async fn repair(&self, repair: &Repair) -> Result<Repaired, Error>;
}

/// A store whose invariants can be checked in one go, as tests do after each case.
#[async_trait::async_trait]
pub trait Invariants: MetadataStore {
    /// What breaks the store's invariants, one line each; empty where the store is sound. Reads
    /// everything.
    async fn inconsistencies(&self) -> Result<Vec<String>, Error>;
}

/// What can be checked: a store, or what one keeps on disk, whether a server has it open or not.
#[async_trait::async_trait]
pub trait Checkable: Dump {
    /// Begins a check.
    async fn checker(&self) -> Result<Box<dyn Checker>, Error>;
}

/// What can be repaired.
#[async_trait::async_trait]
pub trait Repairable: Load + Checkable + Invariants {
    /// Begins a repair.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where another one is under way.
    async fn repairer(&self) -> Result<Box<dyn Repairer>, Error>;
}
