//! YAML as a tree whose nodes know where they come from.

use std::fmt;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::environment;

/// A value and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    /// Where it comes from.
    pub(super) origin: Origin,
}

/// Where something comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// This place of the file.
    File(Location),
    /// An environment variable that overrides the file.
    Variable {
        name: Rc<str>,
        /// What it holds, as it stands.
        text: Rc<str>,
    },
}

/// A node's value (YAML 1.2.2 section 10.3, the core schema).
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Integer(i128),
    /// Another number.
    Float(f64),
    /// Text, quoted or not.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file; no key twice.
    Map(Vec<Entry>),
}

/// A key of a mapping and what stands behind it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key comes from.
    pub(super) origin: Origin,
    /// What stands behind it.
    pub(super) node: Node,
}

impl Value {
    /// What it is, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "an empty value",
            Self::Flag(_) => "a boolean",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Why a text is no YAML document.
#[derive(Debug)]
pub(super) struct SyntaxError {
    /// Where.
    pub(super) location: Option<Location>,
    /// What is wrong.
    pub(super) message: String,
}

/// The most parts of the document that aliases may repeat: about 1 MB of memory.
const MOST_REPLAYED: usize = 10_000;
/// The most mappings and lists inside each other: a level takes up to 30 KB of the stack. Keys lie six deep.
const DEEPEST: usize = 16;

/// Parses one document.
///
/// # Errors
/// Broken syntax, a key that stands twice, more than one document.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: DEEPEST },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MOST_REPLAYED },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| SyntaxError {
        location: error.location(),
        message: error
            .location()
            .and_then(|location| unquoted(text, location))
            .unwrap_or_else(|| plain(&error.without_snippet().to_string())),
    })
}

/// What is wrong where the brace of a variable without quotes opens a mapping inside another one, or inside a
/// list.
fn unquoted(text: &str, location: Location) -> Option<String> {
    let line = text.lines().nth(usize::try_from(location.line()).ok()?.checked_sub(1)?)?;
    let column = usize::try_from(location.column()).ok()?;
    let mut from = line.chars().skip(column.checked_sub(2)?);
    if (from.next(), from.next()) != (Some('$'), Some('{')) {
        return None;
    }
    let name = from.take_while(|each| *each != '}').collect::<String>();
    let name = if environment::is_name(&name) { &name } else { "NAME" };
    Some(format!(
        "inside {{ }} and [ ] YAML reads the brace of ${{{name}}} as a mapping; put the whole value in \
         quotes, such as \"${{{name}}}\""
    ))
}

/// The parser's message without the place, which is said already, and with a remedy where the parser names
/// none that an administrator has.
fn plain(message: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    if let Some(key) = message.strip_prefix("duplicate mapping key") {
        let key = key.split(',').next().unwrap_or_default().trim_start_matches([':', ' ']);
        let key = if key.is_empty() { "a key" } else { key };
        return format!("{key}: duplicate key in this mapping; keep one");
    }
    if message.contains("Depth {") || message.contains("recursion limit") {
        return format!("more than {DEEPEST} mappings and lists inside each other; remove a level");
    }
    let remedy = if message.contains("tabs disallowed") {
        "indent with spaces"
    } else if message.contains("mapping values are not allowed") {
        "indent the line like its siblings, and put a string that contains ': ' in quotes"
    } else if message.contains("anchor or alias") {
        "put a string that begins with '*' or '&' in quotes"
    } else {
        return message.to_owned();
    };
    format!("{message}; {remedy}")
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { origin: Origin::File(spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, some: D) -> Result<Value, D::Error> {
        Value::deserialize(some)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element::<Node>()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = map.next_entry::<Spanned<String>, Node>()? {
            let origin = Origin::File(key.referenced);
            entries.push(Entry { key: key.value, origin, node });
        }
        Ok(Value::Map(entries))
    }
}
