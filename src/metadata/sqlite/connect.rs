//! Opening the file.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, AtFlags, CWD};
use serde::{Deserialize, Serialize};

use super::error::{REMEDY, SqliteError};
use super::{migrations, shares};
use crate::metadata::schema::Applied;
use crate::metadata::{Error, LockLimits, Summary};
use crate::ownership::{self, above};
use crate::types::settings::{Size, WrongSetting};

/// Where the store is, and what it may use.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Settings {
    /// The database; its folder is made where it is missing. SQLite keeps files beside it, named `-wal` and
    /// `-shm` at their end.
    pub path: PathBuf,
    /// Whether the whole file is checked at start (`PRAGMA quick_check`).
    pub quick_check: bool,
    /// How many bytes of pages the writer keeps, and all readers together.
    #[serde(with = "Size::<{ 1 << 20 }, { 1 << 40 }>")]
    pub cache_size: usize,
    /// How many bytes the write-ahead log may take before changes are refused: a reader holds it.
    #[serde(skip)]
    pub log_limit: u64,
    /// How many locks there may be.
    #[serde(skip)]
    pub lock_limits: LockLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            quick_check: false,
            cache_size: 64 << 20,
            log_limit: 1 << 30,
            lock_limits: LockLimits::default(),
        }
    }
}

impl Settings {
    /// A store in a file, with defaults for the rest.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }

    /// Checks that there is a path.
    pub fn check(&self) -> Result<(), WrongSetting> {
        if self.path.as_os_str().is_empty() {
            return Err(WrongSetting::missing("path", "write the path of the SQLite file"));
        }
        Ok(())
    }
}

/// How long a statement waits for another process that looks into the file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// What SQLite keeps of a database, by the ends of their names.
pub(super) const DATABASE: [&str; 4] = ["", "-wal", "-shm", "-journal"];
/// With what this program keeps.
pub(super) const FILES: [&str; 6] = ["", "-wal", "-shm", "-journal", ".lock", ".load"];
/// How many prepared statements a connection keeps: more than there are.
const STATEMENTS: usize = 64;

/// Opens the connection that writes, making the file where it is missing and bringing its schema up to date.
///
/// # Errors
/// What is wrong with the file, and what to do about it.
pub(super) fn writer(settings: &Settings) -> Result<Connection, Error> {
    let path = &settings.path;
    make_file(path).map_err(unmade)?;
    let mut connection = open(path, settings.cache_size)?;
    if connection.is_readonly("main").map_err(failed)? {
        return Err(Error::ReadOnly("this process has no write permission on the file".into()));
    }
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(Error::Backend(
            "its file system does not support the shared memory of a write-ahead log; use a local disk".into(),
        ));
    }
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {}",
            super::disk_reserve::kept(path)
        ))
        .map_err(failed)?;
    if settings.quick_check {
        check(&connection)?;
    }
    migrations::apply(&mut connection)?;
    Ok(connection)
}

/// What a file holds; `None` where there is no file. Makes and changes nothing.
pub(super) fn look(path: &Path) -> Result<Option<Summary>, Error> {
    let Some(connection) = beside(path)? else { return Ok(None) };
    let (present, wanted) = migrations::versions(&connection)?;
    let mut summary = Summary { present, wanted, ..Summary::default() };
    if present > 0 {
        let held = shares::all(&connection).map_err(SqliteError::into_error)?;
        summary.shares = held.into_iter().map(|share| share.name).collect();
        summary.settings = shares::settings(&connection).map_err(SqliteError::into_error)?;
    }
    Ok(Some(summary))
}

/// What was applied to the file, ascending; nothing where there is none yet.
pub(super) fn history(path: &Path) -> Result<Vec<Applied>, Error> {
    match beside(path)? {
        Some(connection) => migrations::history(&connection),
        None => Ok(Vec::new()),
    }
}

