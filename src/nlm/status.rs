//! From errors to the statuses of NLM (nlm4_stats): the only place that knows both.
//!
//! Clients make of a status what it does not say, so some are never given: DENIED to a LOCK with block, which
//! Linux takes for ENOLCK; DENIED_NOLOCKS or FAILED for what passes, after which an UNLOCK is not repeated.

use super::wire::Version;
use crate::metadata::{self, RangeTooLarge};
use crate::{availability, vfs};

/// A status of version 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Status {
    Granted = 0,
    /// Another holds it.
    Denied = 1,
    /// A bound is reached.
    DeniedNoLocks = 2,
    /// It is waited for; GRANTED follows.
    Blocked = 3,
    /// Not now; the client is to come again.
    DeniedGracePeriod = 4,
    Deadlock = 5,
    /// Locks cannot be recorded.
    ReadOnly = 6,
    StaleHandle = 7,
    TooBig = 8,
    /// The caller may not, or the object is no file.
    Failed = 9,
}

impl Status {
    const ALL: [(Self, &str); 10] = [
        (Self::Granted, "GRANTED"),
        (Self::Denied, "DENIED"),
        (Self::DeniedNoLocks, "DENIED_NOLOCKS"),
        (Self::Blocked, "BLOCKED"),
        (Self::DeniedGracePeriod, "DENIED_GRACE_PERIOD"),
        (Self::Deadlock, "DEADLCK"),
        (Self::ReadOnly, "ROFS"),
        (Self::StaleHandle, "STALE_FH"),
        (Self::TooBig, "FBIG"),
        (Self::Failed, "FAILED"),
    ];

    /// The number on the wire. Versions 1 and 3 end at DENIED_GRACE_PERIOD.
    pub(super) fn number(self, version: Version) -> u32 {
        let narrow = match self {
            Self::Granted
            | Self::Denied
            | Self::DeniedNoLocks
            | Self::Blocked
            | Self::DeniedGracePeriod => self,
            Self::Deadlock => Self::Denied,
            Self::ReadOnly | Self::StaleHandle | Self::TooBig | Self::Failed => Self::DeniedNoLocks,
        };
        match version {
            Version::Four => self as u32,
            Version::One | Version::Three => narrow as u32,
        }
    }

    /// Whether the file is there, and the caller may lock it.
    pub(super) fn is_about_a_file(self) -> bool {
        match self {
            Self::Granted | Self::Denied | Self::Blocked | Self::Deadlock => true,
            Self::DeniedNoLocks
            | Self::DeniedGracePeriod
            | Self::ReadOnly
            | Self::StaleHandle
            | Self::TooBig
            | Self::Failed => false,
        }
    }

    /// The name of a status by its number.
    pub(super) fn name(number: u32) -> Option<&'static str> {
        Self::ALL.iter().find(|(status, _)| *status as u32 == number).map(|(_, name)| *name)
    }
}

/// Why a call does not get what it asks for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The share's rules, the file's permissions or the store said no, or the store failed.
    #[error(transparent)]
    Vfs(#[from] vfs::Error),
    /// The bytes of a handle are none that this server made.
    #[error("not a handle of this server")]
    BadHandle,
    #[error(transparent)]
    Range(#[from] RangeTooLarge),
}

impl From<metadata::Error> for Error {
    fn from(error: metadata::Error) -> Self {
        Self::Vfs(error.into())
    }
}

/// How much of the operator's attention an error deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Refusal,
    /// The store is full, read-only or away.
    Outage,
    Fault,
}

/// The status of an error, and how it is told. DENIED_GRACE_PERIOD for what passes.
pub(super) fn verdict(error: &Error) -> (Status, Notice) {
    let (status, notice) = match error {
        Error::BadHandle => (Status::StaleHandle, Notice::Refusal),
        Error::Range(RangeTooLarge) => (Status::TooBig, Notice::Refusal),
        Error::Vfs(error) => match error {
            vfs::Error::Metadata(error) => of_metadata(error),
            // As NFS answers.
            vfs::Error::UnknownShare | vfs::Error::ClientRefused => {
                (Status::StaleHandle, Notice::Refusal)
            }
            vfs::Error::Busy => (Status::DeniedGracePeriod, Notice::Refusal),
            vfs::Error::PortRefused
            | vfs::Error::ReadOnly
            | vfs::Error::TooWeak
            | vfs::Error::CrossShare => (Status::Failed, Notice::Refusal),
            vfs::Error::Content(_) | vfs::Error::ContentLost { .. } => {
                (Status::Failed, Notice::Fault)
            }
        },
    };
    (status, if availability::is_told(error) { Notice::Refusal } else { notice })
}

/// FAILED and not DENIED for who may not: programs take DENIED for "held", and try again.
fn of_metadata(error: &metadata::Error) -> (Status, Notice) {
    match error {
        metadata::Error::Stale | metadata::Error::NotFound => {
            (Status::StaleHandle, Notice::Refusal)
        }
        metadata::Error::Unavailable(_) => (Status::DeniedGracePeriod, Notice::Outage),
        metadata::Error::Cancelled | metadata::Error::Superseded => {
            (Status::DeniedGracePeriod, Notice::Refusal)
        }
        metadata::Error::ReadOnly(_) => (Status::ReadOnly, Notice::Outage),
        metadata::Error::NoSpace(_) => (Status::DeniedNoLocks, Notice::Outage),
        metadata::Error::TooLarge => (Status::TooBig, Notice::Refusal),
        metadata::Error::Exists
        | metadata::Error::NotDirectory
        | metadata::Error::IsDirectory
        | metadata::Error::NotEmpty
        | metadata::Error::AccessDenied
        | metadata::Error::NotPermitted
        | metadata::Error::Invalid
        | metadata::Error::BadType
        | metadata::Error::TooManyLinks
        | metadata::Error::NotSync => (Status::Failed, Notice::Refusal),
        metadata::Error::Damaged(_) | metadata::Error::Schema(_) | metadata::Error::Backend(_) => {
            (Status::Failed, Notice::Fault)
        }
    }
}
