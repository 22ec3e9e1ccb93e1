//! The content folder: a marker, and 256 folders that the ids' last byte chooses between.
//!
//! ```text
//! .trunkfs-content       the marker: which format the rest is in
//! .trunkfs-content.id    which body of content this is
//! 00/ 01/ … ff/          by the id's last byte, which is random where its front is the time
//!     <id>               one content
//! ```

use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;
use uuid::Uuid;

use super::error::{OpenError, of_errno};
use super::{identity, owners, permissions};
use crate::content::{Capacity, CreateMode, Error, MAX_LENGTH};
use crate::ownership::{self, NewOwner};
use crate::types::{ContentId, ContentIdentity, FilePages};

/// How many folders the contents are in.
pub(super) const FOLDERS: usize = 256;
pub(super) const MARKER: &str = ".trunkfs-content";
const MARKER_PREFIX: &str = "TrunkFS content, format ";
const FORMAT: u32 = 1;
/// More than any marker has.
const MARKER_BYTES: u64 = 100;
/// What a fresh file system has at its root.
const LOST_AND_FOUND: &str = "lost+found";

/// The content folder, opened and checked. Everything in it is reached from its descriptor, one name at a
/// time, and no symbolic link is followed: the folder may be another user's than this process.
#[derive(Debug)]
pub(super) struct Folder {
    base: OwnedFd,
    base_path: PathBuf,
    owner: NewOwner,
    /// The folders of the contents (O_PATH), each opened with its first use.
    parts: [OnceLock<OwnedFd>; FOLDERS],
}

impl Folder {
    /// Where it is, as the log names it.
    pub(super) fn shown(&self) -> String {
        self.base_path.display().to_string()
    }

    /// Opens the folder, making it and its parts where they are missing. Several processes may do
    /// that at once.
    pub(super) fn open(
        base_path: PathBuf,
        mode: CreateMode,
    ) -> Result<(Self, ContentIdentity), OpenError> {
        let path = base_path.clone();
        Self::open_or_make(base_path, mode).map_err(|error| permissions::explained(&path, error))
    }

