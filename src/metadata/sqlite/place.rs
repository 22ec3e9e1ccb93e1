//! Where a database is: its machine and path, and the file by its inode and time of creation (statx(2)),
//! which a copy does not share.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags};

use crate::metadata::{Error, StorePlace};

/// The place of a database.
pub(super) fn of(database: &Path) -> Result<StorePlace, Error> {
    let found = || -> io::Result<StorePlace> {
        let path = database.canonicalize()?;
        let text = format!("{}:{}", host(), path.display());
        Ok(StorePlace { id: id(&path)?, text })
    };
    found().map_err(|error| Error::Backend(Box::new(error)))
}

/// Whether the database has taken the place of an earlier one.
pub(super) fn succeeds(database: &Path, earlier: &StorePlace) -> Result<bool, Error> {
    let own = of(database)?;
    if own.text == earlier.text {
        return Ok(true);
    }
    let Some((machine, path)) = earlier.text.split_once(':') else { return Ok(false) };
    if machine != host() {
        return Ok(false);
    }
    Ok(match id(Path::new(path)) {
        Ok(found) => found != earlier.id,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    })
}

fn id(path: &Path) -> io::Result<String> {
    let wanted = StatxFlags::INO | StatxFlags::BTIME;
    let file = rustix::fs::statx(CWD, path, AtFlags::empty(), wanted)?;
    let made = file.stx_btime;
    Ok(format!("sqlite {} {}.{:09}", file.stx_ino, made.tv_sec, made.tv_nsec))
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_told_from_a_file_that_was_moved() {
        let folder = tempfile::tempdir().unwrap();
        let [first, copy] = ["first", "copy"].map(|name| folder.path().join(name));
        std::fs::write(&first, "names").unwrap();
        let original = of(&first).unwrap();
        assert_eq!(of(&first).unwrap(), original);
        std::fs::copy(&first, &copy).unwrap();
        assert_ne!(of(&copy).unwrap().id, original.id);
        assert!(!succeeds(&copy, &original).unwrap(), "the original is there");
        std::fs::remove_file(&first).unwrap();
        assert!(succeeds(&copy, &original).unwrap(), "moved to another disk");
        std::fs::copy(&copy, &first).unwrap();
        assert!(succeeds(&first, &original).unwrap(), "restored in place");
        let elsewhere = StorePlace { text: "another-machine:/names".to_owned(), ..original };
        assert!(!succeeds(&copy, &elsewhere).unwrap(), "it cannot be seen from here");
    }
}
