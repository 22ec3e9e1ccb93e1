//! Reading a mapping key by key: unknown keys are refused, every error knows its place, and what counts
//! is written down.

use std::cell::{Ref, RefCell};
#[cfg(test)]
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_saphyr::Location;

use super::effective::{Effective, Path, Step, scalar};
use super::environment;
use super::error::{Error, Place};
use super::overrides::{self, Override};
use super::renamed::{RENAMED, Renamed};
use super::secrets::{Hidden, forms};
use super::tree::{self, Entry, Node, Origin, Value};

/// The furthest an unknown key may be from a known one to be taken for it (0 nothing, 1 all alike).
const ALIKE: f64 = 0.7;
/// Words of lines that are not shown, since they may hold a secret.
const HIDING: [&str; 7] = ["password", "secret", "token", "credential", "access_key", "url", "://"];

/// What is read, and the variables that its values may name.
pub(super) struct Document<'a> {
    file: &'a str,
    text: &'a str,
    variable: &'a dyn Fn(&str) -> Option<String>,
    overrides: &'a [Override],
    /// [`RENAMED`], or a table of a test.
    pub(super) renamed: &'static [Renamed],
    errors: RefCell<Vec<Error>>,
    warnings: RefCell<Vec<String>>,
    plain_secrets: RefCell<Vec<(String, String)>>,
    effective: RefCell<Effective>,
    /// Every key that was offered, and the default that it has, for the tests that example and
    /// documentation show them all.
    #[cfg(test)]
    pub(super) offered: RefCell<BTreeMap<String, Option<String>>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(
        file: &'a str,
        text: &'a str,
        variable: &'a dyn Fn(&str) -> Option<String>,
        overrides: &'a [Override],
    ) -> Self {
        Self {
            file,
            text,
            variable,
            overrides,
            renamed: RENAMED,
            errors: RefCell::default(),
            warnings: RefCell::default(),
            plain_secrets: RefCell::default(),
            effective: RefCell::default(),
            #[cfg(test)]
            offered: RefCell::default(),
        }
    }

    /// The whole document as a node, with the variables laid on it.
    pub(super) fn parse(&self) -> Result<Rc<Node>, Error> {
        let mut node = tree::parse(self.text).map_err(|error| {
            let place = error.location.and_then(|location| self.line(location));
            let place = place.unwrap_or_else(|| Place::File(self.file.to_owned()));
            Error::at(place, "", error.message)
        })?;
        self.errors.borrow_mut().extend(overrides::apply(&mut node, self.overrides));
        self.rename(&mut node);
        Ok(Rc::new(node))
    }

    /// The document's outermost field.
    pub(super) fn root<'d>(&'d self, node: Rc<Node>) -> Field<'d> {
        Field { document: self, path: Path::default(), node, hidden: None }
    }

    /// The value; an error is remembered, so that reading goes on with what is next.
    pub(super) fn keep<T>(&self, read: Result<T, Error>) -> Option<T> {
        read.map_err(|error| self.errors.borrow_mut().push(error)).ok()
    }

    /// What was wrong so far.
    pub(super) fn take_errors(&self) -> Vec<Error> {
        self.errors.take()
    }

    /// What is no error and still not as it should be.
    pub(super) fn take_warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// The keys of secrets that stand in the file itself: the whole key, and its last part.
    pub(super) fn take_plain_secrets(&self) -> Vec<(String, String)> {
        self.plain_secrets.take()
    }

    /// What counts, which writes itself as YAML.
    pub(super) fn effective(&self) -> Ref<'_, Effective> {
        self.effective.borrow()
    }

    fn place(&self, origin: &Origin) -> Place {
        let line = match origin {
            Origin::File(location) => self.line(*location),
            Origin::Variable { name, .. } => return Place::Variable(name.to_string()),
            Origin::Default => None,
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
        let near: Vec<_> = self
            .text
            .lines()
            .skip(index.saturating_sub(1))
            .take(if index > 0 { 2 } else { 1 })
            .collect();
        let hides = |line: &&str| HIDING.iter().any(|word| line.contains(word));
        let shown = !near.iter().any(hides) && line.len() <= 200;
        Some(Place::Line {
            file: self.file.to_owned(),
            line: location.line(),
            column: location.column(),
            excerpt: shown.then(|| line.to_owned()),
        })
    }

    /// Notes what is no error and still not as it should be.
    pub(super) fn warn(&self, warning: String) {
        self.warnings.borrow_mut().push(warning);
    }

    /// An error about a key, at the place of its value.
    pub(super) fn error(&self, origin: &Origin, path: &Path, message: String) -> Error {
        Error::at(self.place(origin), &path.to_string(), message)
    }

    #[cfg(test)]
    fn offer(&self, path: &Path, default: Option<String>) {
        let mut offered = self.offered.borrow_mut();
        let known = offered.entry(path.pattern()).or_default();
        if default.is_some() {
            *known = default;
        }
    }
}

