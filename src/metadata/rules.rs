//! POSIX's rules on attributes: pure functions that every store and `vfs` use, and the only place
//! that knows them (RFC 1813 section 4.4; POSIX.1-2017 XBD 4.5; Linux's `inode(7)`).

use crate::types::{Attributes, Credentials, DeviceNumbers, FileType, ObjectId, Timestamp};

use super::{Error, NewContent, SetAttributes, SetTime};

/// Set-user-id on execution.
pub const S_ISUID: u32 = 0o4000;
/// Set-group-id on execution; on a directory, entries inherit its group.
pub const S_ISGID: u32 = 0o2000;
/// Restricted deletion.
pub const S_ISVTX: u32 = 0o1000;
/// The bits that a mode may have.
pub const MODE_BITS: u32 = 0o7777;

const READ: u32 = 0o4;
const WRITE: u32 = 0o2;
const EXECUTE: u32 = 0o1;
const GROUP_EXECUTE: u32 = 0o010;
const ANY_EXECUTE: u32 = 0o111;

/// ACCESS bits (RFC 1813 section 3.3.4).
pub mod access {
    /// Read data, or list a directory.
    pub const READ: u32 = 0x01;
    /// Look up a name in a directory.
    pub const LOOKUP: u32 = 0x02;
    /// Rewrite data, or change entries.
    pub const MODIFY: u32 = 0x04;
    /// Write new data, or add entries.
    pub const EXTEND: u32 = 0x08;
    /// Delete an entry.
    pub const DELETE: u32 = 0x10;
    /// Execute a file.
    pub const EXECUTE: u32 = 0x20;
    /// Those that change something.
    pub const WRITING: u32 = MODIFY | EXTEND | DELETE;
}

/// Whether the mode bits grant all of `wanted` (a sum of 4, 2 and 1): owner class first, then
/// group, then other. The superuser passes all but execution of a file without an execute bit.
fn grants(credentials: &Credentials, object: &Attributes, wanted: u32) -> bool {
    if credentials.is_root() {
        return wanted & EXECUTE == 0
            || object.file_type.is_directory()
            || object.mode & ANY_EXECUTE != 0;
    }
    let class = if credentials.uid == object.uid {
        object.mode >> 6
    } else if credentials.is_member(object.gid) {
        object.mode >> 3
    } else {
        object.mode
    };
    class & wanted == wanted
}

fn require(granted: bool) -> Result<(), Error> {
    if granted { Ok(()) } else { Err(Error::AccessDenied) }
}

fn owns(credentials: &Credentials, object: &Attributes) -> bool {
    credentials.is_root() || credentials.uid == object.uid
}

/// The ACCESS bits out of `requested` that the mode bits grant; owner overrides are not shown.
#[must_use]
pub fn access(credentials: &Credentials, object: &Attributes, requested: u32) -> u32 {
    let mut granted = 0;
    if grants(credentials, object, READ) {
        granted |= access::READ;
    }
    if object.file_type.is_directory() {
        if grants(credentials, object, EXECUTE) {
            granted |= access::LOOKUP;
        }
        if grants(credentials, object, WRITE | EXECUTE) {
            granted |= access::MODIFY | access::EXTEND | access::DELETE;
        }
    } else {
        if grants(credentials, object, WRITE) {
            granted |= access::MODIFY | access::EXTEND;
        }
        if grants(credentials, object, EXECUTE) {
            granted |= access::EXECUTE;
        }
    }
    granted & requested
}

/// LOOKUP and every step of a path: execute permission on the directory.
///
/// # Errors
/// [`Error::NotDirectory`], [`Error::AccessDenied`].
pub fn may_search(credentials: &Credentials, directory: &Attributes) -> Result<(), Error> {
    require_directory(directory)?;
    require(grants(credentials, directory, EXECUTE))
}

/// READDIR and READDIRPLUS: read permission on the directory.
///
/// # Errors
/// [`Error::NotDirectory`], [`Error::AccessDenied`].
pub fn may_list(credentials: &Credentials, directory: &Attributes) -> Result<(), Error> {
    require_directory(directory)?;
    require(grants(credentials, directory, READ))
}

/// READ: read permission, or execute permission, since NFSv3 cannot tell running from reading; the
/// owner always, since NFSv3 has no open (RFC 1813 section 4.4).
///
/// # Errors
/// [`Error::IsDirectory`], [`Error::Invalid`] for other kinds, [`Error::AccessDenied`].
pub fn may_read(credentials: &Credentials, file: &Attributes) -> Result<(), Error> {
    require_regular(file)?;
    require(
        owns(credentials, file)
            || grants(credentials, file, READ)
            || grants(credentials, file, EXECUTE),
    )
}

