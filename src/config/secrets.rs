//! Secrets: under the key itself, in a file, or as a credential of systemd.

use std::fmt;
use std::path::{Path, PathBuf};

use super::effective::MASK;
use super::error::Error;
use super::section::{Field, Section};
use crate::types::{SecretFile, SecretFileError};

/// The folder of the service's credentials (systemd.exec(5), CREDENTIALS).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// A password or another secret; shown by nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    file: Option<PathBuf>,
}

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The file that it was read from.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// How much of a value is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    /// All of it.
    Whole,
    /// What looks like a password in a URL.
    InUrl,
}

impl Hidden {
    /// What may be shown of `text`.
    pub(super) fn mask(self, text: &str) -> String {
        match self {
            Self::Whole => MASK.to_owned(),
            Self::InUrl => mask_url(text),
        }
    }
}

/// A URL without its password. What is no URL is hidden whole.
fn mask_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return MASK.to_owned() };
    // The last '@': a password that was not escaped may have others.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => match user.split_once(':') {
            Some((user, _)) => (format!("{user}:{MASK}@"), rest),
            None => (format!("{user}@"), rest),
        },
        None => (String::new(), rest),
    };
    let Some((place, query)) = rest.split_once('?') else {
        return format!("{scheme}://{user}{rest}");
    };
    let parts = query.split('&').map(|part| match part.split_once('=') {
        Some((key, _)) if key.to_ascii_lowercase().contains("pass") => format!("{key}={MASK}"),
        Some(_) | None => part.to_owned(),
    });
    format!("{scheme}://{user}{place}?{}", parts.collect::<Vec<_>>().join("&"))
}

/// The keys that a secret may stand under.
pub(super) fn forms(key: &str) -> [String; 3] {
    [key.to_owned(), format!("{key}_file"), format!("{key}_credential")]
}

impl<'a> Section<'a> {
    /// A secret, from the one of `key`, `key_file` and `key_credential` that is there. The section names it as
    /// a secret.
    pub(super) fn secret(&self, key: &str) -> Result<Option<Secret>, Error> {
        Ok(self.secret_at(key)?.map(|(_, secret)| secret))
    }

    /// The same, and the field that names it.
    pub(super) fn secret_at(&self, key: &str) -> Result<Option<(Field<'a>, Secret)>, Error> {
        let [whole, file, credential] = forms(key).map(|key| self.optional(&key));
        let given: Vec<_> = [&whole, &file, &credential].into_iter().flatten().collect();
        if let [first, second, ..] = given[..] {
            return Err(second.error(format!(
                "the secret is also set by {}; keep one (an empty environment variable removes a key)",
                first.key()
            )));
        }
        let folder = |field: &Field<'_>| {
            field.variable(CREDENTIALS).ok_or_else(|| {
                field.error(format!(
                    "the environment variable {CREDENTIALS} is not set: no credentials are available; start the \
                     service with LoadCredential=, or use {key}_file"
                ))
            })
        };
        if let Some(field) = whole {
            let text = field.text()?;
            field.note_plain_secret();
            return Ok(Some((field, Secret { text, file: None })));
        }
        if let Some(field) = file {
            let secret = from_file(&field, Path::new(&field.text()?))?;
            return Ok(Some((field, secret)));
        }
        if let Some(field) = credential {
            let name = field.text()?;
            if name.is_empty() || name.contains('/') || name == "." || name == ".." {
                return Err(field.error(format!(
                    "{name:?} is not a credential name; write the name in LoadCredential="
                )));
            }
            let secret = from_file(&field, &PathBuf::from(folder(&field)?).join(name))?;
            return Ok(Some((field, secret)));
        }
        self.absent(key);
        Ok(None)
    }
}

/// The secret that a file holds.
fn from_file(field: &Field<'_>, path: &Path) -> Result<Secret, Error> {
    let shown = path.display();
    let secret = SecretFile::read(path).map_err(|error| match error {
        SecretFileError::Unreadable(_) => field.error(format!("cannot read {shown}: {error}")),
        SecretFileError::TooLong | SecretFileError::NotText | SecretFileError::Empty => {
            field.error(format!("{shown}: {error}"))
        }
    })?;
    if secret.readable_by_all {
        field.warn(format!(
            "{shown} is readable by every user of this machine; run chmod o-r on it"
        ));
    }
    Ok(Secret { text: secret.text, file: Some(path.to_owned()) })
}

#[cfg(test)]
mod tests;
