//! A document that is read: its tree, where in it what is wrong, and what of it is a warning.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Location;

use super::error::{Error, Place};
use super::overrides::{self, Override};
use super::path::{Path, Step};
use super::renamed::{RENAMED, Renamed};
use super::tree::{self, Entry, Node, Origin, Value};

/// Words of lines that are not shown, since they may hold a secret.
const HIDING: [&str; 7] = ["password", "secret", "token", "credential", "access_key", "url", "://"];

/// What is read, and the variables that its values may name.
pub(super) struct Document<'a> {
    file: &'a str,
    text: &'a str,
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    pub(super) root: Node,
    errors: RefCell<Vec<Error>>,
    /// What is wrong, and is passed over when the document is read again for what else is.
    broken: RefCell<BTreeSet<Path>>,
    warnings: RefCell<Vec<String>>,
    /// Secrets that stand in the file itself.
    plain_secrets: RefCell<BTreeSet<Path>>,
    /// Secrets that stand elsewhere: the key and the text that name the place.
    pub(super) secret_places: RefCell<BTreeMap<Path, (String, String)>>,
    /// Every key that was offered, for the tests that example and documentation show them all.
    #[cfg(test)]
    pub(super) offered: RefCell<BTreeSet<String>>,
}

impl<'a> Document<'a> {
    /// Reads the tree, lays the variables on it, and gives keys with an old name the new one.
    pub(super) fn new(
        file: &'a str,
        text: &'a str,
        variable: &'a dyn Fn(&str) -> Option<String>,
        overrides: &[Override],
    ) -> Result<Self, Error> {
        Self::with_renamed(file, text, variable, overrides, RENAMED)
    }

    /// The same with a table of renamed keys.
    pub(super) fn with_renamed(
        file: &'a str,
        text: &'a str,
        variable: &'a dyn Fn(&str) -> Option<String>,
        overrides: &[Override],
        renamed: &[Renamed],
    ) -> Result<Self, Error> {
        let mut document = Self {
            file,
            text,
            variable,
            root: Node { value: Value::Null, origin: Origin::File(Location::UNKNOWN) },
            errors: RefCell::default(),
            broken: RefCell::default(),
            warnings: RefCell::default(),
            plain_secrets: RefCell::default(),
            secret_places: RefCell::default(),
            #[cfg(test)]
            offered: RefCell::default(),
        };
        let mut root = tree::parse(text).map_err(|error| {
            let place = error.location.and_then(|location| document.line(location));
            let place = place.unwrap_or_else(|| Place::File(file.to_owned()));
            Error::at(place, "", error.message)
        })?;
        document.errors.get_mut().extend(overrides::apply(&mut root, overrides));
        document.rename(&mut root, renamed);
        document.root = root;
        Ok(document)
    }

    /// What is at a path, if anything.
    pub(super) fn find(&self, path: &Path) -> Option<&Node> {
        path.0.iter().try_fold(&self.root, |node, step| node.below(step))
    }

