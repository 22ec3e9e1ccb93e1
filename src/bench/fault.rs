//! A reply that is not the one that was expected.

use std::fmt;

/// A reply that is not the one that was expected. There are few different ones, whatever a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A status of NFSv3 (RFC 1813 section 2.6).
    Status(u32),
    /// The call was not accepted: RPC's answer (RFC 5531 section 9).
    Rpc(&'static str),
    /// The status is the expected one, and the rest of the reply is wrong.
    Reply(&'static str),
}

/// NFS3ERR_JUKEBOX: the call shall be made again later.
pub(super) const JUKEBOX: u32 = 10_008;
/// Statuses that NFSv3 has no name for are counted as one.
const UNKNOWN: u32 = u32::MAX;

impl Fault {
    /// Of an unexpected status.
    pub(super) fn status(status: u32) -> Self {
        Self::Status(if name(status).is_some() { status } else { UNKNOWN })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => f.write_str(name(*status).unwrap_or("unknown status")),
            Self::Rpc(text) | Self::Reply(text) => f.write_str(text),
        }
    }
}

fn name(status: u32) -> Option<&'static str> {
    Some(match status {
        0 => "NFS3_OK",
        1 => "NFS3ERR_PERM",
        2 => "NFS3ERR_NOENT",
        5 => "NFS3ERR_IO",
        6 => "NFS3ERR_NXIO",
        13 => "NFS3ERR_ACCES",
        17 => "NFS3ERR_EXIST",
        18 => "NFS3ERR_XDEV",
        19 => "NFS3ERR_NODEV",
        20 => "NFS3ERR_NOTDIR",
        21 => "NFS3ERR_ISDIR",
        22 => "NFS3ERR_INVAL",
        27 => "NFS3ERR_FBIG",
        28 => "NFS3ERR_NOSPC",
        30 => "NFS3ERR_ROFS",
        31 => "NFS3ERR_MLINK",
        63 => "NFS3ERR_NAMETOOLONG",
        66 => "NFS3ERR_NOTEMPTY",
        69 => "NFS3ERR_DQUOT",
        70 => "NFS3ERR_STALE",
        71 => "NFS3ERR_REMOTE",
        10_001 => "NFS3ERR_BADHANDLE",
        10_002 => "NFS3ERR_NOT_SYNC",
        10_003 => "NFS3ERR_BAD_COOKIE",
        10_004 => "NFS3ERR_NOTSUPP",
        10_005 => "NFS3ERR_TOOSMALL",
        10_006 => "NFS3ERR_SERVERFAULT",
        10_007 => "NFS3ERR_BADTYPE",
        JUKEBOX => "NFS3ERR_JUKEBOX",
        _ => return None,
    })
}