/// A value and the path of keys that leads to it.
#[derive(Clone)]
pub(super) struct Field<'a> {
    document: &'a Document<'a>,
    path: Path,
    node: Rc<Node>,
    hidden: Option<Hidden>,
}

impl<'a> Field<'a> {
    /// An error at this value.
    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        self.document.error(&self.node.origin, &self.path, message.into())
    }

    /// The value; an error is remembered, so that reading goes on with what is next.
    pub(super) fn keep<T>(&self, read: Result<T, Error>) -> Option<T> {
        self.document.keep(read)
    }

    /// Something about this value that is no error.
    pub(super) fn warn(&self, message: impl std::fmt::Display) {
        self.document.warn(format!("{}: {message}", self.path));
    }

    /// Notes a secret that stands in the file itself, not in a variable that the file names.
    pub(super) fn note_plain_secret(&self) {
        let (Some(hidden), Value::Text(text), Origin::File(_)) =
            (self.hidden, &self.node.value, &self.node.origin)
        else {
            return;
        };
        if !text.is_empty() && !text.contains("${") && hidden.mask(text) != *text {
            self.document.plain_secrets.borrow_mut().push((self.path.to_string(), self.key()));
        }
    }

    /// A variable of the environment.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.document.variable)(name)
    }

    /// The key that it stands under.
    pub(super) fn key(&self) -> String {
        match self.path.0.last() {
            Some(Step::Key(name) | Step::Chosen(name)) => name.clone(),
            Some(Step::Index(index)) => index.to_string(),
            None => String::new(),
        }
    }

    /// A value of the wrong kind.
    fn expected(&self, what: &str) -> Error {
        self.error(format!("{} is not {what}", self.shown()))
    }

    /// The value as an error shows it.
    pub(super) fn shown(&self) -> String {
        match &self.node.value {
            value if self.hidden.is_some() => value.kind().to_owned(),
            Value::Flag(flag) => flag.to_string(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Text(text) => format!("{text:?}"),
            value @ (Value::Null | Value::List(_) | Value::Map(_)) => value.kind().to_owned(),
        }
    }

    /// The value as it is.
    pub(super) fn value(&self) -> &Value {
        &self.node.value
    }

    /// Text with its variables replaced. A number or flag of a file is refused: it lacks quotes.
    pub(super) fn text(&self) -> Result<String, Error> {
        match (&self.node.value, &self.node.origin) {
            (Value::Text(text), Origin::File(_) | Origin::Default) => {
                environment::expand(text, self.document.variable).map_err(|e| self.error(e))
            }
            (Value::Text(text), Origin::Variable { .. }) => Ok(text.clone()),
            (
                Value::Flag(_) | Value::Integer(_) | Value::Float(_),
                Origin::Variable { text, .. },
            ) => Ok(text.trim().to_owned()),
            (Value::Flag(_) | Value::Integer(_) | Value::Float(_), _) => {
                Err(self.error(format!("{} is not a string; put it in quotes", self.shown())))
            }
            (Value::Null | Value::List(_) | Value::Map(_), _) => Err(self.expected("a string")),
        }
    }

    /// Whether it is text, or what a variable holds, which is text anyway.
    pub(super) fn is_text(&self) -> bool {
        let scalar =
            matches!(self.node.value, Value::Flag(_) | Value::Integer(_) | Value::Float(_));
        let variable = matches!(self.node.origin, Origin::Variable { .. });
        matches!(self.node.value, Value::Text(_)) || scalar && variable
    }

    /// The mapping, which may have `keys` and no others.
    pub(super) fn section(&self, keys: &[&'static str]) -> Result<Section<'a>, Error> {
        self.section_with(keys, &[])
    }

    /// The mapping, which may have `keys`, and each of `secrets` in its three forms ([`Section::secret`]).
    pub(super) fn section_with(
        &self,
        keys: &[&'static str],
        secrets: &[(&'static str, Hidden)],
    ) -> Result<Section<'a>, Error> {
        let mut known: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        known.extend(secrets.iter().flat_map(|(key, _)| forms(key)));
        let entries: &[Entry] = match &self.node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Flag(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_) => {
                return Err(self.expected(&format!("a mapping of {}", known.join(", "))));
            }
        };
        self.put(Effective::default());
        #[cfg(test)]
        for key in &known {
            self.document.offer(&self.path.then(Step::Key(key.clone())), None);
        }
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key)) {
            let path = self.path.then(Step::Key(entry.key.clone()));
            let near = nearest(&entry.key, known.iter().map(String::as_str));
            let message = match (&entry.origin, near) {
                (Origin::Variable { .. }, Some(near)) => format!(
                    "unknown key; did you mean '{near}' ({})?",
                    self.path.then(Step::Key(near.to_owned())).variable()
                ),
                (_, Some(near)) => format!("unknown key; did you mean '{near}'?"),
                (_, None) => format!("unknown key; known keys: {}", known.join(", ")),
            };
            self.document.keep::<()>(Err(self.document.error(&entry.origin, &path, message)));
        }
        Ok(Section { field: self.clone(), secrets: secrets.to_vec() })
    }

    /// The mapping's entries under names that the user chose.
    pub(super) fn named(&self) -> Result<Vec<(String, Field<'a>)>, Error> {
        let Value::Map(entries) = &self.node.value else {
            return Err(self.expected("a mapping of names"));
        };
        self.put(Effective::default());
        let named = entries.iter().map(|Entry { key, node, .. }| {
            (key.clone(), self.below(Step::Chosen(key.clone()), node.clone(), None))
        });
        Ok(named.collect())
    }

    /// The list's elements.
    pub(super) fn list(&self) -> Result<Vec<Field<'a>>, Error> {
        let Value::List(nodes) = &self.node.value else {
            return Err(self.expected("a list (each element starts with '- ')"));
        };
        self.put(Effective::List(Vec::new()));
        let elements = nodes.iter().enumerate();
        Ok(elements
            .map(|(index, node)| self.below(Step::Index(index), node.clone(), None))
            .collect())
    }

    /// What stands one step further; a scalar counts from now on.
    fn below(&self, step: Step, node: Rc<Node>, hidden: Option<Hidden>) -> Field<'a> {
        let field = Field { document: self.document, path: self.path.then(step), node, hidden };
        if !matches!(field.node.value, Value::List(_) | Value::Map(_)) {
            field.put(field.scalar());
        }
        field
    }

    fn scalar(&self) -> Effective {
        let variable = match &self.node.origin {
            Origin::Variable { name, .. } => Some(name.to_string()),
            Origin::File(_) | Origin::Default => None,
        };
        let value = match (self.hidden, &self.node.value) {
            (_, Value::Text(_))
            | (Some(_), Value::Flag(_) | Value::Integer(_) | Value::Float(_)) => {
                let text = self.text().unwrap_or_default();
                Value::Text(self.hidden.map_or_else(|| text.clone(), |hidden| hidden.mask(&text)))
            }
            (_, value) => value.clone(),
        };
        Effective::Scalar(scalar(&value), variable)
    }

    fn put(&self, part: Effective) {
        self.document.effective.borrow_mut().put(&self.path.0, part);
    }
}