/// Locks of either kind: read or write permission, or ownership. flock(2) takes an exclusive one on a file
/// that was opened to read.
///
/// # Errors
/// [`Error::IsDirectory`], [`Error::Invalid`] for other kinds, [`Error::AccessDenied`].
pub fn may_lock(credentials: &Credentials, file: &Attributes) -> Result<(), Error> {
    require_regular(file)?;
    require(
        owns(credentials, file)
            || grants(credentials, file, READ)
            || grants(credentials, file, WRITE),
    )
}

/// WRITE, and SETATTR of the size: write permission; the owner always, since NFSv3 has no open.
///
/// # Errors
/// [`Error::IsDirectory`], [`Error::Invalid`] for other kinds, [`Error::AccessDenied`].
pub fn may_write(credentials: &Credentials, file: &Attributes) -> Result<(), Error> {
    require_regular(file)?;
    require(owns(credentials, file) || grants(credentials, file, WRITE))
}

fn require_directory(object: &Attributes) -> Result<(), Error> {
    if object.file_type.is_directory() { Ok(()) } else { Err(Error::NotDirectory) }
}

fn require_regular(object: &Attributes) -> Result<(), Error> {
    match object.file_type {
        FileType::Regular => Ok(()),
        FileType::Directory => Err(Error::IsDirectory),
        FileType::BlockDevice
        | FileType::CharacterDevice
        | FileType::Symlink
        | FileType::Socket
        | FileType::Fifo => Err(Error::Invalid),
    }
}

/// Adding, removing and renaming entries: write and execute permission on the directory.
///
/// # Errors
/// [`Error::NotDirectory`], [`Error::AccessDenied`].
pub fn may_change_entries(credentials: &Credentials, directory: &Attributes) -> Result<(), Error> {
    require_directory(directory)?;
    require(grants(credentials, directory, WRITE | EXECUTE))
}

/// Removing or replacing an entry: as [`may_change_entries`], and in a sticky directory only the
/// entry's owner, the directory's owner or the superuser.
///
/// # Errors
/// [`Error::NotDirectory`], [`Error::AccessDenied`]; [`Error::NotPermitted`] for the sticky bit.
pub fn may_remove(
    credentials: &Credentials,
    directory: &Attributes,
    object: &Attributes,
) -> Result<(), Error> {
    may_change_entries(credentials, directory)?;
    if directory.mode & S_ISVTX != 0 && !owns(credentials, directory) && !owns(credentials, object)
    {
        return Err(Error::NotPermitted);
    }
    Ok(())
}

/// Renaming: permission to change both directories, the sticky bit on either side, and write
/// permission on a directory that gets another parent, since its `..` changes.
///
/// # Errors
/// [`Error::NotDirectory`], [`Error::AccessDenied`], [`Error::NotPermitted`].
pub fn may_rename(
    credentials: &Credentials,
    from: &Attributes,
    object: &Attributes,
    to: &Attributes,
    replaced: Option<&Attributes>,
) -> Result<(), Error> {
    may_remove(credentials, from, object)?;
    may_change_entries(credentials, to)?;
    if let Some(replaced) = replaced {
        may_remove(credentials, to, replaced)?;
    }
    if object.file_type.is_directory() && from.id != to.id {
        require(grants(credentials, object, WRITE))?;
    }
    Ok(())
}

/// Whether what is renamed may take the place of `replaced` as kinds go; emptiness is for the
/// store.
///
/// # Errors
/// [`Error::IsDirectory`] for a file over a directory, [`Error::NotDirectory`] for the reverse.
pub fn may_replace(object: &Attributes, replaced: &Attributes) -> Result<(), Error> {
    match (object.file_type.is_directory(), replaced.file_type.is_directory()) {
        (false, true) => Err(Error::IsDirectory),
        (true, false) => Err(Error::NotDirectory),
        (true, true) | (false, false) => Ok(()),
    }
}

/// LINK: permission to change the directory; a directory gets no second name.
///
/// # Errors
/// [`Error::IsDirectory`], [`Error::NotDirectory`], [`Error::AccessDenied`],
/// [`Error::TooManyLinks`].
pub fn may_link(
    credentials: &Credentials,
    object: &Attributes,
    directory: &Attributes,
    max_links: u32,
) -> Result<(), Error> {
    require_directory(directory)?;
    if object.file_type.is_directory() {
        return Err(Error::IsDirectory);
    }
    may_change_entries(credentials, directory)?;
    if object.nlink >= max_links {
        return Err(Error::TooManyLinks);
    }
    Ok(())
}

/// MKNOD: sockets and named pipes by anyone, devices by the superuser.
///
/// # Errors
/// [`Error::BadType`], [`Error::NotPermitted`].
pub fn may_mknod(credentials: &Credentials, kind: FileType) -> Result<(), Error> {
    match kind {
        FileType::Socket | FileType::Fifo => Ok(()),
        FileType::BlockDevice | FileType::CharacterDevice if credentials.is_root() => Ok(()),
        FileType::BlockDevice | FileType::CharacterDevice => Err(Error::NotPermitted),
        FileType::Regular | FileType::Directory | FileType::Symlink => Err(Error::BadType),
    }
}

