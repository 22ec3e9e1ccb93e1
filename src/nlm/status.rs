//! From errors to the statuses of NLM (nlm4_stats): the only place that knows both.
//!
//! Clients make of a status what it does not say, so some are never given: DENIED to a LOCK with block, which
//! Linux takes for ENOLCK; DENIED_NOLOCKS or FAILED for what passes, after which an UNLOCK is not repeated.

use super::wire::Version;

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

    /// The name of a status by its number.
    pub(super) fn name(number: u32) -> Option<&'static str> {
        Self::ALL.iter().find(|(status, _)| *status as u32 == number).map(|(_, name)| *name)
    }
}
