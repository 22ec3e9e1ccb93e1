//! Environment variables that override keys: `TRUNKFS__SERVER__LISTEN` is `server.listen`.
//!
//! They are laid on the tree before it is read, so that every key there is can be overridden, and a
//! key that there is not is refused as in a file.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::rc::Rc;

use super::error::{Error, Place};
use super::tree::{self, Entry, Node, Origin, Value};

/// What the names of variables that override keys begin with.
pub(super) const PREFIX: &str = "TRUNKFS__";
/// Under keys of this name stand mappings, whatever the names in them look like.
pub(super) const NAMED: &str = "stores";

/// A variable that overrides a key.
#[derive(Clone, Debug)]
pub(super) struct Override {
    name: Rc<str>,
    /// `None` where it is no Unicode text.
    text: Option<Rc<str>>,
}

/// Those of the variables that override keys.
pub(super) fn among(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<Override> {
    variables
        .filter_map(|(name, text)| {
            let name = name.to_string_lossy();
            name.starts_with(PREFIX).then(|| Override {
                name: name.as_ref().into(),
                text: text.into_string().ok().map(Into::into),
            })
        })
        .collect()
}

impl Override {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn error(&self, keys: &[String], message: impl Into<String>) -> Error {
        Error::at(Place::Variable(self.name.to_string()), &keys.join("."), message.into())
    }

    /// The keys that lead to the value.
    fn keys(&self) -> Result<Vec<String>, Error> {
        let keys: Vec<_> =
            self.name[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
        let fits = |key: &String| {
            !key.is_empty()
                && !key.starts_with('_')
                && !key.ends_with('_')
                && key.chars().all(|each| each.is_ascii_alphanumeric() || each == '_')
        };
        if !keys.iter().all(fits) {
            return Err(self.error(
                &[],
                "not a key; write the path of the key with two underscores between its parts, such as \
                 TRUNKFS__SERVER__LISTEN or TRUNKFS__SHARES__0__NAME",
            ));
        }
        Ok(keys)
    }

    fn origin(&self) -> Origin {
        Origin::Variable {
            name: self.name.clone(),
            text: self.text.clone().unwrap_or_else(|| "".into()),
        }
    }

    /// The value: a YAML scalar. What is not in quotes is taken as it stands.
    fn value(&self, keys: &[String]) -> Result<Value, Error> {
        let Some(text) = &self.text else {
            return Err(self.error(keys, "is not valid UTF-8"));
        };
        let trimmed = text.trim();
        if trimmed.starts_with(['"', '\'']) {
            return match tree::parse(trimmed) {
                Ok(Node { value: value @ Value::Text(_), .. }) if is_quoted(trimmed) => Ok(value),
                Ok(_) | Err(_) => Err(self.error(
                    keys,
                    "begins with a quotation mark and is not a quoted YAML string; put all of it in '…', and \
                     write '' for each ' inside",
                )),
            };
        }
        // An address such as [::1]:1 is text.
        let within = |open, close| trimmed.starts_with(open) && trimmed.ends_with(close);
        if within('[', ']') || within('{', '}') {
            return Err(self.error(
                keys,
                format!(
                    "is a list or a mapping; set each part by a variable of its own, as {}__0 or {}__KEY, or \
                     put a string that begins like this in '…'",
                    self.name, self.name
                ),
            ));
        }
        // Nothing in these has a meaning to YAML beyond that of numbers, flags and null.
        let plain =
            |each: char| each.is_ascii_alphanumeric() || matches!(each, '.' | '+' | '-' | '~');
        Ok(match tree::parse(trimmed) {
            _ if trimmed.is_empty() => Value::Null,
            Ok(Node { value, .. }) if trimmed.chars().all(plain) && trimmed != "-" => value,
            Ok(_) | Err(_) => Value::Text(text.to_string()),
        })
    }
}

/// Whether the quotation marks at both ends belong together, with nothing but one text between them.
fn is_quoted(text: &str) -> bool {
    let Some(quote) = text.chars().next() else { return false };
    let Some(inner) = text[1..].strip_suffix(quote) else { return false };
    let escape = if quote == '"' { '\\' } else { quote };
    let mut characters = inner.chars();
    while let Some(each) = characters.next() {
        if each == escape {
            // '' stands for ' between single ones.
            match characters.next() {
                Some(next) if escape != quote || next == quote => {}
                Some(_) | None => return false,
            }
        } else if each == quote {
            return false;
        }
    }
    true
}

/// Lays the variables on the tree, in the order of the keys that they name.
///
/// # Errors
/// Each variable that names no place of the tree, or holds no scalar.
pub(super) fn apply(root: &mut Node, overrides: &[Override]) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut known: Vec<(Vec<String>, &Override)> = Vec::new();
    for variable in overrides {
        match variable.keys() {
            Ok(keys) => known.push((keys, variable)),
            Err(error) => errors.push(error),
        }
    }
    known.sort_by(|(one, a), (other, b)| in_order(one, other).then_with(|| a.name.cmp(&b.name)));
    let mut last: Option<(Vec<String>, &Override)> = None;
    for (keys, variable) in known {
        let twin = last.as_ref().filter(|(before, _)| *before == keys);
        let done = match twin {
            Some((_, twin)) => Err(variable.error(
                &keys,
                format!("the variable {} sets the same key; keep one of the two", twin.name),
            )),
            None => variable.value(&keys).and_then(|value| {
                set(root, &keys, 0, variable, value)
                    .map_err(|message| variable.error(&keys, message))
            }),
        };
        errors.extend(done.err());
        last = Some((keys, variable));
    }
    errors
}

/// By the keys, numbers by their value, so that elements are added to a list in their order.
fn in_order(one: &[String], other: &[String]) -> Ordering {
    let number = |key: &String| key.parse::<u64>().ok();
    one.iter()
        .zip(other)
        .map(|(one, other)| number(one).cmp(&number(other)).then_with(|| one.cmp(other)))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| one.len().cmp(&other.len()))
}

