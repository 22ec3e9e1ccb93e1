//! The procedures by number (X/Open XNFS chapter 14). Versions 1, 3 and 4 share their numbers.

use super::wire::Version;

/// What is asked, apart from how the results come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Test,
    Lock,
    Cancel,
    Unlock,
}

impl Operation {
    const ALL: [Self; 4] = [Self::Test, Self::Lock, Self::Cancel, Self::Unlock];

    /// The number of the procedure that brings its results where it came as a message.
    pub(super) fn response(self) -> u32 {
        match self {
            Self::Test => 11,
            Self::Lock => 12,
            Self::Cancel => 13,
            Self::Unlock => 14,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Procedure {
    Null,
    /// The results are the reply.
    Synchronous(Operation),
    /// The results are a call of their own.
    Message(Operation),
    /// Results of what this server did not send.
    Response(Operation),
    /// The client's answer to GRANTED_MSG.
    GrantedResponse,
    /// The machine's own statd: a client of this server has rebooted. Private to Linux.
    Rebooted,
    Share,
    Unshare,
    /// LOCK that neither blocks nor is monitored.
    NmLock,
    FreeAll,
}

impl Procedure {
    /// GRANTED and GRANTED_MSG, which this server calls, are procedures of clients alone.
    pub(super) fn of(version: Version, number: u32) -> Option<Self> {
        let operation = |first: u32| {
            let index = usize::try_from(number.checked_sub(first)?).ok()?;
            Operation::ALL.get(index).copied()
        };
        let has_shares = version != Version::One;
        Some(match number {
            0 => Self::Null,
            1..=4 => Self::Synchronous(operation(1)?),
            6..=9 => Self::Message(operation(6)?),
            11..=14 => Self::Response(operation(11)?),
            15 => Self::GrantedResponse,
            16 => Self::Rebooted,
            20 if has_shares => Self::Share,
            21 if has_shares => Self::Unshare,
            22 if has_shares => Self::NmLock,
            23 if has_shares => Self::FreeAll,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Synchronous(Operation::Test) => "TEST",
            Self::Synchronous(Operation::Lock) => "LOCK",
            Self::Synchronous(Operation::Cancel) => "CANCEL",
            Self::Synchronous(Operation::Unlock) => "UNLOCK",
            Self::Message(Operation::Test) => "TEST_MSG",
            Self::Message(Operation::Lock) => "LOCK_MSG",
            Self::Message(Operation::Cancel) => "CANCEL_MSG",
            Self::Message(Operation::Unlock) => "UNLOCK_MSG",
            Self::Response(Operation::Test) => "TEST_RES",
            Self::Response(Operation::Lock) => "LOCK_RES",
            Self::Response(Operation::Cancel) => "CANCEL_RES",
            Self::Response(Operation::Unlock) => "UNLOCK_RES",
            Self::GrantedResponse => "GRANTED_RES",
            Self::Rebooted => "SM_NOTIFY",
            Self::Share => "SHARE",
            Self::Unshare => "UNSHARE",
            Self::NmLock => "NM_LOCK",
            Self::FreeAll => "FREE_ALL",
        }
    }

    /// Whether it takes or asks for something of a file, for which its caller must be admitted. Giving back
    /// is open to all.
    pub(super) fn looks_at_file(self) -> bool {
        match self {
            Self::Synchronous(Operation::Test | Operation::Lock)
            | Self::Message(Operation::Test | Operation::Lock)
            | Self::NmLock
            | Self::Share => true,
            Self::Null
            | Self::Synchronous(Operation::Cancel | Operation::Unlock)
            | Self::Message(Operation::Cancel | Operation::Unlock)
            | Self::Response(_)
            | Self::GrantedResponse
            | Self::Rebooted
            | Self::Unshare
            | Self::FreeAll => false,
        }
    }

    /// All are idempotent, but a late copy is not: a LOCK that comes after its owner's UNLOCK takes a lock
    /// that nobody gives back, and a late UNLOCK gives a new lock back.
    pub(super) fn is_replayed(self) -> bool {
        match self {
            Self::Null
            | Self::Synchronous(Operation::Test)
            | Self::Message(Operation::Test)
            | Self::Response(_)
            | Self::GrantedResponse
            | Self::Rebooted => false,
            Self::Synchronous(Operation::Lock | Operation::Cancel | Operation::Unlock)
            | Self::Message(Operation::Lock | Operation::Cancel | Operation::Unlock)
            | Self::Share
            | Self::Unshare
            | Self::NmLock
            | Self::FreeAll => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_belong_together() {
        let name = |number| Procedure::of(Version::Four, number).map(Procedure::name);
        for (number, expected) in [
            (0, "NULL"),
            (1, "TEST"),
            (2, "LOCK"),
            (3, "CANCEL"),
            (4, "UNLOCK"),
            (6, "TEST_MSG"),
            (7, "LOCK_MSG"),
            (8, "CANCEL_MSG"),
            (9, "UNLOCK_MSG"),
            (11, "TEST_RES"),
            (12, "LOCK_RES"),
            (13, "CANCEL_RES"),
            (14, "UNLOCK_RES"),
            (15, "GRANTED_RES"),
            (16, "SM_NOTIFY"),
            (20, "SHARE"),
            (21, "UNSHARE"),
            (22, "NM_LOCK"),
            (23, "FREE_ALL"),
        ] {
            assert_eq!(name(number), Some(expected));
            let in_one = Procedure::of(Version::One, number).is_some();
            assert_eq!(in_one, number <= 16, "{number} of version 1");
        }
        for number in [5, 10, 17, 18, 19, 24, u32::MAX] {
            assert_eq!(name(number), None, "{number}");
        }
    }
}
