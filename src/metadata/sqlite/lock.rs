//! One server for one database: an advisory lock on `FILE.lock` (flock(2)), which the system takes back
//! however its holder ends, and whose text says who has it. A lock file of its own, since closing any
//! descriptor of the database would drop SQLite's locks on it (sqlite.org/howtocorrupt.html section 2.2).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::metadata::Error;
use crate::ownership;
use crate::types::Timestamp;

/// The lock, for as long as the value lives.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of a database.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where another has it, and says who.
    pub(super) fn take(database: &Path) -> Result<Self, Error> {
        let path = beside(database, ".lock");
        let named = |error: io::Error| {
            let kind = error.kind();
            let remedy = unusable(kind).map(|remedy| format!("; {remedy}")).unwrap_or_default();
            let source = format!("the lock file {}: {error}{remedy}", path.display()).into();
            match kind {
                io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly(source),
                io::ErrorKind::StorageFull => Error::NoSpace(source),
                _ => Error::Backend(source),
            }
        };
        let mut file = ownership::lock_file(&path).map_err(named)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(named)?;
                return Err(Error::Unavailable(
                    format!(
                        "in use by another server: {}; stop that server, or give this one its own file",
                        holder.lines().next().unwrap_or("unknown process")
                    )
                    .into(),
                ));
            }
            Err(error) => return Err(named(error.into())),
        }
        let system = rustix::system::uname();
        let text = format!(
            "process {} on {} since {}\n",
            std::process::id(),
            system.nodename().to_string_lossy(),
            utc(Timestamp::now()),
        );
        // In this order a full disk has nothing to give for it.
        file.write_all_at(text.as_bytes(), 0)
            .and_then(|()| file.set_len(text.len() as u64))
            .map_err(named)?;
        Ok(Self { file })
    }

    /// Whether the disk takes no writes, though it did: tried on this file, since SQLite does not say which
    /// error it met.
    pub(super) fn is_read_only(&self) -> bool {
        let mut first = [0];
        let tried =
            self.file.read_exact_at(&mut first, 0).and_then(|()| self.file.write_all_at(&first, 0));
        tried.is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }
}

/// What to do about a path that cannot be used.
pub(super) fn unusable(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::PermissionDenied => Some(
            "chown the file and its folder to the user that runs the server, or set path to another file",
        ),
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
            Some("set path to a file in a folder that exists or can be created")
        }
        _ => None,
    }
}

/// A path with something behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A moment as people write it (RFC 3339), to the second.
fn utc(moment: Timestamp) -> String {
    let seconds = moment.0.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years that start in March end with the leap day; 146,097 days make 400 years. Day 0 is 0000-03-01.
    let day = days + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_based = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_people_do() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(Timestamp(seconds * 1_000_000_000)), text);
        }
    }
}