/// A mapping whose keys are known; unknown ones were told already.
pub(super) struct Section<'a> {
    field: Field<'a>,
    secrets: Vec<(&'static str, Hidden)>,
}

impl<'a> Section<'a> {
    /// What stands under a key; one without a value counts as absent.
    pub(super) fn optional(&self, key: &str) -> Option<Field<'a>> {
        let Value::Map(entries) = &self.field.node.value else { return None };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        if matches!(entry.node.value, Value::Null) {
            return None;
        }
        let hidden = self.secrets.iter().find(|(secret, _)| *secret == key).map(|(_, how)| *how);
        Some(self.field.below(Step::Key(key.to_owned()), entry.node.clone(), hidden))
    }

    /// What must stand under a key; `remedy` says what to write.
    pub(super) fn required(&self, key: &str, remedy: &str) -> Result<Field<'a>, Error> {
        self.optional(key).ok_or_else(|| {
            let path = self.field.path.then(Step::Key(key.to_owned()));
            let origin = &self.field.node.origin;
            self.field.document.error(origin, &path, format!("missing; {remedy}"))
        })
    }

    /// What stands under a key as `read` reads it, or `None`.
    pub(super) fn maybe<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Field<'a>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match self.optional(key) {
            Some(field) => read(&field).map(Some),
            None => {
                self.absent(key);
                Ok(None)
            }
        }
    }

    /// What stands under a key as `read` reads it, or what it makes of `default`. A value that is wrong
    /// is told, and reading goes on with the default.
    pub(super) fn or<T>(
        &self,
        key: &str,
        default: impl Into<Value>,
        read: impl Fn(&Field<'a>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let default = Rc::new(Node { value: default.into(), origin: Origin::Default });
        let path = Step::Key(key.to_owned());
        #[cfg(test)]
        self.field.document.offer(
            &self.field.path.then(path.clone()),
            (!matches!(default.value, Value::Map(_) | Value::List(_)))
                .then(|| scalar(&default.value)),
        );
        let by_default = || read(&self.field.below(path.clone(), default.clone(), None));
        let Some(field) = self.optional(key) else { return by_default() };
        let wrong = match read(&field) {
            Ok(value) => return Ok(value),
            Err(wrong) => wrong,
        };
        match by_default() {
            Ok(value) => {
                self.field.document.keep::<()>(Err(wrong));
                Ok(value)
            }
            Err(_) => Err(wrong),
        }
    }

    /// The mapping under a key as `read` reads it; left out, it has its keys' defaults.
    pub(super) fn part<T>(
        &self,
        key: &str,
        read: impl Fn(&Field<'a>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.or(key, Value::Map(Vec::new()), read)
    }

    /// Writes down that a key without a default was left out.
    pub(super) fn absent(&self, key: &str) {
        self.counts(key, Value::Null);
    }

    /// Writes down what counts for a key that was left out and has no plain default.
    pub(super) fn counts(&self, key: &str, value: impl Into<Value>) {
        if self.optional(key).is_none() {
            let path = self.field.path.then(Step::Key(key.to_owned()));
            let part = Effective::Scalar(scalar(&value.into()), None);
            self.field.document.effective.borrow_mut().put(&path.0, part);
        }
    }
}

/// The known name that is most like another, where one is.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|each| (strsim::jaro_winkler(name, each), each))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .map(|(_, each)| each)
}

/// `; did you mean …`, or the known names.
pub(super) fn hint<'n>(name: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    if let Some(nearest) = nearest(name, known.clone()) {
        return format!("; did you mean '{nearest}'?");
    }
    let known: Vec<_> = known.collect();
    if known.is_empty() {
        "; none is defined".to_owned()
    } else {
        format!("; defined: {}", known.join(", "))
    }
}
