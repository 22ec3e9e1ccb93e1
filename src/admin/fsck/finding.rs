//! What can be wrong with a store, and what is done about it.

use std::fmt;

use crate::metadata::{Fault, Flaw, Numbers, Repair, Totals};
use crate::types::{ContentId, ObjectId, ShareId, ShareName, Timestamp};

/// Something that is wrong, confirmed as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A share without a root directory.
    NoRoot { share: ShareName },
    /// An object of a share that is not there.
    NoShare {
        object: ObjectId,
        /// The share's number.
        number: ShareId,
    },
    /// An entry that must not be.
    Entry {
        /// The directory that it says it is in.
        directory: ObjectId,
        name: Vec<u8>,
        /// What it names.
        child: ObjectId,
        /// Why it must not be.
        fault: Fault,
    },
    /// A directory whose one entry lies elsewhere than in its recorded parent.
    WrongParent {
        directory: ObjectId,
        /// Where its entry lies.
        parent: ObjectId,
        /// The entry's name.
        name: Vec<u8>,
    },
    /// A directory that its parent names more than once.
    SeveralNames {
        directory: ObjectId,
        /// How often.
        names: u64,
    },
    /// An object that nothing names.
    NoName {
        object: ObjectId,
        /// Whether it is a directory.
        is_directory: bool,
        /// Its ctime then.
        ctime: Timestamp,
    },
    /// An object that has another number of names than is recorded.
    LinkCount {
        /// What is no directory.
        object: ObjectId,
        /// Names that there are.
        names: u64,
        /// Names that are recorded.
        recorded: u64,
        /// Its ctime then.
        ctime: Timestamp,
    },
    /// A directory that has another number of subdirectories than is recorded.
    SubdirCount {
        directory: ObjectId,
        /// Subdirectories that there are.
        subdirs: u64,
        /// Subdirectories that are recorded.
        recorded: u64,
    },
    /// A directory that is its own ancestor, so that no root leads to it and to what lies under it.
    Cycle { directory: ObjectId },
    /// A count of names of what has none to count.
    StrayLinkCount {
        /// Not there, or a directory.
        object: ObjectId,
    },
    /// What is wrong with an object by itself.
    Flaw {
        object: ObjectId,
        /// What is wrong.
        flaw: Flaw,
    },
    /// An object whose file number none can have, or an older one of the share has.
    Fileid {
        object: ObjectId,
        /// The number.
        fileid: i64,
        /// Whether an older one has it.
        shared: bool,
    },
    /// An entry whose cookie none can have (READDIR has a meaning for 0 to 2).
    Cookie {
        directory: ObjectId,
        name: Vec<u8>,
        /// What it names.
        child: ObjectId,
        cookie: i64,
    },
    /// An entry whose name none can have, so that its directory cannot be listed.
    Name {
        directory: ObjectId,
        name: Vec<u8>,
        /// What it names.
        child: ObjectId,
    },
    /// Numbers that are given out next are there already.
    Sequence {
        numbers: Numbers,
        /// The highest that is there.
        highest: i64,
        /// The last that was given out.
        last: i64,
    },
    /// Counters that do not say what a share uses.
    Usage {
        share: ShareName,
        /// Its number.
        id: ShareId,
        /// What they say.
        recorded: Totals,
        /// What there is.
        counted: Totals,
    },
    /// A file that is recorded to take fewer bytes than its content store has allocated for it.
    UsedTooLittle {
        /// The file.
        object: ObjectId,
        /// Its ctime then.
        ctime: Timestamp,
        /// Bytes that are recorded.
        recorded: u64,
        /// Bytes that are allocated, in whole blocks.
        allocated: u64,
    },
    /// A file whose bytes are gone.
    ContentMissing {
        /// The file.
        object: ObjectId,
        /// The name of its bytes.
        content: ContentId,
        /// How many there must be.
        size: u64,
    },
    /// A file that has fewer bytes than it must have.
    ContentShort {
        /// The file.
        object: ObjectId,
        /// The name of its bytes.
        content: ContentId,
        /// How many there must be.
        size: u64,
        /// How many there are.
        length: u64,
    },
}

