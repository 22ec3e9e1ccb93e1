//! Files that hold a secret and nothing else.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The longest file that holds a secret, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// The content of such a file; shown by nothing.
#[allow(missing_debug_implementations, reason = "a secret is not shown")]
pub struct SecretFile {
    /// The secret: the file's text without the newline at its end.
    pub text: String,
    /// Whether every user of the machine may read the file.
    pub readable_by_all: bool,
}

/// Why a file holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be read.
    #[error("{0}; use a file that this user can read and that contains only the secret")]
    Unreadable(#[from] io::Error),
    #[error("the file is too large for a secret (limit {MAX_BYTES} bytes)")]
    TooLong,
    /// It is not UTF-8.
    #[error("the file is not UTF-8 text")]
    NotText,
    #[error("the file is empty; write the secret into it")]
    Empty,
}

impl SecretFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, SecretFileError> {
        let file = File::open(path)?;
        let mode = file.metadata()?.mode();
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(SecretFileError::TooLong);
        }
        let text = String::from_utf8(bytes).map_err(|_| SecretFileError::NotText)?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(SecretFileError::Empty);
        }
        Ok(Self { text: text.to_owned(), readable_by_all: mode & 0o004 != 0 })
    }
}