/// Opens the file to look into it, beside a server that may have it; `None` where there is no file yet.
fn beside(path: &Path) -> Result<Option<Connection>, Error> {
    let file = match fs::metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::Backend(Box::new(error))),
    };
    if !file.is_file() {
        return Err(Error::Backend("not a regular file; set path to a file".into()));
    }
    check_permissions(path, &FILES)?;
    let writable = rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS);
    writable.map_err(|errno| unmade(errno.into()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // Without a log no process has it open, and to look at it SQLite needs none of the files that it would
    // leave.
    let wal = fs::metadata(super::lock::beside(path, "-wal")).is_ok_and(|wal| wal.len() > 0);
    let connection = if wal {
        Connection::open_with_flags(path, flags)
    } else {
        Connection::open_with_flags(immutable(path), flags | OpenFlags::SQLITE_OPEN_URI)
    };
    let connection = connection.map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    Ok(Some(connection))
}

/// The URI (sqlite.org/uri.html) of a file that does not change.
fn immutable(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri + "?immutable=1"
}

/// Opens a connection that only reads, with a share of the pages' memory in bytes.
pub(super) fn reader(path: &Path, cache_size: usize) -> Result<Connection, Error> {
    let connection = open(path, cache_size)?;
    connection.execute_batch("PRAGMA query_only = ON").map_err(failed)?;
    Ok(connection)
}

/// Opens a connection that writes a little beside the server's.
pub(super) fn beside_writer(path: &Path) -> Result<Connection, Error> {
    let connection = open(path, 1 << 20)?;
    connection
        .execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0")
        .map_err(failed)?;
    Ok(connection)
}

/// Opens the connection that moves the log's pages into the file.
pub(super) fn mover(path: &Path) -> Result<Connection, Error> {
    let connection = open(path, 1 << 20)?;
    connection.execute_batch("PRAGMA synchronous = FULL").map_err(failed)?;
    Ok(connection)
}

fn open(path: &Path, cache_size: usize) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // The last connection to close does not touch the log, unless it is told to.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(failed)?;
    // Otherwise a statement is planned anew where the values that it is given differ from the last.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(failed)?;
    let kibibytes = (cache_size / 1024).max(256);
    connection
        .execute_batch(&format!(
            "PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;
             PRAGMA cache_size = -{kibibytes}"
        ))
        .map_err(failed)?;
    Ok(connection)
}

fn failed(error: rusqlite::Error) -> Error {
    SqliteError::from(error).into_error()
}

/// Makes the folder of a file where it is missing, durably.
pub(super) fn make_folder_of(path: &Path) -> Result<(), Error> {
    ownership::create_dir_all(above(path), 0o777).map_err(unmade)
}

/// Whether this user may open the database and what SQLite and this program keep beside it, as far as there
/// is any.
pub(super) fn check_permissions(path: &Path, suffixes: &[&str]) -> Result<(), Error> {
    let folder = above(path);
    let denied = suffixes
        .iter()
        .map(|suffix| super::lock::beside(path, suffix))
        .find_map(|file| ownership::check(&file, folder).err());
    match denied.or_else(|| ownership::check(folder, folder).err()) {
        Some(denied) => Err(Error::Backend(Box::new(denied))),
        None => Ok(()),
    }
}

/// Warns where other users may exchange the database.
pub(super) fn warn_of_others(path: &Path) {
    if let Some(why) = ownership::others_may_write(above(path)) {
        tracing::warn!(
            "other users may write to the folder of the database {}: {why}; give that folder to the server's \
             user or to root, and run chmod go-w on it",
            path.display()
        );
    }
}

fn unmade(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly(Box::new(error)),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::NoSpace(Box::new(error))
        }
        kind => match super::lock::unusable(kind) {
            Some(remedy) => Error::Backend(format!("{error}; {remedy}").into()),
            None => Error::Backend(Box::new(error)),
        },
    }
}

/// Makes the file, which no other user may read, durably.
fn make_file(path: &Path) -> io::Result<()> {
    // Closed again before SQLite opens it: a descriptor that is closed later would take SQLite's locks along.
    match ownership::create_new(path, 0o600) {
        Ok(_) => File::open(above(path))?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn check(connection: &Connection) -> Result<(), Error> {
    let said: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if said == "ok" { Ok(()) } else { Err(Error::Damaged(format!("{said}; {REMEDY}"))) }
}
