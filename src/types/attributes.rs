//! An object's attributes.

use super::{ContentId, ContentVersion, Fileid, Fsid, ObjectId, Timestamp};

/// The kinds of objects, numbered as NFSv3's ftype3 (RFC 1813 section 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileType {
    /// Regular file.
    Regular = 1,
    /// Directory.
    Directory = 2,
    /// Block device.
    BlockDevice = 3,
    /// Character device.
    CharacterDevice = 4,
    /// Symbolic link.
    Symlink = 5,
    /// Socket.
    Socket = 6,
    /// Named pipe.
    Fifo = 7,
}

impl FileType {
    /// The type of a stored number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Some(match number {
            1 => Self::Regular,
            2 => Self::Directory,
            3 => Self::BlockDevice,
            4 => Self::CharacterDevice,
            5 => Self::Symlink,
            6 => Self::Socket,
            7 => Self::Fifo,
            _ => return None,
        })
    }

    /// Its number in a store.
    #[must_use]
    pub fn number(self) -> i16 {
        i16::from(self as u8)
    }

    /// Whether the object is a directory.
    #[must_use]
    pub fn is_directory(self) -> bool {
        self == Self::Directory
    }

    /// Whether the object is a device.
    #[must_use]
    pub fn is_device(self) -> bool {
        self == Self::BlockDevice || self == Self::CharacterDevice
    }
}

/// A device's numbers (RFC 1813 section 2.5, specdata3); zero for what is no device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeviceNumbers {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl DeviceNumbers {
    /// The form in a store; `None` for what is no device.
    #[must_use]
    pub fn to_stored(self) -> Option<i64> {
        let both = u64::from(self.major) << 32 | u64::from(self.minor);
        (both != 0).then(|| both.cast_signed())
    }

    /// The numbers of a stored form.
    #[must_use]
    pub fn from_stored(stored: Option<i64>) -> Self {
        let both = stored.unwrap_or(0).cast_unsigned();
        // Each half fits: the upper is shifted down, the lower is cut out.
        let half = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0);
        Self { major: half(both >> 32), minor: half(both) }
    }
}

/// Where a regular file's bytes are, and under which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentRef {
    /// The bytes' name in the content store.
    pub id: ContentId,
    /// The version under which a size may be recorded.
    pub version: ContentVersion,
}

/// An object's attributes, committed ones in a store and with the overlay laid over above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Identity.
    pub id: ObjectId,
    /// File number within the share.
    pub fileid: Fileid,
    /// The share's file system identity.
    pub fsid: Fsid,
    /// Kind.
    pub file_type: FileType,
    /// Permission bits with set-uid, set-gid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Names that lead here; for a directory 2 and its subdirectories.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes; a symbolic link's is its target's length.
    pub size: u64,
    /// Bytes that a regular file takes on its content store, holes left out (RFC 1813 section 2.5); the size
    /// of every other kind.
    pub used: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the bytes or entries.
    pub mtime: Timestamp,
    /// Last change of anything; grows strictly.
    pub ctime: Timestamp,
    pub rdev: DeviceNumbers,
    /// A regular file's bytes; `None` for every other kind.
    pub content: Option<ContentRef>,
    /// Counts explicit settings of mtime, so that a late flush undoes none.
    pub mtime_version: i32,
    /// A directory's parent (the root's is the root); `None` for every other kind.
    pub parent: Option<ObjectId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive_storage() {
        for (major, minor) in [(0, 0), (8, 1), (u32::MAX, 0), (0, u32::MAX), (u32::MAX, u32::MAX)] {
            let numbers = DeviceNumbers { major, minor };
            assert_eq!(DeviceNumbers::from_stored(numbers.to_stored()), numbers);
        }
        assert_eq!(DeviceNumbers::default().to_stored(), None);
    }
}
