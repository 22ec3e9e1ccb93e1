//! The content folder: a marker, and 256 folders that the ids' last byte chooses between.
//!
//! ```text
//! .trunkfs-content       the marker: which format the rest is in
//! .trunkfs-content.id    which body of content this is
//! 00/ 01/ … ff/          by the id's last byte, which is random where its front is the time
//!     <id>               one content
//! ```

use std::collections::BinaryHeap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use uuid::Uuid;

use super::error::{OpenError, of_errno};
use super::identity;
use crate::content::{Capacity, Error, MAX_LENGTH, Making};
use crate::types::{ContentId, ContentIdentity};

pub(super) const MARKER: &str = ".trunkfs-content";
const MARKER_PREFIX: &str = "TrunkFS content, format ";
const FORMAT: u32 = 1;
/// More than any marker has.
const MARKER_BYTES: usize = 100;
/// What a fresh file system has at its root.
const LOST_AND_FOUND: &str = "lost+found";

/// The content folder, opened and checked.
#[derive(Debug)]
pub(super) struct Folder {
    base: OwnedFd,
    base_path: PathBuf,
}

impl Folder {
    /// Opens the folder, making it and its parts where they are missing. Several processes may do
    /// that at once.
    pub(super) fn open(
        base_path: PathBuf,
        making: Making,
    ) -> Result<(Self, ContentIdentity), OpenError> {
        let unreachable = |source| OpenError::Unreachable { path: base_path.clone(), source };
        if making == Making::Never {
            // A folder that this user may not look into is another thing than one that holds nothing.
            match fs::metadata(base_path.join(MARKER)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(OpenError::Absent { path: base_path });
                }
                Err(error) => return Err(unreachable(error)),
            }
        }
        make_folders(&base_path).map_err(unreachable)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let base = rustix::fs::open(&base_path, flags, Mode::empty())
            .map_err(|errno| unreachable(errno.into()))?;
        let folder = Self { base, base_path };
        folder.check_marker()?;
        folder
            .prepare()
            .map_err(|source| OpenError::NotWritable { path: folder.base_path.clone(), source })?;
        let identity = identity::find_or_make(&folder.base_path, making)?;
        Ok((folder, identity))
    }

    /// What is there, without making anything.
    pub(super) fn look(base_path: PathBuf) -> Result<Look, OpenError> {
        match fs::metadata(&base_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Missing),
            Ok(_) | Err(_) => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let base = rustix::fs::open(&base_path, flags, Mode::empty()).map_err(|errno| {
            OpenError::Unreachable { path: base_path.clone(), source: errno.into() }
        })?;
        let folder = Self { base, base_path };
        folder.check_marker()?;
        let path = &folder.base_path;
        let all = rustix::fs::Access::READ_OK
            | rustix::fs::Access::WRITE_OK
            | rustix::fs::Access::EXEC_OK;
        rustix::fs::accessat(rustix::fs::CWD, path, all, AtFlags::EACCESS)
            .map_err(|errno| OpenError::NotWritable { path: path.clone(), source: errno.into() })?;
        if !path.join(MARKER).exists() {
            return Ok(Look::Empty);
        }
        let mut empty = true;
        for part in 0..=u8::MAX {
            match folder.list_part(part, |_| empty = false) {
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
        Ok(Look::Content { identity: identity::find(path)?, empty })
    }

    /// Takes a folder that is marked, and one that is empty; no other.
    fn check_marker(&self) -> Result<(), OpenError> {
        let path = &self.base_path;
        let unreachable = |source| OpenError::Unreachable { path: path.clone(), source };
        match fs::read(path.join(MARKER)) {
            Ok(marker) => {
                let found = String::from_utf8_lossy(&marker[..marker.len().min(MARKER_BYTES)]);
                let format = found.strip_prefix(MARKER_PREFIX).map(str::trim_end);
                if format == Some(&FORMAT.to_string()) {
                    return Ok(());
                }
                Err(OpenError::Format { path: path.clone(), found: found.trim_end().to_owned() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                for entry in fs::read_dir(path).map_err(unreachable)? {
                    let name = entry.map_err(unreachable)?.file_name();
                    // Another process may be making the marker just now.
                    let ours = name.to_string_lossy().starts_with(MARKER);
                    if !ours && name != LOST_AND_FOUND {
                        // It may have made the marker since, and what is beside it.
                        if path.join(MARKER).exists() {
                            return self.check_marker();
                        }
                        return Err(OpenError::Foreign { path: path.clone() });
                    }
                }
                Ok(())
            }
            Err(error) => Err(unreachable(error)),
        }
    }

    /// Writes the marker and makes the 256 folders, durably. The marker is written anew each time,
    /// which shows that the folder can be written to; on a full disk it stays as it is.
    fn prepare(&self) -> io::Result<()> {
        let marker = self.base_path.join(MARKER);
        match self.write_marker(&marker) {
            Err(error) if is_full(&error) && marker.exists() => tracing::warn!(
                path = %self.base_path.display(),
                "the disk of the content folder is full: files can be read and removed"
            ),
            written => written?,
        }
        for last_byte in 0..=u8::MAX {
            let path = self.base_path.join(format!("{last_byte:02x}"));
            match DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        rustix::fs::fsync(&self.base)?;
        Ok(())
    }

    fn write_marker(&self, marker: &Path) -> io::Result<()> {
        let temporary = self.base_path.join(format!("{MARKER}.{}.tmp", Uuid::now_v7()));
        let written = File::create_new(&temporary).and_then(|mut file| {
            writeln!(file, "{MARKER_PREFIX}{FORMAT}")?;
            file.sync_all()?;
            fs::rename(&temporary, marker)
        });
        if written.is_err() {
            // Best effort: what the caller has to hear is why it could not be written.
            drop(fs::remove_file(&temporary));
        }
        written
    }

    pub(super) fn base(&self) -> &OwnedFd {
        &self.base
    }

    pub(super) fn base_path(&self) -> &Path {
        &self.base_path
    }

    /// Where an id's file is below the base.
    pub(super) fn relative(id: ContentId) -> String {
        format!("{:02x}/{id}", last_byte(id))
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
        let open = |flags| {
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::io::retry_on_intr(|| {
                rustix::fs::openat(&self.base, Self::relative(id), flags | OFlags::CLOEXEC, mode)
            })
        };
        let opened = match how {
            Opening::Create => {
                open(OFlags::RDWR | OFlags::CREATE).map(|file| (file, Access::ReadWrite))
            }
            Opening::Existing => match open(OFlags::RDWR) {
                Err(Errno::ROFS) => open(OFlags::RDONLY).map(|file| (file, Access::ReadOnly)),
                opened => opened.map(|file| (file, Access::ReadWrite)),
            },
        };
        opened.map_err(|errno| match (errno, how) {
            (Errno::NOENT, Opening::Existing) => Error::Missing(id),
            (errno, Opening::Existing | Opening::Create) => of_errno("open", self.path(id), errno),
        })
    }

    /// Removes an id's file; one that is not there is no error.
    pub(super) fn unlink(&self, id: ContentId) -> Result<(), Error> {
        match rustix::fs::unlinkat(&self.base, Self::relative(id), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(of_errno("unlink", self.path(id), errno)),
        }
    }

    /// Makes durable which files the folder of `id` has (fsync of a directory, open(2)).
    pub(super) fn sync_names(&self, id: ContentId) -> rustix::io::Result<()> {
        rustix::fs::fsync(self.open_part(last_byte(id))?)
    }

    fn open_part(&self, last_byte: u8) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.base, format!("{last_byte:02x}"), flags, Mode::empty())
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
            .map_err(|errno| of_errno("list", self.base_path.join(format!("{part:02x}")), errno))?;
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
            .map_err(|errno| of_errno("statvfs", self.base_path.clone(), errno))?;
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
        let not_writable = |source| OpenError::NotWritable { path: self.base_path.clone(), source };
        let temporary = self.base_path.join(format!("{MARKER}.{}.tmp", Uuid::now_v7()));
        let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        let most = MAX_LENGTH.min(limit.unwrap_or(MAX_LENGTH));
        let file = match File::create_new(&temporary) {
            // It cannot be tried; the file system refuses what is beyond.
            Err(error) if is_full(&error) => return Ok(most),
            file => file.map_err(not_writable)?,
        };
        fs::remove_file(&temporary).map_err(not_writable)?;
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
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let marker = rustix::fs::openat(&self.base, MARKER, flags, Mode::empty());
        marker.is_ok_and(|marker| {
            let mut byte = [0];
            let mut buffers = [io::IoSliceMut::new(&mut byte)];
            let nowait = rustix::io::ReadWriteFlags::NOWAIT;
            let read = rustix::io::preadv2(&marker, &mut buffers, 0, nowait);
            matches!(read, Ok(_) | Err(Errno::AGAIN))
        })
    }
}

/// What a content folder is, before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A content folder.
    Content {
        /// Its identity, if it has one already.
        identity: Option<ContentIdentity>,
        /// Whether it holds no content yet.
        empty: bool,
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

fn last_byte(id: ContentId) -> u8 {
    let [.., last] = *id.0.as_bytes();
    last
}

fn parse_name(name: &str) -> Option<ContentId> {
    let id = ContentId(Uuid::try_parse(name).ok()?);
    (id.to_string() == name).then_some(id)
}

/// Makes a folder and what leads to it, each name durable.
fn make_folders(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        .collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for folder in missing {
        let parent = match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
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
