//! From errors to NFSv3's status codes (RFC 1813 section 2.6): the only place that knows both.

use nfsserve::nfs::nfsstat3;

use crate::rpc::AuthStatus;
use crate::types::{NameError, TargetError};
use crate::{availability, content, metadata, vfs};

/// Why a call does not get what it asks for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The file system said no, or failed.
    #[error(transparent)]
    Vfs(#[from] vfs::Error),
    /// The bytes of a handle are none that this server made.
    #[error("not a handle of this server")]
    BadHandle,
    /// A name has more than 255 bytes, or a symbolic link's target more than 4,095.
    #[error("the name is too long")]
    NameTooLong,
    /// Not one entry of the directory fits into the reply that the client allows.
    #[error("no room for one entry")]
    TooSmall,
}

impl From<metadata::Error> for Error {
    fn from(error: metadata::Error) -> Self {
        Self::Vfs(error.into())
    }
}

impl From<NameError> for Error {
    /// `.` and `..` have other answers in some procedures; those look for them first.
    fn from(error: NameError) -> Self {
        match error {
            NameError::TooLong => Self::NameTooLong,
            NameError::Empty | NameError::Forbidden | NameError::Dots => {
                metadata::Error::Invalid.into()
            }
        }
    }
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::TooLong => Self::NameTooLong,
            TargetError::Empty => metadata::Error::NotFound.into(),
            TargetError::Forbidden => metadata::Error::Invalid.into(),
        }
    }
}

macro_rules! names {
    ($($status:ident)*) => {
        /// The name of a status by its number, for those that this server answers with.
        pub(super) fn name(number: u32) -> Option<&'static str> {
            const NAMES: &[(u32, &str)] = &[$((nfsstat3::$status as u32, stringify!($status))),*];
            NAMES.iter().find(|(it, _)| *it == number).map(|(_, name)| *name)
        }
    };
}

names! {
    NFS3ERR_PERM NFS3ERR_NOENT NFS3ERR_IO NFS3ERR_ACCES NFS3ERR_EXIST NFS3ERR_XDEV NFS3ERR_NOTDIR NFS3ERR_ISDIR
    NFS3ERR_INVAL NFS3ERR_FBIG NFS3ERR_NOSPC NFS3ERR_ROFS NFS3ERR_MLINK NFS3ERR_NAMETOOLONG NFS3ERR_NOTEMPTY
    NFS3ERR_STALE NFS3ERR_BADHANDLE NFS3ERR_NOT_SYNC NFS3ERR_BAD_COOKIE NFS3ERR_NOTSUPP NFS3ERR_TOOSMALL
    NFS3ERR_SERVERFAULT NFS3ERR_BADTYPE NFS3ERR_JUKEBOX
}

/// How an error is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// As the procedure's status.
    Status(nfsstat3),
    /// By refusing the credentials.
    Credentials(AuthStatus),
}

/// How the client is told of `error`.
pub(super) fn verdict(error: &Error) -> Verdict {
    Verdict::Status(match error {
        Error::BadHandle => nfsstat3::NFS3ERR_BADHANDLE,
        Error::NameTooLong => nfsstat3::NFS3ERR_NAMETOOLONG,
        Error::TooSmall => nfsstat3::NFS3ERR_TOOSMALL,
        Error::Vfs(error) => match error {
            vfs::Error::Metadata(error) => of_metadata(error),
            vfs::Error::Content(error) => of_content(error),
            vfs::Error::UnknownShare | vfs::Error::ClientRefused => nfsstat3::NFS3ERR_STALE,
            vfs::Error::PortRefused => nfsstat3::NFS3ERR_PERM,
            vfs::Error::ReadOnly => nfsstat3::NFS3ERR_ROFS,
            vfs::Error::TooWeak => return Verdict::Credentials(AuthStatus::TooWeak),
            vfs::Error::CrossShare => nfsstat3::NFS3ERR_XDEV,
            vfs::Error::ContentLost { .. } => nfsstat3::NFS3ERR_IO,
            vfs::Error::Busy => nfsstat3::NFS3ERR_JUKEBOX,
        },
    })
}

