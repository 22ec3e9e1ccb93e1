//! NFSv3's types (RFC 1813 section 2.5 and 2.6) as the tests read and write them.

use std::fmt;

use super::xdr::{Args, Results};

/// nfsstat3.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u32);

/// The statuses of section 2.6: those that cases compare with have constants, the others names only.
macro_rules! statuses {
    ($($name:ident = $number:literal),*; $($other:ident = $others:literal),*) => {
        $(pub(crate) const $name: Status = Status($number);)*

        impl fmt::Debug for Status {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self.0 {
                    $($number => stringify!($name),)*
                    $($others => stringify!($other),)*
                    unknown => return write!(f, "unknown status {unknown}"),
                })
            }
        }

        impl Status {
            pub(crate) fn is_known(self) -> bool {
                matches!(self.0, $($number)|* | $($others)|*)
            }
        }
    };
}

statuses! {
    OK = 0, PERM = 1, NOENT = 2, ACCES = 13, EXIST = 17, XDEV = 18, NOTDIR = 20, ISDIR = 21,
    INVAL = 22, FBIG = 27, ROFS = 30, MLINK = 31, NAMETOOLONG = 63, NOTEMPTY = 66, STALE = 70,
    BADHANDLE = 10001, NOT_SYNC = 10002, BAD_COOKIE = 10003, TOOSMALL = 10005, BADTYPE = 10007,
    JUKEBOX = 10008;
    IO = 5, NXIO = 6, NODEV = 19, NOSPC = 28, DQUOT = 69, REMOTE = 71,
    NOTSUPP = 10004, SERVERFAULT = 10006
}

pub(crate) const REG: u32 = 1;
pub(crate) const DIR: u32 = 2;
pub(crate) const BLK: u32 = 3;
pub(crate) const CHR: u32 = 4;
pub(crate) const LNK: u32 = 5;
pub(crate) const SOCK: u32 = 6;
pub(crate) const FIFO: u32 = 7;

/// A file handle.
pub(crate) type Handle = Vec<u8>;
/// Seconds and nanoseconds.
pub(crate) type Time = (u32, u32);

/// The seconds of this machine's time.
pub(crate) fn now() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u32::try_from(now.as_secs()).unwrap()
}

/// fattr3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attr {
    pub(crate) kind: u32,
    pub(crate) mode: u32,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) used: u64,
    pub(crate) rdev: (u32, u32),
    pub(crate) fsid: u64,
    pub(crate) fileid: u64,
    pub(crate) atime: Time,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
}

fn time(results: &mut Results) -> Time {
    let time = (results.u32(), results.u32());
    assert!(time.1 < 1_000_000_000, "{} nanoseconds", time.1);
    time
}

impl Attr {
    /// Reads attributes and checks what holds for all of them.
    pub(crate) fn read(results: &mut Results) -> Self {
        let attr = Self {
            kind: results.u32(),
            mode: results.u32(),
            nlink: results.u32(),
            uid: results.u32(),
            gid: results.u32(),
            size: results.u64(),
            used: results.u64(),
            rdev: (results.u32(), results.u32()),
            fsid: results.u64(),
            fileid: results.u64(),
            atime: time(results),
            mtime: time(results),
            ctime: time(results),
        };
        assert!((REG..=FIFO).contains(&attr.kind), "{attr:?}");
        assert_eq!(attr.mode & !0o7777, 0, "the mode has no type bits");
        assert!(attr.nlink > 0 && attr.fileid > 0 && attr.fileid < 1 << 63, "{attr:?}");
        assert!(attr.kind != DIR || attr.nlink >= 2, "{attr:?}");
        assert!(attr.kind == BLK || attr.kind == CHR || attr.rdev == (0, 0), "{attr:?}");
        attr
    }

    pub(crate) fn wcc(&self) -> PreAttr {
        PreAttr { size: self.size, mtime: self.mtime, ctime: self.ctime }
    }
}

/// wcc_attr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PreAttr {
    pub(crate) size: u64,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
}

/// wcc_data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wcc {
    pub(crate) before: Option<PreAttr>,
    pub(crate) after: Option<Attr>,
}

impl Wcc {
    pub(crate) fn read(results: &mut Results) -> Self {
        let before = results.optional(|results| PreAttr {
            size: results.u64(),
            mtime: time(results),
            ctime: time(results),
        });
        Self { before, after: results.optional(Attr::read) }
    }

    pub(crate) fn before(&self) -> &PreAttr {
        self.before.as_ref().expect("attributes before the operation")
    }

    pub(crate) fn after(&self) -> &Attr {
        self.after.as_ref().expect("attributes after the operation")
    }
}

/// set_atime and set_mtime.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum SetTime {
    #[default]
    Keep,
    Server,
    Client(u32, u32),
}

/// sattr3.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sattr {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: SetTime,
    pub(crate) mtime: SetTime,
}

/// Nothing set.
pub(crate) fn nothing() -> Sattr {
    Sattr::default()
}

pub(crate) fn mode(mode: u32) -> Sattr {
    Sattr { mode: Some(mode), ..Sattr::default() }
}

pub(crate) fn size(size: u64) -> Sattr {
    Sattr { size: Some(size), ..Sattr::default() }
}

pub(crate) fn uid(uid: u32) -> Sattr {
    Sattr { uid: Some(uid), ..Sattr::default() }
}

pub(crate) fn gid(gid: u32) -> Sattr {
    Sattr { gid: Some(gid), ..Sattr::default() }
}

pub(crate) fn owner(uid: u32, gid: u32) -> Sattr {
    Sattr { uid: Some(uid), gid: Some(gid), ..Sattr::default() }
}

pub(crate) fn mtime(mtime: SetTime) -> Sattr {
    Sattr { mtime, ..Sattr::default() }
}

pub(crate) fn atime(atime: SetTime) -> Sattr {
    Sattr { atime, ..Sattr::default() }
}

impl Sattr {
    pub(crate) fn write(&self, args: Args) -> Args {
        let word = |args: Args, value: Option<u32>| match value {
            Some(value) => args.choice(1).u32(value),
            None => args.choice(0),
        };
        let args = word(word(word(args, self.mode), self.uid), self.gid);
        let args = match self.size {
            Some(size) => args.choice(1).u64(size),
            None => args.choice(0),
        };
        let time = |args: Args, time| match time {
            SetTime::Keep => args.choice(0),
            SetTime::Server => args.choice(1),
            SetTime::Client(seconds, nanoseconds) => args.choice(2).u32(seconds).u32(nanoseconds),
        };
        time(time(args, self.atime), self.mtime)
    }
}

/// createhow3.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Unchecked(Sattr),
    Guarded(Sattr),
    Exclusive([u8; 8]),
}

/// stable_how.
pub(crate) const UNSTABLE: u32 = 0;
pub(crate) const DATA_SYNC: u32 = 1;
pub(crate) const FILE_SYNC: u32 = 2;

/// ACCESS bits.
pub(crate) const A_READ: u32 = 0x01;
pub(crate) const A_LOOKUP: u32 = 0x02;
pub(crate) const A_MODIFY: u32 = 0x04;
pub(crate) const A_EXTEND: u32 = 0x08;
pub(crate) const A_DELETE: u32 = 0x10;
pub(crate) const A_EXECUTE: u32 = 0x20;
pub(crate) const A_ALL: u32 = 0x3f;
