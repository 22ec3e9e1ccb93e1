//! Secrets: under the key itself, in a file, or as a credential of systemd.

use std::path::{Path as FilePath, PathBuf};

use super::de::{At, Failure};
use super::tree::{Entry, Origin, Value};
use crate::types::settings::masked;
use crate::types::{SecretFile, SecretFileError};

/// The folder of the service's credentials (systemd.exec(5), CREDENTIALS).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The keys that a secret may stand under.
fn forms(key: &str) -> [String; 3] {
    [key.to_owned(), format!("{key}_file"), format!("{key}_credential")]
}

impl<'d> At<'d> {
    /// Those of the entries that have a value of the section, each secret once.
    pub(super) fn known(
        &self,
        entries: &'d [Entry],
        keys: &'static [&'static str],
    ) -> Vec<&'d Entry> {
        let given = |entry: &&'d Entry| {
            keys.contains(&entry.key.as_str()) && !matches!(entry.node.value, Value::Null)
        };
        let mut known: Vec<_> = entries.iter().filter(given).collect();
        let secrets = keys.iter().map(|key| forms(key));
        for forms in secrets.filter(|forms| forms.iter().all(|key| keys.contains(&key.as_str()))) {
            let [Some(first), Some(second), ..] = [0, 1].map(|nth| {
                let given = forms.iter().filter_map(|key| known.iter().find(|it| it.key == *key));
                given.map(|entry| entry.key.clone()).nth(nth)
            }) else {
                continue;
            };
            let twice = format!(
                "the secret is also set by {first}; keep one (an empty environment variable removes a key)"
            );
            self.document.wrong(&self.path.key(&second), twice);
            known.retain(|entry| !forms[1..].contains(&entry.key) || entry.key == first);
        }
        known
    }

    /// A secret, and the file that it was read from (empty for none).
    pub(super) fn secret(&self) -> Result<[String; 2], Failure> {
        let key = self.path.last();
        // An error must not show it.
        let hidden = |_| match &self.node.value {
            Value::Text(_) => self.text().err().unwrap_or(Failure::Noted),
            Value::Null | Value::List(_) | Value::Map(_) => self.is_not("a string"),
            value => {
                Failure::Message(format!("{} is not a string; put it in quotes", value.kind()))
            }
        };
        let text = self.text().map_err(hidden)?;
        let path = match (key.strip_suffix("_file"), key.strip_suffix("_credential")) {
            (Some(_), _) => PathBuf::from(&text),
            (None, Some(whole)) => self.credential(whole, &text)?,
            (None, None) => {
                let shown = key == "url" && masked(&text) == text;
                let in_file = matches!((&self.node.value, &self.node.origin),
                    (Value::Text(text), Origin::File(_)) if !text.contains("${"));
                if in_file && !shown && !text.is_empty() {
                    self.document.note_plain_secret(&self.path);
                }
                return Ok([text, String::new()]);
            }
        };
        let whole = key.rsplit_once('_').map_or(key, |(whole, _)| whole);
        let written = (key.to_owned(), text);
        let whole = self.path.parent().key(whole);
        self.document.secret_places.borrow_mut().insert(whole, written);
        let secret = self.file(&path)?;
        Ok([secret, path.to_string_lossy().into_owned()])
    }

    /// The file of a credential.
    fn credential(&self, key: &str, name: &str) -> Result<PathBuf, Failure> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(Failure::Message(format!(
                "{name:?} is not a credential name; write the name in LoadCredential="
            )));
        }
        let folder = (self.document.variable)(CREDENTIALS).ok_or_else(|| {
            Failure::Message(format!(
                "the environment variable {CREDENTIALS} is not set: no credentials are available; start the \
                 service with LoadCredential=, or use {key}_file"
            ))
        })?;
        Ok(PathBuf::from(folder).join(name))
    }

    /// The secret that a file holds.
    fn file(&self, path: &FilePath) -> Result<String, Failure> {
        let shown = path.display();
        let secret = SecretFile::read(path).map_err(|error| match error {
            SecretFileError::Unreadable(_) => {
                Failure::Message(format!("cannot read {shown}: {error}"))
            }
            SecretFileError::TooLong | SecretFileError::NotText | SecretFileError::Empty => {
                Failure::Message(format!("{shown}: {error}"))
            }
        })?;
        if secret.readable_by_all {
            self.document.warn(format!(
                "{}: {shown} is readable by every user of this machine; run chmod o-r on it",
                self.path
            ));
        }
        Ok(secret.text)
    }
}