impl Finding {
    /// What kind it is, for programs. Never changes.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoRoot { .. } => "no_root",
            Self::NoShare { .. } => "no_share",
            Self::Entry { fault, .. } => match fault {
                Fault::OutsideDirectory => "entry_outside_directory",
                Fault::Dangling => "dangling_entry",
                Fault::OtherShare => "entry_of_other_share",
                Fault::NamesRoot => "entry_of_root",
                Fault::OtherParent => "second_parent",
            },
            Self::WrongParent { .. } => "wrong_parent",
            Self::SeveralNames { .. } => "several_names",
            Self::NoName { .. } => "no_name",
            Self::LinkCount { .. } => "link_count",
            Self::SubdirCount { .. } => "subdirectory_count",
            Self::Cycle { .. } => "cycle",
            Self::StrayLinkCount { .. } => "stray_link_count",
            Self::Flaw { flaw, .. } => match flaw {
                Flaw::Mode => "mode",
                Flaw::TargetSize => "target_size",
                Flaw::Verifier => "verifier",
                Flaw::Used => "used",
            },
            Self::Fileid { .. } => "fileid",
            Self::Cookie { .. } => "cookie",
            Self::Name { .. } => "name",
            Self::Sequence { .. } => "sequence",
            Self::Usage { .. } => "usage",
            Self::UsedTooLittle { .. } => "used_too_little",
            Self::ContentMissing { .. } => "content_missing",
            Self::ContentShort { .. } => "content_short",
        }
    }

    /// What it is about; an entry's child, and nothing for a whole share.
    #[must_use]
    pub fn object(&self) -> Option<ObjectId> {
        match self {
            Self::NoRoot { .. } | Self::Usage { .. } | Self::Sequence { .. } => None,
            Self::NoShare { object, .. }
            | Self::NoName { object, .. }
            | Self::LinkCount { object, .. }
            | Self::StrayLinkCount { object }
            | Self::Flaw { object, .. }
            | Self::Fileid { object, .. }
            | Self::UsedTooLittle { object, .. }
            | Self::ContentMissing { object, .. }
            | Self::ContentShort { object, .. } => Some(*object),
            Self::Entry { child, .. } | Self::Cookie { child, .. } | Self::Name { child, .. } => {
                Some(*child)
            }
            Self::WrongParent { directory, .. }
            | Self::SeveralNames { directory, .. }
            | Self::SubdirCount { directory, .. }
            | Self::Cycle { directory } => Some(*directory),
        }
    }

    /// What a repair does about it.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::NoRoot { .. } => Remedy::None("load the share from a dump"),
            Self::NoShare { .. } => Remedy::None("load the store from a dump"),
            Self::ContentMissing { .. } | Self::ContentShort { .. } => {
                Remedy::None("restore its content from a backup, or remove the file")
            }
            Self::Entry { directory, name, child, fault } => Remedy::Repair(
                Repair::RemoveEntry {
                    directory: *directory,
                    name: name.clone(),
                    child: *child,
                    fault: *fault,
                },
                "removes the entry",
            ),
            Self::WrongParent { directory, parent, name } => Remedy::Repair(
                Repair::SetParent { parent: *parent, name: name.clone(), directory: *directory },
                "records the parent",
            ),
            Self::SeveralNames { directory, .. } => Remedy::Repair(
                Repair::KeepOneName { directory: *directory },
                "keeps the oldest of them",
            ),
            Self::NoName { object, ctime, .. } => Remedy::Adopt(*object, *ctime),
            Self::LinkCount { object, ctime, names, .. } => Remedy::Repair(
                Repair::SetNames { object: *object, ctime: *ctime, names: *names },
                "records the count",
            ),
            Self::SubdirCount { directory, .. } => {
                Remedy::Repair(Repair::SetSubdirs { directory: *directory }, "records the count")
            }
            Self::Cycle { directory } => Remedy::Move(*directory),
            Self::StrayLinkCount { object } => {
                Remedy::Repair(Repair::ForgetNames { object: *object }, "removes the count")
            }
            Self::Flaw { object, flaw } => Remedy::Repair(
                Repair::Amend { object: *object, flaw: *flaw },
                match flaw {
                    Flaw::Mode => "clears these bits",
                    Flaw::TargetSize => "records the size",
                    Flaw::Verifier => "removes it",
                    Flaw::Used => "records the most that the size allows",
                },
            ),
            Self::Fileid { object, fileid, .. } => Remedy::Repair(
                Repair::Renumber { object: *object, fileid: *fileid },
                "assigns a new one",
            ),
            Self::Cookie { directory, name, cookie, .. } => Remedy::Repair(
                Repair::SetCookie { directory: *directory, name: name.clone(), cookie: *cookie },
                "assigns a new one",
            ),
            Self::Name { directory, name, child } => Remedy::Repair(
                Repair::Rename { directory: *directory, name: name.clone(), child: *child },
                "renames it to its id",
            ),
            Self::Sequence { numbers, highest, .. } => Remedy::Repair(
                Repair::Raise { numbers: *numbers, highest: *highest },
                "advances the sequence",
            ),
            Self::UsedTooLittle { object, ctime, allocated, .. } => Remedy::Repair(
                Repair::SetUsed { object: *object, ctime: *ctime, used: *allocated },
                "records the bytes allocated",
            ),
            Self::Usage { id, .. } => {
                Remedy::Repair(Repair::SetUsage { share: *id }, "sets the counters")
            }
        }
    }
}

