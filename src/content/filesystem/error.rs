//! What system calls answer, as the store's errors.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::content::Error;
use crate::ownership::Denied;

/// A system call that failed on a file of the content folder.
#[derive(Debug, thiserror::Error)]
#[error("{call} {}{}", path.display(), why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
struct Failed {
    call: &'static str,
    path: PathBuf,
    /// The remedy, where there is one.
    why: Option<String>,
    #[source]
    errno: Errno,
}

/// The error for `errno`, which `call` answered for `path` in the content folder `base`. ENOENT is one like
/// others: where it means that content is missing, the caller knows.
pub(super) fn of_errno(call: &'static str, path: PathBuf, base: &Path, errno: Errno) -> Error {
    let source = std::io::Error::from(errno);
    let why = match errno {
        Errno::ACCESS | Errno::PERM => denied(&path, base).map(|denied| denied.to_string()),
        Errno::LOOP | Errno::NOTDIR => Some(
            "symbolic links are not followed inside a content folder: remove the link, which TrunkFS did not \
             make".to_owned(),
        ),
        _ => None,
    };
    let error = std::io::Error::new(source.kind(), Failed { call, path, why, errno });
    match errno {
        Errno::NOSPC | Errno::DQUOT => Error::NoSpace(error),
        Errno::ROFS => Error::ReadOnly(error),
        Errno::FBIG => Error::TooLarge,
        _ => Error::Io(error),
    }
}

/// The file, or else the folder that holds it, as one that this user may not open.
fn denied(path: &Path, base: &Path) -> Option<Denied> {
    let folder = path.parent().filter(|folder| *folder != base);
    let folder = folder.and_then(|folder| crate::ownership::check(folder, base).err());
    folder.or_else(|| Denied::of(path, base))
}

/// Why a folder cannot hold content.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder is not there and cannot be made, or is no folder.
    #[error(
        "cannot open the content folder {}: create it, or set base_path to a folder that this user can \
         access",
        path.display()
    )]
    Unreachable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// There is no content, and none may be made.
    #[error("{} holds no TrunkFS content", path.display())]
    Absent { path: PathBuf },
    /// What tells the folder from others cannot be read.
    #[error(
        "{} is corrupt: it contains no content identity; restore the file from a backup of the folder",
        path.display()
    )]
    Identity { path: PathBuf },
    /// Nothing can be made in the folder.
    #[error(
        "cannot write to the content folder {}: give it to the user that runs the server, or set base_path \
         to another",
        path.display()
    )]
    NotWritable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file of the folder is another user's.
    #[error("cannot use the content folder: {0}")]
    Denied(Denied),
    /// The folder holds other files and no content.
    #[error(
        "{} holds files but no TrunkFS content: set base_path to an empty folder, or to the previous content \
         folder",
        path.display()
    )]
    Foreign { path: PathBuf },
    /// The folder's marker names a format that this version does not know.
    #[error(
        "{} has an unsupported content format ({found:?}): use the release of TrunkFS that wrote it, or a \
         newer one",
        path.display()
    )]
    Format {
        path: PathBuf,
        /// What its marker says, cut short.
        found: String,
    },
    /// The check of the folder ended without an answer.
    #[error("opening the content folder was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
}