/// The owner, mode and times of a new object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewObject {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the bytes.
    pub mtime: Timestamp,
    /// Last change of anything.
    pub ctime: Timestamp,
}

/// What a new object in `directory` gets: the caller's uid; the directory's group where it has
/// S_ISGID, which a directory inherits, else the caller's; uid and gid as asked only for the superuser.
/// Whether the caller may make it is for [`may_change_entries`].
#[must_use]
pub fn new_object(
    credentials: &Credentials,
    directory: &Attributes,
    kind: FileType,
    set: &SetAttributes,
    now: Timestamp,
) -> NewObject {
    let inherits = directory.mode & S_ISGID != 0;
    let mut gid = if inherits { directory.gid } else { credentials.gid };
    let mut uid = credentials.uid;
    if credentials.is_root() {
        uid = set.uid.unwrap_or(uid);
        gid = set.gid.unwrap_or(gid);
    }
    let mut mode = match kind {
        FileType::Symlink => 0o777,
        FileType::Regular
        | FileType::Directory
        | FileType::BlockDevice
        | FileType::CharacterDevice
        | FileType::Socket
        | FileType::Fifo => set.mode.unwrap_or(0) & MODE_BITS,
    };
    if kind.is_directory() {
        if inherits {
            mode |= S_ISGID;
        }
    } else if !credentials.is_root() && !credentials.is_member(gid) {
        mode &= !S_ISGID;
    }
    NewObject {
        mode,
        uid,
        gid,
        atime: chosen(set.atime, now, now),
        mtime: chosen(set.mtime, now, now),
        ctime: now,
    }
}

fn chosen(set: SetTime, present: Timestamp, now: Timestamp) -> Timestamp {
    match set {
        SetTime::Keep => present,
        SetTime::Now => now,
        SetTime::To(time) => time,
    }
}

/// What SETATTR makes of `object` (RFC 1813 section 3.3.2): permission, guard and all consequences. The
/// answer has the new size, times, owner and mode; `mtime_version` and the content are bumped as the trait
/// says, a size of 0 naming content `fresh`. nlink and all identities stay.
///
/// # Errors
/// [`Error::NotSync`], [`Error::NotPermitted`], [`Error::AccessDenied`], [`Error::IsDirectory`],
/// [`Error::Invalid`], [`Error::TooLarge`].
pub fn set_attributes(
    credentials: &Credentials,
    object: &Attributes,
    set: &SetAttributes,
    max_size: u64,
    fresh: crate::types::ContentId,
    now: Timestamp,
) -> Result<Attributes, Error> {
    if set.guard.is_some_and(|guard| guard.to_parts() != object.ctime.to_parts()) {
        return Err(Error::NotSync);
    }
    let mut after = object.clone();
    set_owner(credentials, object, set, &mut after)?;
    set_mode(credentials, object, set, &mut after)?;
    set_times(credentials, object, set, now, &mut after)?;
    set_size(credentials, object, set, max_size, fresh, now, &mut after)?;
    after.ctime = now.after(object.ctime);
    Ok(after)
}

fn set_owner(
    credentials: &Credentials,
    object: &Attributes,
    set: &SetAttributes,
    after: &mut Attributes,
) -> Result<(), Error> {
    if set.uid.is_none() && set.gid.is_none() {
        return Ok(());
    }
    let uid = set.uid.unwrap_or(object.uid);
    let gid = set.gid.unwrap_or(object.gid);
    if !credentials.is_root() {
        let gives_away = uid != object.uid;
        let foreign_group = gid != object.gid && !credentials.is_member(gid);
        if gives_away || foreign_group || credentials.uid != object.uid {
            return Err(Error::NotPermitted);
        }
    }
    after.uid = uid;
    after.gid = gid;
    if !object.file_type.is_directory() {
        after.mode &= !set_id_bits_lost(object.mode);
    }
    Ok(())
}

fn set_mode(
    credentials: &Credentials,
    object: &Attributes,
    set: &SetAttributes,
    after: &mut Attributes,
) -> Result<(), Error> {
    let Some(mode) = set.mode else { return Ok(()) };
    if !owns(credentials, object) {
        return Err(Error::NotPermitted);
    }
    after.mode = mode & MODE_BITS;
    let changes_owner = set.uid.is_some() || set.gid.is_some();
    if changes_owner && !object.file_type.is_directory() {
        after.mode &= !set_id_bits_lost(after.mode);
    }
    if !credentials.is_root() && !credentials.is_member(after.gid) {
        after.mode &= !S_ISGID;
    }
    Ok(())
}

