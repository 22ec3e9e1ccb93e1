//! What can be wrong with a store, and what is done about it.

use std::fmt;

use crate::metadata::{Fault, Flaw, Numbers, Repair, Totals};
use crate::types::{ContentId, ObjectId, ShareId, ShareName, Timestamp};

/// Something that is wrong, confirmed as of one moment; its text stands behind what it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    #[error("the share {share} has no root directory")]
    NoRoot { share: ShareName },
    #[error("the object {object} belongs to share number {}, which does not exist", number.0)]
    NoShare {
        object: ObjectId,
        /// The share's number.
        number: ShareId,
    },
    /// An entry that must not be.
    #[error("the entry {} of {directory} {}", name.escape_ascii(), of_entry(*fault, *child))]
    Entry {
        /// The directory that it says it is in.
        directory: ObjectId,
        name: Vec<u8>,
        /// What it names.
        child: ObjectId,
        /// Why it must not be.
        fault: Fault,
    },
    #[error("the directory {directory} is in {parent}, but another parent is recorded")]
    WrongParent {
        directory: ObjectId,
        /// Where its entry lies.
        parent: ObjectId,
        /// The entry's name.
        name: Vec<u8>,
    },
    #[error("the directory {directory} has {names} names")]
    SeveralNames {
        directory: ObjectId,
        /// How often.
        names: u64,
    },
    #[error("the {} {object} is orphaned (no directory entry)", if *is_directory { "directory" } else { "file" })]
    NoName {
        object: ObjectId,
        /// Whether it is a directory.
        is_directory: bool,
        /// Its ctime then.
        ctime: Timestamp,
    },
    #[error("the file {object} has a link count of {recorded}, but {names} names")]
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
    #[error(
        "the directory {directory} has a subdirectory count of {recorded}, but {subdirs} subdirectories"
    )]
    SubdirCount {
        directory: ObjectId,
        /// Subdirectories that there are.
        subdirs: u64,
        /// Subdirectories that are recorded.
        recorded: u64,
    },
    /// A directory that is its own ancestor, so that no root leads to it and to what lies under it.
    #[error("the directory {directory} is its own ancestor (a cycle), unreachable from any root")]
    Cycle { directory: ObjectId },
    /// A count of names of what has none to count.
    #[error("{object} has a link count, but is not a file")]
    StrayLinkCount {
        /// Not there, or a directory.
        object: ObjectId,
    },
    /// What is wrong with an object by itself.
    #[error("{}", of_flaw(*flaw, *object))]
    Flaw {
        object: ObjectId,
        /// What is wrong.
        flaw: Flaw,
    },
    /// An object whose file number none can have, or an older one of the share has.
    #[error("{object} has the {}", of_fileid(*fileid, *shared))]
    Fileid {
        object: ObjectId,
        /// The number.
        fileid: i64,
        /// Whether an older one has it.
        shared: bool,
    },
    /// An entry whose cookie none can have (READDIR has a meaning for 0 to 2).
    #[error("the entry {} of {directory} has the invalid cookie {cookie}", name.escape_ascii())]
    Cookie {
        directory: ObjectId,
        name: Vec<u8>,
        /// What it names.
        child: ObjectId,
        cookie: i64,
    },
    /// An entry whose name none can have, so that its directory cannot be listed.
    #[error("the entry {} of {directory} for {child} has an invalid name", name.escape_ascii())]
    Name {
        directory: ObjectId,
        name: Vec<u8>,
        /// What it names.
        child: ObjectId,
    },
    /// Numbers that are given out next are there already.
    #[error("the sequence of {} is at {last}, but {highest} is in use", of_numbers(*numbers))]
    Sequence {
        numbers: Numbers,
        /// The highest that is there.
        highest: i64,
        /// The last that was given out.
        last: i64,
    },
    /// Counters that do not say what a share uses.
    #[error(
        "the usage counters of the share {share} say {} objects and {} bytes, but there are {} and {}",
        recorded.objects, recorded.bytes, counted.objects, counted.bytes
    )]
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
    #[error(
        "the file {object} has {recorded} used bytes recorded, but {allocated} allocated: du shows too little"
    )]
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
    #[error("the content {content} of the file {object} is missing ({size} bytes lost)")]
    ContentMissing {
        /// The file.
        object: ObjectId,
        /// The name of its bytes.
        content: ContentId,
        /// How many there must be.
        size: u64,
    },
    #[error("the content {content} of the file {object} is truncated: {length} of {size} bytes")]
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

fn of_entry(fault: Fault, child: ObjectId) -> String {
    match fault {
        Fault::OutsideDirectory => "is in an object that is not a directory".to_owned(),
        Fault::Dangling => format!("points to {child}, which does not exist"),
        Fault::OtherShare => format!("points to {child} of another share"),
        Fault::NamesRoot => format!("points to {child}, the root of a share"),
        Fault::OtherParent => format!("is a second name of the directory {child}"),
    }
}

fn of_flaw(flaw: Flaw, object: ObjectId) -> String {
    match flaw {
        Flaw::Mode => format!("the mode of {object} has invalid bits"),
        Flaw::TargetSize => {
            format!("the size of the symbolic link {object} differs from the length of its target")
        }
        Flaw::Verifier => {
            format!("{object} has the verifier of an exclusive create, but is not a regular file")
        }
        Flaw::Used => format!("the recorded used bytes of {object} exceed its size"),
    }
}

fn of_fileid(fileid: i64, shared: bool) -> String {
    match shared {
        true => format!("file number {fileid} of an older object"),
        false => format!("invalid file number {fileid}"),
    }
}

fn of_numbers(numbers: Numbers) -> &'static str {
    match numbers {
        Numbers::Fileids => "file numbers",
        Numbers::Cookies => "cookies",
    }
}