    fn open_or_make(
        base_path: PathBuf,
        mode: CreateMode,
    ) -> Result<(Self, ContentIdentity), OpenError> {
        let unreachable = |source| OpenError::Unreachable { path: base_path.clone(), source };
        match mode {
            CreateMode::Never | CreateMode::ReadOnly => {
                // A folder that this user may not look into is another thing than one that holds nothing.
                match fs::metadata(base_path.join(MARKER)) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(OpenError::Absent { path: base_path });
                    }
                    Err(error) => return Err(unreachable(error)),
                }
            }
            CreateMode::Allowed | CreateMode::As(_) => {
                ownership::create_dir_all(&base_path, 0o700).map_err(unreachable)?;
            }
        }
        let folder = Self::at(base_path)?;
        folder.check_marker()?;
        if mode != CreateMode::ReadOnly {
            folder.prepare().map_err(|source| folder.not_writable(source))?;
            folder.check_permissions()?;
        }
        let identity = identity::find_or_make(&folder, mode)?;
        Ok((folder, identity))
    }

    /// A folder that is there.
    fn at(base_path: PathBuf) -> Result<Self, OpenError> {
        let unreachable = |source| OpenError::Unreachable { path: base_path.clone(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let base = rustix::fs::open(&base_path, flags, Mode::empty())
            .map_err(|errno| unreachable(errno.into()))?;
        let owner = NewOwner::of_folder(&base).map_err(unreachable)?;
        let parts = std::array::from_fn(|_| OnceLock::new());
        Ok(Self { base, base_path, owner, parts })
    }

    /// What is there, without making anything.
    pub(super) fn look(base_path: PathBuf) -> Result<Look, OpenError> {
        match fs::metadata(&base_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Missing),
            Ok(_) | Err(_) => {}
        }
        let path = base_path.clone();
        Self::at(base_path)
            .and_then(|folder| folder.look_around())
            .map_err(|error| permissions::explained(&path, error))
    }

    fn look_around(&self) -> Result<Look, OpenError> {
        self.check_marker()?;
        let path = &self.base_path;
        let all = rustix::fs::Access::READ_OK
            | rustix::fs::Access::WRITE_OK
            | rustix::fs::Access::EXEC_OK;
        rustix::fs::accessat(rustix::fs::CWD, path, all, AtFlags::EACCESS)
            .map_err(|errno| self.not_writable(errno.into()))?;
        if !self.has_marker() {
            return Ok(Look::Empty);
        }
        self.check_permissions()?;
        let mut empty = true;
        for part in 0..=u8::MAX {
            match self.list_part(part, |_| empty = false) {
                Err(errno) if errno != Errno::NOENT => {
                    return Err(OpenError::Unreachable {
                        path: path.clone(),
                        source: errno.into(),
                    });
                }
                Ok(()) | Err(_) => {}
            }
            if !empty {
                break;
            }
        }
        let owners = owners::read(self).map_err(|error| OpenError::Unreachable {
            path: path.clone(),
            source: io::Error::other(error),
        })?;
        Ok(Look::Content { identity: identity::find(self)?, empty, owners })
    }

    pub(super) fn not_writable(&self, source: io::Error) -> OpenError {
        OpenError::NotWritable { path: self.base_path.clone(), source }
    }

    fn has_marker(&self) -> bool {
        rustix::fs::statat(&self.base, MARKER, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Up to `most` bytes of a file beside the contents; `None` where there is none.
    pub(super) fn read_beside(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.base, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => File::from(opened?),
        };
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Creates a file beside the contents, with a name that none has, and its text durable.
    pub(super) fn write_temporary(&self, text: &str) -> io::Result<(String, File)> {
        let name = format!("{MARKER}.{}.tmp", Uuid::now_v7());
        let mut file = ownership::create_at(&self.base, name.as_ref(), 0o666, self.owner)?;
        match file.write_all(text.as_bytes()).and_then(|()| file.sync_all()) {
            Ok(()) => Ok((name, file)),
            Err(error) => {
                // Best effort: the caller has to hear why it could not be written.
                self.remove_beside(&name).ok();
                Err(error)
            }
        }
    }

    /// Removes a file beside the contents; one that is missing is no error.
    pub(super) fn remove_beside(&self, name: &str) -> rustix::io::Result<()> {
        match rustix::fs::unlinkat(&self.base, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed,
        }
    }

    /// Takes a folder that is marked, and one that is empty; no other.
    fn check_marker(&self) -> Result<(), OpenError> {
        let path = &self.base_path;
        let unreachable = |source| OpenError::Unreachable { path: path.clone(), source };
        if let Some(marker) = self.read_beside(MARKER, MARKER_BYTES).map_err(unreachable)? {
            let found = String::from_utf8_lossy(&marker);
            let format = found.strip_prefix(MARKER_PREFIX).map(str::trim_end);
            if format == Some(&FORMAT.to_string()) {
                return Ok(());
            }
            return Err(OpenError::Format {
                path: path.clone(),
                found: found.trim_end().to_owned(),
            });
        }
        for entry in fs::read_dir(path).map_err(unreachable)? {
            let name = entry.map_err(unreachable)?.file_name();
            // Another process may be making the marker just now.
            let ours = name.to_string_lossy().starts_with(MARKER);
            if !ours && name != LOST_AND_FOUND {
                // It may have made the marker since, and what is beside it.
                if self.has_marker() {
                    return self.check_marker();
                }
                return Err(OpenError::Foreign { path: path.clone() });
            }
        }
        Ok(())
    }

    /// Writes the marker and makes the 256 folders, durably. The marker is written anew each time,
    /// which shows that the folder can be written to; on a full disk it stays as it is.
    fn prepare(&self) -> io::Result<()> {
        match self.write_marker() {
            Err(error) if is_full(&error) && self.has_marker() => tracing::warn!(
                path = %self.base_path.display(),
                "disk full: the content folder has no space left; files can be read and removed"
            ),
            written => written?,
        }
        for last_byte in 0..=u8::MAX {
            let name = part_name(last_byte);
            match ownership::create_dir_at(&self.base, name.as_ref(), 0o700, self.owner) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        rustix::fs::fsync(&self.base)?;
        Ok(())
    }

    fn write_marker(&self) -> io::Result<()> {
        let (temporary, _) = self.write_temporary(&format!("{MARKER_PREFIX}{FORMAT}\n"))?;
        let renamed = rustix::fs::renameat(&self.base, &temporary, &self.base, MARKER);
        if renamed.is_err() {
            self.remove_beside(&temporary).ok();
        }
        Ok(renamed?)
    }

    pub(super) fn base(&self) -> &OwnedFd {
        &self.base
    }

    pub(super) fn base_path(&self) -> &Path {
        &self.base_path
    }

    /// Where an id's file is below the base.
    pub(super) fn relative(id: ContentId) -> String {
        format!("{}/{id}", part_name(last_byte(id)))
    }

    /// Where an id's file is, for messages.
    pub(super) fn path(&self, id: ContentId) -> PathBuf {
        self.base_path.join(Self::relative(id))
    }

    /// Opens an id's file for reading and writing, and says whether for writing: on a file system
    /// that became read-only, existing files are still read.
    pub(super) fn open_file(
        &self,
        id: ContentId,
        how: Opening,
    ) -> Result<(OwnedFd, Access), Error> {
        let opened = self.reach(last_byte(id)).and_then(|part| {
            let name = id.to_string();
            let open = |flags| {
                // A named pipe that another user put there is not waited for.
                let always = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let mode = Mode::RUSR | Mode::WUSR;
                rustix::io::retry_on_intr(|| {
                    rustix::fs::openat(part, name.as_str(), flags | always, mode)
                })
            };
            let write = |file| (file, Access::ReadWrite);
            match how {
                Opening::Create if self.owner.is_another() => {
                    // Only a file that this process created is given away.
                    let made = open(OFlags::RDWR | OFlags::CREATE | OFlags::EXCL);
                    match made {
                        Err(Errno::EXIST) => open(OFlags::RDWR | OFlags::CREATE).map(write),
                        made => {
                            let made = made?;
                            let given = self.owner.give(&made);
                            given.map_err(|error| {
                                Errno::from_io_error(&error).unwrap_or(Errno::IO)
                            })?;
                            Ok(write(made))
                        }
                    }
                }
                Opening::Create => open(OFlags::RDWR | OFlags::CREATE).map(write),
                Opening::Existing => match open(OFlags::RDWR) {
                    Err(Errno::ROFS) => open(OFlags::RDONLY).map(|file| (file, Access::ReadOnly)),
                    opened => opened.map(write),
                },
            }
        });
        opened.map_err(|errno| match (errno, how) {
            (Errno::NOENT, Opening::Existing) => Error::Missing(id),
            (errno, Opening::Existing | Opening::Create) => self.failed("open", id, errno),
        })
    }

    /// What a system call on an id's file came to.
    pub(super) fn failed(&self, call: &'static str, id: ContentId, errno: Errno) -> Error {
        of_errno(call, self.path(id), &self.base_path, errno)
    }

    /// Removes an id's file; one that is not there is no error.
    pub(super) fn unlink(&self, id: ContentId) -> Result<(), Error> {
        let part = self.reach(last_byte(id));
        let removed =
            part.and_then(|part| rustix::fs::unlinkat(part, id.to_string(), AtFlags::empty()));
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("unlink", id, errno)),
        }
    }

    /// The state of an id's file.
    pub(super) fn stat(&self, id: ContentId) -> rustix::io::Result<Stat> {
        let part = self.reach(last_byte(id))?;
        rustix::fs::statat(part, id.to_string(), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Makes durable which files the folder of `id` has (fsync of a directory, open(2)).
    pub(super) fn sync_names(&self, id: ContentId) -> rustix::io::Result<()> {
        rustix::fs::fsync(self.open_part(last_byte(id))?)
    }

    /// One of the 256 folders, to reach its files alone.
    fn reach(&self, last_byte: u8) -> rustix::io::Result<&OwnedFd> {
        let part = &self.parts[usize::from(last_byte)];
        match part.get() {
            Some(open) => Ok(open),
            None => {
                let open = self.open_part_for(last_byte, OFlags::PATH)?;
                Ok(part.get_or_init(|| open))
            }
        }
    }

    /// One of the 256 folders, to be read.
    pub(super) fn open_part(&self, last_byte: u8) -> rustix::io::Result<OwnedFd> {
        self.open_part_for(last_byte, OFlags::RDONLY)
    }

    fn open_part_for(&self, last_byte: u8, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.base, part_name(last_byte), flags, Mode::empty())
    }

    /// Where one of the 256 folders is, for messages.
    pub(super) fn part_path(&self, last_byte: u8) -> PathBuf {
        self.base_path.join(part_name(last_byte))
    }

    /// The `limit` lowest ids after `after`, in order. It goes through all names for that, and keeps
    /// no more than `limit` of them.
    pub(super) fn list(
        &self,
        after: Option<ContentId>,
        limit: usize,
    ) -> Result<Vec<ContentId>, Error> {
        let mut lowest = BinaryHeap::new();
        for part in 0..=u8::MAX {
            self.list_part(part, |id| {
                if after.is_none_or(|after| id > after) {
                    lowest.push(id);
                    if lowest.len() > limit {
                        lowest.pop();
                    }
                }
            })
            .map_err(|errno| of_errno("list", self.part_path(part), &self.base_path, errno))?;
        }
        Ok(lowest.into_sorted_vec())
    }

    fn list_part(&self, part: u8, mut found: impl FnMut(ContentId)) -> rustix::io::Result<()> {
        for entry in Dir::new(self.open_part(part)?)? {
            let entry = entry?;
            // What has another name was not put there by this store.
            if let Some(id) = entry.file_name().to_str().ok().and_then(parse_name)
                && last_byte(id) == part
            {
                found(id);
            }
        }
        Ok(())
    }

    /// Room in the file system that holds the folder (statvfs(3)).
    pub(super) fn capacity(&self) -> Result<Capacity, Error> {
        let stat = rustix::fs::fstatvfs(&self.base)
            .map_err(|errno| of_errno("statvfs", self.base_path.clone(), &self.base_path, errno))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Capacity {
            total: bytes(stat.f_blocks),
            free: bytes(stat.f_bfree),
            available: bytes(stat.f_bavail),
        })
    }

    /// The longest file that the file system under the folder takes, which it tells nowhere: found by
    /// halving, with a sparse file that is removed again.
    pub(super) fn longest_file(&self) -> Result<u64, OpenError> {
        let not_writable = |source| self.not_writable(source);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        let most = MAX_LENGTH.min(limit.unwrap_or(MAX_LENGTH));
        let (temporary, file) = match self.write_temporary("") {
            // It cannot be tried; the file system refuses what is beyond.
            Err(error) if is_full(&error) => return Ok(most),
            made => made.map_err(not_writable)?,
        };
        self.remove_beside(&temporary).map_err(|errno| not_writable(errno.into()))?;
        let (mut fits, mut beyond) = (0, most + 1);
        while beyond - fits > 1 {
            let middle = fits + (beyond - fits) / 2;
            match rustix::fs::ftruncate(&file, middle) {
                Ok(()) => fits = middle,
                Err(Errno::FBIG | Errno::INVAL) => beyond = middle,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(not_writable(errno.into())),
            }
        }
        Ok(fits)
    }

    /// Whether reads can be asked for from the page cache alone (RWF_NOWAIT, readv(2)); network file
    /// systems and old kernels cannot.
    pub(super) fn reads_without_waiting(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let marker = rustix::fs::openat(&self.base, MARKER, flags, Mode::empty());
        marker.is_ok_and(|marker| {
            let mut byte = [0];
            let mut buffers = [io::IoSliceMut::new(&mut byte)];
            let nowait = rustix::io::ReadWriteFlags::NOWAIT;
            let read = rustix::io::preadv2(&marker, &mut buffers, 0, nowait);
            matches!(read, Ok(_) | Err(Errno::AGAIN))
        })
    }

    /// Whether sendfile(2) knows this file system.
    pub(super) fn sends_pages(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let marker = rustix::fs::openat(&self.base, MARKER, flags, Mode::empty());
        marker.is_ok_and(FilePages::can_send)
    }
}

/// What a content folder is, before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// A content folder.
    Content {
        /// Its identity, if it has one already.
        identity: Option<ContentIdentity>,
        /// Whether it holds no content yet.
        empty: bool,
        /// The record of its owners, if it has one already.
        owners: Option<String>,
    },
    /// An empty folder.
    Empty,
    /// Nothing.
    Missing,
}

