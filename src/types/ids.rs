//! Identities. Each is a type of its own, so that one cannot be passed for another.

use std::fmt;

use uuid::Uuid;

/// Names a file system object; the UUID inside its handle. UUID v7 (RFC 9562 section 5.7), so that
/// new rows of a store lie beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub Uuid);

/// Names a run of bytes in a content store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub Uuid);

/// Tells one body of content from every other. It is kept with the content and goes where that goes, and is
/// the same for every process that reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentIdentity(pub Uuid);

macro_rules! uuid {
    ($($id:ident)*) => {
        $(impl $id {
            /// A fresh identity.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        })*
    };
}
uuid!(ObjectId ContentId ContentIdentity);

/// Counts the times a file's content was truncated or a gap in it zeroed. A size recorded under an
/// older version is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentVersion(pub i64);

/// A share's number in its metadata store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareId(pub i16);

/// An object's file number (RFC 1813 section 2.5): 63 bits from a sequence of the store, never 0
/// and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fileid(pub u64);

/// A share's file system identity (RFC 1813 section 2.5), stored with the share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fsid(pub u64);

/// A directory entry's place in READDIR (RFC 1813 section 3.3.16), a durable property of the entry.
/// Ordered; 0 stands before the first entry, 1 and 2 are `.` and `..`, entries start at
/// [`Cookie::FIRST_ENTRY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

impl Cookie {
    /// Where a scan starts.
    pub const START: Self = Self(0);
    /// The entry `.`.
    pub const DOT: Self = Self(1);
    /// The entry `..`.
    pub const DOT_DOT: Self = Self(2);
    /// The lowest cookie of a stored entry.
    pub const FIRST_ENTRY: Self = Self(3);
}