fn set_times(
    credentials: &Credentials,
    object: &Attributes,
    set: &SetAttributes,
    now: Timestamp,
    after: &mut Attributes,
) -> Result<(), Error> {
    let explicit = |time| matches!(time, SetTime::To(_));
    let server = |time| matches!(time, SetTime::Now);
    if (explicit(set.atime) || explicit(set.mtime)) && !owns(credentials, object) {
        return Err(Error::NotPermitted);
    }
    if (server(set.atime) || server(set.mtime)) && !owns(credentials, object) {
        require(grants(credentials, object, WRITE))?;
    }
    after.atime = chosen(set.atime, object.atime, now);
    after.mtime = chosen(set.mtime, object.mtime, now);
    if set.mtime != SetTime::Keep {
        after.mtime_version = object.mtime_version.wrapping_add(1);
    }
    Ok(())
}

fn set_size(
    credentials: &Credentials,
    object: &Attributes,
    set: &SetAttributes,
    max_size: u64,
    fresh: crate::types::ContentId,
    now: Timestamp,
    after: &mut Attributes,
) -> Result<(), Error> {
    let Some(size) = set.size else { return Ok(()) };
    may_write(credentials, object)?;
    let overtaken =
        |new: &NewContent| object.content != Some(new.replaces) || object.ctime != new.ctime;
    if set.content.as_ref().is_some_and(overtaken) {
        return Err(Error::Superseded);
    }
    // A file that is larger already may be made shorter.
    if size > max_size.max(object.size) {
        return Err(Error::TooLarge);
    }
    after.size = size;
    after.used = after.used.min(most_used(size));
    if set.mtime == SetTime::Keep {
        after.mtime = now;
    }
    if !credentials.is_root() && set.mode.is_none() {
        after.mode &= !set_id_bits_lost(object.mode);
    }
    if let Some(content) = &mut after.content {
        content.version.0 += 1;
        if size == 0 {
            content.id = fresh;
        } else if let Some(new) = set.content {
            content.id = new.id;
        }
    }
    Ok(())
}

/// The set-id bits that a change of owner, or a write by another than the superuser, takes from a
/// file: set-uid, and set-gid where the group may execute (without that it once meant mandatory locking).
#[must_use]
pub fn set_id_bits_lost(mode: u32) -> u32 {
    let gid = if mode & GROUP_EXECUTE != 0 { S_ISGID } else { 0 };
    mode & (S_ISUID | gid)
}

/// The most that a file of `size` bytes takes: the size in whole blocks of 4096 bytes.
#[must_use]
pub fn most_used(size: u64) -> u64 {
    const MOST: u64 = i64::MAX as u64;
    size.checked_next_multiple_of(4096).map_or(MOST, |used| used.min(MOST))
}

/// What a file takes once writes to it are recorded that end at `end`: what was measured behind them, at
/// least a byte and at most the size in whole blocks. Measured beside another instance's writes it does not
/// become less.
#[must_use]
pub fn used_after(before: &Attributes, written: &super::Written) -> u64 {
    let measured = written.used.max(1);
    let used = if before.ctime == written.seen { measured } else { measured.max(before.used) };
    used.min(most_used(before.size.max(written.end)))
}

/// The mode bits that a WRITE takes from a file.
#[must_use]
pub fn bits_lost_by_write(credentials: &Credentials, file: &Attributes) -> u32 {
    if credentials.is_root() { 0 } else { set_id_bits_lost(file.mode) }
}

/// Whether a READ at `now` moves the atime (relatime, `mount(8)`): where it is not newer than mtime and
/// ctime, or is a day old. It is never moved back.
#[must_use]
pub fn moves_atime(file: &Attributes, now: Timestamp) -> bool {
    const DAY: i64 = 86_400_000_000_000;
    let is_due = file.atime <= file.mtime
        || file.atime <= file.ctime
        || now.0.saturating_sub(file.atime.0) >= DAY;
    is_due && file.atime < now
}

/// The attributes of a share's new root.
#[must_use]
pub fn root(
    id: ObjectId,
    fileid: crate::types::Fileid,
    fsid: crate::types::Fsid,
    spec: super::RootSpec,
    now: Timestamp,
) -> Attributes {
    Attributes {
        id,
        fileid,
        fsid,
        file_type: FileType::Directory,
        mode: spec.mode & MODE_BITS,
        nlink: 2,
        uid: spec.uid,
        gid: spec.gid,
        size: DIRECTORY_SIZE,
        used: DIRECTORY_SIZE,
        atime: now,
        mtime: now,
        ctime: now,
        rdev: DeviceNumbers::default(),
        content: None,
        mtime_version: 0,
        parent: Some(id),
    }
}

/// The size that every directory shows, in bytes.
pub const DIRECTORY_SIZE: u64 = 4096;