/// What a repair does about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// One change, and what it does.
    Repair(Repair, &'static str),
    /// The object gets a name in `lost+found`; a file only while it has this ctime.
    Adopt(ObjectId, Timestamp),
    /// The directory moves to `lost+found`.
    Move(ObjectId),
    /// Nothing: what an administrator can do.
    None(&'static str),
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repair(_, does) => write!(f, "a repair {does}"),
            Self::Adopt(..) => f.write_str("a repair links it into lost+found"),
            Self::Move(_) => f.write_str("a repair moves it to lost+found"),
            Self::None(what) => write!(f, "cannot be repaired: {what}"),
        }
    }
}

/// What is wrong, in one line, behind what it is about.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoot { share } => write!(f, "the share {share} has no root directory"),
            Self::NoShare { object, number } => {
                write!(
                    f,
                    "the object {object} belongs to share number {}, which does not exist",
                    number.0
                )
            }
            Self::Entry { directory, name, child, fault } => {
                write!(f, "the entry {} of {directory} ", name.escape_ascii())?;
                match fault {
                    Fault::OutsideDirectory => write!(f, "is in an object that is not a directory"),
                    Fault::Dangling => write!(f, "points to {child}, which does not exist"),
                    Fault::OtherShare => write!(f, "points to {child} of another share"),
                    Fault::NamesRoot => write!(f, "points to {child}, the root of a share"),
                    Fault::OtherParent => {
                        write!(f, "is a second name of the directory {child}")
                    }
                }
            }
            Self::WrongParent { directory, parent, .. } => {
                write!(
                    f,
                    "the directory {directory} is in {parent}, but another parent is recorded"
                )
            }
            Self::SeveralNames { directory, names } => {
                write!(f, "the directory {directory} has {names} names")
            }
            Self::NoName { object, is_directory, .. } => {
                let kind = if *is_directory { "directory" } else { "file" };
                write!(f, "the {kind} {object} is orphaned (no directory entry)")
            }
            Self::LinkCount { object, names, recorded, .. } => {
                write!(f, "the file {object} has a link count of {recorded}, but {names} names")
            }
            Self::SubdirCount { directory, subdirs, recorded } => write!(
                f,
                "the directory {directory} has a subdirectory count of {recorded}, but {subdirs} subdirectories"
            ),
            Self::Cycle { directory } => {
                write!(
                    f,
                    "the directory {directory} is its own ancestor (a cycle), unreachable from any root"
                )
            }
            Self::StrayLinkCount { object } => {
                write!(f, "{object} has a link count, but is not a file")
            }
            Self::Flaw { object, flaw } => match flaw {
                Flaw::Mode => write!(f, "the mode of {object} has invalid bits"),
                Flaw::TargetSize => {
                    write!(
                        f,
                        "the size of the symbolic link {object} differs from the length of its target"
                    )
                }
                Flaw::Verifier => write!(
                    f,
                    "{object} has the verifier of an exclusive create, but is not a regular file"
                ),
                Flaw::Used => {
                    write!(f, "the recorded used bytes of {object} exceed its size")
                }
            },
            Self::Fileid { object, fileid, shared: true } => {
                write!(f, "{object} has the file number {fileid} of an older object")
            }
            Self::Fileid { object, fileid, shared: false } => {
                write!(f, "{object} has the invalid file number {fileid}")
            }
            Self::Cookie { directory, name, cookie, .. } => write!(
                f,
                "the entry {} of {directory} has the invalid cookie {cookie}",
                name.escape_ascii()
            ),
            Self::Name { directory, name, child } => write!(
                f,
                "the entry {} of {directory} for {child} has an invalid name",
                name.escape_ascii()
            ),
            Self::Sequence { numbers, highest, last } => {
                let what = match numbers {
                    Numbers::Fileids => "file numbers",
                    Numbers::Cookies => "cookies",
                };
                write!(f, "the sequence of {what} is at {last}, but {highest} is in use")
            }
            Self::Usage { share, recorded, counted, .. } => write!(
                f,
                "the usage counters of the share {share} say {} objects and {} bytes, but there are {} and {}",
                recorded.objects, recorded.bytes, counted.objects, counted.bytes
            ),
            Self::UsedTooLittle { object, recorded, allocated, .. } => write!(
                f,
                "the file {object} has {recorded} used bytes recorded, but {allocated} allocated: du shows too little"
            ),
            Self::ContentMissing { object, content, size } => {
                write!(
                    f,
                    "the content {content} of the file {object} is missing ({size} bytes lost)"
                )
            }
            Self::ContentShort { object, content, size, length } => write!(
                f,
                "the content {content} of the file {object} is truncated: {length} of {size} bytes"
            ),
        }
    }
}