/// Sets what the keys from the `depth`th on lead to from `node`, making what is missing.
fn set(
    node: &mut Node,
    keys: &[String],
    depth: usize,
    variable: &Override,
    value: Value,
) -> Result<(), String> {
    let Some(key) = keys.get(depth) else {
        if let Value::List(_) | Value::Map(_) = node.value {
            return Err(format!(
                "is {}; set each part by a variable of its own, as {}__…",
                node.value.kind(),
                variable.name
            ));
        }
        *node = Node { value, origin: variable.origin() };
        return Ok(());
    };
    if let Value::Null = node.value {
        let named =
            depth.checked_sub(1).and_then(|above| keys.get(above)).is_some_and(|k| k == NAMED);
        let number = key.bytes().all(|byte| byte.is_ascii_digit());
        let value = if number && !named { Value::List(Vec::new()) } else { Value::Map(Vec::new()) };
        *node = Node { value, origin: variable.origin() };
    }
    let nothing = || Node { value: Value::Null, origin: variable.origin() };
    let here = keys[..depth].join(".");
    let below = match &mut node.value {
        Value::Map(entries) => {
            let at = entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
                let (key, origin) = (key.clone(), variable.origin());
                entries.push(Entry { key, origin, node: nothing() });
                entries.len() - 1
            });
            &mut entries[at].node
        }
        Value::List(nodes) => {
            let length = nodes.len();
            let index = key.parse::<usize>().ok().filter(|index| *index <= length);
            let index = index.ok_or_else(|| {
                let last = length.checked_sub(1);
                let there = last.map_or(String::new(), |last| format!("0 to {last} exist, "));
                format!(
                    "{here} is a list, and {key} is not an index of it: {there}{length} appends an \
                         element"
                )
            })?;
            if index == length {
                nodes.push(nothing());
            }
            &mut nodes[index]
        }
        Value::Null | Value::Flag(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {
            return Err(format!("{here} is {}, which has no keys below it", node.value.kind()));
        }
    };
    set(below, keys, depth + 1, variable, value)
}

#[cfg(test)]
mod tests;