/// A cancelled call changed nothing, so that JUKEBOX is true for a client that still listens.
fn of_metadata(error: &metadata::Error) -> nfsstat3 {
    match error {
        metadata::Error::NotFound => nfsstat3::NFS3ERR_NOENT,
        metadata::Error::Exists => nfsstat3::NFS3ERR_EXIST,
        metadata::Error::NotDirectory => nfsstat3::NFS3ERR_NOTDIR,
        metadata::Error::IsDirectory => nfsstat3::NFS3ERR_ISDIR,
        metadata::Error::NotEmpty => nfsstat3::NFS3ERR_NOTEMPTY,
        metadata::Error::Stale => nfsstat3::NFS3ERR_STALE,
        metadata::Error::AccessDenied => nfsstat3::NFS3ERR_ACCES,
        metadata::Error::NotPermitted => nfsstat3::NFS3ERR_PERM,
        metadata::Error::Invalid => nfsstat3::NFS3ERR_INVAL,
        metadata::Error::BadType => nfsstat3::NFS3ERR_BADTYPE,
        metadata::Error::TooManyLinks => nfsstat3::NFS3ERR_MLINK,
        metadata::Error::NotSync => nfsstat3::NFS3ERR_NOT_SYNC,
        metadata::Error::TooLarge => nfsstat3::NFS3ERR_FBIG,
        metadata::Error::NoSpace(_) => nfsstat3::NFS3ERR_NOSPC,
        metadata::Error::ReadOnly(_) => nfsstat3::NFS3ERR_ROFS,
        metadata::Error::Unavailable(_)
        | metadata::Error::Cancelled
        | metadata::Error::Superseded => nfsstat3::NFS3ERR_JUKEBOX,
        metadata::Error::Damaged(_) => nfsstat3::NFS3ERR_SERVERFAULT,
        metadata::Error::Schema(_) | metadata::Error::Backend(_) => nfsstat3::NFS3ERR_IO,
    }
}

/// A cancelled WRITE may have written a part of its data; doing it again is what JUKEBOX asks for.
fn of_content(error: &content::Error) -> nfsstat3 {
    match error {
        content::Error::NoSpace(_) => nfsstat3::NFS3ERR_NOSPC,
        content::Error::ReadOnly(_) => nfsstat3::NFS3ERR_ROFS,
        content::Error::TooLarge => nfsstat3::NFS3ERR_FBIG,
        content::Error::Unavailable(_) | content::Error::Cancelled => nfsstat3::NFS3ERR_JUKEBOX,
        content::Error::Missing(_) | content::Error::Io(_) => nfsstat3::NFS3ERR_IO,
    }
}

/// How much of the operator's attention an error deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Notice {
    /// A line of level debug: the client asked for something impossible or gave up, or the store's own line
    /// tells the outage once for every call.
    Refusal,
    /// A line, but not one for every call of an outage: a store is full, read-only or away.
    Outage,
    /// A line in every log.
    Fault,
}

/// How much attention `error` deserves.
pub(super) fn notice(error: &Error) -> Notice {
    if availability::is_told(error) {
        return Notice::Refusal;
    }
    match error {
        Error::BadHandle | Error::NameTooLong | Error::TooSmall => Notice::Refusal,
        Error::Vfs(error) => match error {
            vfs::Error::UnknownShare
            | vfs::Error::ClientRefused
            | vfs::Error::PortRefused
            | vfs::Error::ReadOnly
            | vfs::Error::TooWeak
            | vfs::Error::CrossShare
            | vfs::Error::Busy => Notice::Refusal,
            vfs::Error::ContentLost { .. } => Notice::Fault,
            vfs::Error::Content(error) => match error {
                content::Error::TooLarge | content::Error::Cancelled => Notice::Refusal,
                content::Error::NoSpace(_)
                | content::Error::ReadOnly(_)
                | content::Error::Unavailable(_) => Notice::Outage,
                content::Error::Missing(_) | content::Error::Io(_) => Notice::Fault,
            },
            vfs::Error::Metadata(error) => notice_of_metadata(error),
        },
    }
}

fn notice_of_metadata(error: &metadata::Error) -> Notice {
    match error {
        metadata::Error::NotFound
        | metadata::Error::Exists
        | metadata::Error::NotDirectory
        | metadata::Error::IsDirectory
        | metadata::Error::NotEmpty
        | metadata::Error::Stale
        | metadata::Error::AccessDenied
        | metadata::Error::NotPermitted
        | metadata::Error::Invalid
        | metadata::Error::BadType
        | metadata::Error::TooManyLinks
        | metadata::Error::NotSync
        | metadata::Error::TooLarge
        | metadata::Error::Superseded
        | metadata::Error::Cancelled => Notice::Refusal,
        metadata::Error::NoSpace(_)
        | metadata::Error::ReadOnly(_)
        | metadata::Error::Unavailable(_) => Notice::Outage,
        metadata::Error::Damaged(_) | metadata::Error::Schema(_) | metadata::Error::Backend(_) => {
            Notice::Fault
        }
    }
}
