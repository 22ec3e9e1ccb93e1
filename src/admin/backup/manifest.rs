//! `backup.json`: what a backup is. See the module for its form.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Error, READABLE};
use crate::admin::dump::hex;
use crate::ownership;

/// Marks a folder that is to become a backup; locked by the process that writes it.
pub(super) const UNFINISHED: &str = "unfinished";
/// The file that makes a folder a backup.
pub(super) const MANIFEST: &str = "backup.json";
/// While it is being written.
const TEMPORARY: &str = "backup.json.new";

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the form of all its files.
    pub format: u32,
    /// The program that wrote it.
    pub trunkfs: String,
    /// When it was begun (RFC 3339).
    pub begun: String,
    /// When it was ended.
    pub ended: String,
    /// Whether the bytes of files are in it.
    pub bytes: bool,
    /// Whether every file that has bytes has a checksum.
    pub checksums: bool,
    /// One of each metadata store.
    pub stores: Vec<StoreManifest>,
}

/// A metadata store, and the contents that it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreManifest {
    /// Its name in the configuration, and its folder in the backup.
    pub name: String,
    /// The moment of which all is (RFC 3339).
    pub moment: String,
    /// Its shares, in the order of the dump.
    pub shares: Vec<ShareManifest>,
    /// How many objects the dump has.
    pub objects: u64,
    /// How many contents the list has.
    pub contents: u64,
    /// Their bytes.
    pub content_bytes: u64,
    /// How many of them are of files that were being changed.
    pub moving: u64,
    /// How many of them the content store did not have whole.
    pub lost: u64,
    pub dump: Part,
    /// The list of contents.
    pub list: Part,
}

/// A share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareManifest {
    pub name: String,
    /// The content store, as the configuration named it; none for a share that has no content.
    pub content_store: Option<String>,
    /// Which body of content that was.
    pub content_identity: Option<Uuid>,
    /// In chunks of how many bytes content stores that have chunks keep its content.
    pub chunk_size: u32,
}

/// A file of the backup that the manifest vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Bytes.
    pub size: u64,
    /// Of all of them.
    pub sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    backup: serde_json::Value,
    sha256: String,
}

/// Of a value as JSON without white space, its keys sorted.
fn seal(value: &serde_json::Value) -> String {
    hex(&Sha256::digest(value.to_string().as_bytes()))
}

impl Manifest {
    /// Writes it, durably and last of all.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Error> {
        let temporary = folder.join(TEMPORARY);
        let written = serde_json::to_value(self).map_err(std::io::Error::from).and_then(|backup| {
            let sha256 = seal(&backup);
            let mut text = serde_json::to_vec_pretty(&Sealed { backup, sha256 })?;
            text.push(b'\n');
            let mut file = ownership::create(&temporary, 0o666)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, folder.join(MANIFEST))?;
            File::open(folder)?.sync_all()
        });
        written.map_err(Error::at(&folder.join(MANIFEST)))
    }

    /// Reads it, and finds it as it was written.
    ///
    /// # Errors
    /// The folder is no backup, or its manifest was changed.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(MANIFEST);
        let text = match fs::read(&path) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                let unfinished = folder.join(UNFINISHED).exists();
                return Err(Error::NoBackup { path: folder.to_path_buf(), unfinished });
            }
            read => read.map_err(Error::at(&path))?,
        };
        let sealed: Sealed = serde_json::from_slice(&text)
            .map_err(|error| Error::damaged(&path, format!("truncated or corrupt: {error}")))?;
        if seal(&sealed.backup) != sealed.sha256 {
            return Err(Error::damaged(&path, "corrupt: the checksum does not match"));
        }
        let format = sealed.backup.get("format").and_then(serde_json::Value::as_u64);
        let found = format.and_then(|format| u32::try_from(format).ok()).unwrap_or_default();
        if !READABLE.contains(&found) {
            return Err(Error::Format { path, found });
        }
        serde_json::from_value(sealed.backup)
            .map_err(|error| Error::damaged(&path, error.to_string()))
    }
}

/// What a backup has, for a summary.
#[derive(Clone, Debug, Serialize)]
pub struct Inventory {
    /// By metadata store.
    pub stores: Vec<StoreManifest>,
    /// Whether it has content.
    pub bytes_included: bool,
}

impl From<Manifest> for Inventory {
    fn from(manifest: Manifest) -> Self {
        Self { stores: manifest.stores, bytes_included: manifest.bytes }
    }
}

impl Part {
    /// A file as it is.
    pub(super) fn of(path: &Path) -> Result<Self, Error> {
        let read = || -> std::io::Result<Self> {
            let mut file = File::open(path)?;
            let size = file.metadata()?.len();
            let mut digest = Sha256::new();
            std::io::copy(&mut file, &mut Digesting(&mut digest))?;
            Ok(Self { size, sha256: hex(&digest.finalize()) })
        };
        read().map_err(Error::at(path))
    }

    /// Finds a file as it was written.
    pub(super) fn check(&self, path: &Path) -> Result<(), Error> {
        let found = match Self::of(path) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Err(Error::damaged(path, "missing"));
            }
            found => found?,
        };
        if found.size != self.size {
            let what = format!("corrupt: {} of {} bytes", found.size, self.size);
            return Err(Error::damaged(path, what));
        }
        if found.sha256 != self.sha256 {
            return Err(Error::damaged(path, "corrupt: the SHA-256 does not match"));
        }
        Ok(())
    }
}

struct Digesting<'a>(&'a mut Sha256);

impl std::io::Write for Digesting<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Where the files of a metadata store are.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) dump: PathBuf,
    pub(super) list: PathBuf,
    contents: PathBuf,
}

impl Parts {
    pub(super) fn new(folder: &Path, store: &str) -> Self {
        let store = folder.join(store);
        Self {
            dump: store.join("metadata.dump"),
            list: store.join("contents.list"),
            contents: store.join("contents"),
        }
    }

    /// Where a content is.
    pub(super) fn content(&self, id: Uuid) -> PathBuf {
        let [.., last] = *id.as_bytes();
        self.contents.join(format!("{last:02x}")).join(id.to_string())
    }

    /// Makes the folders that contents are in.
    pub(super) fn make(&self, bytes: bool) -> Result<(), Error> {
        let make = |path: &Path| ownership::create_dir_all(path, 0o777).map_err(Error::at(path));
        if !bytes {
            return self.dump.parent().map_or(Ok(()), make);
        }
        make(&self.contents)?;
        (0..=u8::MAX).try_for_each(|last| {
            let path = self.contents.join(format!("{last:02x}"));
            match ownership::create_dir(&path, 0o777) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    Err(Error::at(&path)(error))
                }
                Ok(()) | Err(_) => Ok(()),
            }
        })
    }
}
