//! Reading a mapping key by key: unknown keys are refused, and every error knows its place.

#[cfg(test)]
use std::cell::RefCell;
#[cfg(test)]
use std::collections::BTreeSet;

use serde_saphyr::{Location, Spanned};

use super::environment;
use super::error::{Error, Place};
use super::tree::{self, Node, Value};

/// The furthest an unknown key may be from a known one to be taken for it (0 nothing, 1 all alike).
const ALIKE: f64 = 0.7;

/// The file that is read, and the variables that its values may name.
pub(super) struct Document<'a> {
    file: &'a str,
    text: &'a str,
    variable: &'a dyn Fn(&str) -> Option<String>,
    /// Every key that was offered, for the test that the example shows them all.
    #[cfg(test)]
    pub(super) offered: RefCell<BTreeSet<String>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(
        file: &'a str,
        text: &'a str,
        variable: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        Self {
            file,
            text,
            variable,
            #[cfg(test)]
            offered: RefCell::default(),
        }
    }

    /// The whole document as a node.
    pub(super) fn parse(&self) -> Result<Node, Error> {
        tree::parse(self.text).map_err(|error| {
            let place = error.location.and_then(|location| self.place(location));
            Error::at(self.file, place, "", error.message)
        })
    }

    /// The document's outermost field.
    pub(super) fn root<'d>(&'d self, node: &'d Node) -> Field<'d> {
        Field { document: self, path: String::new(), pattern: String::new(), node }
    }

    /// Where a location is; a line that may hold a password is not shown.
    fn place(&self, location: Location) -> Option<Place> {
        if location == Location::UNKNOWN {
            return None;
        }
        let index = usize::try_from(location.line()).ok()?.checked_sub(1)?;
        let line = self.text.lines().nth(index).unwrap_or_default();
        // A URL may hold a password.
        let shown = !line.contains("password") && !line.contains("://") && line.len() <= 200;
        Some(Place {
            line: location.line(),
            column: location.column(),
            excerpt: shown.then(|| line.to_owned()),
        })
    }

    fn error(&self, location: Location, path: &str, message: String) -> Error {
        Error::at(self.file, self.place(location), path, message)
    }
}

/// A value and the path of keys that leads to it.
#[derive(Clone)]
pub(super) struct Field<'a> {
    document: &'a Document<'a>,
    path: String,
    /// The path with names that the user chose replaced by `*`.
    pattern: String,
    node: &'a Node,
}

impl<'a> Field<'a> {
    /// An error at this value.
    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        self.document.error(self.node.referenced, &self.path, message.into())
    }

    /// A value of the wrong kind.
    fn expected(&self, what: &str) -> Error {
        self.error(format!("{} where {what} is expected", self.shown()))
    }

    /// The value as an error shows it.
    pub(super) fn shown(&self) -> String {
        let secret = self.path.ends_with("password");
        match &self.node.value {
            _ if secret => self.node.value.kind().to_owned(),
            Value::Flag(flag) => format!("the flag {flag}"),
            Value::Integer(number) => format!("the number {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Text(text) => format!("{text:?}"),
            Value::Null | Value::List(_) | Value::Map(_) => self.node.value.kind().to_owned(),
        }
    }

    /// The value as it is.
    pub(super) fn value(&self) -> &'a Value {
        &self.node.value
    }

    /// Text with its variables replaced. A number or flag is refused: it lacks quotes.
    pub(super) fn text(&self) -> Result<String, Error> {
        match &self.node.value {
            Value::Text(text) => {
                environment::expand(text, self.document.variable).map_err(|e| self.error(e))
            }
            Value::Flag(_) | Value::Integer(_) | Value::Float(_) => {
                Err(self
                    .error(format!("{} where text is expected; put it in quotes", self.shown())))
            }
            Value::Null | Value::List(_) | Value::Map(_) => Err(self.expected("text")),
        }
    }

    /// The mapping, which may have `keys` and no others.
    pub(super) fn section(&self, keys: &[&str]) -> Result<Section<'a>, Error> {
        let entries: &[_] = match &self.node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Flag(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_) => {
                return Err(self.expected(&format!("a mapping of {}", keys.join(", "))));
            }
        };
        #[cfg(test)]
        for key in keys {
            self.document.offered.borrow_mut().insert(join(&self.pattern, key));
        }
        for (key, _) in entries {
            if !keys.contains(&key.value.as_str()) {
                let message = format!("unknown key{}", hint(&key.value, keys.iter().copied()));
                let path = join(&self.path, &key.value);
                return Err(self.document.error(key.referenced, &path, message));
            }
        }
        Ok(Section { field: self.clone(), entries })
    }

    /// The mapping's entries under names that the user chose.
    pub(super) fn named(&self) -> Result<Vec<(String, Field<'a>)>, Error> {
        let Value::Map(entries) = &self.node.value else {
            return Err(self.expected("a mapping from names"));
        };
        Ok(entries
            .iter()
            .map(|(key, node)| {
                let field = Field {
                    path: join(&self.path, &key.value),
                    pattern: join(&self.pattern, "*"),
                    ..self.at(node)
                };
                (key.value.clone(), field)
            })
            .collect())
    }

    /// The list's elements.
    pub(super) fn list(&self) -> Result<Vec<Field<'a>>, Error> {
        let Value::List(nodes) = &self.node.value else {
            return Err(self.expected("a list (each element starts with '- ')"));
        };
        Ok(nodes
            .iter()
            .enumerate()
            .map(|(index, node)| Field {
                path: format!("{}[{index}]", self.path),
                pattern: format!("{}[]", self.pattern),
                ..self.at(node)
            })
            .collect())
    }

    fn at(&self, node: &'a Node) -> Field<'a> {
        Field { node, ..self.clone() }
    }
}

/// A mapping all of whose keys are known.
pub(super) struct Section<'a> {
    field: Field<'a>,
    entries: &'a [(Spanned<String>, Node)],
}

impl<'a> Section<'a> {
    /// What stands under a key; one without a value counts as absent.
    pub(super) fn optional(&self, key: &str) -> Option<Field<'a>> {
        let (_, node) = self.entries.iter().find(|(each, _)| each.value == key)?;
        if matches!(node.value, Value::Null) {
            return None;
        }
        Some(Field {
            path: join(&self.field.path, key),
            pattern: join(&self.field.pattern, key),
            ..self.field.at(node)
        })
    }

    /// What must stand under a key; `remedy` says what to write.
    pub(super) fn required(&self, key: &str, remedy: &str) -> Result<Field<'a>, Error> {
        self.optional(key).ok_or_else(|| {
            let path = join(&self.field.path, key);
            self.field.document.error(
                self.field.node.referenced,
                &path,
                format!("missing; {remedy}"),
            )
        })
    }

    /// What stands under a key as `read` reads it, or `default`.
    pub(super) fn or<T>(
        &self,
        key: &str,
        default: T,
        read: impl FnOnce(&Field<'a>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.optional(key).map_or(Ok(default), |field| read(&field))
    }
}

/// `; did you mean …`, or the known names.
pub(super) fn hint<'n>(name: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    let nearest = known
        .clone()
        .map(|each| (strsim::jaro_winkler(name, each), each))
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    match nearest {
        Some((likeness, nearest)) if likeness >= ALIKE => format!("; did you mean '{nearest}'?"),
        Some(_) => format!("; known are {}", known.collect::<Vec<_>>().join(", ")),
        None => "; there is none".to_owned(),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