/// Whether opening makes a file that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    Existing,
    Create,
}

/// What a descriptor was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    ReadOnly,
    ReadWrite,
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn part_name(last_byte: u8) -> String {
    format!("{last_byte:02x}")
}

fn last_byte(id: ContentId) -> u8 {
    let [.., last] = *id.0.as_bytes();
    last
}

pub(super) fn parse_name(name: &str) -> Option<ContentId> {
    let id = ContentId(Uuid::try_parse(name).ok()?);
    (id.to_string() == name).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ids_in_their_one_form() {
        let id = ContentId::generate();
        assert_eq!(parse_name(&id.to_string()), Some(id));
        for other in [
            "",
            "x",
            MARKER,
            &id.0.simple().to_string(),
            &id.to_string().to_uppercase(),
            &format!("{{{id}}}"),
        ] {
            // An id without letters is its own upper case.
            assert!(other == id.to_string() || parse_name(other).is_none(), "{other}");
        }
    }

    #[test]
    fn ids_made_together_spread_over_the_folders() {
        let mut counts = [0; 256];
        for _ in 0..256 * 100 {
            counts[usize::from(last_byte(ContentId::generate()))] += 1;
        }
        assert!(counts.iter().all(|count| (40..200).contains(count)), "{counts:?}");
    }
}