    /// Whether something is written at a path.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.find(path).is_some_and(|node| !matches!(node.value, Value::Null))
    }

    /// The keys of the mapping at a path.
    pub(super) fn keys(&self, path: &Path) -> impl Iterator<Item = &str> {
        let entries = match self.find(path).map(|node| &node.value) {
            Some(Value::Map(entries)) => &entries[..],
            _ => &[],
        };
        entries.iter().map(|entry| entry.key.as_str())
    }

    /// An error at a path: where its value stands, or what it is missing in.
    fn error(&self, path: &Path, message: String) -> Error {
        let mut origin = &self.root.origin;
        let mut node = &self.root;
        for (index, step) in path.0.iter().enumerate() {
            let Some(below) = node.below(step) else { break };
            if index + 1 == path.0.len() && matches!(below.value, Value::Null) {
                break;
            }
            (node, origin) = (below, &below.origin);
        }
        self.error_from(origin, path, message)
    }

    /// An error about a path that is at the place of another thing.
    pub(super) fn error_from(&self, origin: &Origin, path: &Path, message: String) -> Error {
        Error::at(self.place(origin), &path.to_string(), message)
    }

    /// Notes an error once.
    pub(super) fn note(&self, error: Error) {
        let mut errors = self.errors.borrow_mut();
        let text = error.headline();
        if !errors.iter().any(|other| other.headline() == text) {
            errors.push(error);
        }
    }

    /// Notes what is wrong at a path, where nothing is known to be wrong there or above.
    pub(super) fn wrong(&self, path: &Path, message: impl Into<String>) {
        if !self.is_broken(path) {
            self.note(self.error(path, message.into()));
        }
    }

    /// The same, and the value is passed over from now on.
    pub(super) fn break_at(&self, path: &Path, message: impl Into<String>) {
        self.wrong(path, message);
        self.pass_over(path);
    }

    /// A value is missing, and so is what it is missing in, from now on.
    pub(super) fn break_above(&self, path: &Path, message: impl Into<String>) {
        self.wrong(path, message);
        self.pass_over(&path.parent());
    }

    /// A value is passed over from now on.
    pub(super) fn pass_over(&self, path: &Path) {
        self.broken.borrow_mut().insert(path.clone());
    }

    /// Whether something is known to be wrong at a path or above.
    pub(super) fn is_broken(&self, path: &Path) -> bool {
        let broken = self.broken.borrow();
        (0..=path.0.len()).any(|length| broken.contains(&Path(path.0[..length].to_vec())))
    }

    /// Whether something is known to be wrong at a path or below.
    pub(super) fn has_broken(&self, path: &Path) -> bool {
        self.broken.borrow().iter().any(|broken| broken.0.starts_with(&path.0))
    }

    /// How much is known to be wrong.
    pub(super) fn broken_count(&self) -> usize {
        self.broken.borrow().len()
    }

    /// What was wrong so far.
    pub(super) fn take_errors(&self) -> Vec<Error> {
        self.errors.take()
    }

    /// Notes what is no error and still not as it should be.
    pub(super) fn warn(&self, warning: String) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// What is no error and still not as it should be.
    pub(super) fn take_warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// Notes a secret that stands in the file itself.
    pub(super) fn note_plain_secret(&self, path: &Path) {
        self.plain_secrets.borrow_mut().insert(path.clone());
    }

    /// The keys of secrets that stand in the file itself.
    pub(super) fn take_plain_secrets(&self) -> BTreeSet<Path> {
        self.plain_secrets.take()
    }

    fn place(&self, origin: &Origin) -> Place {
        let line = match origin {
            Origin::File(location) => self.line(*location),
            Origin::Variable { name, .. } => return Place::Variable(name.to_string()),
        };
        line.unwrap_or_else(|| Place::File(self.file.to_owned()))
    }

    /// Where a location is; a line that may hold a secret is not shown.
    fn line(&self, location: Location) -> Option<Place> {
        if location == Location::UNKNOWN {
            return None;
        }
        let index = usize::try_from(location.line()).ok()?.checked_sub(1)?;
        let line = self.text.lines().nth(index).unwrap_or_default();
        // A value may stand on the line after its key's.
        let mut near = self.text.lines().skip(index.saturating_sub(1)).take(index.min(1) + 1);
        let hidden = near.any(|line| HIDING.iter().any(|word| line.contains(word)));
        Some(Place::Line {
            file: self.file.to_owned(),
            line: location.line(),
            column: location.column(),
            excerpt: (!hidden && line.len() <= 200).then(|| line.to_owned()),
        })
    }
}

impl Node {
    /// Whether it is a list or a mapping of nothing.
    pub(super) fn is_empty(&self) -> bool {
        match &self.value {
            Value::List(nodes) => nodes.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            Value::Null | Value::Flag(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {
                false
            }
        }
    }

    /// What is one step below.
    pub(super) fn below(&self, step: &Step) -> Option<&Node> {
        match (&self.value, step) {
            (Value::Map(entries), Step::Key(key)) => Entry::of(entries, key).map(|it| &it.node),
            (Value::List(nodes), Step::Index(index)) => nodes.get(*index),
            _ => None,
        }
    }
}

impl Entry {
    /// The entry of a key.
    pub(super) fn of<'e>(entries: &'e [Self], key: &str) -> Option<&'e Self> {
        entries.iter().find(|entry| entry.key == key)
    }
}
